//! What a charge does to an entry, for each algorithm whose counts are kept in entries.

use rebate_core::algorithm::bucket::Bucket;
use rebate_core::algorithm::fixed::{self, Fixed, Layout};
use rebate_core::algorithm::sliding::Sliding;
use rebate_core::algorithm::{Grant, Returned, Verdict};
use rebate_core::{Marks, Part, Retry, Status};

use crate::entry::{Entry, MOST_UNITS, Packed};

/// What became of a charge.
pub(crate) enum Outcome {
    /// It is in the entry.
    Admitted(Grant, Status),
    /// The entry is as it was.
    Denied(Retry, Status),
    /// It may be admitted, but not here: the entry is as it was.
    DoesNotFit,
}

/// An algorithm whose counts are kept in entries.
pub(crate) trait ChargeEntry {
    /// Charges `cost` at `now` to the count in `entry`, or to a new one when `is_new`. `fresh` gives the
    /// identity of a window that it opens; it is asked only then.
    fn charge_entry(
        &self,
        entry: &mut Entry,
        is_new: bool,
        cost: u64,
        now: u64,
        fresh: impl FnOnce() -> u64,
    ) -> Outcome;
}

/// Calls `fresh` where core may use it: to open a window, or to number units anew past 2^53, which
/// such a cost alone can reach from an entry.
#[inline(always)]
fn identity(is_live: bool, cost: u64, fresh: impl FnOnce() -> u64) -> u64 {
    if is_live && cost < MOST_UNITS { 0 } else { fresh() }
}

impl ChargeEntry for Fixed {
    #[inline(always)]
    fn charge_entry(
        &self,
        entry: &mut Entry,
        is_new: bool,
        cost: u64,
        now: u64,
        fresh: impl FnOnce() -> u64,
    ) -> Outcome {
        let old = entry.window();
        let live = if is_new { None } else { old.state.live(now) };
        match self.charge_live(live, cost, now, identity(live.is_some(), cost, fresh)) {
            Verdict::Denied { retry, status } => Outcome::Denied(retry, status),
            Verdict::Admitted { state, grant, status } => {
                let fits = if live.is_some_and(|window| window.instance == state.instance) {
                    entry.write_units_of_window(state.gross)
                } else {
                    entry.write_window(state, None)
                };
                if fits { Outcome::Admitted(grant, status) } else { Outcome::DoesNotFit }
            }
        }
    }
}

impl ChargeEntry for Bucket {
    #[inline(always)]
    fn charge_entry(
        &self,
        entry: &mut Entry,
        is_new: bool,
        cost: u64,
        now: u64,
        fresh: impl FnOnce() -> u64,
    ) -> Outcome {
        let old = entry.level();
        let live = if is_new { None } else { self.live(old.state, now) };
        match self.charge_live(live, cost, now, identity(live.is_some(), cost, fresh)) {
            Verdict::Denied { retry, status } => Outcome::Denied(retry, status),
            Verdict::Admitted { state, grant, status } => {
                let fits = if live.is_some_and(|(level, _)| level.identity == state.identity) {
                    entry.write_raised_level(state)
                } else {
                    entry.write_level(state, None)
                };
                if fits { Outcome::Admitted(grant, status) } else { Outcome::DoesNotFit }
            }
        }
    }
}

impl ChargeEntry for Sliding {
    #[inline(always)]
    fn charge_entry(
        &self,
        entry: &mut Entry,
        is_new: bool,
        cost: u64,
        now: u64,
        fresh: impl FnOnce() -> u64,
    ) -> Outcome {
        let old = entry.buckets();
        let live = if is_new { None } else { self.live(old.state, now) };
        let state = live.map(|_| old.state);
        match self.charge(state, cost, now, identity(live.is_some(), cost, fresh)) {
            Verdict::Denied { retry, status } => Outcome::Denied(retry, status),
            Verdict::Admitted { state, grant, status } => {
                let fits =
                    if is_new { entry.write_buckets(state, None, 0) } else { entry.write_moved_buckets(&old, state) };
                if fits { Outcome::Admitted(grant, status) } else { Outcome::DoesNotFit }
            }
        }
    }
}

/// What became of a refund: the status is there while the count is.
pub(crate) type Refunded = (Returned, Option<Status>);

/// Gives back up to `total` of `part` to the window in `entry`, which the caller removes when it
/// closes; `None` when it fits no more, and is as it was.
pub(crate) fn refund_window(fixed: &Fixed, entry: &mut Entry, part: &Part, total: u64, now: u64) -> Option<Refunded> {
    let Packed { state: mut window, run } = entry.window();
    let mut marks = Marks::of_run(run);
    let closes = matches!(fixed.layout, Layout::FromFirst(_));
    let returned = fixed::refund(&mut window, &mut marks, part.instance, part.units(), total, now, closes);
    if returned.closed {
        return Some((returned, None));
    }
    let is_live = window.live(now).is_some();
    entry.write_window(window, marks.single()?).then(|| (returned, is_live.then(|| fixed.status(Some(window), now))))
}

/// The same for a bucket.
pub(crate) fn refund_level(bucket: &Bucket, entry: &mut Entry, part: &Part, total: u64, now: u64) -> Option<Refunded> {
    let Packed { state: mut level, run } = entry.level();
    let mut marks = Marks::of_run(run);
    let returned = bucket.refund(&mut level, &mut marks, part.instance, part.units(), total, now);
    if returned.closed {
        return Some((returned, None));
    }
    let is_live = bucket.live(level, now).is_some();
    entry.write_level(level, marks.single()?).then(|| (returned, is_live.then(|| bucket.status(Some(level), now))))
}
