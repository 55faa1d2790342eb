//! Where random numbers begin, for tests that do something else each time.

use std::hash::{BuildHasher, RandomState};

/// `REBATE_SEED`, or a new one: for a test to print.
pub(crate) fn seed() -> u64 {
    let given = std::env::var("REBATE_SEED").ok().and_then(|text| text.parse().ok());
    given.unwrap_or_else(|| RandomState::new().hash_one(0) >> 16)
}
