//! Bad input, and numbers at their ends: a defined answer each, and no panic.

mod common;

use std::time::Duration;

use common::{NOON, OwnStore, allowed, denied, limiter};
use rebate_core::{
    Clock, Idempotency, Item, KeyRef, Limit, Limiter, MAX_KEY_BYTES, MAX_QUOTA, MAX_UNIT, ManualClock, Policy, Retry,
    Shortfall, Timestamp,
};

const POLICIES: [&str; 9] = [
    "9/day",
    "9/month in America/St_Johns",
    "9/24h from first",
    "9/hour sliding",
    "9/7us sliding",
    "9/hour sliding log",
    "7/second burst 9",
    "1/3us burst 9",
    "9 at once for 10m",
];

#[test]
fn costs_of_none_and_of_all() {
    let (limiter, _) = limiter();
    for policy in POLICIES {
        let limit = limiter.limit(policy, policy).unwrap();
        let item = Item::new(&limit, "k");
        assert!(limiter.charge_all_now(&[item.cost(0)]).unwrap_err().is_invalid());
        for cost in [10, MAX_QUOTA, u64::MAX - 1, u64::MAX] {
            for items in [&[item.cost(cost)][..], &[item.cost(cost), item.cost(cost)][..]] {
                let denial = denied(limiter.charge_all_now(items));
                assert_eq!(denial.retry(), Retry::Never, "{policy}");
                assert_eq!(denial.retry_after(), None);
            }
        }
        let mut receipt = allowed(limiter.charge_all_now(&[item.cost(9)]));
        assert_eq!(denied(limiter.charge_all_now(&[item.cost(u64::MAX)])).retry(), Retry::Never, "full, still never");
        assert!(limiter.settle_now(&mut receipt, u64::MAX, Shortfall::Refuse).unwrap().settled().is_none());
        let settlement = limiter.settle_now(&mut receipt, u64::MAX, Shortfall::TakeWhatIsThere).unwrap();
        assert_eq!(settlement.settled().unwrap().parts[0].shortfall, u64::MAX - 9, "{policy}");
        assert_eq!(limiter.refund_up_to_now(&mut receipt, u64::MAX).unwrap().given_back(), 9, "{policy}");
    }
    assert!(limiter.charge_all_now(&[]).unwrap_err().is_invalid());
    assert!(limiter.peek_all_now(&[]).unwrap_err().is_invalid());
    let limit = limiter.limit("many", "1000000/day").unwrap();
    assert!(limiter.charge_all_now(&vec![Item::new(&limit, "k"); 1025]).unwrap_err().is_invalid());
    assert_eq!(allowed(limiter.charge_all_now(&vec![Item::new(&limit, "k"); 1024])).parts().len(), 1);
}

#[test]
fn keys_empty_long_and_full_of_anything_do_not_meet() {
    let (limiter, _) = limiter();
    let limit = limiter.limit("once", "1/day").unwrap();
    let long = vec![b'k'; MAX_KEY_BYTES];
    let keys: [&[u8]; 12] =
        [b"", b"\0", b"\0\0", b"\n", b"{", b"{}", b"{a}b", b"{a}:b", b"a:b", b"\xff\xfe", &long[1..], &long];
    for key in keys {
        for group in [None, Some(&b""[..]), Some(b"{a}"), Some(b"\0"), Some(&long[..])] {
            let key = group.map_or(KeyRef::new(key), |group| KeyRef::in_group(group, key));
            let _kept = allowed(limiter.charge_now(&limit, key));
            let _ = denied(limiter.charge_now(&limit, key));
        }
    }
    let too_long = vec![b'k'; MAX_KEY_BYTES + 1];
    for key in [KeyRef::new(&too_long), KeyRef::in_group(&too_long, "k"), KeyRef::in_group("g", &too_long)] {
        let error = limiter.charge_now(&limit, key).unwrap_err();
        assert!(error.is_invalid() && error.to_string().len() < 200);
        assert!(limiter.peek_now(&limit, key).unwrap_err().is_invalid());
    }
}

#[test]
fn names_that_would_break_a_header_are_refused() {
    let name = |name: &str| Limit::new(name, "1/day");
    for bad in ["", " ", " a", "a ", "a\"b", "a\\b", "a\nb", "a\r\nb", "a\0b", "é", "a\u{7f}", &"n".repeat(65)] {
        assert!(name(bad).unwrap_err().is_invalid(), "{bad:?}");
    }
    assert_eq!(name("a\nb").unwrap_err().position(), Some(1));
    for good in ["a", "per day", "a:b/c;d,e", "~!@#$%^&*()", &"n".repeat(64)] {
        assert_eq!(name(good).unwrap().name(), good);
    }
    for bad in ["", &"s".repeat(17), "a\"b", "redis\n"] {
        assert!(rebate_core::Identity::new(bad).unwrap_err().is_invalid(), "{bad:?}");
    }
}

#[test]
fn idempotency_keys_of_every_length_and_lifetime() {
    let (limiter, _) = limiter();
    let limit = limiter.limit("once", "9/day").unwrap();
    let items = [Item::new(&limit, "k")];
    let charge = |idempotency| limiter.charge_once_now(&items, idempotency);
    let long = [7; 256];
    assert!(charge(Idempotency::new("")).unwrap_err().is_invalid());
    assert!(charge(Idempotency::new(&long)).unwrap_err().is_invalid());
    assert!(charge(Idempotency::new("a").scope(1)).unwrap_err().is_invalid());
    for lifetime in [Duration::ZERO, Duration::from_nanos(999), Duration::MAX] {
        assert!(charge(Idempotency::new("a").lifetime(lifetime)).unwrap_err().is_invalid());
    }
    for (key, lifetime) in [(&long[..255], rebate_core::MAX_WINDOW), (b"\0", Duration::from_micros(1))] {
        assert!(!allowed(charge(Idempotency::new(key).lifetime(lifetime))).is_replay());
        assert!(allowed(charge(Idempotency::new(key).lifetime(lifetime))).is_replay());
    }
}

#[test]
fn reservations_of_every_time() {
    let (limiter, clock) = limiter();
    let limit = limiter.limit("reserved", "9/day").unwrap();
    let items = [Item::new(&limit, "k").cost(3)];
    let century = rebate_core::MAX_WINDOW;
    for within in [Duration::ZERO, Duration::from_nanos(999), century + Duration::from_micros(1), Duration::MAX] {
        let error = limiter.reserve_now(&items, within).unwrap_err();
        assert!(error.is_invalid() && !error.may_have_happened(), "{within:?}");
        assert!(error.to_string().contains("from a microsecond to a century"), "{error}");
    }
    assert_eq!(limiter.peek_now(&limit, "k").unwrap().used(), 0);
    for within in [century, Duration::from_nanos(1999), Duration::from_micros(1)] {
        let _reserved = allowed(limiter.reserve_now(&items, within));
    }
    assert_eq!(limiter.peek_now(&limit, "k").unwrap().used(), 9);
    clock.advance(Duration::from_micros(1));
    assert_eq!(limiter.peek_now(&limit, "k").unwrap().used(), 3);
    // At the end of time its own end lies beyond.
    clock.set(Timestamp::MAX);
    let _reserved = allowed(limiter.reserve_now(&items, century));
    assert_eq!(limiter.peek_now(&limit, "k").unwrap().used(), 3);
}

#[test]
fn clocks_at_zero_at_the_end_of_time_and_everywhere_between() {
    for policy in POLICIES {
        let moments = [0, 1, 999_999, 1 << 32, NOON.as_micros(), Timestamp::MAX.as_micros() - 1, u64::MAX];
        for from in moments {
            for to in moments {
                let clock = ManualClock::at(Timestamp::from_micros(from));
                let limiter = Limiter::new(OwnStore::new(clock.clone()));
                let limit = limiter.limit("limit", policy).unwrap();
                let item = Item::new(&limit, "k");
                let once = Idempotency::new("once").lifetime(rebate_core::MAX_WINDOW);
                let mut receipts = vec![
                    allowed(limiter.charge_all_now(&[item.cost(4)])),
                    allowed(limiter.charge_once_now(&[item.cost(5)], once)),
                ];
                let wait = denied(limiter.charge_now(&limit, "k")).retry_after().expect("it will fit again");
                assert!(wait <= limit.policy().longest() * 2 + Duration::from_micros(1), "{policy}: {wait:?}");
                clock.set(Timestamp::from_micros(to));
                let _ = limiter.charge_now(&limit, "k").unwrap();
                for receipt in &mut receipts {
                    let _ = limiter.renew_now(receipt).unwrap();
                    let _ = limiter.settle_now(receipt, 7, Shortfall::TakeWhatIsThere).unwrap();
                    let _ = limiter.refund_up_to_now(receipt, 1).unwrap();
                    let _ = limiter.refund_now(receipt).unwrap();
                }
                let status = limiter.peek_now(&limit, "k").unwrap();
                assert!(status.remaining() <= 9 && status.used() <= 9, "{policy}");
                let _ = limiter.list_now(&limit, None, 10).unwrap();
                let _ = limiter.reset_now(&limit, "k").unwrap();
                assert_eq!(limiter.peek_now(&limit, "k").unwrap().remaining(), 9, "{policy}");
            }
        }
    }
}

/// A count whose units are given out and back for longer than their numbers last.
#[test]
fn unit_numbers_do_not_run_out() {
    let largest: [(&str, Policy); 6] = [
        ("aligned", Policy::fixed(MAX_QUOTA, Duration::from_secs(86_400)).unwrap()),
        ("first", Policy::from_first(MAX_QUOTA, Duration::from_secs(86_400)).unwrap()),
        ("log", Policy::sliding_log(MAX_QUOTA, Duration::from_secs(86_400)).unwrap()),
        ("leases", Policy::concurrency(MAX_QUOTA, Duration::from_secs(86_400)).unwrap()),
        ("bucket", Policy::bucket(1, Duration::from_micros(1), 1 << 51).unwrap()),
        ("sliding", Policy::sliding(1 << 32, Duration::from_secs(86_400)).unwrap()),
    ];
    let (limiter, clock) = limiter();
    for (name, policy) in largest {
        let quota = policy.quota();
        let limit = limiter.register(&Limit::of(name, policy).unwrap()).unwrap();
        let item = Item::new(&limit, "k");
        let mut kept = allowed(limiter.charge_all_now(&[item.cost(7)]));
        let mut last = Vec::new();
        let rounds = 3 * (MAX_UNIT / quota).min(3000);
        for round in 0..rounds {
            let mut receipt = allowed(limiter.charge_all_now(&[item.cost(quota - 7)]));
            let _ = denied(limiter.charge_all_now(&[item.cost(1)]));
            assert!(receipt.parts()[0].last <= MAX_UNIT, "{name}");
            assert_eq!(limiter.refund_now(&mut receipt).unwrap().given_back(), quota - 7, "{name} {round}");
            assert_eq!(limiter.refund_now(&mut receipt).unwrap().given_back(), 0, "{name} {round}");
            last.push(receipt);
        }
        assert_eq!(limiter.peek_now(&limit, "k").unwrap().remaining(), quota - 7, "{name}");
        if quota > 1 << 40 {
            // Numbered anew meanwhile: what is in use still counts, its old receipt has expired.
            assert!(limiter.refund_now(&mut kept).unwrap().any_expired(), "{name}");
            let mut now = allowed(limiter.charge_all_now(&[item.cost(3)]));
            assert_eq!(limiter.refund_up_to_now(&mut now, 2).unwrap().given_back(), 2, "{name}");
            assert_eq!(limiter.peek_now(&limit, "k").unwrap().remaining(), quota - 8, "{name}");
        }
    }
    assert_eq!(clock.now(), NOON);
}
