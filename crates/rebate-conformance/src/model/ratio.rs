//! Rational numbers without bounds: what the model computes with.

use std::cmp::Ordering;
use std::ops::{Add, Mul, Sub};

use num_bigint::BigInt;
use num_integer::Integer;
use num_traits::{Signed, ToPrimitive};

/// A rational number in lowest terms, its denominator positive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ratio {
    over: BigInt,
    under: BigInt,
}

impl Ratio {
    /// `over / under`, the latter not 0.
    pub(crate) fn new(over: impl Into<BigInt>, under: impl Into<BigInt>) -> Self {
        let (over, under) = (over.into(), under.into());
        let divisor = over.gcd(&under) * under.signum();
        Ratio { over: over / &divisor, under: under / &divisor }
    }

    pub(crate) fn whole(number: impl Into<BigInt>) -> Self {
        Ratio { over: number.into(), under: 1.into() }
    }

    pub(crate) fn floor(&self) -> BigInt {
        self.over.div_floor(&self.under)
    }

    pub(crate) fn ceil(&self) -> BigInt {
        self.over.div_ceil(&self.under)
    }

    pub(crate) fn divided_by(&self, other: &Ratio) -> Self {
        Ratio::new(&self.over * &other.under, &self.under * &other.over)
    }

    /// The least multiple of `1 / under` that is no smaller.
    pub(crate) fn rounded_up_to(&self, under: &BigInt) -> Self {
        let parts = self * &Ratio::whole(under.clone());
        Ratio::new(parts.ceil(), under.clone())
    }

    pub(crate) fn denominator(&self) -> &BigInt {
        &self.under
    }
}

/// The number, or the nearest one that a `u64` can be.
pub(crate) fn to_u64(number: &BigInt) -> u64 {
    if number.is_negative() { 0 } else { number.to_u64().unwrap_or(u64::MAX) }
}

/// The number as a time. Times of the model lie far within.
pub(crate) fn to_time(number: &BigInt) -> i128 {
    number.to_i128().expect("times are below 2^127")
}

impl Add for &Ratio {
    type Output = Ratio;
    fn add(self, other: &Ratio) -> Ratio {
        Ratio::new(&self.over * &other.under + &other.over * &self.under, &self.under * &other.under)
    }
}

impl Sub for &Ratio {
    type Output = Ratio;
    fn sub(self, other: &Ratio) -> Ratio {
        Ratio::new(&self.over * &other.under - &other.over * &self.under, &self.under * &other.under)
    }
}

impl Mul for &Ratio {
    type Output = Ratio;
    fn mul(self, other: &Ratio) -> Ratio {
        Ratio::new(&self.over * &other.over, &self.under * &other.under)
    }
}

impl PartialOrd for Ratio {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Ratio {
    fn cmp(&self, other: &Self) -> Ordering {
        (&self.over * &other.under).cmp(&(&other.over * &self.under))
    }
}
