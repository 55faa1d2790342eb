//! The limiter: names, replacements and what happens while the store is in trouble.

mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::{NOON, OwnStore, allowed, denied, limiter, run};
use rebate_core::{
    AnyStore, ChargeRequest, Decision, Error, Fallback, Identity, Item, KeyRef, Lease, Limit, Limiter, ListRequest,
    ManualClock, Page, Receipt, Refund, RefundRequest, Renewal, SettleReply, SettleRequest, Shortfall, Statuses, Store,
    SyncStore,
};

#[test]
fn two_policies_under_one_name_are_a_conflict() {
    let (limiter, _) = limiter();
    let ten = limiter.limit("generate", "10/month").unwrap();
    assert!(limiter.limit("generate", "20/month").unwrap_err().is_conflict());
    let twenty = Limit::new("generate", "20/month").unwrap();
    assert!(limiter.register(&twenty).unwrap_err().is_conflict());
    assert!(limiter.charge_now(&twenty, "k").unwrap_err().is_conflict());
    assert!(limiter.peek_now(&twenty, "k").unwrap_err().is_conflict());
    assert!(limiter.list_now(&twenty, None, 1).unwrap_err().is_conflict());
    assert!(limiter.reset_now(&twenty, "k").unwrap_err().is_conflict());
    // The same policy however it was written is no other.
    let same = limiter.limit("generate", "10 / 1 months").unwrap();
    let _kept = allowed(limiter.charge_now(&ten, "k"));
    assert_eq!(limiter.peek_now(&same, "k").unwrap().used(), 1, "and it has the same counts");
}

#[test]
fn two_policies_under_one_name_in_one_charge_are_a_conflict_too() {
    let (limiter, _) = limiter();
    let ten = limiter.limit("generate", "10/month").unwrap();
    let twenty = Limit::new("generate", "20/month").unwrap();
    limiter.replace(&twenty);
    let items = [Item::new(&ten, "k"), Item::new(&twenty, "k")];
    assert!(limiter.charge_all_now(&items).unwrap_err().is_conflict());
    assert_eq!(limiter.peek_now(&twenty, "k").unwrap().used(), 0);
}

#[test]
fn a_replaced_quota_keeps_what_was_used_and_its_receipts() {
    let (limiter, _) = limiter();
    for (old, new) in [
        ("10/month", "12/month"),
        ("10/day from first", "12/day from first"),
        ("10/hour sliding", "12/hour sliding"),
        ("10/hour sliding log", "12/hour sliding log"),
        ("1/hour burst 10", "1/hour burst 12"),
        ("10 at once for 1h", "12 at once for 1h"),
    ] {
        let limit = limiter.limit(old, old).unwrap();
        let mut receipt = allowed(limiter.charge_all_now(&[Item::new(&limit, "k").cost(4)]));
        let limit = Limit::new(old, new).unwrap();
        limiter.replace(&limit);
        assert_eq!(limiter.peek_now(&limit, "k").unwrap().remaining(), 8, "{old} to {new}");
        let _kept = allowed(limiter.charge_all_now(&[Item::new(&limit, "k").cost(8)]));
        assert_eq!(limiter.refund_now(&mut receipt).unwrap().given_back(), 4, "{old} to {new}");
        assert_eq!(limiter.peek_now(&limit, "k").unwrap().remaining(), 4, "{old} to {new}");
    }
}

#[test]
fn a_quota_below_what_is_used_denies_until_there_is_room() {
    let (limiter, _) = limiter();
    let limit = limiter.limit("generate", "10/month").unwrap();
    let mut receipt = allowed(limiter.charge_all_now(&[Item::new(&limit, "k").cost(8)]));
    let limit = Limit::new("generate", "5/month").unwrap();
    limiter.replace(&limit);
    assert_eq!(limiter.peek_now(&limit, "k").unwrap().remaining(), 0);
    let _ = denied(limiter.charge_now(&limit, "k"));
    limiter.refund_up_to_now(&mut receipt, 4).unwrap();
    let _kept = allowed(limiter.charge_now(&limit, "k"));
    let _ = denied(limiter.charge_now(&limit, "k"));
}

#[test]
fn another_window_or_algorithm_starts_afresh_and_its_receipts_expire() {
    let (limiter, _) = limiter();
    let policies = [
        "10/month",
        "10/day",
        "10/day in UTC",
        "10/day from first",
        "10/day sliding",
        "10/day sliding log",
        "1/day burst 10",
        "10 at once for 1d",
        "10 at once for 2d",
    ];
    let mut before: Option<Receipt> = None;
    for policy in policies {
        let limit = Limit::new("generate", policy).unwrap();
        limiter.replace(&limit);
        assert_eq!(limiter.peek_now(&limit, "k").unwrap().remaining(), 10, "{policy}");
        let receipt = allowed(limiter.charge_all_now(&[Item::new(&limit, "k").cost(10)]));
        if let Some(mut before) = before.replace(receipt) {
            assert!(limiter.refund_now(&mut before).unwrap().any_expired(), "{policy}");
            assert_eq!(limiter.peek_now(&limit, "k").unwrap().remaining(), 0, "{policy}");
        }
    }
}

#[test]
fn limits_that_are_not_registered_register_themselves_and_work_in_two_limiters() {
    let limit = Limit::new("generate", "2/month").unwrap();
    let (one, _) = limiter();
    let (two, _) = limiter();
    for limiter in [&one, &two, &one, &two] {
        let _kept = allowed(limiter.charge_now(&limit, "k"));
    }
    for limiter in [&one, &two] {
        let _ = denied(limiter.charge_now(&limit, "k"));
    }
}

#[test]
fn statuses_name_their_item() {
    let (limiter, _) = limiter();
    let minute = limiter.limit("minute", "2/minute").unwrap();
    let day = limiter.limit("day", "9/day").unwrap();
    let items = [Item::new(&day, "k"), Item::new(&minute, "k"), Item::new(&day, "k"), Item::new(&minute, "other")];
    let receipt = allowed(limiter.charge_all_now(&items));
    let told: Vec<_> = receipt.statuses().iter().map(|status| (status.item(), status.remaining())).collect();
    assert_eq!(told, [(0, 7), (1, 1), (3, 1)]);
    let _kept = allowed(limiter.charge_now(&minute, "k"));
    let denial = denied(limiter.charge_all_now(&items));
    let violated: Vec<usize> = denial.violated().map(rebate_core::Status::item).collect();
    assert_eq!(violated, [1]);
    assert_eq!(denial.statuses().len(), 3);
    let peeked: Vec<_> = limiter.peek_all_now(&items).unwrap().iter().map(|status| status.remaining()).collect();
    assert_eq!(peeked, [7, 0, 7, 1]);
}

/// A store that errs while it is told to.
struct Troubled {
    store: OwnStore<ManualClock>,
    away: AtomicBool,
    full: bool,
}

impl Troubled {
    fn limiter(full: bool) -> Limiter<Troubled> {
        let store = OwnStore::new(ManualClock::at(NOON));
        Limiter::new(Troubled { store, away: AtomicBool::new(true), full })
    }

    fn trouble(&self) -> Result<&OwnStore<ManualClock>, Error> {
        if !self.away.load(Ordering::SeqCst) {
            Ok(&self.store)
        } else if self.full {
            Err(Error::full("no room"))
        } else {
            Err(Error::unavailable("no answer", true))
        }
    }
}

#[rustfmt::skip]
impl SyncStore for Troubled {
    fn identity(&self) -> &Identity { SyncStore::identity(&self.store) }
    fn charge_now(&self, request: &ChargeRequest<'_>) -> Result<Decision, Error> { self.trouble()?.charge_now(request) }
    fn refund_now(&self, request: &RefundRequest<'_>) -> Result<Refund, Error> { self.trouble()?.refund_now(request) }
    fn settle_now(&self, request: &SettleRequest<'_>) -> Result<SettleReply, Error> { self.trouble()?.settle_now(request) }
    fn renew_now(&self, receipt: &Receipt) -> Result<Renewal, Error> { self.trouble()?.renew_now(receipt) }
    fn peek_now(&self, items: &[Item<'_>]) -> Result<Statuses, Error> { self.trouble()?.peek_now(items) }
    fn reset_now(&self, limit: &Limit, key: KeyRef<'_>) -> Result<bool, Error> { self.trouble()?.reset_now(limit, key) }
    fn list_now(&self, request: &ListRequest<'_>) -> Result<Page, Error> { self.trouble()?.list_now(request) }
    fn leases_now(&self, limit: &Limit, key: KeyRef<'_>) -> Result<Vec<Lease>, Error> { self.trouble()?.leases_now(limit, key) }
}

#[test]
fn the_fallback_decides_while_the_store_is_away_or_full() {
    for full in [false, true] {
        let limiter = Troubled::limiter(full);
        let limit = |name: &str, fallback| {
            limiter.register(&Limit::new(name, "1/day").unwrap().with_fallback(fallback)).unwrap()
        };
        let (allow, deny, error) =
            (limit("allow", Fallback::Allow), limit("deny", Fallback::Deny), limit("error", Fallback::Error));
        let charge = |limits: &[&Limit]| {
            let items: Vec<_> = limits.iter().map(|limit| Item::new(limit, "k")).collect();
            limiter.charge_all_now(&items)
        };

        let decision = charge(&[&allow]).unwrap();
        assert!(decision.may_proceed());
        let Decision::Unchecked(unchecked) = decision else { panic!("{decision:?}") };
        assert_eq!((unchecked.error().is_full(), unchecked.error().may_have_happened()), (full, !full));

        let denial = denied(charge(&[&deny]));
        assert!(denial.trouble().is_some_and(Error::is_retryable));
        assert!(denial.statuses().is_empty() && denial.violated().next().is_none());

        assert!(charge(&[&error]).unwrap_err().is_retryable());
        // The strictest decides, in whatever order.
        assert!(charge(&[&allow, &deny]).unwrap().denial().is_some());
        assert!(charge(&[&deny, &allow]).unwrap().denial().is_some());
        assert!(charge(&[&error, &allow]).is_err() && charge(&[&deny, &error]).is_err());
        // A caller's mistake is no trouble of the store.
        limiter.store().away.store(false, Ordering::SeqCst);
        assert!(limiter.charge_all_now(&[Item::new(&allow, "k").cost(0)]).unwrap_err().is_invalid());
        let _kept = allowed(charge(&[&allow, &deny, &error]));
    }
}

#[test]
fn an_error_leaves_the_receipt_usable() {
    let limiter = Troubled::limiter(false);
    let limit = limiter.limit("generate", "10/day").unwrap();
    limiter.store().away.store(false, Ordering::SeqCst);
    let mut receipt = allowed(limiter.charge_all_now(&[Item::new(&limit, "k").cost(3)]));
    assert_eq!(limiter.refund_up_to_now(&mut receipt, 1).unwrap().given_back(), 1);
    limiter.store().away.store(true, Ordering::SeqCst);
    let error = limiter.refund_now(&mut receipt).unwrap_err();
    assert!(error.is_unavailable() && error.may_have_happened());
    assert!(error.to_string().contains("may have taken effect"));
    assert_eq!(receipt.refunded(), 1);
    limiter.store().away.store(false, Ordering::SeqCst);
    assert_eq!(limiter.refund_now(&mut receipt).unwrap().given_back(), 2);
    assert_eq!(limiter.refund_now(&mut receipt).unwrap().given_back(), 0);
    assert!(limiter.refund_parts_now(&mut receipt, &[]).unwrap_err().is_invalid());
}

#[test]
fn a_store_of_any_type_answers_the_same() {
    let clock = ManualClock::at(NOON);
    let limiter = Limiter::new(AnyStore::new(OwnStore::new(clock.clone())));
    let limit = limiter.limit("generate", "2/day").unwrap();
    let mut receipt = allowed(run(limiter.charge(&limit, "k")));
    drop(limiter.guard(allowed(run(limiter.charge(&limit, "k")))));
    assert_eq!(run(limiter.peek(&limit, "k")).unwrap().remaining(), 1, "the guard handed back");
    assert_eq!(run(limiter.list(&limit, None, 10)).unwrap().keys.len(), 1);
    assert_eq!(run(limiter.refund(&mut receipt)).unwrap().given_back(), 1);
    assert!(run(limiter.reset(&limit, "k")).unwrap());
    clock.advance(Duration::from_secs(86_400));
    assert!(!run(limiter.reset(&limit, "k")).unwrap(), "nothing is left to forget");
}

#[test]
fn a_store_that_does_not_wait_answers_at_once_behind_any_store_too() {
    fn check(limiter: &Limiter<impl Store>) {
        let limit = limiter.limit("generate", "1/day").unwrap();
        let items = [Item::new(&limit, "k")];
        let mut receipt = allowed(limiter.charge_all_at_once(&items).expect("at once"));
        assert!(limiter.charge_all_at_once(&items).expect("at once").unwrap().denial().is_some());
        assert_eq!(limiter.refund_at_once(&mut receipt).expect("at once").unwrap().given_back(), 1);
        assert_eq!(receipt.refunded(), 1, "the receipt heard of it");
        assert_eq!(run(limiter.peek(&limit, "k")).unwrap().remaining(), 1);
        // What another limit's name stands for is found before the store is asked.
        let other = Limit::new("generate", "2/day").unwrap();
        assert!(limiter.charge_all_at_once(&[Item::new(&other, "k")]).expect("at once").unwrap_err().is_conflict());
    }
    check(&Limiter::new(OwnStore::new(ManualClock::at(NOON))));
    check(&Limiter::new(AnyStore::new(OwnStore::new(ManualClock::at(NOON)))));
}

#[test]
fn a_fallback_decides_at_once_too() {
    let limiter = Troubled::limiter(false);
    let limit = limiter.register(&Limit::new("allow", "1/day").unwrap().with_fallback(Fallback::Allow)).unwrap();
    let decision = limiter.charge_all_at_once(&[Item::new(&limit, "k")]).expect("at once").unwrap();
    assert!(matches!(decision, Decision::Unchecked(_)));
}

#[test]
fn variants_of_one_limit_are_no_conflict_and_keep_what_a_key_has_used() {
    let (limiter, _) = limiter();
    let free = limiter.limit("daily", "2/day").unwrap();
    let pro = free.variant("5/day").unwrap();
    for _ in 0..2 {
        let _kept = allowed(limiter.charge_now(&free, "k"));
    }
    let _ = denied(limiter.charge_now(&free, "k"));
    let mut receipt = allowed(limiter.charge_now(&pro, "k"));
    assert_eq!(limiter.peek_now(&pro, "k").unwrap().used(), 3);
    let _ = denied(limiter.charge_now(&free, "k"));
    assert_eq!(limiter.refund_now(&mut receipt).unwrap().given_back(), 1);
    // Other keys are under either, in turn.
    let _kept = allowed(limiter.charge_now(&free, "other"));
    let _kept = allowed(limiter.charge_now(&pro, "third"));
    // One charge names one of them.
    let both = [Item::new(&free, "k"), Item::new(&pro, "k")];
    assert!(limiter.charge_all_now(&both).unwrap_err().is_conflict());
    // A variant is of its own family only.
    let stranger = Limit::new("daily", "9/day").unwrap();
    assert!(limiter.charge_now(&stranger, "k").unwrap_err().is_conflict());
    assert!(pro.is_variant_of(&free) && !stranger.is_variant_of(&free));
    assert!(free.variant("9/fortnight").unwrap_err().is_invalid());
    // Its count would start afresh with each change.
    for policy in ["5/hour", "5/day from first", "5/day sliding", "1/day burst 5", "5 at once for 24h"] {
        assert!(free.variant(policy).unwrap_err().is_invalid(), "{policy}");
    }
    assert_eq!(free.with_fallback(Fallback::Deny).variant("9/day").unwrap().fallback(), Fallback::Deny);
}

#[test]
fn a_limit_that_replaces_brings_its_variants() {
    let (limiter, _) = limiter();
    let free = limiter.limit("daily", "2/day").unwrap();
    let _kept = allowed(limiter.charge_now(&free, "k"));
    // The same policy, as a file read again has it.
    let again = Limit::new("daily", "2/day").unwrap();
    let more = again.variant("5/day").unwrap();
    assert!(limiter.charge_now(&more, "k").unwrap_err().is_conflict());
    limiter.replace(&again);
    let _kept = allowed(limiter.charge_now(&more, "k"));
    assert_eq!(limiter.peek_now(&again, "k").unwrap().used(), 2);
    assert!(limiter.charge_now(&free.variant("7/day").unwrap(), "k").unwrap_err().is_conflict());
}

#[test]
fn limits_that_are_made_twice_are_the_same_with_their_variants() {
    let (limiter, _) = limiter();
    let made = || {
        let free = Limit::new("daily", "5/day").unwrap();
        let pro = free.variant("50/day").unwrap();
        (free, pro)
    };
    let ((free, pro), (free_again, pro_again)) = (made(), made());
    for limit in [&free, &pro, &free_again, &pro_again, &free] {
        let _kept = allowed(limiter.charge_now(limit, "k"));
    }
    assert_eq!(limiter.peek_now(&pro_again, "k").unwrap().used(), 5);
    let other = free_again.variant("60/day").unwrap();
    let _kept = allowed(limiter.charge_now(&pro, "k"));
    assert!(limiter.charge_now(&Limit::new("daily", "60/day").unwrap(), "k").unwrap_err().is_conflict());
    assert!(limiter.charge_now(&other, "k").unwrap_err().is_conflict(), "of a family that this limiter has not met");
}

#[test]
fn a_token_names_the_variant_that_was_charged() {
    let (limiter, _) = limiter();
    let free = limiter.limit("daily", "2/day").unwrap();
    let alone = limiter.token(&allowed(limiter.charge_now(&free, "other"))).unwrap();
    let pro = free.variant("20/day").unwrap();
    let token = limiter.token(&allowed(limiter.charge_now(&pro, "k"))).unwrap();
    let _last = allowed(limiter.charge_now(&free, "other"));
    let mut copy = limiter.receipt(&token).unwrap();
    let settled = limiter.settle_now(&mut copy, 15, Shortfall::Refuse).unwrap().settled().expect("pro has room");
    assert_eq!(settled.parts[0].status.unwrap().quota(), 20);
    // One without variants says nothing of them, and is read all the same.
    assert_eq!(limiter.refund_now(&mut limiter.receipt(&alone).unwrap()).unwrap().given_back(), 1);
}

#[test]
fn variants_made_for_each_request_are_topped_up_as_they_were_charged() {
    let (limiter, _) = limiter();
    let made = || {
        let free = Limit::new("daily", "2/day").unwrap();
        let pro = free.variant("20/day").unwrap();
        (free, pro)
    };
    let (free, pro) = made();
    limiter.register(&free).unwrap();
    limiter.register(&pro).unwrap();
    let mut receipt = allowed(limiter.charge_now(&made().1, "k"));
    let _other = allowed(limiter.charge_now(&made().0, "other"));
    let mut copy = limiter.receipt(&limiter.token(&receipt).unwrap()).unwrap();
    let settled = limiter.settle_now(&mut receipt, 10, Shortfall::Refuse).unwrap().settled().expect("pro has room");
    assert_eq!(settled.parts[0].topped_up, 9);
    let settled = limiter.settle_now(&mut copy, 15, Shortfall::Refuse).unwrap().settled().expect("pro has room");
    assert_eq!(settled.parts[0].topped_up, 5);
}
