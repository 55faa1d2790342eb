//! Runs `rebate replay`.

use std::ffi::OsStr;
use std::process::Output;

use serde_json::Value;

use super::run::run;

/// Replays a text and gives the JSON report; panics unless the program was content.
pub(crate) fn replay<S: AsRef<OsStr>>(arguments: &[S], input: &[u8]) -> Value {
    let output = replay_output(arguments, input);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("one JSON object")
}

pub(crate) fn replay_output<S: AsRef<OsStr>>(arguments: &[S], input: &[u8]) -> Output {
    let arguments: Vec<&OsStr> =
        [OsStr::new("replay"), OsStr::new("--json")].into_iter().chain(arguments.iter().map(AsRef::as_ref)).collect();
    run(&arguments, input)
}
