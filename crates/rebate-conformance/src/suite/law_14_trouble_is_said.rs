//! Law 14: an error says whether the charge may have happened, and what nobody waits for any more is given
//! back.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use rebate_core::{ChargeRequest, Idempotency, Item, KeyRef, Limit, MAX_KEY_BYTES, RefundRequest, SettleRequest};
use rebate_core::{Shortfall, Store};

use super::scene::{Sample, Scene, admitted, denied, limit};
use crate::Harness;

/// A bad request has certainly not happened, and says so, also when it is only bad at its end.
pub fn a_bad_request_has_not_happened<H: Harness>(harness: &H, sample: &Sample) {
    let scene = Scene::new(harness);
    let limit = sample.limit();
    let long = vec![b'k'; MAX_KEY_BYTES + 1];
    let key = KeyRef::in_group("tenant", "k");
    let good = Item { limit: &limit, key, cost: 1 };
    let long_group = Item { key: KeyRef::in_group(&long, "k"), ..good };
    let many = vec![good; 1025];
    let bad: [&[Item<'_>]; 6] = [
        &[],
        &[good.cost(0)],
        &[good, good.cost(0)],
        &[good, good, Item { key: KeyRef::in_group("tenant", &long), ..good }],
        &[long_group, long_group],
        &many,
    ];
    // The store itself, not only the limiter, refuses them.
    let _ = scene.limiter.register(&limit);
    for (at, items) in bad.into_iter().enumerate() {
        for idempotency in [None, Some(Idempotency::new("request"))] {
            let answer =
                scene.run(scene.limiter.store().charge(&ChargeRequest { idempotency, ..ChargeRequest::new(items) }));
            let error = answer.expect_err("a bad request");
            assert!(error.is_invalid() && !error.may_have_happened() && !error.is_retryable(), "{at}: {error:?}");
        }
        assert_eq!(scene.remaining(&limit, key), 10, "request {at}");
    }
    assert!(scene.listed(&limit).is_empty());
    let receipt = admitted(scene.once(&[good], Idempotency::new("request")));
    assert!(!receipt.is_replay(), "no bad request was remembered");
}

/// Neither has a bad refund or settlement.
pub fn a_bad_refund_has_not_happened<H: Harness>(harness: &H, sample: &Sample) {
    let scene = Scene::new(harness);
    let limit = sample.limit();
    let receipt = scene.take(&limit, "k", 5);
    let store = scene.limiter.store();
    for numbers in [&[][..], &[1, 1], &[5, 5, 5]] {
        let refund = RefundRequest { receipt: &receipt, totals: numbers };
        let error = scene.run(store.refund(&refund)).expect_err("not one total for each part");
        assert!(error.is_invalid() && !error.may_have_happened(), "{error:?}");
        let settle = SettleRequest { receipt: &receipt, costs: numbers, shortfall: Shortfall::Refuse };
        let error = scene.run(store.settle(&settle)).expect_err("not one cost for each part");
        assert!(error.is_invalid() && !error.may_have_happened(), "{error:?}");
        assert_eq!(scene.remaining(&limit, "k"), 5);
    }
}

/// A denial is an answer, never an error, and says nothing of trouble.
pub fn a_denial_is_an_answer<H: Harness>(harness: &H, sample: &Sample) {
    let scene = Scene::new(harness);
    let limit = sample.limit();
    let _ = scene.take(&limit, "k", 10);
    for cost in [1, 10, 11, u64::MAX] {
        let denial = scene.deny(&limit, "k", cost);
        assert!(denial.trouble().is_none());
        assert_eq!(denial.violated().count(), 1);
    }
}

fn remaining_soon<H: Harness>(scene: &Scene<'_, H>, limit: &Limit, remaining: u64) {
    scene.soon(&format!("{remaining} remain"), || scene.remaining(limit, "k") == remaining);
}

/// A guard that is dropped refunds, on an early return as on a panic; one that is kept does not.
pub fn a_dropped_guard_refunds<H: Harness>(harness: &H, sample: &Sample) {
    let scene = Scene::new(harness);
    let limit = sample.limit();
    let _ = scene.take(&limit, "k", 1);
    let guard = || scene.limiter.guard(scene.take(&limit, "k", 4));
    let dropped = guard();
    assert_eq!(scene.remaining(&limit, "k"), 5);
    scene.run(async { drop(dropped) });
    remaining_soon(&scene, &limit, 9);

    let held = guard();
    let unwound = catch_unwind(AssertUnwindSafe(|| {
        scene.run(async {
            let _held = held;
            // Without the panic hook, which would print.
            std::panic::resume_unwind(Box::new("the work failed"));
        })
    }));
    assert!(unwound.is_err());
    remaining_soon(&scene, &limit, 9);

    let kept = guard().keep();
    assert_eq!(kept.cost(), 4);
    drop(kept);
    assert_eq!(scene.remaining(&limit, "k"), 5);
}

/// A guard whose receipt was settled meanwhile gives back what it holds, top-ups included.
pub fn a_dropped_guard_refunds_top_ups<H: Harness>(harness: &H, sample: &Sample) {
    let scene = Scene::new(harness);
    let limit = sample.limit();
    let _ = scene.take(&limit, "k", 1);
    let mut guard = scene.limiter.guard(scene.take(&limit, "k", 2));
    let _ = scene.settled(guard.receipt_mut(), 6);
    assert_eq!(scene.remaining(&limit, "k"), 3);
    scene.run(async { drop(guard) });
    remaining_soon(&scene, &limit, 9);
}

/// Polls a charge `polls` times and drops it; the answer, if there was one by then.
fn poll_and_drop<H: Harness>(
    scene: &Scene<'_, H>,
    request: &ChargeRequest<'_>,
    polls: usize,
) -> Option<Result<rebate_core::Decision, rebate_core::Error>> {
    scene.run(async {
        let mut charge = pin!(scene.limiter.store().charge(request));
        let mut left = polls;
        poll_fn(|context| {
            if left == 0 {
                return Poll::Ready(None);
            }
            left -= 1;
            match charge.as_mut().poll(context) {
                Poll::Ready(answer) => Poll::Ready(Some(answer)),
                Poll::Pending if left == 0 => Poll::Ready(None),
                Poll::Pending => {
                    context.waker().wake_by_ref();
                    Poll::Pending
                }
            }
        })
        .await
    })
}

/// A charge whose caller went away before its answer is given back.
pub fn a_dropped_charge_is_given_back<H: Harness>(harness: &H, sample: &Sample) {
    let scene = Scene::new(harness);
    let limit = sample.limit();
    let _ = scene.take(&limit, "k", 1);
    let items = [Item::new(&limit, "k").cost(4)];
    for polls in [0, 1, 2, 3] {
        match poll_and_drop(&scene, &ChargeRequest::new(&items), polls) {
            None => {}
            // The store was quick: its answer had a caller.
            Some(answer) => {
                let mut receipt = admitted(answer.expect("no trouble"));
                let _ = scene.refund(&mut receipt, 4);
            }
        }
        remaining_soon(&scene, &limit, 9);
    }
    // Nothing that was still under way takes it again.
    for _ in 0..100 {
        assert_eq!(scene.remaining(&limit, "k"), 9);
    }
}

/// One with an idempotency key is left alone: the retry finds it, or charges; it is billed once.
pub fn a_dropped_charge_with_a_key_is_found_again<H: Harness>(harness: &H, sample: &Sample) {
    let scene = Scene::new(harness);
    let limit = sample.limit();
    for polls in [0, 1, 2] {
        let key = format!("dropped after {polls}");
        let items = [Item::new(&limit, &key).cost(4)];
        let idempotency = Idempotency::new("request");
        let _ = poll_and_drop(&scene, &ChargeRequest::new(&items).once(idempotency), polls);
        let retried = admitted(scene.once(&items, idempotency));
        assert!(retried.is_idempotent());
        for _ in 0..100 {
            assert_eq!(scene.remaining(&limit, &key), 6);
        }
        assert!(admitted(scene.once(&items, idempotency)).is_replay());
    }
}

/// What a receipt can be refunded for does not depend on errors said before.
pub fn an_error_leaves_the_receipt_usable<H: Harness>(harness: &H, sample: &Sample) {
    let scene = Scene::new(harness);
    let limit = sample.limit();
    let mut receipt = scene.take(&limit, "k", 5);
    assert!(scene.run(scene.limiter.refund_parts(&mut receipt, &[1, 1])).is_err());
    assert!(scene.run(scene.limiter.settle_parts(&mut receipt, &[], Shortfall::Refuse)).is_err());
    assert_eq!(receipt.refunded(), 0);
    assert_eq!(scene.refund(&mut receipt, 5).given_back(), 5);
    assert_eq!(scene.remaining(&limit, "k"), 10);
}

/// Two limits under one name in one limiter are an error from the first use on.
pub fn a_name_taken_is_said<H: Harness>(harness: &H) {
    let scene = Scene::new(harness);
    let known = limit("name", "10/hour");
    let _ = scene.take(&known, "k", 3);
    let other = limit("name", "10/day");
    let error = scene.run(scene.limiter.charge(&other, "k")).expect_err("the name is taken");
    assert!(error.is_conflict() && !error.may_have_happened(), "{error:?}");
    assert!(scene.run(scene.limiter.peek(&other, "k")).is_err_and(|error| error.is_conflict()));
    assert_eq!(scene.remaining(&known, "k"), 7);
    let _ = denied(scene.charge(&known, "k", 8));
    scene.advance(Duration::from_secs(1));
}
