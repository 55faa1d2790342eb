//! Law 12: evicting expired state changes no decision; live state is never evicted to make room.

use std::time::Duration;

use rebate_core::{ChargeRequest, Decision, Error, Fallback, Idempotency, Item, Limit, Receipt, Shortfall};

use super::scene::{Sample, Scene, Seen, admitted, limit};
use crate::Harness;

const ROOM: usize = 256 * 1024;

/// More counts than that would be less than 27 bytes each.
const TOO_MANY: u64 = 10_000;

/// Which shard a key is in, if there are any, is the store's secret: of so many sets of keys, most have what
/// ended in other shards than what is new.
const SETS: u64 = 8;

/// The answer, or `None` when the store was full.
fn unless_full<T>(answer: Result<T, Error>) -> Option<T> {
    match answer {
        Ok(answer) => Some(answer),
        Err(error) => {
            assert!(error.is_full() && error.is_retryable() && !error.may_have_happened(), "{error:?}");
            None
        }
    }
}

/// Charges a key, which must be admitted if the store is not full; whether there was room.
fn fits<H: Harness>(scene: &Scene<'_, H>, limit: &Limit, key: &str) -> bool {
    unless_full(scene.run(scene.limiter.charge(limit, key))).map(admitted).is_some()
}

/// Charges new keys until the store is full; how many there was room for.
fn fill<H: Harness>(scene: &Scene<'_, H>, limit: &Limit, prefix: &str) -> u64 {
    (0..TOO_MANY).find(|n| !fits(scene, limit, &format!("{prefix} {n}"))).unwrap_or(TOO_MANY)
}

/// Fills the store with long sliding logs of few keys, until there is no room for something else. They end
/// after a minute.
fn fill_with_logs<H: Harness>(scene: &Scene<'_, H>, prefix: &str, mut is_full: impl FnMut(usize) -> bool) {
    let log = limit("log", "1000000/minute sliding log");
    let full = (0..LOGS).find(|&n| {
        let key = format!("{prefix} {n}");
        while fits(scene, &log, &key) {}
        is_full(n)
    });
    assert!(full.is_some(), "the logs of {LOGS} keys leave room");
}

/// More than that never need be: each log takes about half of what the one before it left.
const LOGS: usize = 20;

/// A key that needs much room, more than [`large_receipts`]' top-ups.
fn large_key(set: u64) -> String {
    format!("new {set} {}", "x".repeat(60 * 1024))
}

/// Whether a key without a count would find room for one.
fn would_fit<H: Harness>(scene: &Scene<'_, H>, limit: &Limit, key: &str) -> bool {
    fits(scene, limit, key) && scene.reset(limit, key)
}

/// At its cap a store answers `full` for a new key, which then has no count.
pub fn a_full_store_says_so<H: Harness>(harness: &H) {
    let scene = Scene::capped(harness, ROOM);
    let limit = limit("hour", "10/hour");
    let room = fill(&scene, &limit, "key");
    assert!((100..TOO_MANY).contains(&room), "{room} keys in {ROOM} bytes");
    let refused = format!("key {room}");
    assert_eq!(scene.remaining(&limit, &refused), 10);
    assert_eq!(scene.listed(&limit).len() as u64, room);
}

/// Live counts are neither evicted nor refused when the store is full.
pub fn live_counts_go_on_when_full<H: Harness>(harness: &H) {
    let scene = Scene::capped(harness, ROOM);
    let limit = limit("hour", "10/hour");
    let mut receipt = scene.take(&limit, "first of all", 4);
    let room = fill(&scene, &limit, "key");
    for n in 0..300 {
        let _ = scene.run(scene.limiter.charge(&limit, &format!("more {n}")));
    }
    for n in 0..room {
        assert_eq!(scene.remaining(&limit, &format!("key {n}")), 9);
    }
    let _ = scene.take(&limit, "key 0", 5);
    assert_eq!(scene.remaining(&limit, "key 0"), 4);
    let _ = scene.deny(&limit, "key 0", 5);
    assert_eq!(scene.refund(&mut receipt, 3).given_back(), 3);
    assert_eq!(scene.remaining(&limit, "first of all"), 9);
}

/// A charge of several limits for which there is no room takes none of them.
pub fn no_room_for_one_takes_none<H: Harness>(harness: &H) {
    let scene = Scene::capped(harness, ROOM);
    let limits = [limit("hour", "10/hour"), limit("day", "10/day")];
    let room = fill(&scene, &limits[0], "key");
    for n in 0..room.min(100) {
        let key = format!("key {n}");
        let before = scene.remaining(&limits[0], &key);
        match scene.run(scene.limiter.charge_all(&[Item::new(&limits[0], &key), Item::new(&limits[1], &key)])) {
            Err(error) => {
                assert!(error.is_full() && !error.may_have_happened(), "{error:?}");
                assert_eq!((scene.remaining(&limits[0], &key), scene.remaining(&limits[1], &key)), (before, 10));
            }
            // A last corner may have been left where it fits.
            Ok(decision) => assert!(decision.may_proceed()),
        }
    }
}

/// What has expired makes room.
pub fn expired_counts_make_room<H: Harness>(harness: &H) {
    let scene = Scene::capped(harness, ROOM);
    let limit = limit("minute", "10/minute");
    let room = fill(&scene, &limit, "key");
    for round in 0..3 {
        scene.advance(Duration::from_secs(60));
        // Half: a store in shards has not the same room for every set of keys.
        for n in 0..room / 2 {
            let _ = scene.take(&limit, &format!("round {round} {n}"), 1);
        }
    }
}

/// A long log that ended makes room for other keys, in whichever shard it is.
pub fn an_ended_log_makes_room_for_other_keys<H: Harness>(harness: &H) {
    for set in 0..SETS {
        let scene = Scene::capped(harness, ROOM);
        let (hour, new) = (limit("hour", "10/hour"), large_key(set));
        fill_with_logs(&scene, &format!("log {set}"), |_| !would_fit(&scene, &hour, &new));
        scene.advance(Duration::from_secs(60));
        assert!(fits(&scene, &hour, &new), "the logs that ended are kept: set {set}");
    }
}

/// Idempotency keys whose lifetime is over, or whose charge was reserved until now, make room for charges in other scopes.
pub fn ended_idempotency_keys_make_room_for_other_keys<H: Harness>(harness: &H) {
    for (set, is_reserved) in (0..SETS).flat_map(|set| [(set, false), (set, true)]) {
        let scene = Scene::capped(harness, ROOM);
        let (hour, new) = (limit("hour", "1000000/hour"), large_key(set));
        let (key, minute) = (format!("scope {set}"), Duration::from_secs(60));
        let items = [Item::new(&hour, &key)];
        let room = (0..TOO_MANY).find(|n| {
            let request = format!("{n} {}", "x".repeat(200));
            let once = Idempotency::new(&request);
            let request = match is_reserved {
                true => ChargeRequest::new(&items).once(once).reserved(minute),
                false => ChargeRequest::new(&items).once(once.lifetime(minute)),
            };
            unless_full(scene.run(scene.limiter.charge_with(&request))).map(admitted).is_none()
        });
        assert!(room.is_some() && !fits(&scene, &hour, &new));
        scene.advance(minute);
        assert!(fits(&scene, &hour, &new), "the idempotency keys that ended are kept: set {set}");
    }
}

/// Receipts of `count` limits on one key, each of which needs some 40 KiB to remember its top-ups.
fn large_receipts<H: Harness>(scene: &Scene<'_, H>, set: u64, count: usize) -> Vec<Receipt> {
    let key = format!("settled {set} {}", "x".repeat(1000));
    let limits: Vec<Limit> = (0..32).map(|n| limit(&format!("limit {n}"), "1000/30d from first")).collect();
    let items: Vec<Item<'_>> = limits.iter().map(|limit| Item::new(limit, &key)).collect();
    (0..count).map(|_| admitted(scene.ask(&items))).collect()
}

/// Settles every part of a receipt at 2, which must not be refused; whether there was room.
fn tops_up<H: Harness>(scene: &Scene<'_, H>, receipt: &mut Receipt) -> bool {
    let settlement = unless_full(scene.run(scene.limiter.settle(receipt, 2, Shortfall::Refuse)));
    let settled = settlement.map(|settlement| settlement.settled().expect("within the quotas"));
    settled.is_some_and(|settled| settled.parts.iter().all(|part| part.topped_up == 1))
}

/// Top-ups that can be repeated no more make room for other keys.
pub fn ended_top_ups_make_room_for_other_keys<H: Harness>(harness: &H) {
    for set in 0..SETS {
        let scene = Scene::capped(harness, ROOM);
        let (hour, new) = (limit("hour", "10/hour"), large_key(set));
        let mut receipts = large_receipts(&scene, set, 100);
        let room = receipts.iter_mut().find_map(|receipt| (!tops_up(&scene, receipt)).then_some(()));
        assert!(room.is_some() && !fits(&scene, &hour, &new));
        scene.advance(Duration::from_secs(24 * 60 * 60));
        assert!(fits(&scene, &hour, &new), "the top-ups that ended are kept: set {set}");
    }
}

/// What has ended, of whichever key, makes room for a settlement's top-up.
pub fn what_has_ended_makes_room_for_top_ups<H: Harness>(harness: &H) {
    for set in 0..SETS {
        let scene = Scene::capped(harness, 4 * ROOM);
        let mut receipts = large_receipts(&scene, set, LOGS);
        let mut refused = 0;
        fill_with_logs(&scene, &format!("log {set}"), |n| {
            refused = n;
            !tops_up(&scene, &mut receipts[n])
        });
        scene.advance(Duration::from_secs(60));
        assert!(tops_up(&scene, &mut receipts[refused]), "the logs that ended are kept: set {set}");
    }
}

/// What has ended makes room for refunds, too, where remembering them takes any.
pub fn what_has_ended_makes_room_for_refunds<H: Harness>(harness: &H) {
    let scene = Scene::capped(harness, ROOM);
    let hour = limit("hour", "100/hour");
    // Of every second unit of many counts: refunds that run together, or are the last, may need no marks.
    let keys: Vec<String> = (0..1200).map(|n| format!("key {}", n / 20)).collect();
    let receipts: Vec<Receipt> = keys.iter().map(|key| scene.take(&hour, key, 1)).collect();
    let mut receipts: Vec<Receipt> = receipts.into_iter().step_by(2).collect();
    fill_with_logs(&scene, "log", |_| !would_fit(&scene, &hour, &large_key(0)));
    let mut refund = |n: usize| unless_full(scene.run(scene.limiter.refund_up_to(&mut receipts[n], 1)));
    let refused = (0..600).find(|&n| refund(n).is_none());
    scene.advance(Duration::from_secs(60));
    let last = refused.unwrap_or(599);
    assert_eq!(refund(last).expect("the logs that ended make room").parts[0].in_all, 1);
    assert_eq!(scene.listed(&hour).iter().map(|(_, status)| status.used()).sum::<u64>(), 1199 - last as u64);
}

/// Idempotency keys are kept within the cap too, and make room when their lifetime is over.
pub fn idempotency_keys_are_within_the_cap<H: Harness>(harness: &H) {
    let scene = Scene::capped(harness, ROOM);
    let limit = limit("hour", "1000000/hour");
    let lifetime = Duration::from_secs(60);
    let items = [Item::new(&limit, "k")];
    let send = |prefix: &str, n: u64| {
        let request = format!("{prefix} {n} {}", "x".repeat(200));
        scene.run(scene.limiter.charge_once(&items, Idempotency::new(&request).lifetime(lifetime)))
    };
    let room = (0..20_000).find(|&n| match send("first", n) {
        Ok(decision) => !decision.may_proceed(),
        Err(error) => {
            assert!(error.is_full() && !error.may_have_happened(), "{error:?}");
            true
        }
    });
    let room = room.expect("20,000 idempotency keys are more than the cap");
    assert_eq!(scene.peek(&limit, "k").used(), room);
    // None of those remembered was evicted.
    for n in 0..room {
        assert!(matches!(send("first", n), Ok(Decision::Allowed(receipt)) if receipt.is_replay()), "{n}");
    }
    scene.advance(lifetime);
    for n in 0..room / 2 {
        assert!(matches!(send("second", n), Ok(Decision::Allowed(receipt)) if !receipt.is_replay()), "{n}");
    }
}

/// Refund marks, log entries and keys count within the cap: no pattern of use grows without bound.
pub fn long_keys_are_within_the_cap<H: Harness>(harness: &H) {
    let scene = Scene::capped(harness, ROOM);
    let limit = limit("hour", "10/hour");
    let long = "k".repeat(8 * 1024);
    let room = fill(&scene, &limit, &long);
    assert!(room <= (ROOM / long.len()) as u64 * 2, "{room} keys of 8 KiB in {ROOM} bytes");
}

/// The caller's fallback decides what a full store means.
pub fn the_fallback_decides_when_full<H: Harness>(harness: &H) {
    let scene = Scene::capped(harness, ROOM);
    let limit = limit("hour", "10/hour");
    let _ = fill(&scene, &limit, "key");
    let [allow, deny] = [Fallback::Allow, Fallback::Deny].map(|fallback| limit.with_fallback(fallback));
    let mut unchecked = 0;
    for n in 0..20 {
        let key = format!("new {n}");
        match scene.charge(&allow, &key, 1) {
            Decision::Unchecked(unchecked_) => {
                assert!(unchecked_.error().is_full());
                unchecked += 1;
                match scene.charge(&deny, &key, 1) {
                    Decision::Denied(denial) => assert!(denial.trouble().is_some_and(|error| error.is_full())),
                    other => panic!("{other:?}"),
                }
            }
            other => assert!(other.may_proceed()),
        }
    }
    assert!(unchecked > 0, "no new key was refused");
}

/// A count long over answers as one that never was, whether or not it was forgotten meanwhile.
pub fn what_is_over_is_as_if_it_never_was<H: Harness>(harness: &H, sample: &Sample) {
    let scene = Scene::new(harness);
    let limit = sample.limit();
    for cost in [3, 4, 2] {
        let mut receipt = scene.take(&limit, "k", cost);
        let _ = scene.refund(&mut receipt, 1);
        scene.advance(sample.window / 20);
    }
    scene.advance(scene.peek(&limit, "k").reset_after());
    for n in 0..300 {
        // Reasons to tidy up.
        let _ = scene.take(&limit, &format!("other {n}"), 1);
    }
    assert_eq!(Seen::status(&scene.peek(&limit, "k")), Seen::status(&scene.peek(&limit, "fresh")));
    scene.same_future(sample, &limit, "k", "fresh");
}

/// While something of a count still counts, nothing of it is forgotten.
pub fn what_still_counts_is_kept<H: Harness>(harness: &H, sample: &Sample) {
    let scene = Scene::new(harness);
    let limit = sample.limit();
    let mut receipt = scene.take(&limit, "k", 10);
    let reset = scene.peek(&limit, "k").reset_after();
    scene.advance(reset - Duration::from_micros(1));
    for n in 0..300 {
        let _ = scene.take(&limit, &format!("other {n}"), 1);
    }
    assert!(scene.remaining(&limit, "k") < 10);
    assert_eq!(scene.refund(&mut receipt, 10).given_back(), 10);
}
