//! Law 6: absent other traffic a denied charge is denied until `retry_after` has passed and admitted at it.

use std::time::Duration;

use rebate_core::{Clock, Item, Limit, Retry};

use super::scene::{Sample, Scene, denied, limit};
use crate::Harness;

const MICROSECOND: Duration = Duration::from_micros(1);

/// A store whose key `k` was charged 10 units, a few at a time and each a little later.
fn filled<'h, H: Harness>(harness: &'h H, sample: &Sample, limit: &Limit) -> Scene<'h, H> {
    let scene = Scene::new(harness);
    fill(&scene, sample, limit);
    scene
}

fn fill<H: Harness>(scene: &Scene<'_, H>, sample: &Sample, limit: &Limit) {
    for cost in [2, 1, 3, 1, 3] {
        let _ = scene.charge(limit, "k", cost);
        scene.advance(sample.window / 23);
    }
}

/// Whether `cost` was denied, and then denied until its wait was over and admitted at it.
#[track_caller]
fn assert_tight<H: Harness>(scene: &Scene<'_, H>, limit: &Limit, cost: u64) -> bool {
    let Some(denial) = scene.charge(limit, "k", cost).denial() else { return false };
    let wait = denial.retry_after().expect("at most the quota");
    assert!(wait > Duration::ZERO);
    scene.advance(wait - MICROSECOND);
    let left = scene.deny(limit, "k", cost).retry_after();
    assert_eq!(left, Some(MICROSECOND), "a microsecond before, for {cost}");
    scene.advance(MICROSECOND);
    let _ = scene.take(limit, "k", cost);
    true
}

/// Denied a microsecond before, admitted at it, for every cost.
pub fn the_wait_is_tight<H: Harness>(harness: &H, sample: &Sample) {
    let limit = sample.limit();
    let denied = (1..=10).filter(|&cost| assert_tight(&filled(harness, sample, &limit), &limit, cost)).count();
    assert!(denied >= 7, "only {denied} were denied");
}

/// The same once the charges are spread over two windows.
pub fn the_wait_is_tight_later<H: Harness>(harness: &H, sample: &Sample) {
    let limit = sample.limit();
    let denied = (1..=10).filter(|&cost| {
        let scene = filled(harness, sample, &limit);
        // 0.22 windows have passed; at 1.12 the next has begun for those that are aligned.
        scene.advance(sample.window * 9 / 10);
        fill(&scene, sample, &limit);
        assert_tight(&scene, &limit, cost)
    });
    assert!(denied.count() >= 5);
}

/// After a refund the wait is told from what is left.
pub fn a_refund_shortens_the_wait<H: Harness>(harness: &H, sample: &Sample) {
    let limit = sample.limit();
    for cost in [4, 5, 10] {
        let scene = Scene::new(harness);
        let _ = scene.take(&limit, "k", 4);
        let mut receipt = scene.take(&limit, "k", 6);
        scene.advance(sample.window / 100);
        let _ = scene.refund(&mut receipt, 3);
        assert_eq!(scene.remaining(&limit, "k"), 3);
        assert!(assert_tight(&scene, &limit, cost));
    }
}

/// A cost above the quota is never admitted, whatever the state; one at the quota is, in time.
pub fn above_the_quota_is_never<H: Harness>(harness: &H, sample: &Sample) {
    let scene = Scene::new(harness);
    let (limit, free) = (sample.limit(), limit("free", "100/hour"));
    for used in [0, 10] {
        if used > 0 {
            let _ = scene.take(&limit, "k", used);
        }
        for cost in [11, 1 << 52, (1 << 53) + 1, u64::MAX] {
            let denial = scene.deny(&limit, "k", cost);
            assert_eq!((denial.retry(), denial.retry_after()), (Retry::Never, None), "{cost}");
            let together = denied(scene.ask(&[Item::new(&free, "k"), Item::new(&limit, "k").cost(cost)]));
            assert_eq!(together.retry(), Retry::Never);
        }
    }
    assert!(scene.deny(&limit, "k", 10).retry_after().is_some());
    assert_eq!(scene.remaining(&free, "k"), 100);
}

/// A reset told is when the whole quota is free again, not a microsecond earlier.
pub fn the_reset_is_tight<H: Harness>(harness: &H, sample: &Sample) {
    let scene = Scene::new(harness);
    let limit = sample.limit();
    let _ = scene.take(&limit, "k", 2);
    scene.advance(sample.window / 9);
    let _ = scene.take(&limit, "k", 3);
    let reset = scene.peek(&limit, "k").reset_after();
    scene.advance(reset - MICROSECOND);
    assert!(scene.remaining(&limit, "k") < 10);
    scene.advance(MICROSECOND);
    assert_eq!(scene.remaining(&limit, "k"), 10);
    let _ = scene.take(&limit, "k", 10);
}

/// A denial of several limits is to be retried when the last of them admits.
pub fn the_longest_wait_counts<H: Harness>(harness: &H, sample: &Sample) {
    let scene = Scene::new(harness);
    let (one, hour) = (sample.limit(), limit("hour", "10/hour"));
    let items = [Item::new(&one, "k").cost(10), Item::new(&hour, "k").cost(10)];
    let _ = scene.ask(&items);
    let start = scene.clock.now();
    let wait = denied(scene.ask(&items)).retry_after().expect("later");
    scene.clock.set(start.saturating_add(wait - MICROSECOND));
    let _ = denied(scene.ask(&items));
    scene.clock.set(start.saturating_add(wait));
    assert!(scene.ask(&items).may_proceed());
}

/// A key that used more than a smaller variant's quota waits under it until enough of that counts no more.
pub fn the_wait_under_a_smaller_variant_is_tight<H: Harness>(harness: &H, sample: &Sample) {
    let (free, pro) = sample.variants();
    for cost in [1, 4, 10] {
        let scene = Scene::new(harness);
        let _ = scene.take(&pro, "k", 9);
        scene.advance(sample.window / 7);
        let _ = scene.take(&pro, "k", 8);
        assert_eq!(scene.deny(&free, "k", 11).retry_after(), None);
        assert!(assert_tight(&scene, &free, cost));
        // Now that it was charged under the smaller one, the larger one has waits of its own.
        let _ = scene.deny(&pro, "k", 26 - cost);
        assert!(assert_tight(&scene, &pro, 25));
    }
}
