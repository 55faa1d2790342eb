//! What the history of a log or of leases says.

use num_bigint::BigInt;
use rebate_core::Policy;

use super::kind::{Standing, Wait};
use super::life::Life;

/// The count's time, unless a clock far behind lets it start afresh.
pub(super) fn time(life: &Life, span: i128, now: i128) -> Option<i128> {
    let acted = life.acted();
    (acted - now <= span).then_some(now.max(acted))
}

/// The ends of the entries and their units that count, the earliest first.
fn counting(life: &Life, span: i128, time: i128) -> Vec<(i128, BigInt)> {
    let mut all: Vec<(i128, BigInt)> = life
        .charged()
        .iter()
        .map(|charged| (charged.renewed + span, charged.counts()))
        .filter(|(end, units)| *end > time && *units > BigInt::ZERO)
        .collect();
    all.sort();
    all
}

pub(super) fn standing(life: Option<(&Life, i128)>, policy: &Policy, span: i128, now: i128) -> Standing {
    let counting = life.map(|(life, time)| counting(life, span, time)).unwrap_or_default();
    let used: BigInt = counting.iter().map(|(_, units)| units).sum();
    Standing { free: BigInt::from(policy.quota()) - used, reset: counting.last().map_or(0, |(end, _)| end - now) }
}

/// Until enough entries have ended.
pub(super) fn wait(life: &Life, time: i128, span: i128, free: &BigInt, cost: u64, now: i128) -> Wait {
    let mut free = free.clone();
    for (end, units) in counting(life, span, time) {
        free += units;
        if BigInt::from(cost) <= free {
            return end - now;
        }
    }
    unreachable!("an empty count takes any cost up to the quota")
}

/// When nothing is left to know.
pub(super) fn end(life: &Life, span: i128) -> i128 {
    let acted = life.acted();
    let kept = life.charged().into_iter().zip(life.forgotten());
    let kept = kept.filter(|(charged, forgotten)| !forgotten || charged.counts() > BigInt::ZERO);
    kept.map(|(charged, _)| charged.renewed + span).filter(|&end| end > acted).max().unwrap_or(0)
}
