//! The store that a replay charges.

use rebate::{Error, Limiter, ManualClock, MemoryStore};

/// Counts in memory, under a clock that the replay sets.
pub(crate) type ReplayStore = MemoryStore<ManualClock>;

/// More than a replay can come to: it holds the counts of one key at a time.
const CAPACITY: usize = 1 << 40;

/// A limiter over an empty store that reads `clock`.
pub(crate) fn limiter(clock: &ManualClock) -> Result<Limiter<ReplayStore>, Error> {
    Ok(Limiter::new(MemoryStore::builder().capacity_bytes(CAPACITY).clock(clock.clone()).build()?))
}
