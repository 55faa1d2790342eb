//! The program as a process: its settings, and its README word for word.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;

use rebate_servers::{Server, until};

/// The program with nothing in its environment but these settings, on a free port.
fn program(settings: &[(&str, &str)]) -> Command {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let arguments = ["-p", "rebate", "--features", "axum,redis,tokio", "--example", "token_gateway"];
    let mut command = Command::new(BUILT.get_or_init(|| crate::built::built("examples/token_gateway", &arguments)));
    for name in ["LISTEN", "STORE", "UPSTREAM", "MINUTE", "DAY", "SETTLE", "WITHIN", "ASSUMED", "RUST_LOG"] {
        command.env_remove(name);
    }
    command.env("LISTEN", "127.0.0.1:0").envs(settings.iter().copied()).stdin(Stdio::null());
    command
}

/// The program, serving; killed in Drop.
struct Process {
    child: Child,
    address: String,
}

impl Process {
    fn start(settings: &[(&str, &str)]) -> Self {
        let mut child = program(settings).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line).expect("text");
        let address = line.trim().strip_prefix("listening on http://").expect("an address").to_owned();
        Process { child, address }
    }

    /// A line of a shell, with this program where the README has its own.
    fn sh(&self, line: &str) -> Output {
        let line = line.replace("127.0.0.1:8080", &self.address);
        Command::new("sh").args(["-c", &line]).output().expect("sh starts")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/token_gateway")
}

#[test]
fn every_curl_line_answers_as_the_readme_says() {
    let readme = std::fs::read_to_string(folder().join("README.md")).unwrap();
    let console = readme.split("```console\n").nth(1).and_then(|text| text.split("```").next()).expect("a console");
    // No window ends meanwhile.
    let process = Process::start(&[("MINUTE", "10000/1h from first"), ("DAY", "100000/24h from first")]);
    let mut seen = 0;
    for part in console.split("$ ").filter(|part| part.starts_with("curl ") || part.starts_with("for ")) {
        let (line, said) = part.split_once('\n').expect("what it answers");
        let output = process.sh(line);
        let answer = String::from_utf8(output.stdout).unwrap();
        for said in said.lines().filter(|said| !said.is_empty()) {
            assert!(answer.lines().any(|line| fits(line.trim_end(), said)), "{line}\nsaid not {said}\nbut\n{answer}");
            seen += 1;
        }
    }
    assert!(seen >= 10, "{seen} lines were compared");
}

/// Whether a line is the one that is said, whose `…` stands for anything.
fn fits(line: &str, said: &str) -> bool {
    let mut rest = line;
    let parts: Vec<_> = said.split('…').collect();
    for (number, part) in parts.iter().enumerate() {
        let Some(at) = rest.find(part) else { return false };
        if number == 0 && at > 0 {
            return false;
        }
        rest = &rest[at + part.len()..];
    }
    rest.is_empty() || said.ends_with('…')
}

#[test]
fn every_setting_is_in_the_readmes_table() {
    let read = |name: &str| std::fs::read_to_string(folder().join(name)).unwrap();
    let (readme, settings) = (read("README.md"), read("settings.rs"));
    let mut seen = 0;
    for line in settings.lines().filter(|line| line.contains(": setting(\"")) {
        let mut texts = line.split('"').skip(1).step_by(2);
        let begin = format!("| `{}` | `{}` | ", texts.next().unwrap(), texts.next().unwrap());
        assert!(readme.lines().any(|line| line.starts_with(&begin)), "{begin}");
        seen += 1;
    }
    assert_eq!(seen, 8);
}

#[test]
fn wrong_settings_are_named_all_at_once_with_what_would_be_right() {
    let wrong = [
        ("LISTEN", "8080", "LISTEN `8080`: give an address and a port"),
        ("STORE", "secret", "STORE: give `memory`, or a Redis server's URL"),
        ("UPSTREAM", "https://me:secret@api/", "UPSTREAM: give `built-in`, or the URL of an API"),
        ("MINUTE", "10000/minuet", "MINUTE `10000/minuet`: "),
        ("DAY", "much", "DAY `much`: "),
        ("SETTLE", "no", "SETTLE `no`: give `on` or `off`"),
        ("WITHIN", "10", "WITHIN `10`: give a time"),
        ("ASSUMED", "-1", "ASSUMED `-1`: give a number of tokens"),
    ];
    let output = program(&wrong.map(|(name, value, _)| (name, value))).output().expect("it ends");
    let log = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), log.lines().count()), (Some(2), wrong.len()), "{log}");
    for (line, (.., said)) in log.lines().zip(wrong) {
        assert!(line.starts_with(&format!("ERROR {said}")) && !line.contains("secret"), "{line}");
    }
}

#[test]
fn what_a_killed_gateway_had_reserved_is_given_back_by_redis() {
    let server = Server::start();
    let settings = [("STORE", server.url()), ("MINUTE", "1000/1h from first".into()), ("WITHIN", "1s".into())];
    let settings = settings.each_ref().map(|(name, value)| (*name, value.as_str()));
    let gateway = Process::start(&settings);
    let asked = r#"{"messages": [{"role": "user", "content": "hang=5"}], "max_tokens": 900, "stream": true}"#;
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: api\r\nconnection: close\r\nauthorization: Bearer ada\r\n";
    let mut client = TcpStream::connect(&gateway.address).expect("a connection");
    write!(client, "{head}content-length: {}\r\n\r\n{asked}", asked.len()).expect("it is sent");
    let mut lines = BufReader::new(&client).lines().map(|line| line.expect("text"));
    assert!(lines.any(|line| line.contains("\"cat \"")), "it streams");
    // While the client is still there.
    drop(gateway);
    let other = Process::start(&settings);
    let asked = r#"{"messages": [{"role": "user", "content": "say=1"}], "max_tokens": 900}"#;
    let line =
        "curl -s -o /dev/null -w '%{http_code}' 127.0.0.1:8080/v1/chat/completions -H 'Authorization: Bearer ada'";
    let line = format!("{line} --json '{asked}'");
    until("the reservation is over", || (other.sh(&line).stdout == b"200").then_some(()));
}
