//! What the project promises, and whether this run kept it.

use std::fmt::Write;

use crate::sides::{Algorithm, Role};
use crate::table::{Column, Filling, Table};

/// How many times governor's time a charge is promised to be faster, on one thread.
fn promised(column: &Column) -> Option<f64> {
    match (column.workload, column.threads) {
        // Reported only: no worse than governor beyond noise.
        (_, 2..) => Some(0.9),
        ("1 hot key" | "1,000 keys", _) => Some(1.5),
        ("1M uniform", _) => Some(2.5),
        ("1M isolated", _) => Some(1.8),
        ("1M Zipf(1.0)", _) => Some(2.2),
        _ => None,
    }
}

/// At most, per key.
const BYTES: f64 = 96.0;

/// At most, for one charge while keys arrive.
const STALL_MILLISECONDS: f64 = 1.0;

/// A line for each promise: pass or miss.
pub fn report(table: &Table, fillings: &[Filling]) -> String {
    let mut report =
        Report { text: String::from("\nTargets (README.md of the benches says what each means)\n"), missed: 0 };
    let ours = [Algorithm::Fixed, Algorithm::Bucket].map(Role::Ours);
    for column in &table.columns {
        let (Some(promised), Some(governor)) = (promised(column), table.place(Role::Governor)) else { continue };
        for place in ours.iter().filter_map(|role| table.place(*role)) {
            let ratio = column.ratio(governor, place);
            let threads = if column.threads == 1 { String::new() } else { format!(", {} threads", column.threads) };
            let what = format!(
                "{}, {}, {}{threads}: {ratio:.2} times as fast as governor, wanted {promised:.1}",
                table.candidates[place].name,
                column.outcome.name(),
                column.workload,
            );
            report.line(ratio >= promised, &what);
        }
    }
    for filling in fillings.iter().filter(|filling| ours.contains(&filling.role)) {
        let Filling { name, live, stalls, .. } = filling;
        report.line(*live <= BYTES, &format!("{name}: {live:.1} bytes per key, wanted at most {BYTES}"));
        let worst = stalls.worst;
        let what = format!("{name}: worst charge while filling {worst:.3} ms, wanted at most {STALL_MILLISECONDS}");
        report.line(worst <= STALL_MILLISECONDS, &what);
    }
    let missed = report.missed;
    let _ = writeln!(report.text, "{missed} missed");
    report.text
}

struct Report {
    text: String,
    missed: usize,
}

impl Report {
    fn line(&mut self, kept: bool, what: &str) {
        self.missed += usize::from(!kept);
        let _ = writeln!(self.text, "  {} {what}", if kept { "pass" } else { "MISS" });
    }
}
