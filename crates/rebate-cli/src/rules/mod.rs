//! `rebate rules`: looks at rule files.

pub(crate) mod check;
pub(crate) mod explain;
pub(crate) mod subject;

use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;

use rebate::rules::Rules;

use crate::arguments::{RulesArguments, RulesCommand};
use crate::replay::read::printable;
use crate::trouble::Trouble;

/// The largest rule file that is read, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// Does what the arguments ask.
pub(crate) fn run(arguments: &RulesArguments) -> Result<(), Trouble> {
    match &arguments.command {
        RulesCommand::Check(arguments) => check::run(arguments),
        RulesCommand::Explain(arguments) => explain::run(arguments),
    }
}

/// Reads a rule file. What is wrong with it goes to standard error, whole.
pub(crate) fn read(file: &Path) -> Result<Rules, Trouble> {
    let name = if file.as_os_str() == "-" { "standard input".into() } else { printable(&file.to_string_lossy()) };
    let cannot_read = |error: &dyn std::fmt::Display| Trouble::Failed(format!("cannot read {name}: {error}"));
    let bytes = match file.as_os_str() == "-" {
        true => read_whole(io::stdin().lock()),
        false => fs::File::open(file).and_then(read_whole),
    };
    let bytes = bytes.map_err(|error| cannot_read(&error))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + good.iter().filter(|&&byte| byte == b'\n').count();
        cannot_read(&format!("line {line} is not UTF-8"))
    })?;
    Rules::parse(&text).map_err(|problems| {
        let warnings = problems.iter().filter(|problem| problem.is_warning()).count();
        let errors = problems.iter().count() - warnings;
        // Nobody to tell is no reason to stop.
        let _ = writeln!(io::stderr().lock(), "{problems}\n");
        let counted = |number: usize, what: &str| format!("{number} {what}{}", if number == 1 { "" } else { "s" });
        let and = if warnings > 0 { format!(" and {}", counted(warnings, "warning")) } else { String::new() };
        Trouble::Failed(format!("{name}: {}{and}", counted(errors, "error")))
    })
}

fn read_whole(reader: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > MAX_FILE {
        true => Err(io::Error::other("it is larger than 1 MiB")),
        false => Ok(bytes),
    }
}

/// Writes an answer, and nothing that a rule file or a path makes a terminal do.
fn write(text: &str) -> Result<(), Trouble> {
    let text: Vec<String> = text.split('\n').map(printable).collect();
    let text = text.join("\n");
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|error| Trouble::of_output(&error))
}
