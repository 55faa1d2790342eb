//! Servers that are away, and answers that are lost: what each fallback makes of it, and what it costs.

use rebate_core::{Decision, Error, Fallback, Idempotency, Item, Limit, Limiter};
use rebate_redis::{RedisStore, Settings};
use rebate_servers::{Proxy, Server};

use crate::support::away::hasty;
use crate::support::scene::{limiter, limits, patient, used};
use crate::support::steps::{charged, until};

const QUOTA: u64 = 20;

fn after(url: String, failures: u32) -> Settings {
    hasty(url).open_after(failures)
}

/// Connects, and has the limits written down, so that nothing but what a test does is on its way.
async fn warm(limiter: &Limiter<RedisStore>, limits: &[Limit]) {
    let items: Vec<Item<'_>> = limits.iter().map(|limit| Item::new(limit, "warm")).collect();
    let _receipt = charged(limiter, &items).await;
    let written = async || limiter.store().limits().await.is_ok_and(|written| written.len() == limits.len());
    until("all limits are written down", written).await;
}

/// What kept the store from deciding.
fn trouble(answer: &Result<Decision, Error>) -> &Error {
    match answer {
        Ok(Decision::Unchecked(unchecked)) => unchecked.error(),
        Ok(Decision::Denied(denial)) => denial.trouble().expect("not by its quota"),
        Err(error) => error,
        Ok(Decision::Allowed(receipt)) => panic!("by a server that is away: {receipt:?}"),
    }
}

/// Nothing is taken nor lost; while it is away `Allow` lets any number pass, and no longer than until it is found back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_a_killed_server_is_away_the_fallback_decides_and_nothing_is_counted() {
    let server = Server::builder().persistent(true).start();
    let limiter = limiter(after(server.url(), 3));
    for (fallback, key) in [(Fallback::Error, "error"), (Fallback::Deny, "deny"), (Fallback::Allow, "allow")] {
        let limits = limits(QUOTA, fallback);
        let limit = &limits[0];
        until("it is found back", async || limiter.store().ping().await.is_ok()).await;
        let _receipt = charged(&limiter, &[Item::new(limit, key)]).await;
        server.kill();
        let mut ambiguous = 0;
        for _ in 0..3 * QUOTA {
            let answer = limiter.charge(limit, key).await;
            ambiguous += u64::from(trouble(&answer).may_have_happened());
            assert_eq!(matches!(answer, Ok(Decision::Unchecked(_))), fallback == Fallback::Allow, "{answer:?}");
            assert_eq!(matches!(answer, Ok(Decision::Denied(_))), fallback == Fallback::Deny, "{answer:?}");
        }
        // The one that found the connection gone, at most: of all others it is known that they did not happen.
        assert!(ambiguous <= 1, "{ambiguous} of {}", 3 * QUOTA);
        server.restart();
        until("it is found back", async || limiter.store().ping().await.is_ok()).await;
        let used = used(&limiter, &limits[..1], key).await[0];
        assert!((1..=1 + ambiguous).contains(&used), "{used} in use, {ambiguous} may have happened");
        let _receipt = charged(&limiter, &[Item::new(limit, key)]).await;
    }
}

/// What was sent is done when it thaws, and its caller has been told that it may be.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_server_takes_at_most_what_may_have_happened() {
    let server = Server::start();
    let (limiter, watching) = (limiter(after(server.url(), 3)), limiter(patient(server.url())));
    let limits = limits(QUOTA, Fallback::Error);
    let limit = &limits[..1];
    let _receipt = charged(&limiter, &[Item::new(&limit[0], "warm")]).await;
    server.freeze();
    let mut ambiguous = 0;
    for _ in 0..10 {
        let answer = limiter.charge(&limit[0], "anyone").await;
        ambiguous += u64::from(trouble(&answer).may_have_happened());
    }
    assert!((1..=3).contains(&ambiguous), "the breaker opens after three: {ambiguous}");
    server.thaw();
    until("it is found back", async || limiter.store().ping().await.is_ok()).await;
    // Sent before, on a connection that is read before this one or at the same time.
    until("it has done what was sent", async || used(&watching, limit, "anyone").await == [ambiguous]).await;
    let _receipt = charged(&limiter, &[Item::new(&limit[0], "anyone")]).await;
    assert_eq!(used(&watching, limit, "anyone").await, [ambiguous + 1], "and nothing that did not happen");
}

/// An answer that is lost costs its charge, or nothing with an idempotency key; a refund is repeated and given once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_answer_costs_its_charge_at_most() {
    let server = Server::start();
    let network = Proxy::start(server.address());
    let limiter = limiter(patient(network.url()));
    let limits = limits(QUOTA, Fallback::Error);
    warm(&limiter, &limits).await;
    let mut receipts = Vec::new();
    for limit in &limits {
        let one = std::slice::from_ref(limit);
        receipts.push(charged(&limiter, &[Item::new(limit, "lost").cost(2)]).await);
        network.lose_next_reply();
        let error = limiter.charge_all(&[Item::new(limit, "lost").cost(3)]).await.expect_err("its answer was lost");
        assert!(error.is_unavailable() && error.may_have_happened(), "{error}");
        assert_eq!(used(&limiter, one, "lost").await, [5], "sent once, taken once");

        let items = [Item::new(limit, "once").cost(3)];
        network.lose_next_reply();
        let decision = limiter.charge_once(&items, Idempotency::new(limit.name())).await.expect("sent again");
        assert!(matches!(decision, Decision::Allowed(_)), "{decision:?}");
        assert_eq!(used(&limiter, one, "once").await, [3], "billed once");
    }
    for (receipt, limit) in receipts.iter_mut().zip(&limits) {
        network.lose_next_reply();
        let refund = limiter.refund(receipt).await.expect("sent again");
        // What the first sending gave back is told in all, not as now.
        assert!(
            refund.parts[0].given_back == 0 && (refund.parts[0].in_all == 2 || refund.parts[0].expired),
            "{refund:?}"
        );
        assert_eq!(used(&limiter, std::slice::from_ref(limit), "lost").await, [3], "given back once");
    }
}

/// A call that is sent again finds its own charge: it is that which was billed, so its guard may give it back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_charge_that_its_own_second_sending_finds_is_no_replay() {
    let server = Server::start();
    let network = Proxy::start(server.address());
    let limiter = limiter(patient(network.url()));
    let limits = limits(QUOTA, Fallback::Error);
    let items: Vec<Item<'_>> = limits.iter().map(|limit| Item::new(limit, "anyone")).collect();
    warm(&limiter, &limits).await;
    network.lose_next_reply();
    let decision = limiter.charge_once(&items, Idempotency::new("request")).await.expect("sent again");
    let receipt = decision.receipt().expect("it fits");
    assert!(!receipt.is_replay());
    let again = limiter.charge_once(&items, Idempotency::new("request")).await.expect("an answer");
    assert!(again.receipt().is_some_and(|receipt| receipt.is_replay()), "another call's is one");
    drop(limiter.guard(receipt));
    let nothing = vec![0; limits.len()];
    until("the guard has refunded", async || used(&limiter, &limits, "anyone").await == nothing).await;
}
