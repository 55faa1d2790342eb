//! Law 3: after a refund every later decision is as if the refunded units had not been charged.

use std::time::Duration;

use super::scene::{Sample, Scene, limit, outcome};
use crate::Harness;

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A charge refunded at once leaves nothing behind, on a fresh key and on one in use.
pub fn at_once_it_is_as_if_neither_had_happened<H: Harness>(harness: &H, sample: &Sample) {
    for earlier in [0, 4] {
        let scene = Scene::new(harness);
        let limit = sample.limit();
        for key in ["k", "twin"] {
            if earlier > 0 {
                let _ = scene.take(&limit, key, earlier);
            }
        }
        scene.advance(sample.window / 10);
        let mut receipt = scene.take(&limit, "k", 5);
        assert_eq!(outcome(&scene.refund(&mut receipt, 5)), (5, 5, false));
        scene.same_future(sample, &limit, "k", "twin");
    }
}

/// The same when time passes between charge and refund, but nothing else happens.
pub fn later_it_is_as_if_neither_had_happened<H: Harness>(harness: &H, sample: &Sample) {
    for earlier in [0, 4] {
        for tenths in [1, 3, 9] {
            let scene = Scene::new(harness);
            let limit = sample.limit();
            for key in ["k", "twin"] {
                if earlier > 0 {
                    let _ = scene.take(&limit, key, earlier);
                }
            }
            let mut receipt = scene.take(&limit, "k", 5);
            scene.advance(sample.window * tenths / 10);
            let _ = scene.refund(&mut receipt, 5);
            scene.same_future(sample, &limit, "k", "twin");
        }
    }
}

/// With another charge between, at one clock reading, it is as in the history without the refunded one.
pub fn with_others_between_theirs_stay<H: Harness>(harness: &H, sample: &Sample) {
    let scene = Scene::new(harness);
    let limit = sample.limit();
    let mut receipt = scene.take(&limit, "k", 3);
    for key in ["k", "twin"] {
        let _ = scene.take(&limit, key, 4);
    }
    let back = scene.refund(&mut receipt, 3);
    assert_eq!(outcome(&back), (3, 3, false));
    assert_eq!(back.parts[0].status.map(|status| status.remaining()), Some(6));
    scene.same_future(sample, &limit, "k", "twin");
}

/// The same as time passes, but for the two documented exceptions: a from-first window keeps its start,
/// and a bucket may credit less, never more.
pub fn with_others_between_as_time_passes<H: Harness>(harness: &H, sample: &Sample) {
    let scene = Scene::new(harness);
    let limit = sample.limit();
    let mut receipt = scene.take(&limit, "k", 3);
    scene.advance(sample.window / 10);
    for key in ["k", "twin"] {
        let _ = scene.take(&limit, key, 4);
    }
    scene.advance(sample.window / 10);
    let _ = scene.refund(&mut receipt, 3);
    let (with, without) = (scene.peek(&limit, "k"), scene.peek(&limit, "twin"));
    if sample.is_bucket() {
        assert!(with.remaining() <= without.remaining() && with.remaining() >= 5, "{with:?} {without:?}");
    } else if sample.is(&["from_first"]) {
        assert_eq!(with.remaining(), without.remaining());
        assert_eq!(without.reset_after() - with.reset_after(), sample.window / 10);
    } else {
        scene.same_future(sample, &limit, "k", "twin");
    }
}

/// A refund of some units leaves the rest as if only they had been charged.
pub fn a_part_refund_leaves_the_rest<H: Harness>(harness: &H, sample: &Sample) {
    let scene = Scene::new(harness);
    let limit = sample.limit();
    let mut receipt = scene.take(&limit, "k", 7);
    let _ = scene.take(&limit, "twin", 4);
    assert_eq!(outcome(&scene.refund(&mut receipt, 3)), (3, 3, false));
    scene.same_future(sample, &limit, "k", "twin");
}

/// What was given back can be charged at once, and no more.
pub fn what_is_given_back_can_be_charged<H: Harness>(harness: &H, sample: &Sample) {
    let scene = Scene::new(harness);
    let limit = sample.limit();
    let mut receipts: Vec<_> = (0..10).map(|_| scene.take(&limit, "k", 1)).collect();
    for at in [3, 0, 9] {
        let _ = scene.deny(&limit, "k", 1);
        let _ = scene.refund(&mut receipts[at], 1);
        let _ = scene.deny(&limit, "k", 2);
        let _ = scene.take(&limit, "k", 1);
    }
    let _ = scene.deny(&limit, "k", 1);
}

/// A bucket does not give back what has refilled already.
pub fn a_bucket_gives_no_refilled_units_back<H: Harness>(harness: &H) {
    let scene = Scene::new(harness);
    // A unit each 6 s.
    let limit = limit("bucket", "10/minute burst 10");
    let mut first = scene.take(&limit, "k", 5); // spans 0 to 30 s
    scene.advance(seconds(18));
    let _ = scene.take(&limit, "k", 5); // full again at 60 s: 42 s, 7 units, are missing
    assert_eq!(scene.remaining(&limit, "k"), 3);
    // Of the first charge's span 30 − 18 = 12 s have not refilled: 2 units come back, not 5.
    assert_eq!(outcome(&scene.refund(&mut first, 5)), (5, 5, false));
    assert_eq!(scene.remaining(&limit, "k"), 5);
    assert_eq!(scene.peek(&limit, "k").reset_after(), seconds(30));
    let _ = scene.deny(&limit, "k", 6);
    // Without the first charge there would be 5 missing as well, from the second.
    let _ = scene.take(&limit, "k", 5);
}

/// What an earlier refund credited lowers what a later one can.
pub fn a_buckets_refunds_know_each_other<H: Harness>(harness: &H) {
    let scene = Scene::new(harness);
    let limit = limit("bucket", "10/minute burst 10");
    let mut first = scene.take(&limit, "k", 5); // 0 to 30 s
    let mut second = scene.take(&limit, "k", 5); // 30 to 60 s
    let _ = scene.refund(&mut first, 5); // credits 30 s, full again at 30 s
    scene.advance(seconds(24));
    let _ = scene.take(&limit, "k", 4); // full again at 54 s, 60 to 84 s on the gross axis
    // Of the second, 60 − 30 credited before it − 24 = 6 s have not refilled: 1 unit, not 5.
    let _ = scene.refund(&mut second, 5);
    assert_eq!(scene.peek(&limit, "k").reset_after(), seconds(24));
    assert_eq!(scene.remaining(&limit, "k"), 6);
}

/// A from-first window refunded to nothing closes: the next charge opens another.
pub fn a_from_first_window_closes_when_empty<H: Harness>(harness: &H) {
    let scene = Scene::new(harness);
    let limit = limit("first", "10/minute from first");
    let mut receipt = scene.take(&limit, "k", 5);
    scene.advance(seconds(40));
    let back = scene.refund(&mut receipt, 5);
    assert_eq!(back.parts[0].status.map(|status| status.reset_after()), Some(Duration::ZERO));
    assert!(scene.listed(&limit).is_empty());
    scene.advance(seconds(5));
    let _ = scene.take(&limit, "k", 10);
    assert_eq!(scene.peek(&limit, "k").reset_after(), seconds(60));
    scene.advance(seconds(59));
    let _ = scene.deny(&limit, "k", 1);
    scene.advance(seconds(1));
    let _ = scene.take(&limit, "k", 10);
}

/// A sliding counter's refund reaches the bucket that was charged, also when it is the previous one.
pub fn a_sliding_refund_reaches_its_own_bucket<H: Harness>(harness: &H) {
    let scene = Scene::new(harness);
    let limit = limit("sliding", "10/minute sliding");
    let mut earlier = scene.take(&limit, "k", 8);
    scene.advance(seconds(90));
    // Half of the previous bucket: 8 · 1/2 = 4.
    assert_eq!(scene.remaining(&limit, "k"), 6);
    let _ = scene.take(&limit, "k", 3);
    assert_eq!(outcome(&scene.refund(&mut earlier, 6)), (6, 6, false));
    // 2 · 1/2 + 3.
    assert_eq!(scene.remaining(&limit, "k"), 6);
}

/// What was charged under one variant is given back after the key was charged under another, up or down.
pub fn what_one_variant_took_is_given_back_under_another<H: Harness>(harness: &H, sample: &Sample) {
    let (free, pro) = sample.variants();
    for (before, after) in [(&free, &pro), (&pro, &free)] {
        let scene = Scene::new(harness);
        let mut receipt = scene.take(before, "k", 6);
        let mut copy = scene.copy(&receipt);
        for key in ["k", "twin"] {
            let _ = scene.take(after, key, 4);
        }
        assert_eq!(outcome(&scene.refund(&mut receipt, 5)), (5, 5, false));
        let back = scene.refund(&mut copy, 6);
        assert_eq!(outcome(&back), (1, 6, false));
        assert_eq!(back.parts[0].status.map(|status| status.quota()), Some(after.policy().quota()));
        scene.same_future(sample, after, "k", "twin");
    }
}
