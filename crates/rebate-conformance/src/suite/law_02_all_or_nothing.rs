//! Law 2: a charge of several limits takes all or none, and a denial leaves every state as it was.

use std::time::Duration;

use rebate_core::{Item, KeyRef, Retry};

use super::scene::{Sample, Scene, Seen, admitted, denied, limit};
use crate::Harness;

/// Every item of an admitted charge is taken, and the receipt has a part for each.
pub fn every_item_is_taken<H: Harness>(harness: &H, sample: &Sample) {
    let scene = Scene::new(harness);
    let (one, other) = (sample.limit(), limit("other", "100/hour"));
    let receipt = admitted(scene.ask(&[Item::new(&one, "k").cost(3), Item::new(&other, "k").cost(20)]));
    assert_eq!(receipt.parts().iter().map(|part| part.cost).collect::<Vec<_>>(), [3, 20]);
    assert_eq!((scene.remaining(&one, "k"), scene.remaining(&other, "k")), (7, 80));
}

/// A denial leaves the limits that would have admitted it as they were, on whichever side they stand.
pub fn a_denial_leaves_every_state<H: Harness>(harness: &H, sample: &Sample) {
    let scene = Scene::new(harness);
    let (one, full) = (sample.limit(), limit("full", "1/hour"));
    let _ = scene.take(&full, "k", 1);
    let _ = scene.take(&one, "k", 2);
    let _ = scene.take(&one, "twin", 2);
    for key in ["k", "never charged"] {
        let items = [Item::new(&one, key).cost(5), Item::new(&full, "k")].map(|item| in_group(item, key));
        let before = (Seen::status(&scene.peek(&one, items[0].key)), scene.listed(&one).len());
        // The second limit denies by itself, so the first must be untouched in both orders.
        let _ = scene.charge(&full, items[1].key, 1);
        let _ = denied(scene.ask(&items));
        let _ = denied(scene.ask(&[items[1], items[0]]));
        let after = (Seen::status(&scene.peek(&one, items[0].key)), scene.listed(&one).len());
        assert_eq!(before, after);
    }
    scene.same_future(sample, &one, "k", "twin");
}

/// Keys charged together stand in one group, so that a cluster can do it too.
fn in_group<'a>(item: Item<'a>, key: &'a str) -> Item<'a> {
    if key == "k" { item } else { Item { key: KeyRef::in_group("tenant", key), ..item } }
}

/// The same limit and key named twice is summed before it is decided.
pub fn the_same_count_twice_is_summed<H: Harness>(harness: &H, sample: &Sample) {
    let scene = Scene::new(harness);
    let limit = sample.limit();
    let twice = |cost| [Item::new(&limit, "k").cost(cost), Item::new(&limit, "k").cost(cost)];
    assert_eq!(denied(scene.ask(&twice(6))).retry(), Retry::Never);
    assert_eq!(scene.remaining(&limit, "k"), 10);
    let receipt = admitted(scene.ask(&twice(4)));
    assert_eq!(receipt.parts().len(), 1, "one part with the sum");
    assert_eq!(receipt.cost(), 8);
    assert_eq!(scene.remaining(&limit, "k"), 2);
    // Each fits alone; together they do not.
    let _ = denied(scene.ask(&twice(2)));
    assert_eq!(denied(scene.ask(&twice(u64::MAX))).retry(), Retry::Never);
    assert_eq!(scene.remaining(&limit, "k"), 2);
}

/// A denial names the limits that denied, each with its own wait; its own is the longest.
pub fn a_denial_names_its_limits<H: Harness>(harness: &H) {
    let scene = Scene::new(harness);
    let limits = [limit("minute", "1/minute"), limit("free", "9/minute"), limit("hour", "1/hour")];
    let items = limits.each_ref().map(|limit| Item::new(limit, "k"));
    let _ = admitted(scene.ask(&items));
    scene.advance(Duration::from_secs(20));
    let denial = denied(scene.ask(&items));
    let violated: Vec<_> = denial.violated().map(|status| (status.item(), status.denied())).collect();
    // Noon and 20 s: the minute has 40 s to go, the hour 3580 s.
    let after = |seconds: u64| Some(Retry::AfterMicros(seconds * 1_000_000));
    assert_eq!(violated, [(0, after(40)), (2, after(3580))]);
    assert_eq!(denial.retry_after(), Some(Duration::from_secs(3580)));
    let statuses: Vec<_> = denial.statuses().iter().map(|status| (status.item(), status.remaining())).collect();
    assert_eq!(statuses, [(0, 0), (1, 8), (2, 0)]);
}

/// One charge of many limits and keys of a group.
pub fn many_keys_of_one_group<H: Harness>(harness: &H) {
    let scene = Scene::new(harness);
    let limits: Vec<_> = (0..6).map(|n| limit(&format!("limit {n}"), "10/minute burst 10")).collect();
    let names: Vec<String> = (0..5).map(|n| format!("user {n}")).collect();
    let key = |name| KeyRef::in_group("tenant", name);
    let items: Vec<_> =
        limits.iter().flat_map(|limit| names.iter().map(move |name| Item::new(limit, key(name)).cost(2))).collect();
    let _ = admitted(scene.ask(&items));
    // The last of thirty counts is full: none of the others may change.
    let _ = scene.take(&limits[5], key(&names[4]), 8);
    let _ = denied(scene.ask(&items));
    for (at, item) in items.iter().enumerate() {
        assert_eq!(scene.remaining(item.limit, item.key), if at == 29 { 0 } else { 8 });
    }
}

/// Keys of different groups are charged together, all or none.
pub fn groups_are_charged_together<H: Harness>(harness: &H) {
    let scene = Scene::new(harness);
    let limit = limit("both", "10/hour");
    let keys = [KeyRef::in_group("tenant 1", "k"), KeyRef::in_group("tenant 2", "k")];
    let items = keys.map(|key| Item::new(&limit, key).cost(6));
    let _ = admitted(scene.ask(&items));
    assert_eq!(keys.map(|key| scene.remaining(&limit, key)), [4, 4]);
    let _ = scene.run(scene.limiter.reset(&limit, keys[0]));
    let _ = denied(scene.ask(&items));
    assert_eq!(keys.map(|key| scene.remaining(&limit, key)), [10, 4]);
}

/// Across groups, a store that cannot charge them together says so before anything is taken.
pub fn across_groups_all_or_an_error<H: Harness>(harness: &H) {
    let scene = Scene::new(harness);
    let limit = limit("both", "10/hour");
    let keys: Vec<String> = (0..8).map(|n| format!("tenant {n}")).collect();
    let items: Vec<_> = keys.iter().map(|key| Item::new(&limit, KeyRef::in_group(key, "k"))).collect();
    let answer = scene.run(scene.limiter.charge_all(&items));
    let taken = match answer {
        Ok(decision) => admitted(decision).cost() / 8,
        Err(error) => {
            assert!(error.is_cross_group() && !error.may_have_happened(), "{error:?}");
            assert!(!harness.capabilities().across_groups, "the store says that it can: {error:?}");
            0
        }
    };
    for item in items {
        assert_eq!(scene.remaining(&limit, item.key), 10 - taken);
    }
}

/// Threads that charge two limits in opposite order neither wait for ever nor part them.
pub fn opposite_orders_agree<H: Harness>(harness: &H, sample: &Sample) {
    let scene = Scene::new(harness);
    let (one, other) = (sample.with_quota(30), limit("other", "30/hour"));
    std::thread::scope(|threads| {
        for thread in 0..4 {
            let (scene, one, other) = (&scene, &one, &other);
            threads.spawn(move || {
                for _ in 0..10 {
                    let (mut first, mut second) = (Item::new(one, "k"), Item::new(other, "k"));
                    if thread % 2 == 0 {
                        std::mem::swap(&mut first, &mut second);
                    }
                    let _ = scene.ask(&[first, second]);
                }
            });
        }
    });
    assert_eq!((scene.remaining(&one, "k"), scene.remaining(&other, "k")), (0, 0));
}

/// Two policies under one name in one charge are a conflict, and nothing is taken.
pub fn one_name_is_one_limit<H: Harness>(harness: &H) {
    let scene = Scene::new(harness);
    let (known, other) = (limit("name", "10/hour"), limit("name", "20/hour"));
    let _ = scene.take(&known, "k", 1);
    let answer = scene.run(scene.limiter.charge_all(&[Item::new(&known, "k"), Item::new(&other, "k")]));
    let error = answer.expect_err("two limits of one name");
    assert!(error.is_conflict() && !error.may_have_happened(), "{error:?}");
    assert_eq!(scene.remaining(&known, "k"), 9);
}

/// Two variants of a limit in one charge are a conflict too, for one key and for two, and nothing is taken.
pub fn one_charge_names_one_variant<H: Harness>(harness: &H) {
    let scene = Scene::new(harness);
    let free = limit("name", "10/hour");
    let pro = free.variant("20/hour").expect("only the quota differs");
    let [k, other_key] = ["k", "other"].map(|key| KeyRef::in_group("tenant", key));
    let _ = scene.take(&free, k, 1);
    let _ = scene.take(&pro, k, 1);
    for (first, other, key) in [(&free, &pro, k), (&pro, &free, k), (&free, &pro, other_key), (&pro, &free, other_key)]
    {
        let items = [Item::new(first, k), Item::new(other, key)];
        let error = scene.run(scene.limiter.charge_all(&items)).expect_err("two variants");
        assert!(error.is_conflict() && !error.may_have_happened(), "{error:?}");
        assert_eq!((scene.peek(&pro, k).used(), scene.peek(&pro, other_key).used()), (2, 0));
    }
}
