//! How the bot words what it says.

use std::fmt;
use std::time::Duration;

use crate::budget::Standing;

/// A user id as logs may show it: its last characters, at most two and at most a quarter of it. So the same user
/// looks the same in every process, and nobody's id can be read from a log.
pub(crate) fn masked(user_id: &str) -> String {
    let length = user_id.chars().count();
    let shown = (length / 4).min(2);
    std::iter::once('…').chain(user_id.chars().skip(length - shown)).collect()
}

/// `23h 59m 59s`, rounded up: whoever waits for that long is not too early.
pub(crate) fn span(span: Duration) -> String {
    let seconds = span.as_secs() + u64::from(span.subsec_nanos() > 0);
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{seconds}s"),
        (0, _) => format!("{minutes}m {seconds}s"),
        _ => format!("{hours}h {minutes}m {seconds}s"),
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} left, resets in {}", self.remaining, self.quota, span(self.reset_after))
    }
}
