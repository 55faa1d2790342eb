//! Waiting for a condition instead of for a time.

use std::time::{Duration, Instant};

/// How long anything may take before it counts as failed. Far more than is ever needed: these tests share
/// their processors with others, and a condition that holds ends the wait at once.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// Asks until there is an answer, and panics after a minute without one, naming what was waited for.
#[track_caller]
pub fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(begun.elapsed() < DEADLINE, "waited {DEADLINE:?} in vain for: {what}");
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(25));
    }
}
