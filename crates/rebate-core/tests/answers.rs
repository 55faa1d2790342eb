//! Answers that the differential test of rebate-conformance once found to differ from the model's.

mod common;

use std::time::Duration;

use common::{allowed, denied, limiter};
use rebate_core::{
    ChargeRequest, Decision, Idempotency, Item, Limit, PartRenewal, REMEMBERED, Receipt, Retry, Settlement, Shortfall,
    SyncStore,
};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_denial_tells_the_statuses_as_they_are() {
    let (limiter, _) = limiter();
    let narrow = limiter.limit("narrow", "1/10s").unwrap();
    for policy in
        ["5/10s", "5/10s from first", "5/10s sliding", "5/10s sliding log", "5/10s burst 5", "5 at once for 10s"]
    {
        let roomy = limiter.limit(policy, policy).unwrap();
        let denial = denied(limiter.charge_all_now(&[Item::new(&roomy, "k").cost(2), Item::new(&narrow, "k").cost(2)]));
        assert_eq!(denial.statuses()[0].remaining(), 5, "{policy}: nothing was taken");
    }
}

#[test]
fn a_replay_tells_the_statuses_of_now() {
    let (limiter, _) = limiter();
    let limit = limiter.limit("limit", "5/10s").unwrap();
    let items = [Item::new(&limit, "k").cost(2)];
    let _first = allowed(limiter.charge_once_now(&items, Idempotency::new("once")));
    let _other = allowed(limiter.charge_now(&limit, "k"));
    let replay = allowed(limiter.charge_once_now(&items, Idempotency::new("once")));
    assert!(replay.is_replay());
    assert_eq!(replay.statuses()[0].remaining(), 2);
}

#[test]
fn a_retry_after_a_change_of_rate_is_true() {
    let (limiter, clock) = limiter();
    let slow = limiter.limit("bucket", "6/60s burst 6").unwrap();
    let _receipt = allowed(limiter.charge_all_now(&[Item::new(&slow, "k").cost(6)]));
    let fast = Limit::new("bucket", "60/60s burst 6").unwrap();
    limiter.replace(&fast);
    let denial = denied(limiter.charge_now(&fast, "k"));
    // Until a charge is admitted at the new rate the bucket refills at the old one.
    assert_eq!(denial.retry(), Retry::AfterMicros(10_000_000));
    assert_eq!(limiter.peek_now(&fast, "k").unwrap().reset_after(), 60 * SECOND);
    clock.advance(10 * SECOND - Duration::from_micros(1));
    let _denial = denied(limiter.charge_now(&fast, "k"));
    clock.advance(Duration::from_micros(1));
    let charged = allowed(limiter.charge_now(&fast, "k"));
    assert_eq!(charged.statuses()[0].reset_after(), 6 * SECOND);
}

#[test]
fn a_refund_of_nothing_does_not_move_a_sliding_counter_on() {
    let (limiter, clock) = limiter();
    let limit = limiter.limit("sliding", "5/10s sliding").unwrap();
    let mut receipt = allowed(limiter.charge_all_now(&[Item::new(&limit, "k").cost(4)]));
    clock.advance(10 * SECOND);
    limiter.refund_up_to_now(&mut receipt, 0).unwrap();
    clock.step_back(5 * SECOND);
    // A charge made now is of the first bucket: it counts until 20 s after that began.
    let charged = allowed(limiter.charge_now(&limit, "k"));
    assert_eq!(charged.statuses()[0].reset_after(), 15 * SECOND);
}

/// Receipts of `count` charges of `cost` each.
fn receipts(
    limiter: &rebate_core::Limiter<common::OwnStore<rebate_core::ManualClock>>,
    limit: &Limit,
    count: usize,
    cost: u64,
) -> Vec<Receipt> {
    (0..count).map(|_| allowed(limiter.charge_all_now(&[Item::new(limit, "k").cost(cost)]))).collect()
}

#[test]
fn a_refund_forgotten_at_once_tells_all_that_was_given_back() {
    for policy in ["10000/10s", "10000/10s sliding"] {
        let (limiter, _) = limiter();
        let limit = limiter.limit("limit", policy).unwrap();
        // Five units each: a receipt refunded in part, then whole, is one run all the while; 128 others
        // above it are as many as are remembered. Two runs that touch are one run fewer.
        let mut receipts = receipts(&limiter, &limit, 2 * REMEMBERED + 2, 3);
        for at in (0..2 * REMEMBERED).step_by(2) {
            limiter.refund_up_to_now(&mut receipts[at + 2], 1).unwrap();
        }
        let refund = limiter.refund_up_to_now(&mut receipts[0], 1).unwrap();
        assert_eq!((refund.parts[0].given_back, refund.parts[0].in_all), (1, 1), "{policy}");
        let again = limiter.refund_up_to_now(&mut receipts[0], 2).unwrap();
        assert!(again.any_expired(), "{policy}: the lowest run was dropped");
    }
}

#[test]
fn a_receipt_past_the_bound_on_top_ups_stays_past_it() {
    let (limiter, clock) = limiter();
    let limit = limiter.limit("limit", "10000/day").unwrap();
    let settle = |receipt: &mut Receipt, cost| match limiter.settle_now(receipt, cost, Shortfall::Refuse).unwrap() {
        Settlement::Settled(settled) => settled.parts[0],
        Settlement::Refused(denial) => panic!("{denial:?}"),
    };
    let mut oldest = allowed(limiter.charge_now(&limit, "k"));
    assert_eq!(settle(&mut oldest, 2).topped_up, 1);
    for _ in 0..REMEMBERED {
        clock.advance(SECOND);
        settle(&mut allowed(limiter.charge_now(&limit, "k")), 2);
    }
    for _ in 0..2 {
        let settled = settle(&mut oldest, 3);
        assert_eq!((settled.topped_up, settled.shortfall, settled.expired), (0, 1, true));
    }
}

#[test]
fn the_status_after_a_refund_is_that_after_all_of_it() {
    let (limiter, _) = limiter();
    let limit = limiter.limit("limit", "10/10s").unwrap();
    let mut receipt = allowed(limiter.charge_all_now(&[Item::new(&limit, "k").cost(2)]));
    let _settled = limiter.settle_now(&mut receipt, 5, Shortfall::Refuse).unwrap();
    let refund = limiter.refund_now(&mut receipt).unwrap();
    let remaining = refund.parts.iter().map(|part| part.status.unwrap().remaining());
    assert_eq!(remaining.collect::<Vec<_>>(), [10, 10]);
}

#[test]
fn what_a_count_that_is_gone_says_does_not_depend_on_its_being_kept() {
    let (limiter, clock) = limiter();
    let leases = limiter.limit("limit", "4 at once for 10s").unwrap();
    let mut receipt = allowed(limiter.charge_now(&leases, "k"));
    let window = Limit::new("limit", "7/10s").unwrap();
    limiter.replace(&window);
    let _charged = allowed(limiter.charge_now(&window, "k"));
    assert_eq!(limiter.renew_now(&receipt).unwrap().parts[0], PartRenewal::Expired, "it was a lease");
    clock.advance(60 * SECOND);
    // The window is over, and nobody has dropped it.
    assert_eq!(limiter.refund_now(&mut receipt).unwrap().parts[0].status.unwrap().quota(), 4);
}

#[test]
fn of_a_bad_cost_and_a_conflict_the_cost_is_said_wherever_it_stands() {
    let (limiter, _) = limiter();
    let ten = limiter.limit("limit", "10/10s").unwrap();
    let twenty = Limit::new("limit", "20/10s").unwrap();
    let items = [Item::new(&ten, "k"), Item::new(&twenty, "k"), Item::new(&ten, "k").cost(0)];
    // The store's own answer: a limiter knows of the conflict before.
    let request = ChargeRequest::new(&items);
    assert!(limiter.store().charge_now(&request).unwrap_err().is_invalid());
    assert!(limiter.charge_all_now(&items).unwrap_err().is_conflict());
}

#[test]
fn the_handle_of_a_limit_that_was_replaced_charges_nothing() {
    let (limiter, _) = limiter();
    let old = limiter.limit("limit", "3/minute").unwrap();
    let new = Limit::new("limit", "3/hour").unwrap();
    let _first = allowed(limiter.charge_now(&old, "k"));
    limiter.replace(&new);
    // In turn, they would start the count afresh each time.
    let admitted = (0..100).filter(|at| {
        let limit = if at % 2 == 0 { &old } else { &new };
        matches!(limiter.charge_now(limit, "k"), Ok(Decision::Allowed(_)))
    });
    assert_eq!(admitted.count(), 3);
    assert!(limiter.charge_now(&old, "k").unwrap_err().is_conflict());
    limiter.replace(&old);
    assert!(limiter.charge_now(&old, "k").is_ok());
}
