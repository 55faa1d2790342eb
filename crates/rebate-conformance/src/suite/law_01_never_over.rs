//! Law 1: in any window as its algorithm defines it, admitted cost less refunded cost never exceeds the
//! quota, at any concurrency.

use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rebate_core::Decision;

use super::scene::{Dice, START, Sample, Scene, limit, outcome};
use crate::Harness;

/// Threads that charge single units at one clock reading are admitted exactly `min(n, quota)` times.
pub fn concurrent_units_admit_exactly_the_quota<H: Harness>(harness: &H, sample: &Sample) {
    let scene = Scene::new(harness);
    let limit = sample.limit();
    for (round, each) in [8, 2, 3, 16, 1, 8].into_iter().enumerate() {
        let key = format!("round {round}");
        let (admitted, start) = (AtomicU64::new(0), Barrier::new(4));
        std::thread::scope(|threads| {
            for _ in 0..4 {
                threads.spawn(|| {
                    start.wait();
                    for _ in 0..each {
                        let decision = scene.charge(&limit, &key, 1);
                        admitted.fetch_add(u64::from(decision.may_proceed()), Ordering::SeqCst);
                    }
                });
            }
        });
        assert_eq!(admitted.into_inner(), (4 * each).min(10), "of {} units", 4 * each);
        assert_eq!(scene.remaining(&limit, &key), 10 - (4 * each).min(10));
    }
}

/// Costs add up, and what fits exactly is admitted.
pub fn costs_add_up_to_the_quota<H: Harness>(harness: &H, sample: &Sample) {
    let scene = Scene::new(harness);
    let limit = sample.limit();
    let _ = scene.take(&limit, "k", 7);
    let _ = scene.deny(&limit, "k", 4);
    let _ = scene.take(&limit, "k", 3);
    let _ = scene.deny(&limit, "k", 1);
    let _ = scene.take(&limit, "other", 10);
    let _ = scene.deny(&limit, "k", u64::MAX);
}

/// Threads that charge and refund leave in use exactly what they kept.
pub fn concurrent_refunds_free_exactly_what_they_gave<H: Harness>(harness: &H, sample: &Sample) {
    let scene = Scene::new(harness);
    let limit = sample.with_quota(40);
    // Somebody counts all the while: a count that is emptied may close, and take its receipts with it.
    let _ = scene.take(&limit, "k", 1);
    let kept = AtomicU64::new(1);
    std::thread::scope(|threads| {
        for thread in 0..4 {
            let (scene, limit, kept) = (&scene, &limit, &kept);
            threads.spawn(move || {
                let mut dice = Dice(thread);
                for _ in 0..25 {
                    let cost = 1 + dice.roll(3);
                    let Decision::Allowed(mut receipt) = scene.charge(limit, "k", cost) else { continue };
                    let total = dice.roll(cost + 1);
                    let back = scene.refund(&mut receipt, total);
                    assert_eq!(outcome(&back), (total, total, false));
                    kept.fetch_add(cost - total, Ordering::SeqCst);
                }
            });
        }
    });
    assert_eq!(scene.remaining(&limit, "k"), 40 - kept.into_inner());
}

/// Random charges, refunds and steps forward: what was admitted and kept fits every window there is.
pub fn random_histories_stay_within_the_quota<H: Harness>(harness: &H, sample: &Sample) {
    let scene = Scene::new(harness);
    let limit = sample.limit();
    let mut dice = Dice(7);
    let mut history: Vec<Kept> = Vec::new();
    let mut receipts = Vec::new();
    for step in 0..250 {
        match dice.roll(4) {
            0 => scene.advance(sample.window.mul_f64(dice.roll(60) as f64 / 100.0)),
            1 if !receipts.is_empty() => {
                let at = dice.roll(receipts.len() as u64) as usize;
                let (entry, receipt): &mut (usize, _) = &mut receipts[at];
                let back = scene.refund(receipt, 1 + dice.roll(4));
                if back.given_back() > 0 {
                    history[*entry].units -= back.given_back();
                    history[*entry].refunded = step;
                }
            }
            _ => {
                let cost = 1 + dice.roll(4);
                if let Decision::Allowed(receipt) = scene.charge(&limit, "k", cost) {
                    receipts.push((history.len(), receipt));
                    history.push(Kept { at: scene.clock_micros(), step, units: cost, refunded: 0 });
                    assert_within(sample, &history);
                }
            }
        }
    }
    assert!(receipts.len() > 40, "a history worth checking");
}

/// A charge of the history, and what is left of it.
struct Kept {
    at: u64,
    step: u64,
    units: u64,
    /// The step of its last refund.
    refunded: u64,
}

/// By the definition of the sample's window, naively.
fn assert_within(sample: &Sample, history: &[Kept]) {
    let window = sample.window.as_micros() as u64;
    let now = history.last().map_or(0, |last| last.at);
    let since = |from: u64| history.iter().filter(|kept| kept.at >= from).map(|kept| kept.units).sum::<u64>();
    match sample.name {
        "aligned" => assert!(since(now - now % window) <= 10),
        // Berlin's days begin at 23:00 UTC in winter.
        "calendar" => assert!(since(now - (now + 3_600_000_000) % window) <= 10),
        "sliding" => {
            assert!(since(now - now % window) <= 10, "in a bucket");
            assert!(since((now + 1).saturating_sub(window)) < 20, "in any window");
        }
        "sliding_log" | "concurrency" => assert!(since((now + 1).saturating_sub(window)) <= 10),
        "bucket" | "bucket_fraction" => {
            // In any span no more than the burst and what refilled during it: 10 · (1 + span / window).
            for from in history.iter().map(|kept| kept.at) {
                let exact = if sample.name == "bucket" { 60_000_000.0 } else { 10_000_000.0 / 7.0 };
                let most = 10.0 * (1.0 + (now - from) as f64 / exact);
                assert!(since(from) as f64 <= most + 1e-6, "{} in {} µs", since(from), now - from);
            }
        }
        "from_first" => {
            // Replays where windows began: each at the first charge that finds none open, and closed early
            // by a refund that left nothing counting in it.
            let mut open: Option<(u64, Vec<usize>)> = None;
            for (place, kept) in history.iter().enumerate() {
                let counting = |(start, inside): &(u64, Vec<usize>)| {
                    let closed = inside.iter().all(|&at| history[at].units == 0);
                    let closed_in = inside.iter().map(|&at| history[at].refunded).max().unwrap_or(0);
                    kept.at < start + window && !(closed && closed_in < kept.step)
                };
                match open.as_mut().filter(|window| counting(window)) {
                    Some((_, inside)) => inside.push(place),
                    None => open = Some((kept.at, vec![place])),
                }
                let inside = open.as_ref().map_or(&[][..], |(_, inside)| inside);
                assert!(inside.iter().map(|&at| history[at].units).sum::<u64>() <= 10);
            }
        }
        other => panic!("no window is known for {other}"),
    }
}

/// A bucket of a fractional T admits its rate over time: neither lost nor gained by rounding.
pub fn a_fractional_rate_is_kept<H: Harness>(harness: &H) {
    let scene = Scene::new(harness);
    let limit = limit("seven", "7/second burst 2");
    // A poll every 17 ms for 10 s. By the last, at 9.996 s, 2 + ⌊9.996 · 7⌋ = 2 + 69 units have been there;
    // the bucket was never full in between, so none was lost.
    let mut admitted = 0;
    for _ in 0..=588 {
        while scene.charge(&limit, "k", 1).may_proceed() {
            admitted += 1;
            assert!(admitted <= 72, "more than there ever were");
        }
        scene.advance(Duration::from_millis(17));
    }
    assert_eq!(admitted, 71);
}

/// `10/day` polled every 17 ms admits 10 a day.
pub fn a_slow_rate_polled_often_is_kept<H: Harness>(harness: &H) {
    let scene = Scene::new(harness);
    let limit = limit("slow", "10/day burst 2");
    // T = 8640 s. The polls between are denied, so only the two around each admission are made.
    let mut admitted = 0;
    let day = 86_400_000_000;
    loop {
        while scene.charge(&limit, "k", 1).may_proceed() {
            admitted += 1;
            assert!(admitted <= 102, "more than there ever were");
        }
        let wait = scene.deny(&limit, "k", 1).retry_after().expect("later").as_micros() as u64;
        let polls = wait.div_ceil(17_000);
        assert!(polls > 0, "a wait of nothing");
        scene.advance(Duration::from_micros((polls - 1) * 17_000));
        let _ = scene.deny(&limit, "k", 1);
        scene.advance(Duration::from_micros(17_000));
        if scene.clock_micros() - START.as_micros() > 10 * day {
            break;
        }
    }
    // 2 at once, then one each 8640 s: the hundredth of them at 10 days exactly, or at the poll after,
    // which is beyond.
    assert!((101..=102).contains(&admitted), "{admitted} in ten days");
}

/// `600000/second` admits 600,000 a second.
pub fn a_fast_rate_is_kept<H: Harness>(harness: &H) {
    let scene = Scene::new(harness);
    let limit = limit("fast", "600000/second burst 600000");
    let _ = scene.take(&limit, "k", 600_000);
    for _ in 0..200 {
        // In 5 ms, 3000 units of 5/3 µs.
        scene.advance(Duration::from_millis(5));
        let _ = scene.deny(&limit, "k", 3001);
        let _ = scene.take(&limit, "k", 3000);
    }
    let _ = scene.deny(&limit, "k", 1);
}

/// A lowered quota holds at once for what is used already.
pub fn a_lowered_quota_holds<H: Harness>(harness: &H, sample: &Sample) {
    let scene = Scene::new(harness);
    let _ = scene.take(&sample.limit(), "k", 6);
    let lower = sample.with_quota(4);
    scene.limiter.replace(&lower);
    assert_eq!(scene.remaining(&lower, "k"), 0);
    let _ = scene.deny(&lower, "k", 1);
    let higher = sample.with_quota(8);
    scene.limiter.replace(&higher);
    assert_eq!(scene.remaining(&higher, "k"), 2);
    let _ = scene.deny(&higher, "k", 3);
    let _ = scene.take(&higher, "k", 2);
}

/// Charged under two variants in turn, a key is admitted exactly what fits the one that it is charged under.
pub fn variants_in_turn_hold_their_quotas<H: Harness>(harness: &H, sample: &Sample) {
    let scene = Scene::new(harness);
    let (free, pro) = sample.variants();
    let mut dice = Dice(9);
    let (mut kept, mut receipts) = (0, Vec::new());
    for _ in 0..60 {
        let limit = if dice.roll(2) == 0 { &free } else { &pro };
        let cost = 1 + dice.roll(4);
        match scene.charge(limit, "k", cost) {
            Decision::Allowed(receipt) => {
                kept += cost;
                assert!(kept <= limit.policy().quota(), "{kept} under {limit}");
                receipts.push(receipt);
            }
            _ => assert!(kept + cost > limit.policy().quota(), "{kept}, and {cost} denied under {limit}"),
        }
        if dice.roll(3) == 0 && !receipts.is_empty() {
            let at = dice.roll(receipts.len() as u64) as usize;
            kept -= scene.refund(&mut receipts[at], 1 + dice.roll(4)).given_back();
        }
        assert_eq!(scene.peek(&pro, "k").used(), kept);
    }
}

/// Threads that charge single units under two variants at one clock reading are admitted the larger quota.
pub fn variants_at_once_share_the_larger_quota<H: Harness>(harness: &H, sample: &Sample) {
    let scene = Scene::new(harness);
    let (free, pro) = sample.variants();
    let admitted = [&free, &pro].map(|limit| (limit, AtomicU64::new(0)));
    std::thread::scope(|threads| {
        for thread in 0..4 {
            let (scene, (limit, admitted)) = (&scene, &admitted[thread % 2]);
            threads.spawn(move || {
                for _ in 0..15 {
                    let passed = scene.charge(limit, "k", 1).may_proceed();
                    admitted.fetch_add(passed.into(), Ordering::SeqCst);
                }
            });
        }
    });
    let [under_free, under_pro] = admitted.map(|(_, admitted)| admitted.into_inner());
    assert!(under_free <= 10, "{under_free} under the smaller quota");
    assert_eq!(under_free + under_pro, 25);
}
