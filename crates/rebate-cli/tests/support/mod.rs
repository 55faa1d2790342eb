//! Runs the program.
#![allow(dead_code, unreachable_pub, reason = "each test crate uses some of it")]

pub mod service;

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// The log that lies in this repository.
pub fn sample() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/apache_access.log")
}

/// The whole log, where the checkout has it beside it.
pub fn whole_log() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/apache_access.log");
    if path.exists() {
        return Some(path);
    }
    println!("not tried on the whole log: {} is not there", path.display());
    None
}

/// The program, in whose environment nothing is meant for it.
pub fn program<S: AsRef<OsStr>>(arguments: &[S]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rebate"));
    command.args(arguments).env_remove("REBATE_STORE").env_remove("REBATE_SECRET");
    command
}

pub fn run<S: AsRef<OsStr>>(arguments: &[S], input: &[u8]) -> Output {
    run_command(&mut program(arguments), input)
}

pub fn run_command(command: &mut Command, input: &[u8]) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_vec();
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().expect("the program ends");
    writer.join().expect("the writer ends");
    output
}

/// Replays a text and gives the JSON report; panics unless the program was content.
pub fn replay<S: AsRef<OsStr>>(arguments: &[S], input: &[u8]) -> Value {
    let output = replay_output(arguments, input);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("one JSON object")
}

pub fn replay_output<S: AsRef<OsStr>>(arguments: &[S], input: &[u8]) -> Output {
    let arguments: Vec<&OsStr> =
        [OsStr::new("replay"), OsStr::new("--json")].into_iter().chain(arguments.iter().map(AsRef::as_ref)).collect();
    run(&arguments, input)
}

/// A line of the Common log format.
pub fn line(ip: &str, time: &str, status: u16) -> String {
    format!("{ip} - - [17/May/2015:{time} +0000] \"GET /a?b=1 HTTP/1.1\" {status} 12\n")
}
