//! What `status` tells people.
//!
//! Written line by line rather than by a table that is laid out as a whole: there may be a million lines, and keys of 64
//! KiB. The key comes last, in full, so that nothing needs to know how wide it is.

use std::io::{self, Write};

use super::StatusArguments;
use super::gather::{Count, Gathered};
use crate::show::{grouped, shown, span};
use crate::store::nothing_written_down;

const NUMBERS: [&str; 4] = ["Used", "Remaining", "Quota", "Resets in"];
/// What stands where a key has no group; a group that is called so is quoted.
const NO_GROUP: &str = "-";
/// A longer group pushes its own line's key to the right, and no other's.
const LONGEST_GROUP: usize = 40;

/// The listing, down to its last line but for the break.
pub(crate) fn write(out: &mut impl Write, arguments: &StatusArguments, gathered: &Gathered) -> io::Result<()> {
    let store = &arguments.store;
    if gathered.limits.is_empty() {
        let nothing = nothing_written_down(&store.prefix);
        return write!(out, "{}{}.", nothing[..1].to_uppercase(), &nothing[1..]);
    }
    let in_all = gathered.keys.iter().sum();
    let took = span((gathered.took.as_secs_f64() * 100.0).round() / 100.0);
    let counts = if in_all == 1 { "count" } else { "counts" };
    writeln!(
        out,
        "{} {counts} in the store {} (prefix {}), listed in {took}",
        grouped(in_all),
        store.name,
        store.prefix
    )?;
    for (limit, &keys) in gathered.limits.iter().zip(&gathered.keys) {
        writeln!(out, "  {limit}: {} {}", grouped(keys), if keys == 1 { "key" } else { "keys" })?;
    }
    if gathered.counts.is_empty() {
        return write!(out, "\nNobody has used any.");
    }
    writeln!(out)?;
    let layout = Layout::of(gathered);
    layout.line(out, NUMBERS.map(str::to_owned), "Limit", "Group", "Key")?;
    for count in &gathered.counts {
        writeln!(out)?;
        let key = count.key.as_ref();
        let group = key.group().map_or(NO_GROUP.into(), shown);
        layout.line(out, numbers(count), gathered.limits[count.limit].name(), &group, &shown(key.bytes()))?;
    }
    let rest = in_all - gathered.counts.len() as u64;
    if rest > 0 { write!(out, "\nand {} more", grouped(rest)) } else { Ok(()) }
}

/// How wide the columns are before the key.
struct Layout {
    numbers: [usize; 4],
    limit: usize,
    /// Nothing where no key has one.
    group: Option<usize>,
}

impl Layout {
    fn of(gathered: &Gathered) -> Self {
        let mut layout = Layout { numbers: NUMBERS.map(str::len), limit: "Limit".len(), group: None };
        for count in &gathered.counts {
            for (width, text) in layout.numbers.iter_mut().zip(numbers(count)) {
                *width = text.len().max(*width);
            }
            layout.limit = gathered.limits[count.limit].name().len().max(layout.limit);
            if let Some(group) = count.key.as_ref().group() {
                let length = shown(group).chars().count();
                let least = layout.group.unwrap_or("Group".len());
                layout.group = Some(if length <= LONGEST_GROUP { length.max(least) } else { least });
            }
        }
        layout
    }

    fn line(&self, out: &mut impl Write, numbers: [String; 4], limit: &str, group: &str, key: &str) -> io::Result<()> {
        for (width, text) in self.numbers.iter().zip(numbers) {
            write!(out, "{text:>width$}  ")?;
        }
        write!(out, "{limit:<width$}  ", width = self.limit)?;
        if let Some(width) = self.group {
            write!(out, "{group:<width$}  ")?;
        }
        write!(out, "{key}")
    }
}

fn numbers(count: &Count) -> [String; 4] {
    let status = &count.status;
    let [used, remaining, quota] = [status.used(), status.remaining(), status.quota()].map(grouped);
    [used, remaining, quota, span(status.reset_after().as_secs_f64())]
}
