//! The README's lines, word for word.

use std::path::Path;

use rebate_servers::until;

use crate::console;
use crate::program::{Api, Folder};

#[test]
fn every_curl_line_answers_as_the_readme_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/concepts_api/README.md");
    let readme = std::fs::read_to_string(path).unwrap();
    let tasks = Folder::new();
    let api = Api::start(&tasks, &[]);
    let (address, metrics) = (api.address.to_string(), api.metrics.to_string());
    let seen = console::compare(&readme, &[("127.0.0.1:8080", &address), ("127.0.0.1:9464", &metrics)]);
    assert!(seen >= 20, "{seen} lines were compared");
    // The task that fails is given back, as is told of it.
    until("the failed task is refunded", || api.numbers().contains(r#"{cause="task",outcome="done"} 1"#).then_some(()));
}

#[test]
fn every_setting_is_in_its_table() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/concepts_api");
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    let (readme, settings) = (read("README.md"), read("settings.rs"));
    let mut seen = 0;
    for line in settings.lines().filter(|line| line.contains(": setting(\"")) {
        let mut texts = line.split('"').skip(1).step_by(2);
        let (name, default) = (texts.next().unwrap(), texts.next().unwrap());
        let begin = match default {
            "" => format!("| `{name}` | "),
            default => format!("| `{name}` | `{default}` | "),
        };
        assert!(readme.lines().any(|line| line.starts_with(&begin)), "{begin}");
        seen += 1;
    }
    assert_eq!(seen, 11);
}
