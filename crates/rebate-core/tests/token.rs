//! Receipts as text: what survives, what is refused and why, how large it is.
#![cfg(feature = "signed")]

mod common;

use std::time::Duration;

use common::{NOON, OwnStore, allowed, denied, limiter, run};
use proptest::prelude::*;
use rebate_core::{
    ChargeRequest, Clock, Decision, Error, Idempotency, Identity, Item, KeyRef, Lease, Limit, LimitRef, Limiter,
    ListRequest, MAX_KEY_BYTES, MAX_QUOTA, MAX_UNIT, ManualClock, Page, Part, Receipt, Refund, RefundRequest, Renewal,
    SettleReply, SettleRequest, Shortfall, Status, Statuses, Store, SyncStore, Timestamp,
};

const SECRET: &[u8] = b"sixteen bytes or more of it";

/// Everything a token carries. The limit's name, as an index is one store's own.
fn said<S: Store>(limiter: &Limiter<S>, receipt: &Receipt) -> impl PartialEq + std::fmt::Debug + use<S> {
    let part = |part: &Part| {
        let name = match &part.limit {
            LimitRef::Index(index) => identity(limiter).limit(*index).expect("known").name().to_owned(),
            LimitRef::Name(name) => name.to_string(),
        };
        let key = (part.key().group().map(<[u8]>::to_vec), part.key().bytes().to_vec());
        (name, key, part.cost, part.instance, part.last, part.refunded, part.tops_up)
    };
    let parts: Vec<_> = receipt.parts().iter().map(part).collect();
    (parts, receipt.charged_at(), receipt.is_idempotent())
}

/// A store of the given name that only has an identity.
struct Named(Identity);

impl Named {
    fn limiter(name: &str) -> Limiter<Named> {
        Limiter::new(Named(Identity::new(name).unwrap()))
    }
}

#[rustfmt::skip]
impl SyncStore for Named {
    fn identity(&self) -> &Identity { &self.0 }
    fn charge_now(&self, _: &ChargeRequest<'_>) -> Result<Decision, Error> { unimplemented!() }
    fn refund_now(&self, _: &RefundRequest<'_>) -> Result<Refund, Error> { unimplemented!() }
    fn settle_now(&self, _: &SettleRequest<'_>) -> Result<SettleReply, Error> { unimplemented!() }
    fn renew_now(&self, _: &Receipt) -> Result<Renewal, Error> { unimplemented!() }
    fn peek_now(&self, _: &[Item<'_>]) -> Result<Statuses, Error> { unimplemented!() }
    fn reset_now(&self, _: &Limit, _: KeyRef<'_>) -> Result<bool, Error> { unimplemented!() }
    fn list_now(&self, _: &ListRequest<'_>) -> Result<Page, Error> { unimplemented!() }
    fn leases_now(&self, _: &Limit, _: KeyRef<'_>) -> Result<Vec<Lease>, Error> { unimplemented!() }
}

#[test]
fn a_receipt_survives_with_groups_notes_top_ups_and_long_keys() {
    let (limiter, _) = limiter();
    let hour = limiter.limit("hour", "100/hour").unwrap();
    let day = limiter.limit("per day", "1000/day").unwrap();
    let long = vec![0u8; MAX_KEY_BYTES];
    let items = [
        Item::new(&hour, KeyRef::in_group("tenant:7", "user:42")).cost(3),
        Item::new(&day, "").cost(7),
        Item::new(&day, KeyRef::in_group("", "")),
        Item::new(&day, &long),
        Item::new(&day, KeyRef::in_group(&long, &long)),
        Item::new(&day, "{a}:b\n\0\u{7f}\"\\"),
    ];
    for idempotency in [None, Some(0), Some(1), Some(2), Some(4)] {
        let mut receipt = allowed(match idempotency {
            None => limiter.charge_all_now(&items),
            Some(scope) => limiter.charge_once_now(&items, Idempotency::new("retry\0me").scope(scope)),
        });
        assert_eq!(said(&limiter, &read_again(&limiter, &receipt)), said(&limiter, &receipt));
        // With a refund noted, and with a top-up.
        limiter.refund_parts_now(&mut receipt, &[2, 1, 0, 0, 0, 0]).unwrap();
        let settled = limiter.settle_parts_now(&mut receipt, &[5, 6, 1, 1, 4, 1], Shortfall::Refuse).unwrap();
        assert!(settled.settled().is_some());
        assert_eq!(receipt.parts().iter().filter(|part| part.tops_up.is_some()).count(), 2);
        let mut again = read_again(&limiter, &receipt);
        assert_eq!(said(&limiter, &again), said(&limiter, &receipt));
        // The copy gives back all that is left, and frees the idempotency key.
        let left = receipt.cost() - receipt.refunded();
        assert_eq!(limiter.refund_now(&mut again).unwrap().given_back(), left);
        assert_eq!(limiter.refund_now(&mut receipt).unwrap().given_back(), 0);
        if let Some(scope) = idempotency {
            let key = Idempotency::new("retry\0me").scope(scope);
            let mut anew = allowed(limiter.charge_once_now(&items, key));
            assert!(!anew.is_replay());
            let mut replay = allowed(limiter.charge_once_now(&items, key));
            assert!(replay.is_replay());
            limiter.refund_now(&mut replay).unwrap();
            assert_eq!(limiter.refund_now(&mut anew).unwrap().given_back(), 0);
        }
    }
    assert_eq!(limiter.peek_now(&day, "").unwrap().used(), 0);
}

fn read_again<S: Store>(limiter: &Limiter<S>, receipt: &Receipt) -> Receipt {
    let token = limiter.token(receipt).unwrap();
    assert!(token.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'));
    limiter.receipt(&token).unwrap()
}

#[test]
fn a_token_alone_refunds_through_a_limiter_that_knows_no_rule() {
    let clock = ManualClock::at(NOON);
    let store = std::sync::Arc::new(OwnStore::new(clock));
    let first = Limiter::new(Shared(store.clone()));
    let second = Limiter::new(Shared(store));
    let limit = first.limit("generate", "2/month").unwrap();
    let token = {
        let receipt = allowed(first.charge_now(&limit, "user:42"));
        first.token(&receipt).unwrap()
    };
    let _kept = allowed(first.charge_now(&limit, "user:42"));
    let _ = denied(first.charge_now(&limit, "user:42"));

    let mut receipt = second.receipt(&token).unwrap();
    let refund = second.refund_now(&mut receipt).unwrap();
    assert_eq!((refund.given_back(), refund.parts[0].status.unwrap().remaining()), (1, 1));
    assert_eq!(second.refund_now(&mut second.receipt(&token).unwrap()).unwrap().given_back(), 0);
    let _ = allowed(first.charge_now(&limit, "user:42"));
    let _ = denied(first.charge_now(&limit, "user:42"));
}

struct Shared(std::sync::Arc<OwnStore<ManualClock>>);

#[rustfmt::skip]
impl SyncStore for Shared {
    fn identity(&self) -> &Identity { SyncStore::identity(&*self.0) }
    fn charge_now(&self, request: &ChargeRequest<'_>) -> Result<Decision, Error> { self.0.charge_now(request) }
    fn refund_now(&self, request: &RefundRequest<'_>) -> Result<Refund, Error> { self.0.refund_now(request) }
    fn settle_now(&self, request: &SettleRequest<'_>) -> Result<SettleReply, Error> { self.0.settle_now(request) }
    fn renew_now(&self, receipt: &Receipt) -> Result<Renewal, Error> { self.0.renew_now(receipt) }
    fn peek_now(&self, items: &[Item<'_>]) -> Result<Statuses, Error> { self.0.peek_now(items) }
    fn reset_now(&self, limit: &Limit, key: KeyRef<'_>) -> Result<bool, Error> { self.0.reset_now(limit, key) }
    fn list_now(&self, request: &ListRequest<'_>) -> Result<Page, Error> { self.0.list_now(request) }
    fn leases_now(&self, limit: &Limit, key: KeyRef<'_>) -> Result<Vec<Lease>, Error> { self.0.leases_now(limit, key) }
}

#[test]
fn a_token_of_a_store_restarted_under_its_name_reads_and_is_expired() {
    let (before, clock) = limiter();
    let limit = before.limit("generate", "2/month").unwrap();
    let token = before.token(&allowed(before.charge_now(&limit, "user:42"))).unwrap();
    let after = Limiter::new(OwnStore::new(clock));
    let refund = after.refund_now(&mut after.receipt(&token).unwrap()).unwrap();
    assert!(refund.any_expired() && refund.parts[0].status.is_none());
    let limit = after.limit("generate", "2/month").unwrap();
    let refund = after.refund_now(&mut after.receipt(&token).unwrap()).unwrap();
    assert!(refund.any_expired() && refund.given_back() == 0);
    assert_eq!(after.peek_now(&limit, "user:42").unwrap().remaining(), 2);
    assert!(after.list_now(&limit, None, 10).unwrap().keys.is_empty(), "no count was created");
}

#[test]
fn the_largest_token_of_one_limit_and_a_key_of_20_bytes_has_at_most_200_bytes() {
    let store = "a".repeat(16);
    let limiter = Named::limiter(&store);
    let limit = limiter.limit(&"n".repeat(64), &format!("{MAX_QUOTA}/day")).unwrap();
    let part = Part {
        limit: LimitRef::Index(identity(&limiter).index_of(&limit).limit),
        key: "k".repeat(20).as_str().into(),
        cost: MAX_QUOTA,
        instance: u64::MAX,
        last: MAX_UNIT,
        refunded: MAX_QUOTA,
        tops_up: None,
    };
    let tag = identity(&limiter).tag();
    let receipt = Receipt::new(tag, Timestamp::MAX, [part].into_iter().collect(), Default::default());
    let token = limiter.token(&receipt).unwrap();
    assert!(token.len() <= 200, "{} bytes", token.len());
    assert_eq!(said(&limiter, &limiter.receipt(&token).unwrap()), said(&limiter, &receipt));

    let (small, _) = common::limiter();
    let limit = small.limit("generate", "10/month").unwrap();
    let token = small.token(&allowed(small.charge_now(&limit, "user:42"))).unwrap();
    assert!(token.len() <= 64, "{} bytes for a common one: {token}", token.len());
}

#[test]
fn every_prefix_is_truncated() {
    let (unsigned, signed) = both();
    for (limiter, token) in [&unsigned, &signed] {
        for end in 0..token.len() {
            let error = limiter.receipt(&token[..end]).unwrap_err();
            assert!(error.is_bad_token() && error.is_truncated_token(), "{end}: {error}");
        }
    }
}

type Signer = (Limiter<OwnStore<ManualClock>>, String);

/// A limiter that does not sign and one that does, each with a token of its own.
fn both() -> (Signer, Signer) {
    let store = || OwnStore::new(ManualClock::at(NOON));
    let with_token = |limiter: Limiter<OwnStore<ManualClock>>| {
        let limit = limiter.limit("generate", "10/month").unwrap();
        let items = [Item::new(&limit, "user:42").cost(3), Item::new(&limit, KeyRef::in_group("tenant", "user"))];
        let receipt = allowed(limiter.charge_once_now(&items, Idempotency::new("retry")));
        let token = limiter.token(&receipt).unwrap();
        (limiter, token)
    };
    (with_token(Limiter::new(store())), with_token(Limiter::signed(store(), SECRET).unwrap()))
}

#[test]
fn every_flipped_bit_of_a_signed_token_is_refused() {
    let (_, (limiter, token)) = both();
    assert!(limiter.receipt(&token).is_ok());
    let mut forged = 0;
    for at in 0..token.len() {
        for bit in 0..8 {
            let mut bytes = token.clone().into_bytes();
            bytes[at] ^= 1 << bit;
            let Ok(altered) = String::from_utf8(bytes) else { continue };
            let error = limiter.receipt(&altered).expect_err("a token was altered and accepted");
            assert!(error.is_bad_token(), "{error}");
            forged += u32::from(error.is_forged_token());
        }
    }
    assert!(forged > 500, "most are told to be forged: {forged}");
}

#[test]
fn forged_is_told_from_other_secrets_and_unsigned_tokens() {
    let ((plain, unsigned), (signing, signed)) = both();
    assert!(signing.receipt(&unsigned).unwrap_err().is_forged_token());
    assert!(plain.receipt(&signed).unwrap_err().is_forged_token());
    let other = Limiter::signed(OwnStore::new(ManualClock::at(NOON)), b"another secret of the same kind").unwrap();
    assert!(other.receipt(&signed).unwrap_err().is_forged_token());
    // Taking the signature off does not make an unsigned one.
    let stripped = format!("r1{}", &signed[2..]);
    assert!(plain.receipt(&stripped).unwrap_err().is_bad_token());
    assert!(Limiter::signed(OwnStore::new(ManualClock::at(NOON)), b"too short").unwrap_err().is_invalid());
}

#[test]
fn each_fault_has_its_own_predicate() {
    let (limiter, _) = limiter();
    let limit = limiter.limit("generate", "10/month").unwrap();
    let token = limiter.token(&allowed(limiter.charge_now(&limit, "user:42"))).unwrap();
    let faults = |error: &Error| {
        [
            error.is_malformed_token(),
            error.is_truncated_token(),
            error.is_forged_token(),
            error.is_token_version(),
            error.is_other_store(),
        ]
    };
    let check = |text: &str, fault: usize| {
        let error = limiter.receipt(text).unwrap_err();
        let wanted: Vec<bool> = (0..5).map(|at| at == fault).collect();
        assert_eq!(faults(&error)[..], wanted, "`{text}`: {error}");
        assert!(error.is_bad_token() && !error.is_invalid() && !error.may_have_happened() && !error.is_retryable());
    };
    for malformed in ["hello", "x1AAAA", "r1!!!!", "é", "r\u{e9}", "r1AAA=", "r_AAAA", "  r1AAAA"] {
        check(malformed, 0);
    }
    check(&format!("{token}\n"), 0);
    check(&format!("{token}AAAA"), 0);
    check("", 1);
    check("r", 1);
    check("r1", 1);
    check(&token[..token.len() / 2], 1);
    check(&format!("s1{}", "A".repeat(40)), 0);
    check(&token.replacen("r1", "r2", 1), 3);
    check(&token.replacen("r1", "sz", 1), 3);
    let other = Named::limiter("other");
    assert_eq!(faults(&other.receipt(&token).unwrap_err()), [false, false, false, false, true]);
}

#[test]
fn a_receipt_of_another_store_is_refused_before_anything_happens() {
    let (one, _) = limiter();
    let (two, _) = limiter();
    let limit = one.limit("generate", "10/month").unwrap();
    let mut receipt = allowed(one.charge_now(&limit, "user:42"));
    assert!(two.token(&receipt).unwrap_err().is_other_store());
    assert!(two.refund_now(&mut receipt).unwrap_err().is_other_store());
    assert!(two.settle_now(&mut receipt, 1, Shortfall::Refuse).unwrap_err().is_other_store());
    assert!(two.renew_now(&receipt).unwrap_err().is_other_store());
    assert_eq!(one.refund_now(&mut receipt).unwrap().given_back(), 1, "the receipt is as usable as before");
}

#[test]
fn a_receipt_from_the_future_is_expired_and_changes_nothing() {
    let (limiter, clock) = limiter();
    for policy in
        ["9/day", "9/day from first", "9/hour sliding", "9/hour sliding log", "1/hour burst 9", "9 at once for 1h"]
    {
        let limit = limiter.limit(policy, policy).unwrap();
        let first = allowed(limiter.charge_now(&limit, "k"));
        let before: Status = limiter.peek_now(&limit, "k").unwrap();
        let honest = first.parts()[0].clone();
        for (cost, last) in [(1, 2), (2, 1), (2, 2), (9, MAX_UNIT), (MAX_QUOTA, MAX_QUOTA)] {
            let forged = Part { cost, last, ..honest.clone() };
            let tag = identity(&limiter).tag();
            let later = clock.now().saturating_add(Duration::from_secs(900));
            let mut receipt = Receipt::new(tag, later, [forged].into_iter().collect(), Default::default());
            let refund = limiter.refund_now(&mut receipt).unwrap();
            assert!(refund.any_expired() && refund.given_back() == 0, "{policy}: {cost} up to {last}");
            assert_eq!(limiter.peek_now(&limit, "k").unwrap(), before, "{policy}");
        }
    }
}

fn identity<S: Store>(limiter: &Limiter<S>) -> &Identity {
    limiter.store().identity()
}

#[test]
fn parts_no_store_gives_out_are_malformed_or_harmless() {
    let (limiter, _) = limiter();
    let limit = limiter.limit("generate", "10/month").unwrap();
    let honest = allowed(limiter.charge_now(&limit, "user:42")).parts()[0].clone();
    let tag = identity(&limiter).tag();
    for part in [
        Part { cost: u64::MAX, last: u64::MAX, ..honest.clone() },
        Part { cost: MAX_QUOTA + 1, last: MAX_UNIT, ..honest.clone() },
        Part { cost: 1, last: MAX_UNIT + 1, ..honest.clone() },
        Part { cost: 0, ..honest.clone() },
        Part { refunded: 2, ..honest.clone() },
        Part { tops_up: Some(0), ..honest.clone() },
        Part { tops_up: Some(7), ..honest.clone() },
    ] {
        let receipt = Receipt::new(tag, NOON, [part.clone(), part].into_iter().collect(), Default::default());
        let _ = (receipt.cost(), receipt.refunded());
        let token = limiter.token(&receipt).unwrap();
        assert!(limiter.receipt(&token).unwrap_err().is_malformed_token());
    }
}

#[test]
fn debug_shows_neither_keys_nor_instances() {
    let (limiter, _) = limiter();
    let limit = limiter.limit("generate", "10/month").unwrap();
    let receipt = allowed(limiter.charge_now(&limit, "user:42"));
    let shown = format!("{receipt:?}");
    assert!(!shown.contains("user:42") && !shown.contains(&receipt.parts()[0].instance.to_string()), "{shown}");
}

#[test]
fn the_asynchronous_methods_do_the_same() {
    let (limiter, _) = limiter();
    let limit = limiter.limit("generate", "2/month").unwrap();
    let receipt = allowed(run(limiter.charge(&limit, "user:42")));
    let mut again = limiter.receipt(&limiter.token(&receipt).unwrap()).unwrap();
    assert_eq!(run(limiter.refund(&mut again)).unwrap().given_back(), 1);
}

proptest! {
    #[test]
    fn no_text_is_read_with_a_panic(text in any::<String>(), body in "[A-Za-z0-9_-]{0,300}") {
        let (limiter, _) = limiter();
        prop_assert!(limiter.receipt(&text).is_err());
        let _ = limiter.receipt(&format!("r1{body}"));
        let _ = limiter.receipt(&format!("s1{body}"));
    }

    #[test]
    fn what_is_read_is_written_the_same(at in any::<prop::sample::Index>(), to in "[A-Za-z0-9_-]") {
        let ((limiter, mut token), _) = both();
        let at = at.index(token.len());
        token.replace_range(at..=at, &to);
        if let Ok(receipt) = limiter.receipt(&token) {
            prop_assert_eq!(limiter.token(&receipt).unwrap(), token);
        }
    }
}
