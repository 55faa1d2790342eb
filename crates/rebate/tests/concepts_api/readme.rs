//! The README's lines, word for word.

use std::path::Path;
use std::process::Command;

use rebate_servers::until;

use crate::program::{Api, Folder};

#[test]
fn every_curl_line_answers_as_the_readme_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/concepts_api/README.md");
    let readme = std::fs::read_to_string(path).unwrap();
    let console = readme.split("```console\n").nth(1).and_then(|text| text.split("```").next()).expect("a console");
    let tasks = Folder::new();
    let api = Api::start(&tasks, &[]);
    let (address, metrics) = (api.address.to_string(), api.metrics.to_string());
    let mut seen = 0;
    for part in console.split("$ ").filter(|part| part.starts_with("curl ") || part.starts_with("for ")) {
        // `$(` is no prompt, and is not followed by a blank.
        let (line, said) = part.split_once('\n').expect("what it answers");
        let line = line.replace("127.0.0.1:8080", &address).replace("127.0.0.1:9464", &metrics);
        let output = Command::new("sh").args(["-c", &line]).output().expect("sh starts");
        let answer = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        for said in said.lines().filter(|said| !said.is_empty()) {
            assert!(answer.lines().any(|line| fits(line.trim_end(), said)), "{line}\nsaid not {said}\nbut\n{answer}");
            seen += 1;
        }
    }
    assert!(seen >= 20, "{seen} lines were compared");
    // The task that fails is given back, as is told of it.
    until("the failed task is refunded", || api.numbers().contains(r#"{cause="task",outcome="done"} 1"#).then_some(()));
}

/// Whether a line is the one that is said, whose `…` stands for anything.
fn fits(line: &str, said: &str) -> bool {
    let mut rest = line;
    let parts: Vec<_> = said.split('…').collect();
    let last = parts.len() - 1;
    for (number, part) in parts.into_iter().enumerate() {
        let Some(at) = rest.find(part) else { return false };
        if number == 0 && at > 0 || number == last && !part.is_empty() && !rest.ends_with(part) {
            return false;
        }
        rest = &rest[at + part.len()..];
    }
    rest.is_empty() || said.ends_with('…')
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
