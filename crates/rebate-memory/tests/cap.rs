//! The memory cap: what is held stays below it, whatever the counts are made of; what is in force stays,
//! what has expired makes room, and giving back needs none.

use std::time::Duration;

use rebate_core::{Fallback, Idempotency, Item, Limit, Limiter, ManualClock, Receipt, Shortfall, Timestamp};
use rebate_memory::MemoryStore;

fn limiter(cap: usize) -> (ManualClock, Limiter<MemoryStore<ManualClock>>) {
    let clock = ManualClock::at(Timestamp::from_secs(1_700_000_000));
    let store = MemoryStore::builder().clock(clock.clone()).capacity_bytes(cap).build().expect("valid settings");
    (clock, Limiter::new(store))
}

/// Charges keys until one does not fit, at most `most`; answers how many did.
fn fill(limiter: &Limiter<MemoryStore<ManualClock>>, policy: &str, cost: u64, most: usize) -> usize {
    let limit = limiter.limit("fill", policy).expect("a limit");
    let fits = |at: &usize| limiter.charge_all_now(&[Item::new(&limit, &format!("key:{at}")).cost(cost)]).is_ok();
    (0..most).take_while(fits).count()
}

#[test]
fn every_kind_of_count_meets_the_cap() {
    let kinds = [
        ("10/day", 1),
        ("10/day sliding", 1),
        ("10/day sliding log", 1),
        ("3 at once for 10m", 1),
        ("10/day burst 10", 1),
        // Beside the table: a fraction that fits no entry, and more units than one holds.
        ("65537/hour burst 100", 1),
        ("1000000000000/day", 1 << 31),
    ];
    for (policy, cost) in kinds {
        let (_, limiter) = limiter(1 << 18);
        let fitted = fill(&limiter, policy, cost, 20_000);
        assert!((100..20_000).contains(&fitted), "{policy}: {fitted} keys");
        assert!(limiter.store().used_bytes() <= limiter.store().capacity_bytes(), "{policy}");
    }
}

#[test]
fn counts_that_outgrow_their_entries_meet_the_cap() {
    let (_, limiter) = limiter(1 << 20);
    let fitted = fill(&limiter, "1000000000000/day", 1, 100_000);
    let limit = limiter.limit("fill", "1000000000000/day").expect("a limit");
    for at in 0..fitted {
        let _ = limiter.charge_all_now(&[Item::new(&limit, &format!("key:{at}")).cost(1 << 31)]);
    }
    assert!(limiter.store().used_bytes() <= limiter.store().capacity_bytes());
}

#[test]
fn notes_meet_the_cap() {
    let (_, limiter) = limiter(1 << 22);
    let limit = limiter.limit("limit", "10/minute").expect("a limit");
    let keys: Vec<String> = (0..60).map(|at| format!("{}{at}", "x".repeat(50_000))).collect();
    for key in &keys {
        drop(limiter.charge_now(&limit, key).expect("it fits"));
    }
    let items: Vec<Item<'_>> = keys.iter().map(|key| Item::new(&limit, key)).collect();
    assert!(limiter.charge_once_now(&items, Idempotency::new("once")).expect_err("no room").is_full());
    assert!(limiter.store().used_bytes() <= limiter.store().capacity_bytes());
}

#[test]
fn top_ups_meet_the_cap() {
    let (_, limiter) = limiter(1 << 18);
    let key = "x".repeat(1000);
    let limits: Vec<Limit> =
        (0..32).map(|at| limiter.limit(&format!("limit {at}"), "1000/day").expect("a limit")).collect();
    let items: Vec<Item<'_>> = limits.iter().map(|limit| Item::new(limit, &key)).collect();
    let mut settled = 0;
    let error = loop {
        let mut receipt = limiter.charge_all_now(&items).expect("no new counts").receipt().expect("admitted");
        match limiter.settle_now(&mut receipt, 2, Shortfall::Refuse) {
            Ok(settlement) => settled += usize::from(settlement.settled().is_some()),
            Err(error) => break error,
        }
    };
    assert!(error.is_full() && settled > 0);
    // The last sixteenth is the refunds'.
    assert!(limiter.store().used_bytes() <= limiter.store().capacity_bytes() / 16 * 15, "after {settled}");
}

/// Reserves of one key, or of others in turn, until there is no room; answers how often there was.
fn reserve_until_full(limiter: &Limiter<MemoryStore<ManualClock>>, policy: &str, keys: usize) -> usize {
    let limit = limiter.limit("reserved", policy).expect("a limit");
    for reserved in 0..100_000 {
        let key = format!("reserved:{}", reserved % keys);
        match limiter.reserve_now(&[Item::new(&limit, &key)], Duration::from_secs(600)) {
            Ok(decision) => assert!(decision.may_proceed(), "{policy}: the quota is larger"),
            Err(error) => {
                assert!(error.is_full(), "{policy}: {error}");
                return reserved;
            }
        }
        assert!(limiter.store().used_bytes() <= limiter.store().capacity_bytes(), "{policy}: after {reserved}");
    }
    panic!("{policy}: 100,000 reservations do not count");
}

#[test]
fn reservations_meet_the_cap() {
    for policy in ["1000000/day", "1000000/day sliding", "1000000/day sliding log", "1000000/day burst 1000000"] {
        for keys in [1, 3, 1_000_000] {
            let (clock, limiter) = limiter(1 << 18);
            let fitted = reserve_until_full(&limiter, policy, keys);
            assert!(fitted > 100, "{policy}: {fitted} of {keys} keys");
            // Those that have ended, and were looked at, make room for others.
            clock.advance(Duration::from_secs(600));
            let limit = limiter.limit("reserved", policy).expect("a limit");
            let listed = limiter.list_now(&limit, None, 1_000_000).expect("no trouble").keys;
            assert!(listed.iter().all(|(_, status)| status.used() == 0), "{policy}");
            assert!(limiter.store().used_bytes() <= limiter.store().capacity_bytes(), "{policy}");
            if keys <= 3 {
                assert!(reserve_until_full(&limiter, policy, keys) > 100, "{policy}: of {keys} keys");
            }
        }
    }
}

#[test]
fn many_reserved_in_one_charge_meet_the_cap() {
    let keys: Vec<String> = (0..1024).map(|at| format!("key:{at}")).collect();
    let mut fitted = 0;
    for filled in (0..16_000).step_by(500) {
        let (_, limiter) = limiter(1 << 20);
        let limit = limiter.limit("limit", "10/day").expect("a limit");
        let items: Vec<Item<'_>> = keys.iter().map(|key| Item::new(&limit, key)).collect();
        if limiter.charge_all_now(&items).is_err() {
            break;
        }
        fill(&limiter, "10/day sliding", 1, filled);
        match limiter.reserve_now(&items, Duration::from_secs(600)) {
            Ok(decision) => fitted += usize::from(decision.may_proceed()),
            Err(error) => assert!(error.is_full()),
        }
        let (used, cap) = (limiter.store().used_bytes(), limiter.store().capacity_bytes());
        assert!(used <= cap, "after {filled}: {used} of {cap}");
    }
    assert!(fitted > 0);
}

#[test]
fn a_release_needs_no_room() {
    let (_, limiter) = limiter(4096);
    let places = limiter.limit("places", "1 at once for 10m").expect("a limit");
    let mut lease = limiter.charge_now(&places, "a").expect("it fits").receipt().expect("admitted");
    fill(&limiter, "10/day", 1, 1000);
    assert_eq!(limiter.refund_now(&mut lease).expect("no room is needed").given_back(), 1);
}

#[test]
fn a_guard_over_several_limits_refunds_in_a_small_store() {
    let (_, limiter) = limiter(32_768);
    let (day, minute) =
        (limiter.limit("day", "10/day").expect("a limit"), limiter.limit("m", "10/minute").expect("a limit"));
    let decision = limiter.charge_all_now(&[Item::new(&day, "a"), Item::new(&minute, "a")]).expect("it fits");
    drop(limiter.guard(decision.receipt().expect("admitted")));
    assert_eq!(limiter.peek_now(&day, "a").expect("no trouble").used(), 0);
    assert_eq!(limiter.peek_now(&minute, "a").expect("no trouble").used(), 0);
}

#[test]
fn a_settlement_down_needs_no_room() {
    let (_, limiter) = limiter(1 << 16);
    let limit = limiter.limit("limit", "10/day").expect("a limit");
    let charged = limiter.charge_all_now(&[Item::new(&limit, "a").cost(9)]).expect("it fits");
    let mut receipt: Receipt = charged.receipt().expect("admitted");
    fill(&limiter, "10/day", 1, 10_000);
    let settled = limiter.settle_now(&mut receipt, 2, Shortfall::Refuse).expect("no room is needed").settled();
    assert_eq!(settled.expect("settled").parts[0].given_back, 7);
}

#[test]
fn what_was_put_in_since_the_last_sweep_makes_room_when_it_expires() {
    let (clock, limiter) = limiter(4096);
    let day = limiter.limit("day", "10/day").expect("a limit");
    let minute = limiter.limit("minute", "10/minute from first").expect("a limit");
    let kept: Vec<String> =
        (0..100).map(|at| format!("key:{at}")).filter(|key| limiter.charge_now(&day, key).is_ok()).collect();
    assert!(kept.len() < 100);
    limiter.reset_now(&day, &kept[0]).expect("no trouble");
    assert!(limiter.charge_now(&minute, "a").is_ok());
    assert!(limiter.charge_now(&minute, "b").expect_err("no room").is_full());
    clock.advance(Duration::from_secs(61));
    assert!(limiter.charge_now(&minute, "b").is_ok());
}

/// Which shards the keys are in differs from store to store: of a few, the next key's is most often another one.
#[test]
fn what_expired_in_some_shards_makes_room_in_the_others() {
    for _ in 0..6 {
        let (clock, limiter) = limiter(4 << 20);
        let log = limiter.limit("log", "1000000/minute sliding log").expect("a limit");
        // A log grows by doubling: each next one fills half of what is left.
        let mut filled = 0;
        while limiter.charge_now(&log, &format!("filled:{filled}")).is_ok() {
            while limiter.charge_now(&log, &format!("filled:{filled}")).is_ok() {}
            filled += 1;
        }
        assert!(filled < 32, "few keys fill the store: {filled}");
        clock.advance(Duration::from_secs(61));
        assert!(limiter.charge_now(&log, "new").is_ok(), "after {filled}");
    }
}

#[test]
fn many_new_keys_in_one_charge_fit_where_they_fit_one_by_one() {
    let (_, limiter) = limiter(16 << 20);
    let limit = limiter.limit("limit", "10/day").expect("a limit");
    let keys: Vec<String> = (0..1024).map(|at| format!("key:{at}")).collect();
    let items: Vec<Item<'_>> = keys.iter().map(|key| Item::new(&limit, key)).collect();
    assert!(limiter.charge_all_now(&items).expect("it fits").receipt().is_some());
}

#[test]
fn a_denial_by_a_fallback_tells_no_wait() {
    let (_, limiter) = limiter(4096);
    fill(&limiter, "10/day", 1, 1000);
    let limit = limiter.limit("other", "10/day").expect("a limit").with_fallback(Fallback::Deny);
    let denial = limiter.charge_now(&limit, "new").expect("a denial").denial().expect("denied");
    assert_eq!(denial.retry_after(), None);
    assert!(denial.trouble().is_some_and(rebate_core::Error::is_full));
}
