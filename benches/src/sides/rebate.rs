//! Rebate: a charge without a future; its receipt is made and dropped.

use std::hint::black_box;

use rebate_core::{Decision, Limit, Limiter};
use rebate_memory::MemoryStore;

use super::{Algorithm, Candidate, Outcome, PERIOD_DAYS, Role, Side};
use crate::measure::Contender;

/// The store under test.
pub(super) type Store = MemoryStore;

pub(super) fn store() -> Store {
    MemoryStore::new()
}

/// One limiter and one limit.
pub(super) struct Rebate {
    pub(super) limiter: Limiter<Store>,
    pub(super) limit: Limit,
}

impl Rebate {
    pub(super) fn new(algorithm: Algorithm, outcome: Outcome) -> Self {
        let limiter = Limiter::new(store());
        let limit = limiter.limit("requests", &policy(algorithm, outcome)).expect("a good policy");
        Rebate { limiter, limit }
    }
}

pub(super) fn policy(algorithm: Algorithm, outcome: Outcome) -> String {
    let quota = outcome.quota();
    match algorithm {
        Algorithm::Fixed => format!("{quota}/{PERIOD_DAYS}d"),
        Algorithm::Bucket => format!("{quota}/{PERIOD_DAYS}d burst {quota}"),
        Algorithm::FromFirst => format!("{quota}/{PERIOD_DAYS}d from first"),
        Algorithm::Calendar => format!("{quota}/year"),
        Algorithm::Sliding => format!("{quota}/{PERIOD_DAYS}d sliding"),
        Algorithm::Log => format!("{quota}/{PERIOD_DAYS}d sliding log"),
        Algorithm::Leases => format!("{quota} at once for {PERIOD_DAYS}d"),
    }
}

impl Side for Rebate {
    #[inline]
    fn charge(&self, key: &String) -> bool {
        let decision = self.limiter.charge_now(&self.limit, key.as_str()).expect("no trouble");
        matches!(black_box(&decision), Decision::Allowed(_))
    }
}

fn make(algorithm: Algorithm, outcome: Outcome) -> Box<dyn Contender> {
    Box::new(Rebate::new(algorithm, outcome))
}

const fn ours(name: &'static str, algorithm: Algorithm, make: fn(Outcome) -> Box<dyn Contender>) -> Candidate {
    Candidate { name, role: Role::Ours(algorithm), shorter: 1, make }
}

pub(super) const FIXED: Candidate =
    ours("rebate fixed window", Algorithm::Fixed, |outcome| make(Algorithm::Fixed, outcome));
pub(super) const BUCKET: Candidate =
    ours("rebate token bucket", Algorithm::Bucket, |outcome| make(Algorithm::Bucket, outcome));

/// The other algorithms. A log and leases keep an entry for each unit: their charges are
/// refunded at once, charge and refund counting as one.
pub(super) const REST: [Candidate; 5] = [
    ours("rebate from first", Algorithm::FromFirst, |outcome| make(Algorithm::FromFirst, outcome)),
    ours("rebate calendar", Algorithm::Calendar, |outcome| make(Algorithm::Calendar, outcome)),
    ours("rebate sliding", Algorithm::Sliding, |outcome| make(Algorithm::Sliding, outcome)),
    ours("rebate log + refund", Algorithm::Log, |outcome| super::refunds::paired(Algorithm::Log, outcome)),
    ours("rebate lease + release", Algorithm::Leases, |outcome| super::refunds::paired(Algorithm::Leases, outcome)),
];
