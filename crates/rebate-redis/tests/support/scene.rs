//! Limits, limiters, and what their server holds: for the tests of processes, of trouble and of chaos.

use std::time::Duration;

use rebate_core::{CalendarUnit, Error, Fallback, Item, Limit, Limiter, Policy};
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

/// A limiter over a store with these settings.
pub(crate) fn limiter(settings: Settings) -> Limiter<RedisStore> {
    Limiter::new(RedisStore::builder(settings).build().expect("sound settings"))
}

/// Units in use of each of the limits.
pub(crate) async fn used(limiter: &Limiter<RedisStore>, limits: &[Limit], key: &str) -> Vec<u64> {
    let items: Vec<Item<'_>> = limits.iter().map(|limit| Item::new(limit, key)).collect();
    let statuses = limiter.peek_all(&items).await.expect("the server answers");
    statuses.iter().map(|status| status.used()).collect()
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
