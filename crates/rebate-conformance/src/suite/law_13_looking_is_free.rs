//! Law 13: peeking, and listing, change no state at all.

use std::time::Duration;

use rebate_core::Item;

use super::scene::{Sample, Scene, Seen};
use crate::Harness;

fn look<H: Harness>(scene: &Scene<'_, H>, limit: &rebate_core::Limit, key: &str) {
    let item = Item::new(limit, key).cost(7);
    let statuses = scene.run(scene.limiter.peek_all(&[item, item])).expect("no trouble");
    assert_eq!(Seen::status(&statuses[0]), Seen::status(&statuses[1]));
    let _ = scene.listed(limit);
}

/// Looking at an absent key creates no count.
pub fn looking_creates_nothing<H: Harness>(harness: &H, sample: &Sample) {
    let scene = Scene::new(harness);
    let limit = sample.limit();
    for _ in 0..3 {
        look(&scene, &limit, "k");
        assert_eq!(scene.remaining(&limit, "k"), 10);
    }
    assert!(scene.listed(&limit).is_empty());
    assert!(!scene.reset(&limit, "k"));
    // In particular no window is opened.
    scene.advance(sample.window / 10);
    let _ = scene.take(&limit, "twin", 1);
    look(&scene, &limit, "k");
    let _ = scene.take(&limit, "k", 1);
    scene.same_future(sample, &limit, "k", "twin");
}

/// A count that is looked at all the time goes on as one that is not.
pub fn looking_moves_nothing<H: Harness>(harness: &H, sample: &Sample) {
    let scene = Scene::new(harness);
    let limit = sample.limit();
    for cost in [2, 3, 1, 4, 2, 6] {
        let mut receipts = Vec::new();
        for key in ["k", "twin"] {
            receipts.extend(scene.charge(&limit, key, cost).receipt());
        }
        for _ in 0..5 {
            look(&scene, &limit, "k");
            scene.advance(sample.window / 31);
        }
        let back = receipts.iter_mut().map(|receipt| scene.refund(receipt, 1).given_back());
        let back: Vec<_> = back.collect();
        assert!(back.windows(2).all(|pair| pair[0] == pair[1]));
    }
    scene.same_future(sample, &limit, "k", "twin");
}

/// A look is no act in time: after a step back the count is where its last charge left it.
pub fn a_look_is_no_act_in_time<H: Harness>(harness: &H, sample: &Sample) {
    let scene = Scene::new(harness);
    let limit = sample.limit();
    for key in ["k", "twin"] {
        let _ = scene.take(&limit, key, 4);
    }
    let there = sample.window / 3;
    scene.advance(there);
    look(&scene, &limit, "k");
    scene.step_back(there);
    scene.same_future(sample, &limit, "k", "twin");
}

/// Looking in the middle of a busy period credits nothing and costs nothing.
pub fn a_look_neither_takes_nor_gives<H: Harness>(harness: &H, sample: &Sample) {
    let scene = Scene::new(harness);
    let limit = sample.limit();
    let _ = scene.take(&limit, "k", 10);
    for _ in 0..20 {
        look(&scene, &limit, "k");
    }
    let _ = scene.deny(&limit, "k", 1);
    let mut receipt = scene.take(&limit, "other", 9);
    for _ in 0..20 {
        look(&scene, &limit, "other");
    }
    let _ = scene.take(&limit, "other", 1);
    assert_eq!(scene.refund(&mut receipt, 9).given_back(), 9);
    assert_eq!(scene.remaining(&limit, "other"), 9);
    scene.advance(Duration::from_micros(1));
}

/// To ask who holds a key's leases moves none of them, and makes no count.
pub fn asking_who_holds_what_changes_nothing<H: Harness>(harness: &H) {
    let scene = Scene::new(harness);
    let limit = super::scene::limit("places", "3 at once for 1m");
    assert!(scene.leases(&limit, "k").is_empty());
    assert!(scene.listed(&limit).is_empty());
    for key in ["k", "twin"] {
        let _ = scene.take(&limit, key, 2);
    }
    for _ in 0..5 {
        scene.advance(Duration::from_secs(10));
        assert_eq!(scene.leases(&limit, "k").len(), 1);
        let looks = ["k", "twin"].map(|key| Seen::status(&scene.peek(&limit, key)));
        assert_eq!(looks[0], looks[1]);
    }
    scene.advance(Duration::from_secs(10));
    assert!(scene.leases(&limit, "k").is_empty());
    assert!(scene.listed(&limit).is_empty());
}
