//! What the history of a count says, whatever its algorithm.

use num_bigint::BigInt;
use rebate_core::{Algorithm, Policy, Retry};

use super::life::{Life, same_window};
use super::{bucket, entries, sliding, windows};
use crate::answer::ShownStatus;
use crate::model::ratio::to_u64;

/// Microseconds from the clock's time.
pub(super) type Wait = i128;

/// How a count stands under a policy.
pub(super) struct Standing {
    /// Units left; less than 0 where the quota was lowered.
    pub(super) free: BigInt,
    pub(super) reset: Wait,
}

impl Life {
    /// The count's time at the clock's time `now`; `None` when it is gone, or as if absent.
    pub(super) fn time(&self, now: i128) -> Option<i128> {
        let time = match self.policy.algorithm() {
            _ if self.closed => None,
            Algorithm::Fixed(_) => windows::time(self, now),
            Algorithm::Sliding(sliding) => sliding::time(self, sliding.window.into(), now),
            Algorithm::Bucket(limit) => bucket::time(self, limit, now),
            Algorithm::Log(limit) | Algorithm::Concurrency(limit) => entries::time(self, limit.span.into(), now),
        };
        time.filter(|_| self.end() > now)
    }

    /// When there is nothing left to know of it.
    fn end(&self) -> i128 {
        match self.policy.algorithm() {
            Algorithm::Fixed(_) => self.window.1,
            Algorithm::Sliding(limit) => {
                sliding::bucket(self.acted(), limit.window.into()) + 2 * i128::from(limit.window)
            }
            Algorithm::Bucket(limit) => super::ratio::to_time(&bucket::full_at(self, limit).ceil()),
            Algorithm::Log(limit) | Algorithm::Concurrency(limit) => entries::end(self, limit.span.into()),
        }
    }

    /// Whether it is kept at `now`: also when the clock has stepped so far back that it is as if absent.
    pub(super) fn exists(&self, now: i128) -> bool {
        !self.closed && self.end() > now
    }

    /// The count's time, if it is there at `now` and goes on under `policy`.
    fn under(&self, policy: &Policy, now: i128) -> Option<i128> {
        if same_window(&self.policy, policy) { self.time(now) } else { None }
    }
}

/// A life that goes on under `policy`, and its time.
pub(super) fn going_on<'a>(life: Option<&'a Life>, policy: &Policy, now: i128) -> Option<(&'a Life, i128)> {
    life.and_then(|life| life.under(policy, now).map(|time| (life, time)))
}

fn standing(life: Option<&Life>, policy: &Policy, now: i128) -> Standing {
    let live = going_on(life, policy, now);
    match policy.algorithm() {
        Algorithm::Fixed(fixed) => windows::standing(live.map(|(life, _)| life), policy, fixed, now),
        Algorithm::Sliding(limit) => sliding::standing(live, policy, limit.window.into(), now),
        Algorithm::Bucket(limit) => {
            let charged_under = match live.map(|(life, _)| life.policy.algorithm()) {
                Some(Algorithm::Bucket(old)) => old,
                _ => limit,
            };
            bucket::standing(live, policy, charged_under, now)
        }
        Algorithm::Log(limit) | Algorithm::Concurrency(limit) => {
            entries::standing(live, policy, limit.span.into(), now)
        }
    }
}

/// Quota, remaining and reset.
pub(super) fn status(life: Option<&Life>, policy: &Policy, now: i128) -> ShownStatus {
    let standing = standing(life, policy, now);
    ShownStatus {
        item: 0,
        quota: policy.quota(),
        remaining: to_u64(&standing.free),
        reset: standing.reset as u64,
        denied: None,
    }
}

/// Whether `cost` fits; if not, when it will.
pub(super) fn denied(life: Option<&Life>, policy: &Policy, cost: &BigInt, now: i128) -> Option<Retry> {
    if *cost > BigInt::from(policy.quota()) {
        return Some(Retry::Never);
    }
    let free = standing(life, policy, now).free;
    if *cost <= free {
        return None;
    }
    let (life, time) = going_on(life, policy, now).expect("an absent count takes any cost up to the quota");
    let cost = to_u64(cost);
    let wait = match (policy.algorithm(), life.policy.algorithm()) {
        (Algorithm::Sliding(limit), _) => sliding::wait(life, policy, limit.window.into(), cost, now),
        (Algorithm::Bucket(_), Algorithm::Bucket(old)) => bucket::wait(life, policy, old, cost, now),
        (Algorithm::Log(limit) | Algorithm::Concurrency(limit), _) => {
            entries::wait(life, time, limit.span.into(), &free, cost, now)
        }
        _ => windows::wait(life, now),
    };
    Some(Retry::AfterMicros(wait as u64))
}
