//! Several limits of one key: all or nothing in Rebate, one check after the other in governor.

use std::hint::black_box;

use rebate_core::{Decision, Item, Limit, Limiter};

use super::governor::Governor;
use super::rebate::{Store, policy, store};
use super::{Algorithm, Candidate, Outcome, Role, Side};
use crate::measure::Contender;

/// One charge of `N` limits.
struct Together<const N: usize> {
    limiter: Limiter<Store>,
    limits: [Limit; N],
}

impl<const N: usize> Together<N> {
    fn boxed(algorithm: Algorithm, outcome: Outcome) -> Box<dyn Contender> {
        let limiter = Limiter::new(store());
        let limit =
            |number| limiter.limit(&format!("limit-{number}"), &policy(algorithm, outcome)).expect("a good policy");
        let limits: [Limit; N] = std::array::from_fn(limit);
        Box::new(Together { limiter, limits })
    }
}

impl<const N: usize> Side for Together<N> {
    #[inline]
    fn charge(&self, key: &String) -> bool {
        let items: [Item<'_>; N] = std::array::from_fn(|place| Item::new(&self.limits[place], key.as_str()));
        let decision = self.limiter.charge_all_now(&items).expect("no trouble");
        matches!(black_box(&decision), Decision::Allowed(_))
    }
}

/// `N` limiters, asked until one denies. What the earlier ones took stays taken.
struct InTurn<const N: usize>([Governor; N]);

impl<const N: usize> InTurn<N> {
    fn boxed(outcome: Outcome) -> Box<dyn Contender> {
        Box::new(InTurn::<N>(std::array::from_fn(|_| Governor::new(outcome))))
    }
}

impl<const N: usize> Side for InTurn<N> {
    #[inline]
    fn charge(&self, key: &String) -> bool {
        self.0.iter().all(|limiter| limiter.charge(key))
    }
}

const fn several(name: &'static str, shorter: usize, make: fn(Outcome) -> Box<dyn Contender>) -> Candidate {
    Candidate { name, role: Role::Other, shorter, make }
}

pub(super) const ALL: [Candidate; 6] = [
    several("2 fixed windows", 2, |outcome| Together::<2>::boxed(Algorithm::Fixed, outcome)),
    several("2 token buckets", 2, |outcome| Together::<2>::boxed(Algorithm::Bucket, outcome)),
    several("2 governors", 2, InTurn::<2>::boxed),
    several("3 fixed windows", 3, |outcome| Together::<3>::boxed(Algorithm::Fixed, outcome)),
    several("3 token buckets", 3, |outcome| Together::<3>::boxed(Algorithm::Bucket, outcome)),
    several("3 governors", 3, InTurn::<3>::boxed),
];
