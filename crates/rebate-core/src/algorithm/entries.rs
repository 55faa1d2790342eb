//! Counts that remember each charge: the sliding window log, and concurrency leases.
//!
//! Every admitted charge is one entry that stops counting at its own end: at t + W in a log, at its
//! release or its lease's end otherwise. Exact; the memory is one entry for each charge that counts.
//!
//! A count's time is the later of the clock and the latest time it acted on; when the clock is before
//! that by more than a window (or a lease), the count follows the clock and starts afresh.

use std::collections::{BTreeSet, VecDeque};

use crate::algorithm::{Grant, Returned};
use crate::decision::{Retry, Status};
use crate::marks::{MAX_UNIT, REMEMBERED, Units};

/// A log or concurrency limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entries {
    /// Units that may count at once.
    pub quota: u64,
    /// How long an entry counts, in microseconds: the window, or the lease.
    pub span: u64,
}

/// One charge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The number of its last unit, which names it.
    pub last: u64,
    /// When it stops counting.
    pub end: u64,
    /// Its units, whether or not refunded since.
    pub cost: u64,
    /// Its refunded units.
    pub refunded: u64,
}

/// The entries of one count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roll {
    /// The count's identity.
    pub identity: u64,
    /// Units charged since the count began.
    pub gross: u64,
    /// The latest time it acted on.
    pub acted: u64,
    /// Units that count, among entries not yet dropped.
    pub used: u64,
    /// The last units of entries refunded whole, kept so that a repeated refund finds them.
    pub returned: BTreeSet<u64>,
    /// Entries that are still in their place but were forgotten: of cost 0.
    pub forgotten: usize,
    /// In order of their ends.
    pub entries: VecDeque<Entry>,
}

impl Entry {
    fn counts(&self) -> u64 {
        self.cost - self.refunded
    }
}

impl Entries {
    /// An empty count.
    pub fn open(&self, now: u64, fresh: u64) -> Roll {
        Roll {
            identity: fresh,
            gross: 0,
            acted: now,
            used: 0,
            returned: BTreeSet::new(),
            forgotten: 0,
            entries: VecDeque::new(),
        }
    }

    /// The count's time at `now`; `None` when it starts afresh.
    pub fn time(&self, roll: &Roll, now: u64) -> Option<u64> {
        if now >= roll.acted {
            Some(now)
        } else if roll.acted - now > self.span {
            None
        } else {
            Some(roll.acted)
        }
    }

    /// Whether `cost` fits at `time`; else when it will. Also the units that count.
    pub fn decide(&self, roll: Option<&Roll>, cost: u64, now: u64) -> (Option<Retry>, Status) {
        let live = roll.and_then(|roll| self.time(roll, now).map(|time| (roll, time)));
        let Some((roll, time)) = live else {
            let retry = (cost > self.quota).then_some(Retry::Never);
            return (retry, Status::new(self.quota, self.quota, 0));
        };
        // Whichever is the shorter: what has ended since the last charge, or what still counts.
        let split = roll.entries.partition_point(|entry| entry.end <= time);
        let counted = |entries: std::ops::Range<usize>| roll.entries.range(entries).map(Entry::counts).sum::<u64>();
        let mut used = if split <= roll.entries.len() / 2 {
            roll.used - counted(0..split)
        } else {
            counted(split..roll.entries.len())
        };
        let reset = roll.entries.iter().rev().find(|entry| entry.end > time && entry.counts() > 0);
        let status = Status::new(self.quota, self.quota.saturating_sub(used), reset.map_or(0, |entry| entry.end - now));
        if cost > self.quota {
            return (Some(Retry::Never), status);
        }
        if cost <= self.quota.saturating_sub(used) {
            return (None, status);
        }
        for entry in roll.entries.range(split..) {
            used -= entry.counts();
            if cost <= self.quota.saturating_sub(used) {
                return (Some(Retry::after_micros(entry.end - now)), status);
            }
        }
        (Some(Retry::Never), status)
    }

    /// Enters a charge that [`decide`](Entries::decide) found to fit. `fresh` becomes the identity of a
    /// count whose units must be numbered anew.
    pub fn charge(&self, roll: &mut Roll, cost: u64, now: u64, fresh: u64) -> Grant {
        let time = self.settle_time(roll, now);
        if roll.gross > MAX_UNIT - cost {
            renumber(roll, fresh);
        }
        roll.gross += cost;
        roll.used += cost;
        let entry = Entry { last: roll.gross, end: time + self.span, cost, refunded: 0 };
        insert(&mut roll.entries, entry);
        Grant { instance: roll.identity, last: roll.gross }
    }

    /// Gives back up to `total` of `units`.
    pub fn refund(&self, roll: &mut Roll, instance: u64, units: Units, total: u64, now: u64) -> Returned {
        let Some(at) = self.find(roll, instance, units, now) else { return Returned::EXPIRED };
        let entry = &mut roll.entries[at];
        let newly = total.min(entry.cost).saturating_sub(entry.refunded);
        entry.refunded += newly;
        roll.used -= newly;
        let answer = Returned { now: newly, in_all: entry.refunded, expired: false, closed: false };
        if newly > 0 {
            if entry.counts() == 0 {
                roll.returned.insert(entry.last);
            }
            self.settle_time(roll, now);
            forget_oldest(roll);
        }
        answer
    }

    /// Moves the end of an entry to a whole span from now; `None` when it has ended.
    pub fn renew(&self, roll: &mut Roll, instance: u64, units: Units, now: u64) -> Option<u64> {
        let at = self.find(roll, instance, units, now)?;
        if roll.entries[at].counts() == 0 {
            return None;
        }
        let time = self.settle_time(roll, now);
        let at = position(&roll.entries, units.last)?;
        let entry = roll.entries.remove(at)?;
        insert(&mut roll.entries, Entry { end: time + self.span, ..entry });
        Some(time + self.span)
    }

    /// When nothing counts any more.
    pub fn empty_at(&self, roll: &Roll) -> u64 {
        roll.entries.iter().rev().find(|entry| entry.cost > 0).map_or(0, |entry| entry.end)
    }

    /// Brings the count to its time at `now`: notes it and drops what has ended.
    fn settle_time(&self, roll: &mut Roll, now: u64) -> u64 {
        let time = self.time(roll, now).unwrap_or(now);
        roll.acted = time;
        while let Some(entry) = roll.entries.front().filter(|entry| entry.end <= time).copied() {
            roll.used -= entry.counts();
            if entry.cost == 0 {
                roll.forgotten -= 1;
            } else if entry.counts() == 0 {
                roll.returned.remove(&entry.last);
            }
            roll.entries.pop_front();
        }
        time
    }

    fn find(&self, roll: &Roll, instance: u64, units: Units, now: u64) -> Option<usize> {
        let time = self.time(roll, now)?;
        let found = position(&roll.entries, units.last)?;
        let entry = &roll.entries[found];
        (roll.identity == instance && entry.cost == units.cost && entry.end > time).then_some(found)
    }
}

/// Past the bound, forgets the oldest entry that was refunded whole: its receipt expires. It is taken out only
/// when as many again were forgotten as are left, for that moves those behind it.
fn forget_oldest(roll: &mut Roll) {
    while roll.returned.len() > REMEMBERED {
        let Some(last) = roll.returned.pop_first() else { return };
        if let Some(at) = position(&roll.entries, last) {
            (roll.entries[at].cost, roll.entries[at].refunded) = (0, 0);
            roll.forgotten += 1;
        }
    }
    if roll.forgotten > REMEMBERED && roll.forgotten > roll.entries.len() / 2 {
        roll.entries.retain(|entry| entry.cost > 0);
        roll.forgotten = 0;
    }
}

/// Where the entry is whose last unit is `last`. A log is in order of units too; leases that were renewed may
/// not be.
fn position(entries: &VecDeque<Entry>, last: u64) -> Option<usize> {
    let sorted = entries.binary_search_by_key(&last, |entry| entry.last).ok();
    sorted.or_else(|| entries.iter().position(|entry| entry.last == last))
}

/// Numbers the units in use from 1, under a new identity.
fn renumber(roll: &mut Roll, fresh: u64) {
    roll.entries.retain(|entry| entry.counts() > 0);
    (roll.identity, roll.gross, roll.forgotten) = (fresh, 0, 0);
    roll.returned.clear();
    for entry in &mut roll.entries {
        roll.gross += entry.counts();
        *entry = Entry { last: roll.gross, cost: entry.counts(), refunded: 0, ..*entry };
    }
}

fn insert(entries: &mut VecDeque<Entry>, entry: Entry) {
    let at = entries.partition_point(|other| other.end <= entry.end);
    entries.insert(at, entry);
}
