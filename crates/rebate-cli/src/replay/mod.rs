//! `rebate replay`: charges a log's requests to limits and reports what would have become of them.

mod by_rules;
mod decide;
mod input;
mod keys;
mod order;
pub(crate) mod parse;
mod progress;
pub(crate) mod read;
pub(crate) mod refunds;
mod report;
mod rules_report;
pub(crate) mod smallest;
mod store;
pub(crate) mod table;

use std::borrow::Cow;
use std::io::{self, BufWriter, Write};
use std::sync::Arc;
use std::time::Instant;

use crate::arguments::ReplayArguments;
use crate::trouble::Trouble;
use decide::Trial;
use input::Input;
use parse::{LineParser, Shape};
use progress::Progress;
use read::Log;
use refunds::StatusSet;
use report::Report;

/// Replays the log that the arguments name.
pub(crate) fn run(arguments: &ReplayArguments) -> Result<(), Trouble> {
    if let Some(rules) = &arguments.rules {
        return by_rules::run(arguments, rules);
    }
    let started = Instant::now();
    let name = source(arguments);
    let cannot_read = |error: io::Error| Trouble::Failed(format!("cannot read {name}: {error}"));
    let threads = std::thread::available_parallelism().map_or(1, |cores| cores.get().min(16));
    let input = Input::open(&arguments.file).map_err(cannot_read)?;
    let progress = Progress::reading(Arc::clone(&input.taken), input.size);
    let log = read::read(input, &LineParser::new(shape(arguments)), arguments.strict, threads, &progress);
    drop(progress);
    let log = log.map_err(cannot_read)?;
    let nothing_read = log.chunks.iter().all(Vec::is_empty) && log.without_key == 0;
    show_bad_lines(&log.shown, log.bad_lines, nothing_read, arguments, &name)?;
    let Log { chunks, keys, lines, bad_lines, without_key, .. } = log;

    let keys_in_all = keys.iter().map(|shard| shard.len() as u64).sum();
    let no_refunds = StatusSet::none();
    let refunds = arguments.refund_status.as_ref().unwrap_or(&no_refunds);
    let trial = Trial { limits: &arguments.limits, refunds, top: arguments.top };
    let shards: Vec<_> = keys.into_iter().zip(order::divide(chunks)).collect();
    let progress = Progress::deciding(shards.len());
    let tally = decide::decide(&trial, shards, threads, &progress);
    drop(progress);
    let tally = tally.map_err(|error| Trouble::Failed(format!("cannot replay {name}: {error}")))?;

    let report =
        Report::new(arguments, &name, tally, report::Lines { lines, bad_lines, without_key, keys: keys_in_all });
    let text = if arguments.json { report.json() } else { table::print(&report, started.elapsed()) };
    write_report(&text)
}

fn shape(arguments: &ReplayArguments) -> Shape {
    Shape {
        format: arguments.format,
        key: arguments.key,
        time_field: arguments.time_field.clone(),
        key_field: arguments.key_name().into(),
        status_field: arguments.status_field.clone(),
        time_unit: arguments.time_unit,
    }
}

/// What the log is called.
fn source(arguments: &ReplayArguments) -> Cow<'_, str> {
    if arguments.file.as_os_str() == "-" { "standard input".into() } else { arguments.file.to_string_lossy() }
}

/// Tells of the first bad lines on standard error.
fn show_bad_lines(
    shown: &[read::Shown],
    bad_lines: u64,
    nothing_read: bool,
    arguments: &ReplayArguments,
    name: &str,
) -> Result<(), Trouble> {
    let line =
        |bad: &read::Shown| format!("{name}: line {}: {}\n  {}", table::grouped(bad.line), bad.reason, bad.excerpt);
    if let Some(first) = shown.first().filter(|_| arguments.strict) {
        return Err(Trouble::Failed(line(first)));
    }
    // Nobody to tell is no reason to stop.
    let mut errors = io::stderr().lock();
    for bad in shown {
        let _ = writeln!(errors, "{}", line(bad));
    }
    let more = bad_lines - shown.len() as u64;
    if more > 0 {
        let _ = writeln!(errors, "{name}: and {} more lines that cannot be read", table::grouped(more));
    }
    if bad_lines > 0 && nothing_read {
        let _ =
            writeln!(errors, "{name}: no line could be read; is it an access log in Common, Combined or JSON format?");
    }
    Ok(())
}

/// Writes the report.
fn write_report(text: &str) -> Result<(), Trouble> {
    let mut out = BufWriter::new(io::stdout().lock());
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|error| Trouble::of_output(&error))
}
