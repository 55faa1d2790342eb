//! Servers that evict what is in use (`maxmemory-policy allkeys-…`): counts vanish, and with each as much is admitted again
//! as its quota; never more, and nothing is left behind that counts for ever.

use std::time::Duration;

use rebate_core::{Fallback, Idempotency, Item, Limit, Limiter, ManualClock, Receipt, Shortfall, Timestamp};
use rebate_redis::RedisStore;
use rebate_servers::Server;

use crate::support::random::Random;
use crate::support::scene::{every_key_expires, keys, limiter, limits, patient, used};
use crate::support::seed::seed;
use crate::support::steps::charged;

const QUOTA: u64 = 20;

/// The limiter's clock stands still but for the test: all windows and their ends are in its hand.
fn with_clock(server: &Server) -> (Limiter<RedisStore>, ManualClock) {
    let clock = ManualClock::at(Timestamp::from_micros(1_790_000_000_000_000));
    let store = RedisStore::builder(patient(server.url())).clock(clock.clone()).build().expect("sound settings");
    (Limiter::new(store), clock)
}

/// What an eviction takes is whole keys, one at a time: so each of a count's, alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_key_of_a_count_may_vanish_alone() {
    let server = Server::start();
    let (limiter, clock) = with_clock(&server);
    let hour = Duration::from_secs(3600);
    let limits = [("log", "20/hour sliding log"), ("leases", "20 at once for 1h"), ("first", "20/hour from first")];
    for (name, policy) in limits {
        for helper in ["", ":e", ":p", ":f"] {
            let limit = Limit::new(name, policy).expect("a sound limit");
            let mut receipts = before_the_loss(&limiter, &clock, &limit).await;
            server.command(&["DEL", &format!("rebate:{{kanyone}}:c:{name}{helper}")]);
            let what = format!("{policy}, {helper}");

            let mut given_back: u64 = 0;
            for receipt in &mut receipts {
                given_back += limiter.refund_up_to(receipt, 9).await.expect("an answer").given_back();
            }
            assert!(given_back <= 8, "{what}: {given_back} given back");
            // Until the end of all that was charged before, at most one quota more, and from then on exactly a quota.
            let mut admitted = Vec::new();
            admitted.extend(all_that_fit(&limiter, &limit).await);
            every_key_expires(&server);
            clock.advance(hour / 2);
            admitted.extend(all_that_fit(&limiter, &limit).await);
            assert!(admitted.len() as u64 <= QUOTA, "{what}: {} admitted after the loss", admitted.len());
            for _ in 0..3 {
                clock.advance(2 * hour);
                let admitted = all_that_fit(&limiter, &limit).await;
                assert_eq!(admitted.len() as u64, QUOTA, "{what}");
                every_key_expires(&server);
            }
            assert!(limiter.reset(&limit, "anyone").await.expect("an answer"));
            assert!(keys(&server).iter().all(|key| !key.contains(":c:")), "{what}: {:?}", keys(&server));
        }
    }
}

/// An entry refunded in part, one refunded whole, and one half an hour later: 3 of the first's 10, 5 of the last's 5 in use.
async fn before_the_loss(limiter: &Limiter<RedisStore>, clock: &ManualClock, limit: &Limit) -> [Receipt; 3] {
    let mut partly = charged(limiter, &[Item::new(limit, "anyone").cost(10)]).await;
    limiter.refund_up_to(&mut partly, 7).await.expect("refunded");
    let mut wholly = charged(limiter, &[Item::new(limit, "anyone").cost(2)]).await;
    limiter.refund(&mut wholly).await.expect("refunded");
    clock.advance(Duration::from_secs(1200));
    let later = charged(limiter, &[Item::new(limit, "anyone").cost(5)]).await;
    [partly, wholly, later]
}

async fn all_that_fit(limiter: &Limiter<RedisStore>, limit: &Limit) -> Vec<Receipt> {
    let mut receipts = Vec::new();
    while let Some(receipt) = limiter.charge(limit, "anyone").await.expect("an answer").receipt() {
        receipts.push(receipt);
        assert!(receipts.len() < 1000, "it never ends");
    }
    receipts
}

/// What remembers that an idempotency key was billed: its retry is billed again, as any charge is, for as long as the quota
/// lasts. Each of the receipts gives back its own units, and none frees the key for another's note.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_note_of_an_idempotency_key_its_retry_is_billed_again() {
    const COST: u64 = 6;
    let server = Server::start();
    let limiter = limiter(patient(server.url()));
    let limits = limits(QUOTA, Fallback::Error);
    for limit in &limits {
        let items = [Item::new(limit, "anyone").cost(COST)];
        let once = async || limiter.charge_once(&items, Idempotency::new("request")).await.expect("an answer");
        let in_use = async || used(&limiter, std::slice::from_ref(limit), "anyone").await[0];
        let mut receipts = Vec::new();
        while let Some(receipt) = once().await.receipt() {
            assert!(!receipt.is_replay(), "{}: nothing was left to tell of it", limit.name());
            receipts.push(receipt);
            assert_eq!(in_use().await, COST * receipts.len() as u64, "{}", limit.name());
            evict(&server, ":i:");
        }
        // Lost units, if nobody keeps the receipts; never any above the quota.
        assert_eq!(receipts.len() as u64, QUOTA / COST, "{}", limit.name());
        every_key_expires(&server);

        let mut last = receipts.pop().expect("it was billed");
        assert_eq!(limiter.refund(&mut last).await.expect("an answer").given_back(), COST);
        let mut noted = once().await.receipt().expect("there is room again");
        assert!(!noted.is_replay());
        for mut receipt in receipts {
            assert_eq!(limiter.refund(&mut receipt).await.expect("an answer").given_back(), COST, "{}", limit.name());
        }
        let replay = once().await.receipt().expect("the note");
        assert!(replay.is_replay(), "{}: the key was freed by receipts that are not its own", limit.name());
        assert_eq!(in_use().await, COST);
        assert_eq!(limiter.refund(&mut noted).await.expect("an answer").given_back(), COST);
        assert_eq!(in_use().await, 0);
        every_key_expires(&server);
    }
}

/// What remembers top-ups: a copy of the token that knows of none tops up once more, one that knows of them does not and lets
/// the server know again. The quota holds, and each unit comes back once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_what_is_known_of_top_ups_a_copy_that_knows_none_tops_up_once_more() {
    const COST: u64 = 2;
    const TRUE_COST: u64 = 8;
    let server = Server::start();
    let limiter = limiter(patient(server.url()));
    let limits = limits(QUOTA, Fallback::Error);
    for limit in &limits {
        let name = limit.name();
        let in_use = async || used(&limiter, std::slice::from_ref(limit), "anyone").await[0];
        // What was topped up; none where it was refused.
        let settle = async |receipt: &mut Receipt| {
            let settlement = limiter.settle(receipt, TRUE_COST, Shortfall::Refuse).await.expect("an answer");
            settlement.settled().map(|settled| settled.parts[0].topped_up)
        };
        let copy = |token: &str| limiter.receipt(token).expect("a token of this store");
        let mut knows = charged(&limiter, &[Item::new(limit, "anyone").cost(COST)]).await;
        let token = limiter.token(&knows).expect("every receipt has a token");
        assert_eq!(settle(&mut knows).await, Some(TRUE_COST - COST));
        assert_eq!(settle(&mut copy(&token)).await, Some(0), "{name}: it is known");

        evict(&server, ":t:");
        assert_eq!(settle(&mut knows).await, Some(0), "{name}: it knows itself");
        assert_eq!(settle(&mut copy(&token)).await, Some(0), "{name}: the server knows again");
        assert_eq!(in_use().await, TRUE_COST, "{name}");

        evict(&server, ":t:");
        let mut again = copy(&token);
        assert_eq!(settle(&mut again).await, Some(TRUE_COST - COST), "{name}");
        assert_eq!(settle(&mut copy(&token)).await, Some(0), "{name}: once more, and no more");
        assert_eq!(in_use().await, TRUE_COST + TRUE_COST - COST, "{name}");
        every_key_expires(&server);

        // No more than there is.
        let others = charged(&limiter, &[Item::new(limit, "anyone").cost(QUOTA - in_use().await)]).await;
        evict(&server, ":t:");
        assert_eq!(settle(&mut copy(&token)).await, None, "{name}: beyond its quota");
        assert_eq!(in_use().await, QUOTA, "{name}");

        // The units charged at first are of both; each has its own top-up besides.
        let mut given_back = 0;
        for mut receipt in [knows, again, copy(&token), others] {
            given_back += limiter.refund(&mut receipt).await.expect("an answer").given_back();
        }
        assert_eq!((given_back, in_use().await), (QUOTA, 0), "{name}");
        every_key_expires(&server);
    }
}

/// Takes every key of a kind, of which there must be one.
fn evict(server: &Server, kind: &str) {
    let keys: Vec<String> = keys(server).into_iter().filter(|key| key.contains(kind)).collect();
    assert!(!keys.is_empty(), "no key of {kind}");
    for key in keys {
        server.command(&["DEL", &key]);
    }
}

/// A server that has to evict all the while.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_eviction_each_loss_costs_a_quota_at_most() {
    let seed = seed();
    println!("REBATE_SEED={seed}");
    let mut random = Random::new(seed);
    let server = Server::builder().argument("maxmemory-policy", "allkeys-random").start();
    let limiter = limiter(patient(server.url()));
    let limits = limits(QUOTA, Fallback::Error);
    let warm: Vec<Item<'_>> = limits.iter().map(|limit| Item::new(limit, "warm")).collect();
    let _receipt = charged(&limiter, &warm).await;
    let in_use: u64 = server.information("used_memory").and_then(|text| text.parse().ok()).expect("a number");
    server.command(&["CONFIG", "SET", "maxmemory", &(in_use + 1_000_000).to_string()]);
    let names: Vec<String> = (0..300).map(|number| format!("key-{number}-{}", "x".repeat(100))).collect();
    let (mut held, mut receipts) = (0, Vec::new());
    let mut operations = 0;
    let evicted = loop {
        let evicted: u64 = server.information("evicted_keys").and_then(|text| text.parse().ok()).expect("a number");
        operations += 500;
        assert!(operations < 100_000, "nothing is evicted");
        for _ in 0..500 {
            let (limit, key) = (random.of(&limits), random.of(&names));
            if random.below(3) > 0 {
                let items = [Item::new(limit, key).cost(1 + random.below(3) as u64)];
                if let Some(receipt) = limiter.charge_all(&items).await.expect("no error").receipt() {
                    held += receipt.cost();
                    receipts.push(receipt);
                }
            } else if !receipts.is_empty() {
                let mut receipt = receipts.swap_remove(random.below(receipts.len()));
                let total = 1 + random.below(3) as u64;
                let mut given_back = 0;
                for _ in 0..2 {
                    given_back += limiter.refund_up_to(&mut receipt, total).await.expect("no error").given_back();
                }
                assert!(given_back <= receipt.cost().min(total), "{given_back} of {}", receipt.cost());
                held -= given_back;
            }
        }
        if evicted > 200 {
            break evicted;
        }
    };
    // Without a loss no count could hold more than its quota; each loss lets one more quota in.
    let most = QUOTA * (limits.len() * names.len()) as u64 + QUOTA * evicted;
    assert!(held <= most, "{held} held at once, {evicted} keys evicted");
    every_key_expires(&server);
    // Nothing is in the way of what comes: when all is evicted at last, every count is whole again.
    server.command(&["FLUSHALL"]);
    for key in &names {
        assert_eq!(used(&limiter, &limits, key).await, vec![0; limits.len()]);
    }
}
