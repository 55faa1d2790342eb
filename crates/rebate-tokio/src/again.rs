//! How often the background tries again.

use std::time::Duration;

/// The pauses after each try of what can be repeated without harm: from a tenth of a second, each twice the last, under two
/// minutes in all.
pub(crate) fn pauses() -> impl Iterator<Item = Duration> {
    (0..10).map(|doublings| Duration::from_millis(100 << doublings))
}
