//! The example's program as a process.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rebate_servers::{Server, until};
use serde_json::json;

use crate::console;
use crate::scene::send;

const SETTINGS: [&str; 9] =
    ["LISTEN", "STORE", "DATABASE", "PLANS", "AT_ONCE", "LEASE", "WORKER", "WORK_TIME", "RUST_LOG"];

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The program with nothing in its environment but these settings.
fn program(settings: &[(&str, &str)]) -> Command {
    let arguments = ["-p", "rebate", "--features", "redis,serde", "--example", "saved_items"];
    let mut command = Command::new(crate::built::built("examples/saved_items", &arguments));
    for name in SETTINGS {
        command.env_remove(name);
    }
    command.env("LISTEN", "127.0.0.1:0").envs(settings.iter().copied());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn start(settings: &[(&str, &str)]) -> (Process, SocketAddr) {
    let mut process = Process(program(settings).stderr(Stdio::null()).spawn().expect("the program starts"));
    let mut line = String::new();
    BufReader::new(process.0.stdout.take().expect("a pipe")).read_line(&mut line).expect("text");
    let address = line.trim_end().strip_prefix("listening on http://").unwrap_or_else(|| panic!("it said {line}"));
    (process, address.parse().expect("an address"))
}

fn shown(address: SocketAddr) -> (String, u64) {
    let told = send(address, "GET", "/api/quota", "ada", "", None);
    (told.text("shown").to_owned(), told.body["at_once"]["used"].as_u64().expect("a number"))
}

#[test]
fn killed_and_started_again_it_goes_on_where_it_was() {
    let server = Server::start();
    let folder = std::env::temp_dir().join(format!("saved_items-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let (url, file) = (server.url(), folder.join("items.db").display().to_string());
    let settings = [("STORE", url.as_str()), ("DATABASE", &file), ("WORKER", "off")];
    let (mut process, address) = start(&settings);
    let save = |address, key: &str| send(address, "POST", "/api/items", "ada", key, Some(json!({"url": key}))).status;
    assert_eq!(["1", "2", "3", "4"].map(|key| save(address, key)), [202, 202, 202, 429]);
    process.0.kill().expect("it is killed");
    process.0.wait().expect("it is waited for");

    let (process, address) = start(&[&settings[..2], &[("WORK_TIME", "0s")]].concat());
    assert_eq!(save(address, "1"), 202, "it was saved before");
    until("all three are done", || (shown(address) == ("3/50".into(), 0)).then_some(()));
    let items = send(address, "GET", "/api/items", "ada", "", None);
    let items = items.body.as_array().expect("a list").clone();
    assert!(items.len() == 3 && items.iter().all(|item| item["state"] == "done"), "{items:?}");
    end(process);
    std::fs::remove_dir_all(Path::new(&folder)).expect("the folder is removed");
}

/// SIGTERM, at which it ends well.
fn end(mut process: Process) {
    let pid = process.0.id().to_string();
    assert!(Command::new("sh").args(["-c", "kill -s TERM \"$1\"", "kill", &pid]).status().expect("sh").success());
    assert!(process.0.wait().expect("it ends").success());
}

#[test]
fn every_curl_line_answers_as_the_readme_says_and_every_setting_is_in_its_table() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/saved_items");
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    let (readme, settings) = (read("README.md"), read("settings.rs"));
    let (process, address) = start(&[("WORKER", "off")]);
    let seen = console::compare(&readme, &[("127.0.0.1:8081", &address.to_string())]);
    assert!(seen >= 14, "{seen} lines were compared");
    end(process);

    let lines: Vec<_> = settings.lines().filter(|line| line.contains(": setting(\"")).collect();
    assert_eq!(lines.len(), SETTINGS.len() - 1, "all but RUST_LOG");
    for line in lines {
        let mut texts = line.split('"').skip(1).step_by(2);
        let begin = format!("| `{}` | `{}` | ", texts.next().unwrap(), texts.next().unwrap());
        assert!(readme.lines().any(|line| line.starts_with(&begin)), "{begin}");
    }
}

#[test]
fn wrong_settings_are_named_all_at_once_with_what_would_be_right() {
    let wrong = [
        ("LISTEN", "8081", "LISTEN `8081`: give an address and a port"),
        ("STORE", "secret", "STORE: give `memory`, or a Redis server's URL"),
        ("PLANS", "50/day", "PLANS `50/day`: give `free=50/day,pro=500/day`"),
        ("AT_ONCE", "0", "AT_ONCE `0`: give a number above 0"),
        ("LEASE", "10m", "LEASE `10m`: give whole seconds, such as `600s`"),
        ("WORKER", "no", "WORKER `no`: give `on` or `off`"),
    ];
    let output = program(&wrong.map(|(name, value, _)| (name, value))).output().expect("the program ends");
    let log = String::from_utf8(output.stderr).expect("text");
    assert_eq!((output.status.code(), log.lines().count()), (Some(2), wrong.len()), "{log}");
    for (line, (.., said)) in log.lines().zip(wrong) {
        assert!(line.starts_with(&format!("ERROR {said}")), "{line}");
    }
    let output = program(&[("PLANS", "free=50/day,pro=9/hour")]).output().expect("the program ends");
    let log = String::from_utf8(output.stderr).expect("text");
    assert!(output.status.code() == Some(1) && log.contains("another window or algorithm"), "{log}");
}
