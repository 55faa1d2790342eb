//! For tests whose servers go away: of trouble and of chaos.

use std::time::{Duration, Instant};

use rebate_core::Error;
use rebate_redis::Settings;

/// Gives up soon, so that trouble shows.
pub(crate) fn hasty(url: impl Into<String>) -> Settings {
    Settings::url(url).connect_timeout(Duration::from_millis(400)).call_timeout(Duration::from_millis(150))
}

/// Asks again, for a minute at most, until the answer is not an error of a server that is away.
pub(crate) async fn once_answered<T>(mut ask: impl AsyncFnMut() -> Result<T, Error>) -> T {
    let begun = Instant::now();
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(error) => {
                assert!(error.is_unavailable(), "{error}");
                assert!(begun.elapsed() < Duration::from_secs(60), "nothing but this for a minute: {error}");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }
}
