//! Steps of tests whose servers answer: of processes and of trouble.

use std::time::{Duration, Instant};

use rebate_core::{Decision, Item, Limiter, Receipt};
use rebate_redis::RedisStore;

/// Charges that must be admitted.
pub(crate) async fn charged(limiter: &Limiter<RedisStore>, items: &[Item<'_>]) -> Receipt {
    match limiter.charge_all(items).await {
        Ok(Decision::Allowed(receipt)) => receipt,
        other => panic!("not admitted: {other:?}"),
    }
}

/// Asks again, for a minute at most, until it holds.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < Duration::from_secs(60), "waited a minute in vain for: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
