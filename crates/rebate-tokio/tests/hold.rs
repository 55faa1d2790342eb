//! Places held while work runs: renewed, and released on every way out, or lost and told.

mod common;

use std::future::pending;
use std::sync::atomic::Ordering;
use std::time::Duration;

use common::{MINUTE, SECOND, allowed, charged, memory, pass, remote, settle_down, used};
use rebate_core::{Idempotency, Item, Limit, Limiter, Store};
use rebate_tokio::Hold;
use tokio::runtime::Builder;

/// A place for ten minutes, and one of the day.
fn limits<S: Store>(limiter: &Limiter<S>) -> (Limit, Limit) {
    (limiter.limit("places", "1 at once for 10m").unwrap(), limiter.limit("day", "50/day").unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_place_is_kept_for_as_long_as_the_work_takes_and_the_day_stays_charged() {
    let (limiter, clock) = memory();
    let (places, day) = limits(&limiter);
    let both = [Item::new(&places, "k"), Item::new(&day, "k")];
    let hold = Hold::new(&limiter, charged(&limiter, &both).await).unwrap();
    pass(&clock, 60 * MINUTE).await;
    assert!(!hold.is_lost());
    assert!(limiter.charge_all(&both).await.unwrap().denial().is_some(), "the place is taken");
    drop(hold);
    assert_eq!((used(&limiter, &places).await, used(&limiter, &day).await), (0, 1), "in memory when the drop returns");
    assert_eq!(limiter.charge_all(&both).await.unwrap().receipt().unwrap().cost(), 2);
}

#[tokio::test(start_paused = true)]
async fn it_is_renewed_at_every_third_of_the_lease() {
    let (limiter, clock) = remote();
    let (places, _) = limits(&limiter);
    // But for the charge.
    let renewals = || limiter.store().calls.load(Ordering::SeqCst) - 1;
    let _hold = Hold::new(&limiter, charged(&limiter, &[Item::new(&places, "k")]).await).unwrap();
    pass(&clock, 200 * SECOND - Duration::from_millis(1)).await;
    assert_eq!(renewals(), 0);
    pass(&clock, 2 * SECOND).await;
    assert_eq!(renewals(), 1);
    pass(&clock, 400 * SECOND).await;
    assert_eq!(renewals(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_task_a_panic_and_an_early_return_release() {
    let (limiter, _) = memory();
    let (places, day) = limits(&limiter);
    let both = [Item::new(&places, "k"), Item::new(&day, "k")];
    let hold = async || Hold::new(&limiter, charged(&limiter, &both).await).unwrap();

    let held = hold().await;
    let cancelled = tokio::spawn(async move {
        let _held = held;
        pending::<()>().await;
    });
    settle_down().await;
    assert_eq!(used(&limiter, &places).await, 1);
    cancelled.abort();
    assert!(cancelled.await.unwrap_err().is_cancelled());
    assert_eq!(used(&limiter, &places).await, 0);

    let held = hold().await;
    let panicked = tokio::spawn(async move {
        let _held = held;
        panic!("the work fails");
    });
    assert!(panicked.await.unwrap_err().is_panic());
    assert_eq!(used(&limiter, &places).await, 0);

    let held = hold().await;
    let failing = async move || -> Result<(), ()> {
        let _held = held;
        Err(())
    };
    assert!(failing().await.is_err());
    assert_eq!((used(&limiter, &places).await, used(&limiter, &day).await), (0, 3));
}

#[tokio::test(start_paused = true)]
async fn a_release_is_told() {
    let (limiter, _) = memory();
    let (places, day) = limits(&limiter);
    let hold = Hold::new(&limiter, charged(&limiter, &[Item::new(&day, "k"), Item::new(&places, "k")]).await).unwrap();
    let released = hold.release().await.unwrap();
    assert_eq!(released.parts.iter().map(|part| part.given_back).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(used(&limiter, &places).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_drop_on_any_thread_releases_in_the_runtime_of_the_hold() {
    let (limiter, _) = remote();
    let (places, day) = limits(&limiter);
    let hold = Hold::new(&limiter, charged(&limiter, &[Item::new(&places, "k"), Item::new(&day, "k")]).await).unwrap();
    std::thread::spawn(move || drop(hold)).join().unwrap();
    settle_down().await;
    assert_eq!((used(&limiter, &places).await, used(&limiter, &day).await), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_release_that_fails_or_is_dropped_is_tried_again() {
    let (limiter, clock) = remote();
    let (places, _) = limits(&limiter);
    let item = [Item::new(&places, "k")];
    let away = |away| limiter.store().away.store(away, Ordering::SeqCst);
    let hold = Hold::new(&limiter, charged(&limiter, &item).await).unwrap();
    away(true);
    assert!(hold.release().await.unwrap_err().is_unavailable());
    pass(&clock, MINUTE).await;
    away(false);
    assert_eq!(used(&limiter, &places).await, 1);
    pass(&clock, MINUTE).await;
    assert_eq!(used(&limiter, &places).await, 0, "well before its lease ends");

    let hold = Hold::new(&limiter, charged(&limiter, &item).await).unwrap();
    let mut release = Box::pin(hold.release());
    tokio::select! { biased; _ = &mut release => panic!("it takes a while"), () = std::future::ready(()) => {} }
    drop(release);
    settle_down().await;
    assert_eq!(used(&limiter, &places).await, 0);
}

#[test]
fn a_place_whose_renewer_died_frees_itself() {
    let (limiter, clock) = memory();
    let (places, _) = limits(&limiter);
    let dies = Builder::new_current_thread().enable_time().build().unwrap();
    dies.block_on(async {
        let hold = Hold::new(&limiter, charged(&limiter, &[Item::new(&places, "k")]).await).unwrap();
        // As a process that is killed leaves it.
        std::mem::forget(hold);
    });
    drop(dies);
    clock.advance(10 * MINUTE - SECOND);
    let wait = limiter.charge_now(&places, "k").unwrap().denial().and_then(|denial| denial.retry_after());
    assert_eq!(wait, Some(SECOND));
    clock.advance(SECOND);
    assert!(limiter.charge_now(&places, "k").unwrap().receipt().is_some());
}

#[test]
fn a_hold_outlives_its_runtime_and_says_that_it_is_lost() {
    let (limiter, _) = remote();
    let (places, _) = limits(&limiter);
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    let hold =
        runtime.block_on(async { Hold::new(&limiter, charged(&limiter, &[Item::new(&places, "k")]).await) }).unwrap();
    assert!(!hold.is_lost());
    drop(runtime);
    assert!(hold.is_lost());
    // Nothing can be sent any more.
    drop(hold);
}

#[tokio::test(start_paused = true)]
async fn a_place_that_was_released_elsewhere_is_told_as_lost() {
    let (limiter, clock) = memory();
    let (places, _) = limits(&limiter);
    let hold = Hold::new(&limiter, charged(&limiter, &[Item::new(&places, "k")]).await).unwrap();
    // An operator frees it.
    let mut lease = limiter.leases(&places, "k").await.unwrap().remove(0);
    limiter.release(&mut lease.receipt).await.unwrap();
    let other = charged(&limiter, &[Item::new(&places, "k")]).await;
    pass(&clock, 199 * SECOND).await;
    assert!(!hold.is_lost(), "nobody has asked the store");
    pass(&clock, 2 * SECOND).await;
    assert!(hold.is_lost());
    hold.lost().await;
    drop(hold);
    assert_eq!(used(&limiter, &places).await, 1, "the other's place is its own");
    drop(other);
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_the_store_says_has_ended_is_lost() {
    let (limiter, clock) = memory();
    let (places, _) = limits(&limiter);
    let hold = Hold::new(&limiter, charged(&limiter, &[Item::new(&places, "k")]).await).unwrap();
    // By the store's clock alone, which decides.
    clock.advance(10 * MINUTE);
    let work = async {
        pending::<()>().await;
    };
    tokio::select! { () = work => {}, () = hold.lost() => {} }
    assert!(hold.is_lost());
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_is_asked_again_until_the_lease_ends() {
    let (limiter, clock) = remote();
    let (places, _) = limits(&limiter);
    let away = |away| limiter.store().away.store(away, Ordering::SeqCst);
    let hold = Hold::new(&limiter, charged(&limiter, &[Item::new(&places, "k")]).await).unwrap();
    away(true);
    pass(&clock, 9 * MINUTE).await;
    assert!(!hold.is_lost());
    away(false);
    pass(&clock, 2 * MINUTE).await;
    assert!(!hold.is_lost());
    assert_eq!(used(&limiter, &places).await, 1, "renewed in time");
    away(true);
    pass(&clock, 6 * MINUTE).await;
    assert!(!hold.is_lost(), "it was renewed less than ten minutes ago");
    pass(&clock, 5 * MINUTE).await;
    assert!(hold.is_lost(), "nobody can say that it is still held");
}

#[tokio::test(start_paused = true)]
async fn an_item_that_waits_in_a_queue_keeps_its_place() {
    let (limiter, clock) = memory();
    let (places, day) = limits(&limiter);
    let both = [Item::new(&places, "k"), Item::new(&day, "k")];
    let hold = Hold::new(&limiter, charged(&limiter, &both).await).unwrap();
    pass(&clock, 60 * MINUTE + SECOND).await;
    // Handed over: nobody renews it until the worker does, a moment before its end.
    let token = limiter.token(&hold.into_receipt()).unwrap();
    pass(&clock, 9 * MINUTE + 30 * SECOND).await;
    let hold = Hold::new(&limiter, limiter.receipt(&token).unwrap()).unwrap();
    pass(&clock, 60 * MINUTE).await;
    assert!(!hold.is_lost());
    assert_eq!(used(&limiter, &places).await, 1);
    drop(hold);
    assert_eq!((used(&limiter, &places).await, used(&limiter, &day).await), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn two_that_hold_one_place_both_renew_it_and_one_releases_it() {
    let (limiter, clock) = memory();
    let (places, _) = limits(&limiter);
    let waits = Hold::new(&limiter, charged(&limiter, &[Item::new(&places, "k")]).await).unwrap();
    let token = limiter.token(waits.receipt()).unwrap();
    let works = Hold::new(&limiter, limiter.receipt(&token).unwrap()).unwrap();
    pass(&clock, 30 * MINUTE).await;
    drop(works);
    assert_eq!(used(&limiter, &places).await, 0);
    pass(&clock, 4 * MINUTE).await;
    assert!(waits.is_lost());
}

#[tokio::test(start_paused = true)]
async fn a_receipt_taken_out_is_renewed_no_more_and_not_released() {
    let (limiter, clock) = memory();
    let (places, _) = limits(&limiter);
    let hold = Hold::new(&limiter, charged(&limiter, &[Item::new(&places, "k")]).await).unwrap();
    let receipt = hold.into_receipt();
    pass(&clock, 10 * MINUTE - SECOND).await;
    assert_eq!(used(&limiter, &places).await, 1);
    pass(&clock, SECOND).await;
    assert_eq!(used(&limiter, &places).await, 0);
    drop(receipt);
}

#[tokio::test(start_paused = true)]
async fn a_replay_is_renewed_but_released_by_hand_only() {
    let (limiter, clock) = memory();
    let (places, _) = limits(&limiter);
    let items = [Item::new(&places, "k")];
    let again = async || allowed(limiter.charge_once(&items, Idempotency::new("request-7")).await);
    // The first who sent it has died.
    drop(again().await);
    let hold = Hold::new(&limiter, again().await).unwrap();
    assert!(hold.receipt().is_replay());
    pass(&clock, 60 * MINUTE).await;
    assert!(!hold.is_lost());
    drop(hold);
    settle_down().await;
    assert_eq!(used(&limiter, &places).await, 1, "it may be another's that was billed");
    let hold = Hold::new(&limiter, again().await).unwrap();
    assert_eq!(hold.release().await.unwrap().given_back(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_receipt_without_a_lease_has_nothing_to_renew_or_release() {
    let (limiter, clock) = remote();
    let (places, day) = limits(&limiter);
    let mut hold = Hold::new(&limiter, charged(&limiter, &[Item::new(&day, "k").cost(3)]).await).unwrap();
    pass(&clock, 60 * MINUTE).await;
    assert!(!hold.is_lost());
    limiter.refund_up_to(hold.receipt_mut(), 1).await.unwrap();
    drop(hold);
    settle_down().await;
    assert_eq!(limiter.store().calls.load(Ordering::SeqCst), 2, "a charge and a refund");
    assert_eq!(used(&limiter, &day).await, 2);
    // Nor has one whose place was released.
    let mut receipt = charged(&limiter, &[Item::new(&places, "k"), Item::new(&day, "k")]).await;
    limiter.release(&mut receipt).await.unwrap();
    let hold = Hold::new(&limiter, receipt).unwrap();
    pass(&clock, 60 * MINUTE).await;
    assert!(!hold.is_lost());
}

#[test]
fn outside_of_a_runtime_it_is_an_error() {
    let (limiter, _) = memory();
    let (places, _) = limits(&limiter);
    let error = Hold::new(&limiter, allowed(limiter.charge_now(&places, "k"))).unwrap_err();
    assert!(error.is_invalid(), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_receipt_of_another_store_is_an_error() {
    let ((limiter, _), (other, _)) = (memory(), memory());
    let (places, _) = limits(&limiter);
    let error = Hold::new(&other, charged(&limiter, &[Item::new(&places, "k")]).await).unwrap_err();
    assert!(error.is_other_store(), "{error}");
}
