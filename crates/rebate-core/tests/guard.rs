//! The drop guard: refunds on every way out but `keep`.

mod common;

use std::future::{Future, pending};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context, Waker};

use common::{OwnStore, allowed, limiter};
use rebate_core::{Idempotency, Item, Limit, Limiter, ManualClock, Shortfall};

fn used(limiter: &Limiter<OwnStore<ManualClock>>, limit: &Limit) -> u64 {
    limiter.peek_now(limit, "k").unwrap().used()
}

#[test]
fn an_early_return_refunds_and_keep_does_not() {
    let (limiter, _) = limiter();
    let limit = limiter.limit("generate", "10/month").unwrap();
    let work = |fails: bool| -> Result<(), ()> {
        let guard = limiter.guard(allowed(limiter.charge_now(&limit, "k")));
        if fails {
            return Err(());
        }
        let receipt = guard.keep();
        assert_eq!(receipt.cost(), 1);
        Ok(())
    };
    assert!(work(true).is_err());
    assert_eq!(used(&limiter, &limit), 0);
    assert!(work(false).is_ok());
    assert_eq!(used(&limiter, &limit), 1);
}

#[test]
fn a_panic_refunds() {
    let (limiter, _) = limiter();
    let limit = limiter.limit("generate", "10/month").unwrap();
    let guard = limiter.guard(allowed(limiter.charge_now(&limit, "k")));
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let _guard = guard;
        panic!("the handler fails");
    }));
    assert!(panicked.is_err());
    assert_eq!(used(&limiter, &limit), 0);
}

#[test]
fn a_cancelled_future_refunds() {
    let (limiter, _) = limiter();
    let limit = limiter.limit("generate", "10/month").unwrap();
    let mut work = Box::pin(async {
        let receipt = limiter.charge(&limit, "k").await.unwrap().receipt().unwrap();
        let guard = limiter.guard(receipt);
        pending::<()>().await;
        guard.keep()
    });
    assert!(work.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    assert_eq!(used(&limiter, &limit), 1);
    drop(work);
    assert_eq!(used(&limiter, &limit), 0, "refunded when the drop returns");
}

#[test]
fn a_replay_is_not_refunded_by_its_guard() {
    let (limiter, _) = limiter();
    let limit = limiter.limit("generate", "10/month").unwrap();
    let items = [Item::new(&limit, "k")];
    let charge = || allowed(limiter.charge_once_now(&items, Idempotency::new("retry")));
    let billed = limiter.guard(charge());
    drop(limiter.guard(charge()));
    assert_eq!(used(&limiter, &limit), 1, "the replay's guard leaves it alone");
    drop(billed);
    assert_eq!(used(&limiter, &limit), 0);
    assert!(!charge().is_replay(), "refunded whole, the key is free");
}

#[test]
fn what_was_settled_meanwhile_goes_back_whole() {
    let (limiter, _) = limiter();
    let limit = limiter.limit("tokens", "1000/day").unwrap();
    let mut guard = limiter.guard(allowed(limiter.charge_all_now(&[Item::new(&limit, "k").cost(100)])));
    let settlement = limiter.settle_now(guard.receipt_mut(), 250, Shortfall::Refuse).unwrap();
    assert!(settlement.settled().is_some());
    assert_eq!(used(&limiter, &limit), 250);
    drop(guard);
    assert_eq!(used(&limiter, &limit), 0);
}

#[test]
fn a_lease_is_released_by_its_guard() {
    let (limiter, _) = limiter();
    let limit = limiter.limit("jobs", "1 at once for 10m").unwrap();
    let guard = limiter.guard(allowed(limiter.charge_now(&limit, "k")));
    assert!(limiter.charge_now(&limit, "k").unwrap().denial().is_some());
    drop(guard);
    assert!(limiter.charge_now(&limit, "k").unwrap().receipt().is_some());
}
