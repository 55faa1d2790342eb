//! Law 8: an idempotency key gives the same receipt, billed once.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rebate_core::{Idempotency, Item, KeyRef, Receipt};

use super::scene::{Sample, Scene, admitted, denied, limit, outcome};
use crate::Harness;

fn parts(receipt: &Receipt) -> Vec<(u64, u64, u64)> {
    receipt.parts().iter().map(|part| (part.cost, part.instance, part.last)).collect()
}

/// However often it is sent, it is billed once, and every later answer is marked as a replay.
pub fn a_replay_is_not_billed<H: Harness>(harness: &H, sample: &Sample) {
    let scene = Scene::new(harness);
    let limit = sample.limit();
    let items = [Item::new(&limit, "k").cost(4)];
    let first = admitted(scene.once(&items, Idempotency::new("request")));
    assert!(!first.is_replay() && first.is_idempotent());
    for _ in 0..3 {
        let replay = admitted(scene.once(&items, Idempotency::new("request")));
        assert!(replay.is_replay() && replay.is_idempotent());
        assert_eq!((parts(&replay), replay.charged_at()), (parts(&first), first.charged_at()));
        assert_eq!(scene.remaining(&limit, "k"), 6);
    }
    let another = admitted(scene.once(&items, Idempotency::new("another")));
    assert!(!another.is_replay());
    assert_eq!(scene.remaining(&limit, "k"), 2);
}

/// A replay is answered before any limit may deny it, and after its window is over.
pub fn a_replay_comes_before_any_denial<H: Harness>(harness: &H, sample: &Sample) {
    let scene = Scene::new(harness);
    let limit = sample.limit();
    let items = [Item::new(&limit, "k").cost(6)];
    let first = admitted(scene.once(&items, Idempotency::new("request").lifetime(10 * sample.long())));
    let _ = scene.take(&limit, "k", 4);
    let _ = scene.deny(&limit, "k", 1);
    assert!(admitted(scene.once(&items, Idempotency::new("request"))).is_replay());
    scene.advance(sample.long());
    let _ = scene.take(&limit, "k", 10);
    let replay = admitted(scene.once(&items, Idempotency::new("request")));
    assert_eq!((replay.is_replay(), parts(&replay)), (true, parts(&first)));
    assert_eq!(scene.remaining(&limit, "k"), 0);
}

/// A denial is not remembered: the same key is charged once there is room.
pub fn a_denial_is_not_remembered<H: Harness>(harness: &H, sample: &Sample) {
    let scene = Scene::new(harness);
    let limit = sample.limit();
    let mut other = scene.take(&limit, "k", 8);
    let items = [Item::new(&limit, "k").cost(4)];
    let _ = denied(scene.once(&items, Idempotency::new("request")));
    let _ = denied(scene.once(&items, Idempotency::new("request")));
    let _ = scene.refund(&mut other, 8);
    assert!(!admitted(scene.once(&items, Idempotency::new("request"))).is_replay());
    assert!(admitted(scene.once(&items, Idempotency::new("request"))).is_replay());
    assert_eq!(scene.remaining(&limit, "k"), 6);
}

/// A full refund frees the key; a part refund does not, and the replay knows of it.
pub fn a_full_refund_frees_the_key<H: Harness>(harness: &H, sample: &Sample) {
    let scene = Scene::new(harness);
    let limit = sample.limit();
    let _ = scene.take(&limit, "k", 1);
    let items = [Item::new(&limit, "k").cost(4)];
    let mut first = admitted(scene.once(&items, Idempotency::new("request")));
    let mut copy = scene.copy(&first);
    assert!(copy.is_idempotent());
    let _ = scene.refund(&mut first, 3);
    let mut replay = admitted(scene.once(&items, Idempotency::new("request")));
    assert_eq!((replay.is_replay(), replay.refunded()), (true, 3));
    // A replay's receipt is the same receipt.
    assert_eq!(outcome(&scene.refund(&mut replay, 3)), (0, 3, false));
    assert_eq!(outcome(&scene.refund(&mut copy, 4)), (1, 4, false));
    assert_eq!(scene.remaining(&limit, "k"), 9);
    let second = admitted(scene.once(&items, Idempotency::new("request")));
    assert!(!second.is_replay());
    assert_ne!(parts(&second), parts(&first));
    assert_eq!(scene.remaining(&limit, "k"), 5);
    // The first receipt, repeated, does not free the second's key.
    let _ = scene.refund(&mut first, 4);
    assert!(admitted(scene.once(&items, Idempotency::new("request"))).is_replay());
}

/// Once the rest was given back, a lease that has ended by itself does not keep the key: it holds nothing. While it holds its
/// place it does, and so does one that was all there is.
pub fn an_ended_lease_keeps_no_key<H: Harness>(harness: &H) {
    let scene = Scene::new(harness);
    let (at_once, day) = (limit("at-once", "3 at once for 10m"), limit("day", "50/day"));
    let both = [Item::new(&at_once, "k"), Item::new(&day, "k")];
    let charge = || admitted(scene.once(&both, Idempotency::new("request")));
    let mut first = charge();
    let _ = scene.run(scene.limiter.refund_parts(&mut first, &[0, 1])).expect("an answer");
    assert!(charge().is_replay(), "it holds its place");
    scene.advance(Duration::from_secs(600));
    assert!(charge().is_replay(), "nobody gave anything back since");
    let _ = scene.refund(&mut first, 1);
    let mut second = charge();
    assert!(!second.is_replay());
    scene.advance(Duration::from_secs(600));
    let _ = scene.refund(&mut second, 0);
    assert!(charge().is_replay(), "the day is not given back");
    let _ = scene.refund(&mut second, 1);
    assert!(!charge().is_replay());
    assert_eq!([scene.remaining(&at_once, "k"), scene.remaining(&day, "k")], [2, 49]);

    let place = [Item::new(&at_once, "k")];
    let mut lone = admitted(scene.once(&place, Idempotency::new("lone")));
    scene.advance(Duration::from_secs(600));
    let _ = scene.refund(&mut lone, 1);
    assert!(admitted(scene.once(&place, Idempotency::new("lone"))).is_replay(), "nothing was given back");
}

/// The key with other limits, keys or costs is a conflict that has not happened; the order of the items
/// does not matter.
pub fn another_charge_is_a_conflict<H: Harness>(harness: &H) {
    let scene = Scene::new(harness);
    let (hour, day) = (limit("hour", "100/hour"), limit("day", "100/day"));
    let item = |limit, cost| Item { limit, key: KeyRef::in_group("tenant", "k"), cost };
    let elsewhere = Item { limit: &day, key: KeyRef::in_group("tenant", "other"), cost: 3 };
    let first = admitted(scene.once(&[item(&hour, 2), item(&day, 3)], Idempotency::new("request")));
    for same in [vec![item(&day, 3), item(&hour, 2)], vec![item(&hour, 1), item(&day, 3), item(&hour, 1)]] {
        let replay = admitted(scene.once(&same, Idempotency::new("request")));
        assert_eq!((replay.is_replay(), parts(&replay)), (true, parts(&first)));
    }
    for other in [
        vec![item(&hour, 2)],
        vec![item(&hour, 2), item(&day, 4)],
        vec![item(&hour, 3), item(&day, 2)],
        vec![item(&hour, 2), elsewhere],
        vec![item(&hour, 2), item(&day, 3), elsewhere],
    ] {
        let answer = scene.run(scene.limiter.charge_once(&other, Idempotency::new("request")));
        let error = answer.expect_err("another charge");
        assert!(error.is_conflict() && !error.may_have_happened(), "{error:?}");
    }
    let left = [item(&hour, 1), item(&day, 1), elsewhere].map(|item| scene.remaining(item.limit, item.key));
    assert_eq!(left, [98, 97, 100]);
}

/// A key is remembered for its lifetime, 24 hours unless said, and not at its end.
pub fn a_lifetime_ends<H: Harness>(harness: &H) {
    for lifetime in [None, Some(Duration::from_secs(90))] {
        let scene = Scene::new(harness);
        let limit = limit("year", "100/year");
        let items = [Item::new(&limit, "k")];
        let mut idempotency = Idempotency::new("request");
        if let Some(lifetime) = lifetime {
            idempotency = idempotency.lifetime(lifetime);
        }
        let _ = admitted(scene.once(&items, idempotency));
        scene.advance(lifetime.unwrap_or(Duration::from_secs(86_400)) - Duration::from_micros(1));
        // The replay does not prolong it.
        assert!(admitted(scene.once(&items, idempotency)).is_replay());
        scene.advance(Duration::from_micros(1));
        assert!(!admitted(scene.once(&items, idempotency)).is_replay());
        assert_eq!(scene.remaining(&limit, "k"), 98);
    }
}

/// A key is scoped to the charged key that the caller names.
pub fn a_key_is_known_in_its_scope_only<H: Harness>(harness: &H) {
    let scene = Scene::new(harness);
    let limit = limit("hour", "100/hour");
    let [one, other] =
        ["one", "other"].map(|key| Item { limit: &limit, key: KeyRef::in_group("tenant", key), cost: 1 });
    let first = admitted(scene.once(&[one, other], Idempotency::new("request")));
    // The same charge, scoped to its second key: another request.
    let second = admitted(scene.once(&[one, other], Idempotency::new("request").scope(1)));
    assert!(!second.is_replay());
    assert_ne!(parts(&first), parts(&second));
    for (scope, receipt) in [(0, &first), (1, &second)] {
        let replay = admitted(scene.once(&[one, other], Idempotency::new("request").scope(scope)));
        assert_eq!(parts(&replay), parts(receipt));
    }
    assert_eq!([one, other].map(|item| scene.remaining(&limit, item.key)), [98, 98]);
    // Of no group, though its bytes are the same.
    assert!(!admitted(scene.once(&[Item::new(&limit, "one")], Idempotency::new("request"))).is_replay());
}

/// A guard refunds the request that was billed, never its replay.
pub fn a_guard_refunds_no_replay<H: Harness>(harness: &H, sample: &Sample) {
    let scene = Scene::new(harness);
    let limit = sample.limit();
    let items = [Item::new(&limit, "k").cost(4)];
    let charge = || admitted(scene.once(&items, Idempotency::new("request")));
    let first = charge();
    let replay = scene.limiter.guard(charge());
    scene.run(async { drop(replay) });
    for _ in 0..100 {
        assert_eq!(scene.remaining(&limit, "k"), 6);
    }
    let billed = scene.limiter.guard(first);
    scene.run(async { drop(billed) });
    scene.soon("a guard's refund", || scene.remaining(&limit, "k") == 10);
    assert!(!charge().is_replay(), "the key was freed");
}

/// Threads that send one request are billed once; one of them is no replay.
pub fn concurrent_copies_are_billed_once<H: Harness>(harness: &H, sample: &Sample) {
    let scene = Scene::new(harness);
    let limit = sample.limit();
    for round in 0..5 {
        let key = format!("round {round}");
        let billed = AtomicU64::new(0);
        std::thread::scope(|threads| {
            for _ in 0..4 {
                threads.spawn(|| {
                    let items = [Item::new(&limit, &key).cost(3)];
                    let receipt = admitted(scene.once(&items, Idempotency::new("request")));
                    billed.fetch_add(u64::from(!receipt.is_replay()), Ordering::SeqCst);
                });
            }
        });
        assert_eq!((billed.into_inner(), scene.remaining(&limit, &key)), (1, 7));
    }
}

/// A reset forgets the count, not who was billed: the replay's receipt is expired.
pub fn a_reset_leaves_the_key<H: Harness>(harness: &H, sample: &Sample) {
    let scene = Scene::new(harness);
    let limit = sample.limit();
    let items = [Item::new(&limit, "k").cost(4)];
    let _ = admitted(scene.once(&items, Idempotency::new("request")));
    assert!(scene.reset(&limit, "k"));
    let mut replay = admitted(scene.once(&items, Idempotency::new("request")));
    assert!(replay.is_replay());
    assert_eq!(scene.remaining(&limit, "k"), 10);
    assert_eq!(outcome(&scene.refund(&mut replay, 4)), (0, 0, true));
}

/// Settling down to nothing frees the key too; settling otherwise keeps it.
pub fn a_settlement_to_nothing_frees_the_key<H: Harness>(harness: &H, sample: &Sample) {
    let scene = Scene::new(harness);
    let limit = sample.limit();
    let _ = scene.take(&limit, "k", 1);
    let items = [Item::new(&limit, "k").cost(4)];
    let mut first = admitted(scene.once(&items, Idempotency::new("request")));
    let _ = scene.settled(&mut first, 1);
    let mut replay = admitted(scene.once(&items, Idempotency::new("request")));
    assert_eq!((replay.is_replay(), replay.refunded()), (true, 3));
    let _ = scene.settled(&mut replay, 0);
    assert_eq!(scene.remaining(&limit, "k"), 9);
    assert!(!admitted(scene.once(&items, Idempotency::new("request"))).is_replay());
}

/// Keys of 1 to 255 bytes, whatever they are, do not meet; others are refused before anything happens.
pub fn keys_may_be_any_bytes<H: Harness>(harness: &H) {
    let scene = Scene::new(harness);
    let limit = limit("hour", "1000/hour");
    let items = [Item::new(&limit, "k")];
    let long = [b'x'; 256];
    let keys: [&[u8]; 8] = [b"a", b"a:", b"a\0", b"\0", b"{a}", b"\n", &long[..255], &[0xff, 0xfe, 0x00, 0x80]];
    for key in keys {
        assert!(!admitted(scene.once(&items, Idempotency::new(key))).is_replay());
    }
    for key in keys {
        assert!(admitted(scene.once(&items, Idempotency::new(key))).is_replay());
    }
    let good = Idempotency::new("good");
    let century = Duration::from_secs(36_525 * 86_400);
    for bad in [
        Idempotency::new(b""),
        Idempotency::new(&long),
        good.lifetime(Duration::ZERO),
        good.lifetime(century + Duration::from_micros(1)),
        good.lifetime(Duration::MAX),
        good.scope(1),
        good.scope(usize::MAX),
    ] {
        let error = scene.run(scene.limiter.charge_once(&items, bad)).expect_err("not of its form");
        assert!(error.is_invalid() && !error.may_have_happened(), "{error:?}");
    }
    assert_eq!(scene.remaining(&limit, "k"), 1000 - 8);
}

/// A request sent again after its key came under another variant is a replay still.
pub fn a_replay_is_one_under_another_variant<H: Harness>(harness: &H, sample: &Sample) {
    let scene = Scene::new(harness);
    let (free, pro) = sample.variants();
    let ask = |limit| admitted(scene.once(&[Item::new(limit, "k").cost(4)], Idempotency::new("request")));
    let first = ask(&free);
    let _ = scene.take(&pro, "k", 8);
    for limit in [&pro, &free] {
        let replay = ask(limit);
        assert_eq!((replay.is_replay(), parts(&replay)), (true, parts(&first)));
        assert_eq!(replay.statuses()[0].quota(), limit.policy().quota());
    }
    assert_eq!(scene.peek(&pro, "k").used(), 12);
}
