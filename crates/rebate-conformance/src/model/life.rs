//! One incarnation of a count and everything that was ever done to it.

use num_bigint::BigInt;
use rebate_core::algorithm::fixed::Layout;
use rebate_core::{Algorithm, MAX_UNIT, Policy, REMEMBERED};

use super::ratio::Ratio;

/// What was charged from the opening of a count until it is gone: one window, the busy period of a
/// bucket, the two buckets of a sliding counter as they go along, a log, the leases.
#[derive(Clone, Debug)]
pub(super) struct Life {
    /// No other life has the same.
    pub(super) id: u64,
    /// Under which it was last charged.
    pub(super) policy: Policy,
    /// Of a fixed window: its first moment and the one after its last.
    pub(super) window: (i128, i128),
    /// Of a bucket whose rate was changed: when it would have been full, had nobody charged it since.
    pub(super) carried: Option<Ratio>,
    /// In the order in which they were done.
    pub(super) deeds: Vec<Deed>,
    /// Whether a refund or a reset ended it.
    pub(super) closed: bool,
}

/// One thing done, at the count's time then. Charges are numbered from 0 in their order.
#[derive(Clone, Debug)]
pub(super) enum Deed {
    Charge { time: i128, cost: u64 },
    Refund { time: i128, charge: usize, units: u64 },
    Renewal { time: i128, charge: usize },
}

impl Deed {
    pub(super) fn time(&self) -> i128 {
        let (Deed::Charge { time, .. } | Deed::Refund { time, .. } | Deed::Renewal { time, .. }) = self;
        *time
    }
}

/// A charge and what became of it.
#[derive(Clone, Debug)]
pub(super) struct Charged {
    /// When it was made.
    pub(super) time: i128,
    /// When it was made or last renewed.
    pub(super) renewed: i128,
    pub(super) cost: u64,
    pub(super) given_back: u64,
}

impl Charged {
    pub(super) fn counts(&self) -> BigInt {
        BigInt::from(self.cost) - BigInt::from(self.given_back)
    }

    fn whole(&self) -> bool {
        self.given_back == self.cost
    }
}

impl Life {
    /// Every charge, as it stands after all deeds.
    pub(super) fn charged(&self) -> Vec<Charged> {
        charged(&self.deeds)
    }

    /// The time of the latest deed.
    pub(super) fn acted(&self) -> i128 {
        self.deeds.iter().map(Deed::time).max().expect("a life begins with a charge")
    }

    /// Of each charge, whether the memory of refunds was so full that its receipt expired.
    pub(super) fn forgotten(&self) -> Vec<bool> {
        let from = self.numbered_from();
        let mut forgotten: Vec<bool> = (0..self.deeds.len()).map(|charge| charge < from).collect();
        let refund = |deed: &&Deed| matches!(deed, Deed::Refund { charge, .. } if *charge >= from);
        if self.deeds.iter().filter(refund).count() <= REMEMBERED {
            return forgotten;
        }
        for (at, deed) in self.deeds.iter().enumerate() {
            let Deed::Refund { charge, time, .. } = *deed else { continue };
            if charge < from {
                continue;
            }
            let charged = charged(&self.deeds[..=at]);
            match self.policy.algorithm() {
                Algorithm::Log(entries) | Algorithm::Concurrency(entries) => {
                    forget_entry(&charged, &mut forgotten, time - i128::from(entries.span));
                }
                Algorithm::Sliding(sliding) => {
                    let bucket = |at: usize| charged[at].time.div_euclid(i128::from(sliding.window));
                    forget_run(&charged, &mut forgotten, |other| bucket(other) == bucket(charge));
                }
                _ => forget_run(&charged, &mut forgotten, |_| true),
            }
        }
        forgotten
    }
}

impl Life {
    /// The first charge whose receipt has not expired because the units were numbered anew: beyond
    /// `MAX_UNIT`, from those in use then (in a bucket from none).
    fn numbered_from(&self) -> usize {
        let (mut from, mut last) = (0, BigInt::ZERO);
        for (at, deed) in self.deeds.iter().enumerate() {
            let Deed::Charge { time, cost } = *deed else { continue };
            if &last + cost > BigInt::from(MAX_UNIT) {
                let before = charged(&self.deeds[..at]);
                from = before.len();
                let in_use = |charged: &&Charged| match self.policy.algorithm() {
                    Algorithm::Log(limit) | Algorithm::Concurrency(limit) => {
                        charged.renewed + i128::from(limit.span) > time
                    }
                    Algorithm::Bucket(_) => false,
                    _ => true,
                };
                last = before.iter().filter(in_use).map(Charged::counts).sum();
            }
            last += cost;
        }
        from
    }
}

fn charged(deeds: &[Deed]) -> Vec<Charged> {
    let mut all: Vec<Charged> = Vec::new();
    for deed in deeds {
        match *deed {
            Deed::Charge { time, cost } => all.push(Charged { time, renewed: time, cost, given_back: 0 }),
            Deed::Refund { charge, units, .. } => all[charge].given_back += units,
            Deed::Renewal { charge, time } => all[charge].renewed = time,
        }
    }
    all
}

/// A run is a stretch of neighbours given back whole, or one charge given back in part. When there are
/// too many, the lowest is forgotten and all up to it.
fn forget_run(charged: &[Charged], forgotten: &mut [bool], of_bucket: impl Fn(usize) -> bool) {
    // The last charge of each run.
    let mut runs: Vec<usize> = Vec::new();
    for at in (0..charged.len()).filter(|&at| of_bucket(at) && !forgotten[at] && charged[at].given_back > 0) {
        match runs.last_mut() {
            Some(last) if *last + 1 == at && charged[*last].whole() && charged[at].whole() => *last = at,
            _ => runs.push(at),
        }
    }
    if runs.len() > REMEMBERED {
        (0..=runs[0]).filter(|&at| of_bucket(at)).for_each(|at| forgotten[at] = true);
    }
}

/// Of entries given back whole that have not ended, the lowest is forgotten when there are too many.
fn forget_entry(charged: &[Charged], forgotten: &mut [bool], ended: i128) {
    let whole = |at: &usize| !forgotten[*at] && charged[*at].whole() && charged[*at].renewed > ended;
    let kept: Vec<usize> = (0..charged.len()).filter(whole).collect();
    if kept.len() > REMEMBERED {
        forgotten[kept[0]] = true;
    }
}

/// Whether a count kept under one goes on under the other: only the quota (of a bucket, burst and rate)
/// differs.
pub(super) fn same_window(one: &Policy, other: &Policy) -> bool {
    match (one.algorithm(), other.algorithm()) {
        (Algorithm::Fixed(one), Algorithm::Fixed(other)) => match (&one.layout, &other.layout) {
            (Layout::Aligned(one), Layout::Aligned(other)) | (Layout::FromFirst(one), Layout::FromFirst(other)) => {
                one == other
            }
            (Layout::Calendar(one), Layout::Calendar(other)) => one.unit == other.unit && one.zone() == other.zone(),
            _ => false,
        },
        (Algorithm::Sliding(one), Algorithm::Sliding(other)) => one.window == other.window,
        (Algorithm::Bucket(one), Algorithm::Bucket(other)) => one.period == other.period,
        (Algorithm::Log(one), Algorithm::Log(other)) | (Algorithm::Concurrency(one), Algorithm::Concurrency(other)) => {
            one.span == other.span
        }
        _ => false,
    }
}
