//! The sides: Rebate and its peers, each behind the same small trait.

mod floor;
mod governor;
mod limitador;
mod rate_net;
mod rebate;
mod refunds;
mod several;
mod trypema;

use crate::measure::Contender;

/// Something that admits or denies a key's next request, reading its default clock each time.
pub trait Side: Sync {
    /// Charges one unit. The key is a `String` because governor asks for a reference to its own key
    /// type; the others use it as `&str`.
    #[expect(clippy::ptr_arg, reason = "see above")]
    fn charge(&self, key: &String) -> bool;
}

/// What every charge of a run is meant to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A quota that no run reaches, in use all the while.
    Allowed,
    /// A quota of 1, taken by the fill, in a window no run outlives.
    Denied,
}

impl Outcome {
    /// Its name in the table.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Allowed => "allowed",
            Outcome::Denied => "denied",
        }
    }

    /// Units of the quota.
    pub(crate) fn quota(self) -> u32 {
        match self {
            Outcome::Allowed => 1_000_000_000,
            Outcome::Denied => 1,
        }
    }
}

/// The period of every limit: long enough that no window ends and no bucket runs idle meanwhile. The
/// aligned window in force began in 2024 and ends in 2079.
pub(crate) const PERIOD_DAYS: u64 = 20_000;

/// The algorithms that Rebate is measured with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Algorithm {
    Fixed,
    Bucket,
    FromFirst,
    Calendar,
    Sliding,
    Log,
    Leases,
}

/// What a candidate stands for in ratios and targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Rebate, a charge of one limit.
    Ours(Algorithm),
    /// The peer that the targets name.
    Governor,
    /// Any other.
    Other,
}

/// A side that can be made.
#[derive(Clone, Copy)]
pub struct Candidate {
    /// Its column in the table.
    pub name: &'static str,
    /// What it stands for.
    pub role: Role,
    /// Its laps are shorter by this factor, because it is slower by about as much.
    pub shorter: usize,
    /// A fresh one.
    pub make: fn(Outcome) -> Box<dyn Contender>,
}

/// Every side, for a charge of one limit.
pub fn candidates(all: bool) -> Vec<Candidate> {
    let mut list = vec![rebate::FIXED, rebate::BUCKET, governor::GOVERNOR];
    list.extend([rate_net::FIXED, rate_net::BUCKET, trypema::SLIDING, limitador::FIXED, floor::FIXED]);
    if all {
        list.extend(rebate::REST);
    }
    list
}

/// Several limits in one charge, against as many checks of governor; refunds.
pub fn several_and_refunds() -> Vec<Candidate> {
    let mut list = vec![rebate::FIXED, rebate::BUCKET, governor::GOVERNOR];
    list.extend(several::ALL);
    list.extend(refunds::ALL);
    list
}

/// A side that does nothing: what the measuring itself costs.
pub fn control() -> Box<dyn Contender> {
    struct Nothing;
    impl Side for Nothing {
        #[inline]
        fn charge(&self, key: &String) -> bool {
            !std::hint::black_box(key.as_bytes()).is_empty()
        }
    }
    Box::new(Nothing)
}
