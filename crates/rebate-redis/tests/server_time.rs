//! One pass by the server's own time: many tasks charge short windows as fast as they can, and what was admitted, by the
//! times their receipts tell, never exceeds what each algorithm allows.

use std::sync::Arc;
use std::time::Duration;

use rebate_core::{Decision, Item, Limit, Limiter};
use rebate_redis::RedisStore;
use rebate_servers::Server;

const TASKS: usize = 8;
const ROUNDS: usize = 600;

/// The times at which units of `policy` were admitted, in order, by the server's clock.
async fn admitted(limiter: &Limiter<RedisStore>, policy: &str) -> Vec<u64> {
    let limit = limiter.limit(&policy.replace(' ', "-"), policy).expect("a valid limit");
    let tasks: Vec<_> = (0..TASKS)
        .map(|_| {
            let (limiter, limit) = (limiter.clone(), limit.clone());
            tokio::spawn(async move {
                let mut times = Vec::new();
                for _ in 0..ROUNDS {
                    match limiter.charge(&limit, "ada").await.expect("a server") {
                        Decision::Allowed(receipt) => times.push(receipt.charged_at().as_micros()),
                        Decision::Denied(denial) => {
                            let wait = denial.retry_after().expect("it will fit");
                            assert!(wait > Duration::ZERO && wait <= 2 * limit.policy().longest());
                        }
                        Decision::Unchecked(unchecked) => panic!("unchecked: {unchecked:?}"),
                    }
                }
                times
            })
        })
        .collect();
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await.expect("a task ends"));
    }
    times.sort_unstable();
    assert!(!times.is_empty());
    times
}

/// The most of `times` in any span of so many microseconds.
fn most_within(times: &[u64], span: u64) -> usize {
    let counts = times.iter().enumerate().map(|(at, &from)| times[at..].partition_point(|&time| time < from + span));
    counts.max().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_over_by_the_servers_time() {
    let server = Server::start();
    let limiter = Limiter::new(RedisStore::new(&server.url()).expect("a valid URL"));

    let fixed = admitted(&limiter, "20/10ms").await;
    let windows = fixed.chunk_by(|one, other| one / 10_000 == other / 10_000);
    assert!(windows.into_iter().all(|window| window.len() <= 20));

    let from_first = admitted(&limiter, "20/10ms from first").await;
    let mut rest = from_first.as_slice();
    while let Some(first) = rest.first() {
        let window = rest.partition_point(|&time| time < first + 10_000);
        assert!(window <= 20, "{window} in one window");
        rest = &rest[window..];
    }

    let log = admitted(&limiter, "20/10ms sliding log").await;
    assert!(most_within(&log, 10_000) <= 20);
    let places = admitted(&limiter, "20 at once for 10ms").await;
    assert!(most_within(&places, 10_000) <= 20);
    let sliding = admitted(&limiter, "20/10ms sliding").await;
    assert!(most_within(&sliding, 10_000) < 40);

    // At most the burst and what refills in any span: 2 a millisecond.
    let bucket = admitted(&limiter, "2/1ms burst 5").await;
    for (at, &from) in bucket.iter().enumerate() {
        for (count, &to) in bucket[at..].iter().enumerate() {
            assert!(count as u64 <= 5 + (to - from).div_ceil(500), "{count} more within {} µs", to - from);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_units_on_a_fresh_key_admit_exactly_the_quota() {
    let server = Server::start();
    let limiter = Arc::new(Limiter::new(RedisStore::new(&server.url()).expect("a valid URL")));
    let limits: Vec<Limit> =
        ["37/year", "37/30d from first", "37/30d sliding", "37/30d sliding log", "37 at once for 30d"]
            .into_iter()
            .map(|policy| limiter.limit(&policy.replace(' ', "-"), policy).expect("a valid limit"))
            .collect();
    let tasks: Vec<_> = (0..100)
        .map(|_| {
            let (limiter, limits) = (Arc::clone(&limiter), limits.clone());
            tokio::spawn(async move {
                let mut allowed = Vec::new();
                for limit in &limits {
                    allowed.push(limiter.charge(limit, "alone").await.expect("a server").receipt().is_some());
                }
                let items: Vec<Item<'_>> = limits.iter().map(|limit| Item::new(limit, "together")).collect();
                allowed.push(limiter.charge_all(&items).await.expect("a server").receipt().is_some());
                allowed
            })
        })
        .collect();
    let mut totals = vec![0; limits.len() + 1];
    for task in tasks {
        for (total, allowed) in totals.iter_mut().zip(task.await.expect("a task ends")) {
            *total += u32::from(allowed);
        }
    }
    assert_eq!(totals, vec![37; limits.len() + 1]);
}
