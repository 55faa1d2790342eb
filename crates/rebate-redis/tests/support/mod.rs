//! What the tests of processes, of trouble and of chaos share.
#![allow(dead_code, reason = "each of the test programs uses a part of it")]

pub(crate) mod data;
pub(crate) mod random;

use std::time::{Duration, Instant};

use rebate_core::{CalendarUnit, Decision, Error, Fallback, Item, Limit, Limiter, Policy, Receipt};
use rebate_redis::{RedisStore, Settings};
use rebate_servers::Server;

const DAY: Duration = Duration::from_secs(86_400);

/// One limit of each kind, of windows that no test sees the end of: what counts, counts until it is refunded. The server's
/// own time is used all the same.
pub(crate) fn limits(quota: u64, fallback: Fallback) -> Vec<Limit> {
    let policies = [
        ("aligned", Policy::fixed(quota, 1000 * DAY)),
        ("calendar", Policy::calendar(quota, CalendarUnit::Year, "UTC")),
        ("first", Policy::from_first(quota, DAY)),
        ("sliding", Policy::sliding(quota, 1000 * DAY)),
        ("bucket", Policy::bucket(1, DAY, quota)),
        ("log", Policy::sliding_log(quota, DAY)),
        ("leases", Policy::concurrency(quota, DAY)),
    ];
    let limit = |(name, policy): (&str, Result<Policy, Error>)| {
        Limit::of(name, policy.expect("a sound policy")).expect("a sound name").with_fallback(fallback)
    };
    policies.into_iter().map(limit).collect()
}

/// Waits for as long as it takes: these tests share their processors with others.
pub(crate) fn patient(url: impl Into<String>) -> Settings {
    Settings::url(url).connect_timeout(Duration::from_secs(20)).call_timeout(Duration::from_secs(20))
}

/// Gives up soon, so that trouble shows.
pub(crate) fn hasty(url: impl Into<String>) -> Settings {
    Settings::url(url).connect_timeout(Duration::from_millis(400)).call_timeout(Duration::from_millis(150))
}

/// A limiter over a store with these settings.
pub(crate) fn limiter(settings: Settings) -> Limiter<RedisStore> {
    Limiter::new(RedisStore::builder(settings).build().expect("sound settings"))
}

/// Charges that must be admitted.
pub(crate) async fn charged(limiter: &Limiter<RedisStore>, items: &[Item<'_>]) -> Receipt {
    match limiter.charge_all(items).await {
        Ok(Decision::Allowed(receipt)) => receipt,
        other => panic!("not admitted: {other:?}"),
    }
}

/// Units in use of each of the limits.
pub(crate) async fn used(limiter: &Limiter<RedisStore>, limits: &[Limit], key: &str) -> Vec<u64> {
    let items: Vec<Item<'_>> = limits.iter().map(|limit| Item::new(limit, key)).collect();
    let statuses = limiter.peek_all(&items).await.expect("the server answers");
    statuses.iter().map(|status| status.used()).collect()
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

/// Asks again, for a minute at most, until it holds.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < Duration::from_secs(60), "waited a minute in vain for: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// All keys of the server.
pub(crate) fn keys(server: &Server) -> Vec<String> {
    redis::from_redis_value(server.command(&["KEYS", "*"])).expect("names are text")
}

/// Asserts that each key will expire, and soon enough to be of use: none later than a day after its longest window.
#[track_caller]
pub(crate) fn every_key_expires(server: &Server) {
    for key in keys(server) {
        let left: i64 = redis::from_redis_value(server.command(&["PTTL", &key])).expect("a number");
        // -2: it has expired since.
        assert!(left > 0 || left == -2, "{key} never expires (PTTL {left})");
        assert!(left < 2003 * DAY.as_millis() as i64, "{key} expires too late (PTTL {left})");
    }
}
