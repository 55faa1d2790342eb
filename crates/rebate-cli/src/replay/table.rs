//! What is reported, for people.

use std::fmt::Write;
use std::time::Duration;

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

use super::read::printable;
use super::report::Report;

/// The longest key that is shown whole, in characters.
const LONGEST_KEY: usize = 60;

/// The report as tables, as wide as the terminal at most.
pub(crate) fn print(report: &Report, took: Duration) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = summary(&mut out, report, took);
    let _ = write!(out, "\n{}\n", limits(report));
    let _ = legend(&mut out, report);
    if !report.most_denied.is_empty() {
        let _ = write!(out, "\nMost denied\n{}\n", keys(report));
    }
    out
}

fn summary(out: &mut String, report: &Report, took: Duration) -> std::fmt::Result {
    let (requests, keys) = (counted(report.requests, "request"), counted(report.keys, "key"));
    write!(out, "{}: {requests} of {keys} ({})", printable(&report.source), printable(&report.key))?;
    if let (Some(first), Some(last)) = (&report.first, &report.last) {
        write!(out, ", {first} to {last}")?;
    }
    writeln!(out, " ({:.2} s)\n", took.as_secs_f64())?;
    let rows = [
        ("allowed", report.allowed, share(report.allowed, report.requests)),
        ("denied", report.denied, denied_share(report)),
        ("refunded", report.refunded, "of those allowed".to_owned()),
        ("without a key", report.without_key, "not charged: their key is -".to_owned()),
        ("bad lines", report.bad_lines, format!("of {}", grouped(report.lines))),
    ];
    for (what, number, remark) in rows {
        if number > 0 || matches!(what, "allowed" | "denied") {
            writeln!(out, "  {what:<13} {:>12}  {remark}", grouped(number))?;
        }
    }
    Ok(())
}

fn denied_share(report: &Report) -> String {
    let share = share(report.denied, report.requests);
    if report.denied == 0 { share } else { format!("{share}, {}", counted(report.denied_keys, "key")) }
}

fn limits(report: &Report) -> Table {
    let mut table = table(&["Limit", "Charged", "Denied", "Keys denied", "Refunded", "Smallest"], 1);
    for limit in &report.limits {
        let name = if limit.limit == limit.policy {
            limit.limit.clone()
        } else {
            format!("{}: {}", limit.limit, limit.policy)
        };
        table.add_row([
            name,
            grouped(limit.charged),
            grouped(limit.denied),
            grouped(limit.denied_keys),
            grouped(limit.refunded),
            limit.smallest_policy.clone().unwrap_or("none".to_owned()),
        ]);
    }
    table
}

/// Says what the last column is.
fn legend(out: &mut String, report: &Report) -> std::fmt::Result {
    let (article, whose) = if report.limits.len() == 1 { ("the limit", "") } else { ("each limit", " by itself") };
    write!(out, "Smallest: the smallest quota under which {article}{whose} would have denied ")?;
    match report.tolerated_keys {
        0 => writeln!(out, "nobody."),
        keys => writeln!(out, "at most {} ({} %).", counted(keys, "key"), report.tolerate_percent),
    }
}

fn keys(report: &Report) -> Table {
    let mut table = table(&["Key", "Requests", "Denied", "First denied", "Last denied", "Shut out for"], 1);
    for key in &report.most_denied {
        table.add_row([
            shortened(&key.key),
            grouped(key.requests),
            grouped(key.denied),
            key.first.clone(),
            key.last.clone(),
            span(key.shut_out_seconds),
        ]);
    }
    for column in [3, 4] {
        align(&mut table, column, CellAlignment::Left);
    }
    table
}

/// A table whose columns from `first_number` on are numbers.
pub(crate) fn table(header: &[&str], first_number: usize) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(header.to_vec());
    (first_number..header.len()).for_each(|column| align(&mut table, column, CellAlignment::Right));
    table
}

pub(crate) fn align(table: &mut Table, column: usize, alignment: CellAlignment) {
    if let Some(column) = table.column_mut(column) {
        column.set_cell_alignment(alignment);
    }
}

pub(crate) fn shortened(key: &str) -> String {
    let text = if key.is_empty() { "(empty)".to_owned() } else { printable(key) };
    match text.char_indices().nth(LONGEST_KEY) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

pub(crate) fn share(part: u64, whole: u64) -> String {
    if whole == 0 { String::new() } else { format!("{:.2} %", part as f64 * 100.0 / whole as f64) }
}

pub(crate) fn counted(number: u64, what: &str) -> String {
    format!("{} {what}{}", grouped(number), if number == 1 { "" } else { "s" })
}

/// A number with its thousands apart.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A span of time in its two largest units.
pub(crate) fn span(seconds: f64) -> String {
    if seconds < 60.0 {
        return format!("{}s", (seconds * 1000.0).round() / 1000.0);
    }
    let seconds = seconds.round() as u64;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours) {
        (0, 0) => format!("{minutes}m {:02}s", seconds % 60),
        (0, _) => format!("{hours}h {minutes:02}m"),
        _ => format!("{days}d {hours:02}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_spans_read_well() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        let spans = [0.0, 1.5, 59.9994, 60.0, 3599.0, 3600.0, 90_000.0].map(span);
        assert_eq!(spans, ["0s", "1.5s", "59.999s", "1m 00s", "59m 59s", "1h 00m", "1d 01h"]);
    }
}
