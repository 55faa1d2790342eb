//! What the history of a sliding window counter says.

use std::cell::RefCell;
use std::collections::HashMap;

use num_bigint::BigInt;
use rebate_core::Policy;

use super::kind::{Standing, Wait};
use super::life::Life;
use super::ratio::Ratio;

/// The count's time: never before the bucket it last acted in.
pub(super) fn time(life: &Life, window: i128, now: i128) -> Option<i128> {
    let start = bucket(life.acted(), window);
    let gone = now >= start + 2 * window || start - now > window;
    (!gone).then_some(now.max(start))
}

/// The start of the bucket that holds `time`.
pub(super) fn bucket(time: i128, window: i128) -> i128 {
    time.div_euclid(window) * window
}

fn used_in(life: &Life, window: i128, start: i128) -> BigInt {
    life.charged().iter().filter(|charged| bucket(charged.time, window) == start).map(|charged| charged.counts()).sum()
}

/// How much of the quota the estimate leaves at `time`, before it is rounded.
fn free(life: &Life, policy: &Policy, window: i128, time: i128) -> Ratio {
    let start = bucket(time, window);
    let (current, previous) = (used_in(life, window, start), used_in(life, window, start - window));
    let tick = tick(window);
    let ticks = (window + tick - 1).div_euclid(tick);
    let passed = (time - start).div_euclid(tick);
    let left_of_previous = Ratio::new(previous * (ticks - passed), ticks);
    &Ratio::whole(BigInt::from(policy.quota()) - current) - &left_of_previous
}

/// The largest divisor of the window that makes 2^10 to 2^20 ticks; without one, as short as makes at
/// most 2^20 of them.
fn tick(window: i128) -> i128 {
    // Trying a million divisors takes a while: once for each window.
    thread_local!(static TICKS: RefCell<HashMap<i128, i128>> = RefCell::default());
    TICKS.with_borrow_mut(|ticks| *ticks.entry(window).or_insert_with(|| find_tick(window)))
}

fn find_tick(window: i128) -> i128 {
    let divisors = |ticks: &i128| window % ticks == 0;
    match (1 << 10..=(1 << 20).min(window)).rev().find(divisors) {
        Some(ticks) => window / ticks,
        None => (window + (1 << 20) - 1) / (1 << 20),
    }
}

pub(super) fn standing(life: Option<(&Life, i128)>, policy: &Policy, window: i128, now: i128) -> Standing {
    let Some((life, time)) = life else { return Standing { free: policy.quota().into(), reset: 0 } };
    let start = bucket(time, window);
    let ends = [(start, start + 2 * window), (start - window, start + window)];
    let counts = ends.into_iter().find(|(start, _)| used_in(life, window, *start) > BigInt::ZERO);
    Standing { free: free(life, policy, window, time).floor(), reset: counts.map_or(0, |(_, end)| end - now) }
}

/// The first moment at which the estimate has sunk far enough: it never rises without charges.
pub(super) fn wait(life: &Life, policy: &Policy, window: i128, cost: u64, now: i128) -> Wait {
    let fits = |at: i128| match time(life, window, at) {
        Some(time) => free(life, policy, window, time) >= Ratio::whole(cost),
        None => true,
    };
    let (mut denied, mut admitted) = (now, now + 4 * window);
    while admitted - denied > 1 {
        let middle = (denied + admitted) / 2;
        if fits(middle) { admitted = middle } else { denied = middle }
    }
    admitted - now
}
