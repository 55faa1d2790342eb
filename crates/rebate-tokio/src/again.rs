//! How often the background tries again what can be repeated without harm.

use std::time::Duration;

use rebate_core::Error;
use tokio::time::sleep;

/// The pauses between tries: a tenth of a second, and each twice the last.
const PAUSES: u32 = 10;

/// Counts the tries of one task: under two minutes in all.
#[derive(Default)]
pub(crate) struct Again {
    paused: u32,
}

impl Again {
    /// Whether what was answered calls for another try, after the pause before it.
    pub(crate) async fn is_due<T>(&mut self, answer: Result<T, Error>) -> bool {
        let is_due = self.paused < PAUSES && answer.is_err_and(|error| error.is_retryable());
        if is_due {
            sleep(Duration::from_millis(100 << self.paused)).await;
            self.paused += 1;
        }
        is_due
    }
}
