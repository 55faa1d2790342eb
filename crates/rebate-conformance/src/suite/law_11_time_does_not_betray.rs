//! Law 11: a clock that steps back grants nothing extra, a long step lets state follow, no wait grows
//! without bound, and no clock value panics.

use std::time::Duration;

use rebate_core::{Decision, Shortfall, Timestamp};

use super::scene::{Dice, Sample, Scene, Seen, outcome};
use crate::Harness;

/// A small step back grants nothing extra, and a refund in it gives back no more.
pub fn a_small_step_back_grants_nothing<H: Harness>(harness: &H, sample: &Sample) {
    for back in [Duration::from_micros(1), sample.window / 50, sample.window / 3] {
        let scene = Scene::new(harness);
        let limit = sample.limit();
        let _ = scene.take(&limit, "k", 6);
        let _ = scene.take(&limit, "k", 4);
        scene.step_back(back);
        assert_eq!(scene.remaining(&limit, "k"), 0, "{back:?} earlier");
        let _ = scene.deny(&limit, "k", 1);
        scene.advance(back);
        let _ = scene.deny(&limit, "k", 1);
    }
}

/// Nor do many of them, one after the other: a clock that trembles is as good as one that stands.
pub fn a_trembling_clock_grants_nothing<H: Harness>(harness: &H, sample: &Sample) {
    let scene = Scene::new(harness);
    let limit = sample.limit();
    let mut admitted = 0;
    for _ in 0..60 {
        admitted += u64::from(scene.charge(&limit, "k", 1).may_proceed());
        scene.step_back(sample.window / 100);
        admitted += u64::from(scene.charge(&limit, "k", 1).may_proceed());
        scene.advance(sample.window / 100);
    }
    assert_eq!(admitted, 10);
}

/// After a step back a refund still finds its window.
pub fn a_small_step_back_keeps_receipts<H: Harness>(harness: &H, sample: &Sample) {
    let scene = Scene::new(harness);
    let limit = sample.limit();
    let _ = scene.take(&limit, "k", 1);
    let mut receipt = scene.take(&limit, "k", 5);
    scene.step_back(sample.window / 4);
    assert_eq!(outcome(&scene.refund(&mut receipt, 2)), (2, 2, false));
    assert!(scene.remaining(&limit, "k") <= 6);
    scene.advance(sample.window / 4);
    assert_eq!(outcome(&scene.refund(&mut receipt, 5)), (3, 5, false));
    assert_eq!(scene.remaining(&limit, "k"), 9);
}

/// A step back of more than a window lets the state follow the clock: one quota is granted, once, and
/// receipts from then are expired.
pub fn a_long_step_back_is_followed<H: Harness>(harness: &H, sample: &Sample) {
    let scene = Scene::new(harness);
    let limit = sample.limit();
    let mut receipt = scene.take(&limit, "k", 10);
    scene.step_back(sample.long());
    assert_eq!(outcome(&scene.refund(&mut receipt, 10)), (0, 0, true));
    assert_eq!(scene.remaining(&limit, "k"), 10, "it does not block until the old time is reached");
    let mut admitted = 0;
    for _ in 0..15 {
        admitted += u64::from(scene.charge(&limit, "k", 1).may_proceed());
    }
    assert_eq!(admitted, 10);
    assert_eq!(outcome(&scene.refund(&mut receipt, 10)), (0, 0, true));
    assert_eq!(scene.remaining(&limit, "k"), 0);
}

/// However the clock jumps, a wait told is at most the algorithm's longest and one window.
pub fn waits_are_bounded<H: Harness>(harness: &H, sample: &Sample) {
    let scene = Scene::new(harness);
    let limit = sample.limit();
    let most = sample.policy().longest() + sample.window;
    let mut dice = Dice(11);
    let mut waits = 0;
    for _ in 0..300 {
        let jump = sample.window.mul_f64(dice.roll(250) as f64 / 100.0);
        match dice.roll(6) {
            0 => scene.step_back(jump),
            1 => scene.advance(jump),
            _ => {
                if let Decision::Denied(denial) = scene.charge(&limit, "k", 1 + dice.roll(10)) {
                    let wait = denial.retry_after().expect("at most the quota");
                    assert!(wait <= most, "{wait:?} is more than {most:?}");
                    waits += 1;
                }
                let reset = scene.peek(&limit, "k").reset_after();
                assert!(reset <= most, "{reset:?} is more than {most:?}");
            }
        }
    }
    assert!(waits > 30, "only {waits} waits");
}

/// At the epoch and at the last moment there is, a limit is a limit.
pub fn the_ends_of_time_are_times<H: Harness>(harness: &H, sample: &Sample) {
    for moment in [Timestamp::EPOCH, Timestamp::from_micros(1), Timestamp::MAX, Timestamp::from_micros(u64::MAX)] {
        let scene = Scene::at(harness, moment);
        let limit = sample.limit();
        let _ = scene.take(&limit, "k", 3);
        let mut receipt = scene.take(&limit, "k", 7);
        let _ = scene.deny(&limit, "k", 1);
        assert_eq!(outcome(&scene.refund(&mut receipt, 5)), (5, 5, false), "at {moment}");
        assert_eq!(scene.remaining(&limit, "k"), 5);
        let _ = scene.settled(&mut receipt, 1);
        assert_eq!(scene.remaining(&limit, "k"), 6);
        let _ = scene.listed(&limit);
        assert!(scene.reset(&limit, "k"));
    }
}

/// Clocks that jump between the ends of time panic nowhere and grant a quota at most for each jump.
pub fn no_clock_value_panics<H: Harness>(harness: &H, sample: &Sample) {
    let scene = Scene::new(harness);
    let limit = sample.limit();
    let mut dice = Dice(3);
    let mut receipts = Vec::new();
    for _ in 0..60 {
        let extreme = [0, 1, 59_999_999, 1 << 31, 1 << 51, (1 << 52) - 1, 1 << 52, u64::MAX];
        scene.clock.set(Timestamp::from_micros(extreme[dice.roll(8) as usize]));
        let mut admitted = 0;
        while let Decision::Allowed(receipt) = scene.charge(&limit, "k", 1 + dice.roll(5)) {
            admitted += receipt.cost();
            assert!(admitted <= 10);
            receipts.push(receipt);
        }
        if let Some(receipt) = receipts.last_mut() {
            let _ = scene.settle(receipt, dice.roll(5), Shortfall::TakeWhatIsThere);
            let _ = scene.run(scene.limiter.renew(receipt)).expect("no trouble");
            let _ = scene.refund(receipt, dice.roll(5));
        }
        assert!(scene.remaining(&limit, "k") <= 10);
        let _ = scene.listed(&limit);
    }
}

/// A forward jump is simply time.
pub fn a_forward_jump_is_time<H: Harness>(harness: &H, sample: &Sample) {
    let scene = Scene::new(harness);
    let limit = sample.limit();
    let _ = scene.take(&limit, "k", 10);
    scene.advance(Duration::from_secs(40 * 365 * 86_400));
    assert_eq!(Seen::status(&scene.peek(&limit, "k")), Seen::status(&scene.peek(&limit, "fresh")));
    let _ = scene.take(&limit, "k", 10);
    let _ = scene.deny(&limit, "k", 1);
}
