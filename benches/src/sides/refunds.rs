//! Rebate: refunds. No peer has them.

use std::hint::black_box;
use std::ops::Range;
use std::time::Instant;

use rebate_core::{Decision, Receipt};

use super::rebate::Rebate;
use super::{Algorithm, Candidate, Outcome, Role, Side};
use crate::measure::{Contender, Lap};
use crate::workload::Workload;

/// A charge and the refund of its receipt.
struct Paired(Rebate);

impl Side for Paired {
    #[inline]
    fn charge(&self, key: &String) -> bool {
        let Rebate { limiter, limit } = &self.0;
        match limiter.charge_now(limit, key.as_str()).expect("no trouble") {
            Decision::Allowed(mut receipt) => {
                let refund = limiter.refund_now(&mut receipt).expect("no trouble");
                black_box(&refund).parts[0].given_back == 1
            }
            _ => false,
        }
    }
}

/// Charges and refunds as one. Where charges are denied, the fill's stays.
pub(super) fn paired(algorithm: Algorithm, outcome: Outcome) -> Box<dyn Contender> {
    match outcome {
        Outcome::Allowed => Box::new(Paired(Rebate::new(algorithm, outcome))),
        Outcome::Denied => Box::new(Rebate::new(algorithm, outcome)),
    }
}

/// Refunds of receipts at hand, after as many charges that are not timed.
struct Alone(Rebate);

impl Alone {
    fn charge(&self, key: &str) -> Receipt {
        let decision = self.0.limiter.charge_now(&self.0.limit, key).expect("no trouble");
        decision.receipt().expect("a quota that is not reached")
    }
}

impl Contender for Alone {
    fn fill(&self, keys: &[String]) {
        self.0.fill(keys);
    }

    fn lap(&self, workload: &Workload, part: Range<usize>) -> Lap {
        let keys = workload.order[part].iter().map(|place| workload.keys[*place as usize].as_str());
        let mut receipts: Vec<Receipt> = keys.map(|key| self.charge(key)).collect();
        let mut admitted = 0;
        let start = Instant::now();
        for receipt in &mut receipts {
            let refund = self.0.limiter.refund_now(receipt).expect("no trouble");
            admitted += black_box(&refund).parts[0].given_back;
        }
        Lap { elapsed: start.elapsed(), admitted }
    }

    fn arrive(&self, keys: &[String], ticks: &mut [u64]) {
        self.0.arrive(keys, ticks);
    }
}

const fn refund(name: &'static str, shorter: usize, make: fn(Outcome) -> Box<dyn Contender>) -> Candidate {
    Candidate { name, role: Role::Other, shorter, make }
}

pub(super) const ALL: [Candidate; 4] = [
    refund("fixed charge + refund", 2, |outcome| paired(Algorithm::Fixed, outcome)),
    refund("bucket charge + refund", 2, |outcome| paired(Algorithm::Bucket, outcome)),
    refund("fixed refund alone", 4, |outcome| Box::new(Alone(Rebate::new(Algorithm::Fixed, outcome)))),
    refund("bucket refund alone", 4, |outcome| Box::new(Alone(Rebate::new(Algorithm::Bucket, outcome)))),
];
