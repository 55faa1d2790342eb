//! The program under test.

use std::ffi::OsStr;
use std::process::Command;

/// The program, in whose environment nothing is meant for it.
pub(crate) fn program<S: AsRef<OsStr>>(arguments: &[S]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rebate"));
    command.args(arguments).env_remove("REBATE_STORE").env_remove("REBATE_SECRET");
    command
}
