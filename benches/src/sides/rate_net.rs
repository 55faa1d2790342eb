//! rate-net: sharded maps with inline keys; its fixed window and its token bucket.

use std::time::Duration;

use ::rate_net::{Algorithm, Eviction, Quota, RateLimiter};

use super::{Candidate, Outcome, PERIOD_DAYS, Role, Side};
use crate::measure::Contender;

struct RateNet(RateLimiter);

impl Side for RateNet {
    #[inline]
    fn charge(&self, key: &String) -> bool {
        self.0.check(key.as_str()).is_allow()
    }
}

fn make(algorithm: Algorithm, outcome: Outcome) -> Box<dyn Contender> {
    let quota = Quota::rate(outcome.quota(), Duration::from_secs(PERIOD_DAYS * 86_400)).expect("a quota");
    // Unbounded, as its default bound evicts live keys a little above a million.
    Box::new(RateNet(RateLimiter::with_quota(quota).with_algorithm(algorithm).with_eviction(Eviction::unbounded())))
}

pub(super) const FIXED: Candidate = Candidate {
    name: "rate-net fixed window",
    role: Role::Other,
    shorter: 1,
    make: |outcome| make(Algorithm::FixedWindow, outcome),
};

pub(super) const BUCKET: Candidate = Candidate {
    name: "rate-net token bucket",
    role: Role::Other,
    shorter: 1,
    make: |outcome| make(Algorithm::TokenBucket, outcome),
};
