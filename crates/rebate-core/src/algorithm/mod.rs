//! The algorithms: pure functions of state, limit, cost and time.
//!
//! Nothing here reads a clock, locks, allocates (but for log entries and refund marks) or knows
//! where a state is kept. Integers only; times are microseconds since the epoch.

pub mod bucket;
pub mod entries;
pub mod fixed;
pub mod sliding;

use crate::decision::{Retry, Status};

/// Units that an admitted charge owns: `cost` of them, the last one numbered `last`, in the window
/// instance `instance`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The identity of the window instance.
    pub instance: u64,
    /// The number of the last unit.
    pub last: u64,
}

/// What one limit answers to one charge. `S` is the state after it.
#[derive(Clone, Copy, Debug)]
pub enum Verdict<S> {
    /// It fits.
    Admitted {
        /// The state with the charge in it.
        state: S,
        /// What the charge owns.
        grant: Grant,
        /// Quota, remaining and reset after the charge.
        status: Status,
    },
    /// It does not fit; the state stays as it was.
    Denied {
        /// When the same charge would be admitted.
        retry: Retry,
        /// Quota, remaining and reset as they are.
        status: Status,
    },
}

/// What became of one part of a refund.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Returned {
    /// Units given back by this call.
    pub now: u64,
    /// Units given back in all.
    pub in_all: u64,
    /// Whether the window instance is gone, or was forgotten: then nothing was given back.
    pub expired: bool,
    /// Whether the count is empty now and must be dropped.
    pub closed: bool,
}

impl Returned {
    /// The answer when the window instance is gone.
    pub const EXPIRED: Returned = Returned { now: 0, in_all: 0, expired: true, closed: false };
}
