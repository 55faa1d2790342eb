//! What the history of a token bucket says: DESIGN's formula, in rational time.

use num_bigint::BigInt;
use rebate_core::Policy;
use rebate_core::algorithm::bucket::Bucket;

use super::kind::{Standing, Wait};
use super::life::{Deed, Life};
use super::ratio::{Ratio, to_time};

/// T: the time of one unit.
pub(super) fn unit(bucket: &Bucket) -> Ratio {
    Ratio::new(bucket.period, bucket.rate)
}

/// `units · T`.
fn span(bucket: &Bucket, units: impl Into<BigInt>) -> Ratio {
    &unit(bucket) * &Ratio::whole(units)
}

/// When the bucket is full again, from everything done in this busy period.
///
/// A refund credits what it gives back, but at most the part of its charge's span that is still to
/// come: where that span ends on the net axis, less the count's time.
pub(super) fn full_at(life: &Life, bucket: &Bucket) -> Ratio {
    let zero = Ratio::whole(0);
    let mut full_at = life.carried.clone().unwrap_or_else(|| zero.clone());
    let mut costs: Vec<u64> = Vec::new();
    let mut credits: Vec<Ratio> = Vec::new();
    for deed in &life.deeds {
        match *deed {
            Deed::Charge { time, cost } => {
                full_at = &full_at.max(Ratio::whole(time)) + &span(bucket, cost);
                costs.push(cost);
                credits.push(zero.clone());
            }
            Deed::Refund { time, charge, units } => {
                let later: BigInt = costs[charge + 1..].iter().map(|&cost| BigInt::from(cost)).sum();
                let given = credits[charge + 1..].iter().fold(zero.clone(), |sum, credit| &sum + credit);
                let end = &(&full_at - &span(bucket, later)) + &given;
                let to_come = (&end - &Ratio::whole(time)).max(zero.clone());
                let credit = span(bucket, units).min(to_come);
                full_at = &full_at - &credit;
                credits[charge] = &credits[charge] + &credit;
            }
            Deed::Renewal { .. } => {}
        }
    }
    full_at
}

/// The count's time, unless the bucket is idle or the clock far behind.
pub(super) fn time(life: &Life, bucket: &Bucket, now: i128) -> Option<i128> {
    let full_at = full_at(life, bucket);
    let longest = to_time(&span(bucket, bucket.burst).ceil());
    let start = (to_time(&full_at.floor()) - longest).max(0);
    let gone = full_at <= Ratio::whole(now) || start - now > longest;
    (!gone).then_some(now.max(start))
}

/// How many units are missing at `time`, not rounded.
fn missing(life: &Life, bucket: &Bucket, time: i128) -> Ratio {
    (&full_at(life, bucket) - &Ratio::whole(time)).divided_by(&unit(bucket))
}

/// `bucket` is the one the life was charged under, whose rate goes on until the next charge; `policy`
/// the one asked for.
pub(super) fn standing(life: Option<(&Life, i128)>, policy: &Policy, bucket: &Bucket, now: i128) -> Standing {
    let Some((life, time)) = life else { return Standing { free: policy.quota().into(), reset: 0 } };
    let free = &Ratio::whole(policy.quota()) - &missing(life, bucket, time);
    Standing { free: free.floor(), reset: to_time(&full_at(life, bucket).ceil()) - now }
}

/// Until so much has refilled that the cost fits.
pub(super) fn wait(life: &Life, policy: &Policy, bucket: &Bucket, cost: u64, now: i128) -> Wait {
    let tolerated = span(bucket, BigInt::from(policy.quota()) - BigInt::from(cost));
    to_time(&(&full_at(life, bucket) - &tolerated).ceil()) - now
}

/// When a bucket of another rate that misses as many units is full.
pub(super) fn carried(life: &Life, old: &Bucket, new: &Bucket, time: i128) -> Ratio {
    let missing = &missing(life, old, time) * &unit(new);
    &missing.rounded_up_to(unit(new).denominator()) + &Ratio::whole(time)
}
