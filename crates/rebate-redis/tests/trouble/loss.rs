//! Counts that are lost: afterwards as much is admitted again as if nothing had been, one quota for each count and loss.

use rebate_core::{Fallback, Item};
use rebate_servers::{Proxy, Server};

use crate::data::Data;
use crate::support::away::once_answered;
use crate::support::scene::{every_key_expires, limiter, limits, patient, used};
use crate::support::steps::charged;

const QUOTA: u64 = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_without_persistence_forgets_all_and_takes_nothing_back() {
    let server = Server::start();
    let limiter = limiter(patient(server.url()));
    let data = Data::make(&limiter, &limits(QUOTA, Fallback::Error), "anyone").await;
    server.restart();
    data.assert_lost(&limiter, &server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_with_persistence_loses_nothing() {
    let server = Server::builder().persistent(true).start();
    let limiter = limiter(patient(server.url()));
    let data = Data::make(&limiter, &limits(QUOTA, Fallback::Error), "anyone").await;
    server.restart();
    // Copies of tokens, refunded before and after, come back once in all: `assert_kept` counts.
    let limits = &data.limits;
    let items: Vec<Item<'_>> = limits.iter().map(|limit| Item::new(limit, data.key)).collect();
    let statuses = once_answered(async || limiter.peek_all(&items).await).await;
    assert!(statuses.iter().all(|status| status.used() == Data::USED), "{statuses:?}");
    data.assert_kept(&limiter, &server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flushed_keys_are_forgotten_and_take_nothing_back() {
    let server = Server::start();
    let limiter = limiter(patient(server.url()));
    let data = Data::make(&limiter, &limits(QUOTA, Fallback::Error), "anyone").await;
    server.command(&["FLUSHALL"]);
    data.assert_lost(&limiter, &server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flushed_functions_are_loaded_again_and_nothing_is_lost() {
    let server = Server::start();
    let limiter = limiter(patient(server.url()));
    let data = Data::make(&limiter, &limits(QUOTA, Fallback::Error), "anyone").await;
    server.command(&["FUNCTION", "FLUSH"]);
    // No call fails, whichever comes first.
    let _receipt = charged(&limiter, &[Item::new(&data.limits[0], "another")]).await;
    server.command(&["FUNCTION", "FLUSH"]);
    assert_eq!(used(&limiter, &data.limits, data.key).await, vec![Data::USED; data.limits.len()]);
    server.command(&["FUNCTION", "FLUSH"]);
    data.assert_kept(&limiter, &server).await;
}

/// A replica that has none of what its master took last becomes master.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_admits_again_at_most_what_the_replica_had_not_heard_of() {
    const LOST: u64 = 5;
    let master = Server::start();
    let network = Proxy::start(master.address());
    let limiter = limiter(patient(network.url()));
    let limits = limits(QUOTA, Fallback::Error);
    let mut kept = Vec::new();
    for limit in &limits {
        kept.push(charged(&limiter, &[Item::new(limit, "anyone").cost(8)]).await);
    }
    let replica = master.replica();
    // From here on it hears nothing.
    replica.promote();
    let (mut lost, mut undone) = (Vec::new(), Vec::new());
    for limit in &limits {
        lost.push(charged(&limiter, &[Item::new(limit, "anyone").cost(LOST)]).await);
        lost.push(charged(&limiter, &[Item::new(limit, "only before")]).await);
    }
    for receipt in &mut kept {
        assert_eq!(limiter.refund_up_to(receipt, 2).await.expect("refunded").given_back(), 2);
        undone.push(limiter.token(receipt).expect("every receipt has a token"));
    }
    master.kill();
    network.redirect(replica.address());

    // Until as many units are taken again, receipts of what was lost are expired and create nothing.
    for receipt in &mut lost {
        let refund = once_answered(async || limiter.refund(receipt).await).await;
        assert!(refund.any_expired() && refund.given_back() == 0, "{refund:?}");
    }
    every_key_expires(&replica);
    assert_eq!(used(&limiter, &limits, "anyone").await, vec![8; limits.len()]);
    for (at, limit) in limits.iter().enumerate() {
        let mut admitted = 0;
        while let Some(receipt) = limiter.charge(limit, "anyone").await.expect("an answer").receipt() {
            admitted += 1;
            drop(receipt);
        }
        // 8 less the 2 that were given back, and the lost ones, are held besides: at most the lost over the quota.
        assert!(6 + LOST + admitted <= QUOTA + LOST, "{}: {admitted} admitted afterwards", limit.name());
        // That refund was lost too; repeated, it happens, once.
        for given_back in [2, 0] {
            let mut receipt = limiter.receipt(&undone[at]).expect("a token of this store");
            let refund = limiter.refund_up_to(&mut receipt, 2).await.expect("an answer");
            assert_eq!(refund.given_back(), given_back, "{}", limit.name());
        }
    }
    // By now other receipts own the lost ones' numbers: whoever refunds them, it is once, and never more than is in use.
    for receipt in &mut lost {
        let _ = limiter.refund(receipt).await.expect("an answer");
    }
    for used in used(&limiter, &limits, "anyone").await {
        assert!(used >= QUOTA - 2 - LOST, "{used}");
    }
    every_key_expires(&replica);
}
