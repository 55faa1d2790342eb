//! Estimates settled once at what they came to, however their work ends.

mod common;

use std::future::pending;
use std::sync::atomic::Ordering;

use common::{MINUTE, SECOND, allowed, charged, memory, pass, remote, settle_down, used};
use rebate_core::{Idempotency, Item, Limiter, Shortfall, Store};
use rebate_tokio::Metered;

const TOKENS: &str = "10000/day";

async fn estimated<S: Store>(limiter: &Limiter<S>, cost: u64) -> Metered<S> {
    let tokens = limiter.limit("tokens", TOKENS).unwrap();
    Metered::new(limiter, charged(limiter, &[Item::new(&tokens, "k").cost(cost)]).await).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_ends_is_settled_at_its_true_cost() {
    let (limiter, _) = memory();
    let tokens = limiter.limit("tokens", TOKENS).unwrap();
    let mut below = estimated(&limiter, 4000).await;
    for so_far in [100, 700, 1234] {
        below.used(so_far);
    }
    let settled = below.settle().await.unwrap().settled().unwrap();
    assert_eq!(settled.parts[0].given_back, 4000 - 1234);
    assert_eq!(used(&limiter, &tokens).await, 1234);

    let mut above = estimated(&limiter, 1000).await;
    above.used(3000);
    let settled = above.settle().await.unwrap().settled().unwrap();
    assert_eq!((settled.parts[0].topped_up, settled.parts[0].shortfall), (2000, 0));
    assert_eq!(used(&limiter, &tokens).await, 1234 + 3000);

    let mut beyond = estimated(&limiter, 1000).await;
    beyond.used(9000);
    let settled = beyond.settle().await.unwrap().settled().unwrap();
    assert_eq!(settled.parts[0].shortfall, 1234 + 3000 + 9000 - 10_000, "what does not fit is told");
    settle_down().await;
    assert_eq!(used(&limiter, &tokens).await, 10_000);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_breaks_half_way_is_settled_at_what_was_noted() {
    let (limiter, _) = memory();
    let tokens = limiter.limit("tokens", TOKENS).unwrap();
    // The client leaves: its task is cancelled.
    let mut metered = estimated(&limiter, 4000).await;
    let left = tokio::spawn(async move {
        metered.used(700);
        pending::<()>().await;
    });
    settle_down().await;
    left.abort();
    assert!(left.await.unwrap_err().is_cancelled());
    settle_down().await;
    assert_eq!(used(&limiter, &tokens).await, 700);

    let mut metered = estimated(&limiter, 4000).await;
    let panicked = tokio::spawn(async move {
        metered.used(5000);
        panic!("the work fails");
    });
    assert!(panicked.await.unwrap_err().is_panic());
    settle_down().await;
    assert_eq!(used(&limiter, &tokens).await, 5700);

    // It broke before anything came.
    drop(estimated(&limiter, 4000).await);
    settle_down().await;
    assert_eq!(used(&limiter, &tokens).await, 5700);
}

#[tokio::test(start_paused = true)]
async fn what_was_used_never_goes_down() {
    let (limiter, _) = memory();
    let tokens = limiter.limit("tokens", TOKENS).unwrap();
    let mut metered = estimated(&limiter, 4000).await;
    metered.used(700);
    metered.used(30);
    metered.used_parts(&[20]).unwrap();
    let _settled = metered.settle().await.unwrap();
    assert_eq!(used(&limiter, &tokens).await, 700);
}

#[tokio::test(start_paused = true)]
async fn a_reservation_is_settled_and_one_whose_process_dies_is_given_back() {
    let (limiter, clock) = memory();
    let tokens = limiter.limit("tokens", TOKENS).unwrap();
    let estimate = [Item::new(&tokens, "k").cost(4000)];
    let reserved = async || allowed(limiter.reserve(&estimate, 10 * MINUTE).await);
    let mut metered = Metered::new(&limiter, reserved().await).unwrap();
    metered.used(700);
    drop(metered);
    settle_down().await;
    let mut dies = Metered::new(&limiter, reserved().await).unwrap();
    dies.used(900);
    // As a process that is killed leaves it.
    std::mem::forget(dies);
    assert_eq!(used(&limiter, &tokens).await, 4700);
    pass(&clock, 10 * MINUTE).await;
    assert_eq!(used(&limiter, &tokens).await, 700, "what was settled stands");
}

#[tokio::test(start_paused = true)]
async fn a_stream_may_raise_its_estimate_in_steps_and_is_refused_at_its_quota() {
    let (limiter, _) = memory();
    let tokens = limiter.limit("tokens", TOKENS).unwrap();
    let mut metered = estimated(&limiter, 4000).await;
    let mut so_far = 0;
    for raised in [8000, 12_000] {
        so_far = raised - 4000;
        metered.used(so_far);
        if limiter.settle(metered.receipt_mut(), raised, Shortfall::Refuse).await.unwrap().settled().is_none() {
            break;
        }
    }
    assert_eq!((so_far, used(&limiter, &tokens).await), (8000, 8000), "the second step did not fit");
    metered.used(8100);
    drop(metered);
    settle_down().await;
    assert_eq!(used(&limiter, &tokens).await, 8100);
}

#[tokio::test(start_paused = true)]
async fn each_part_has_its_own_cost_and_a_lease_is_held_and_released() {
    let (limiter, clock) = memory();
    let places = limiter.limit("places", "3 at once for 10m").unwrap();
    let day = limiter.limit("day", "50/day").unwrap();
    let tokens = limiter.limit("tokens", TOKENS).unwrap();
    let items = [Item::new(&places, "k"), Item::new(&day, "k"), Item::new(&tokens, "k").cost(4000)];
    let used = async || {
        let statuses = limiter.peek_all(&items).await.unwrap();
        statuses.iter().map(|status| status.used()).collect::<Vec<_>>()
    };
    let mut metered = Metered::new(&limiter, charged(&limiter, &items).await).unwrap();
    pass(&clock, 60 * MINUTE).await;
    assert!(!metered.hold().is_lost());
    assert_eq!(used().await, [1, 1, 4000]);
    assert!(metered.used_parts(&[1, 1]).unwrap_err().is_invalid());
    metered.used_parts(&[9, 1, 700]).unwrap();
    let place = metered.settle().await.unwrap().settled().unwrap().parts[0];
    assert_eq!(
        (place.topped_up, place.given_back, place.shortfall),
        (0, 0, 0),
        "the settlement leaves the lease alone"
    );
    assert_eq!(used().await, [0, 1, 700]);

    let mut metered = Metered::new(&limiter, charged(&limiter, &items[..2]).await).unwrap();
    metered.used(7);
    drop(metered);
    settle_down().await;
    assert_eq!(used().await, [0, 8, 700], "a cost for all is none for a lease");
}

#[tokio::test(start_paused = true)]
async fn a_settlement_that_fails_is_tried_again_and_charges_once() {
    let (limiter, clock) = remote();
    let tokens = limiter.limit("tokens", TOKENS).unwrap();
    let away = |away| limiter.store().away.store(away, Ordering::SeqCst);
    let mut by_hand = estimated(&limiter, 1000).await;
    let mut dropped = estimated(&limiter, 1000).await;
    by_hand.used(1500);
    dropped.used(1700);
    away(true);
    assert!(by_hand.settle().await.unwrap_err().is_unavailable());
    // On a thread that knows of no runtime.
    std::thread::spawn(move || drop(dropped)).join().unwrap();
    pass(&clock, MINUTE).await;
    away(false);
    assert_eq!(used(&limiter, &tokens).await, 2000);
    pass(&clock, MINUTE).await;
    assert_eq!(used(&limiter, &tokens).await, 3200);
}

#[tokio::test(start_paused = true)]
async fn a_replay_is_settled_by_hand_only() {
    let (limiter, clock) = memory();
    let tokens = limiter.limit("tokens", TOKENS).unwrap();
    let estimate = [Item::new(&tokens, "k").cost(4000)];
    let again = async || allowed(limiter.charge_once(&estimate, Idempotency::new("request-7")).await);
    let billed = again().await;
    let mut replay = Metered::new(&limiter, again().await).unwrap();
    replay.used(700);
    drop(replay);
    pass(&clock, SECOND).await;
    assert_eq!(used(&limiter, &tokens).await, 4000);
    let mut metered = Metered::new(&limiter, billed).unwrap();
    metered.used(900);
    drop(metered);
    settle_down().await;
    assert_eq!(used(&limiter, &tokens).await, 900);
}

#[tokio::test(start_paused = true)]
async fn a_receipt_taken_out_is_not_settled() {
    let (limiter, clock) = memory();
    let tokens = limiter.limit("tokens", TOKENS).unwrap();
    let mut metered = estimated(&limiter, 4000).await;
    metered.used(700);
    let receipt = metered.into_receipt();
    pass(&clock, SECOND).await;
    assert_eq!((used(&limiter, &tokens).await, receipt.cost()), (4000, 4000));
}
