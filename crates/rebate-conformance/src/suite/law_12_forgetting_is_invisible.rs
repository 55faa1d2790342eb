//! Law 12: evicting expired state changes no decision; live state is never evicted to make room.

use std::time::Duration;

use rebate_core::{Decision, Fallback, Idempotency, Item, Limit};

use super::scene::{Sample, Scene, Seen, limit};
use crate::Harness;

const ROOM: usize = 256 * 1024;

/// More counts than that would be less than 27 bytes each.
const TOO_MANY: u64 = 10_000;

/// Charges new keys until the store is full; how many there was room for.
fn fill<H: Harness>(scene: &Scene<'_, H>, limit: &Limit, prefix: &str) -> u64 {
    for n in 0..TOO_MANY {
        match scene.run(scene.limiter.charge(limit, &format!("{prefix} {n}"))) {
            Ok(Decision::Allowed(_)) => {}
            Ok(other) => panic!("a fresh key: {other:?}"),
            Err(error) => {
                assert!(error.is_full() && error.is_retryable() && !error.may_have_happened(), "{error:?}");
                return n;
            }
        }
    }
    TOO_MANY
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
