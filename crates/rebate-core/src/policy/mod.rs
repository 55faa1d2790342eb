//! Policies: a quota, an algorithm and its window.

mod grammar;

use std::fmt;
use std::time::Duration;

use crate::algorithm::bucket::Bucket;
use crate::algorithm::entries::Entries;
use crate::algorithm::fixed::{Fixed, Layout};
use crate::algorithm::sliding::Sliding;
use crate::calendar::{Calendar, CalendarUnit};
use crate::error::Error;

/// The largest quota, 2^52: what a double can count exactly with room to spare.
pub const MAX_QUOTA: u64 = 1 << 52;
/// The largest quota of a sliding window counter, 2^32.
pub const MAX_SLIDING_QUOTA: u64 = 1 << 32;
/// The longest window: a century of 36,525 days.
pub const MAX_WINDOW: Duration = Duration::from_secs(36_525 * 86_400);

/// A quota, an algorithm and its window: a limit without its name. One that exists can be enforced
/// by every store.
///
/// Written as text it reads as its parts do; see [`Policy::parse`].
#[derive(Clone, PartialEq)]
pub struct Policy {
    algorithm: Algorithm,
}

/// What [`Policy`] is made of, for those who write stores.
#[derive(Clone, Debug, PartialEq)]
pub enum Algorithm {
    /// A fixed window: aligned, calendar, or from the first charge.
    Fixed(Fixed),
    /// A sliding window counter.
    Sliding(Sliding),
    /// A sliding window log.
    Log(Entries),
    /// A token bucket.
    Bucket(Bucket),
    /// Concurrency: leases.
    Concurrency(Entries),
}

impl Policy {
    /// `quota` units in each window of length `window`, windows aligned to the Unix epoch.
    ///
    /// # Errors
    /// [`Error::is_invalid`] when the quota is 0 or above [`MAX_QUOTA`], or the window shorter than a
    /// microsecond, not whole microseconds, or longer than [`MAX_WINDOW`].
    pub fn fixed(quota: u64, window: Duration) -> Result<Self, Error> {
        let quota = check_quota(quota, MAX_QUOTA)?;
        Ok(Policy { algorithm: Algorithm::Fixed(Fixed { quota, layout: Layout::Aligned(check_window(window)?) }) })
    }

    /// `quota` units in each window of length `window`, every window opened by the first charge that
    /// finds none open.
    ///
    /// # Errors
    /// As [`Policy::fixed`].
    pub fn from_first(quota: u64, window: Duration) -> Result<Self, Error> {
        let quota = check_quota(quota, MAX_QUOTA)?;
        Ok(Policy { algorithm: Algorithm::Fixed(Fixed { quota, layout: Layout::FromFirst(check_window(window)?) }) })
    }

    /// `quota` units in each calendar day, week, month or year of the IANA time zone `zone`.
    ///
    /// # Errors
    /// [`Error::is_invalid`] when the quota is 0 or above [`MAX_QUOTA`], or the zone is not known.
    pub fn calendar(quota: u64, unit: CalendarUnit, zone: &str) -> Result<Self, Error> {
        let quota = check_quota(quota, MAX_QUOTA)?;
        Ok(Policy {
            algorithm: Algorithm::Fixed(Fixed { quota, layout: Layout::Calendar(Calendar::new(unit, zone)?) }),
        })
    }

    /// About `quota` units in any span of length `window`, estimated from two buckets.
    ///
    /// The estimate assumes that the charges of the previous bucket were spread evenly; an adversary
    /// can reach just under twice the quota in some span of one window.
    ///
    /// # Errors
    /// As [`Policy::fixed`], the quota being at most [`MAX_SLIDING_QUOTA`].
    pub fn sliding(quota: u64, window: Duration) -> Result<Self, Error> {
        let quota = check_quota(quota, MAX_SLIDING_QUOTA)?;
        Ok(Policy { algorithm: Algorithm::Sliding(Sliding::new(quota, check_window(window)?)) })
    }

    /// Exactly `quota` units at most in any span of length `window`; remembers every charge in it.
    ///
    /// # Errors
    /// As [`Policy::fixed`].
    pub fn sliding_log(quota: u64, window: Duration) -> Result<Self, Error> {
        let quota = check_quota(quota, MAX_QUOTA)?;
        Ok(Policy { algorithm: Algorithm::Log(Entries { quota, span: check_window(window)? }) })
    }

    /// A bucket of `burst` units that refills at `rate` units per `period`.
    ///
    /// # Errors
    /// [`Error::is_invalid`] when one of the numbers is 0, the period is not one that
    /// [`Policy::fixed`] takes, an empty bucket takes longer than [`MAX_WINDOW`] to fill, or the
    /// exact arithmetic could overflow.
    pub fn bucket(rate: u64, period: Duration, burst: u64) -> Result<Self, Error> {
        let rate = check_quota(rate, MAX_QUOTA)?;
        if burst == 0 {
            return Err(Error::invalid("a burst of 0 admits nothing; give at least 1"));
        }
        let period = check_window(period)?;
        let overflow = || {
            Error::invalid(format!(
                "a burst of {burst} at {rate} per {period} µs is beyond exact arithmetic; \
                 choose a smaller burst, or a rate that divides its period"
            ))
        };
        let bucket = Bucket::new(burst, rate, period).ok_or_else(overflow)?;
        if u128::from(bucket.span.micros) > MAX_WINDOW.as_micros() {
            return Err(Error::invalid(format!(
                "a burst of {burst} at {rate} per {period} µs takes more than a century to refill"
            )));
        }
        Ok(Policy { algorithm: Algorithm::Bucket(bucket) })
    }

    /// At most `places` units at once; each charge ends by itself after `lease`, unless it is renewed
    /// or refunded before.
    ///
    /// # Errors
    /// As [`Policy::fixed`].
    pub fn concurrency(places: u64, lease: Duration) -> Result<Self, Error> {
        let quota = check_quota(places, MAX_QUOTA)?;
        Ok(Policy { algorithm: Algorithm::Concurrency(Entries { quota, span: check_window(lease)? }) })
    }

    /// The quota: units per window, a bucket's burst, or places.
    pub fn quota(&self) -> u64 {
        match &self.algorithm {
            Algorithm::Fixed(fixed) => fixed.quota,
            Algorithm::Sliding(sliding) => sliding.quota,
            Algorithm::Log(entries) | Algorithm::Concurrency(entries) => entries.quota,
            Algorithm::Bucket(bucket) => bucket.burst,
        }
    }

    /// The same policy with another quota; a bucket keeps its rate and gets another burst.
    ///
    /// # Errors
    /// As the policy's own constructor.
    pub fn with_quota(&self, quota: u64) -> Result<Self, Error> {
        let window = Duration::from_micros;
        match &self.algorithm {
            Algorithm::Fixed(fixed) => match &fixed.layout {
                Layout::Aligned(span) => Policy::fixed(quota, window(*span)),
                Layout::FromFirst(span) => Policy::from_first(quota, window(*span)),
                Layout::Calendar(calendar) => {
                    let quota = check_quota(quota, MAX_QUOTA)?;
                    Ok(Policy {
                        algorithm: Algorithm::Fixed(Fixed { quota, layout: Layout::Calendar(calendar.clone()) }),
                    })
                }
            },
            Algorithm::Sliding(sliding) => Policy::sliding(quota, window(sliding.window)),
            Algorithm::Log(entries) => Policy::sliding_log(quota, window(entries.span)),
            Algorithm::Bucket(bucket) => Policy::bucket(bucket.rate, window(bucket.period), quota),
            Algorithm::Concurrency(entries) => Policy::concurrency(quota, window(entries.span)),
        }
    }

    /// The longest that anything charged now goes on counting: the window, a calendar unit's longest,
    /// two windows of a sliding counter, the time an empty bucket takes to fill, or the lease.
    pub fn longest(&self) -> Duration {
        Duration::from_micros(match &self.algorithm {
            Algorithm::Fixed(fixed) => match &fixed.layout {
                Layout::Aligned(span) | Layout::FromFirst(span) => *span,
                Layout::Calendar(calendar) => calendar.longest(),
            },
            Algorithm::Sliding(sliding) => 2 * sliding.window,
            Algorithm::Log(entries) | Algorithm::Concurrency(entries) => entries.span,
            Algorithm::Bucket(bucket) => bucket.span.micros + 1,
        })
    }

    /// Whether charges under it are leases that can be renewed.
    pub fn is_concurrency(&self) -> bool {
        matches!(self.algorithm, Algorithm::Concurrency(_))
    }

    /// For those who write stores: the algorithm and its numbers.
    #[inline]
    pub fn algorithm(&self) -> &Algorithm {
        &self.algorithm
    }

    /// Whether a count kept under `old` goes on under this policy: the same algorithm, window and
    /// layout; the quota (of a bucket, burst and rate) may differ.
    pub fn continues(&self, old: &Policy) -> bool {
        match (&self.algorithm, &old.algorithm) {
            (Algorithm::Fixed(new), Algorithm::Fixed(old)) => new.layout == old.layout,
            (Algorithm::Sliding(new), Algorithm::Sliding(old)) => new.window == old.window,
            (Algorithm::Log(new), Algorithm::Log(old)) | (Algorithm::Concurrency(new), Algorithm::Concurrency(old)) => {
                new.span == old.span
            }
            (Algorithm::Bucket(new), Algorithm::Bucket(old)) => new.period == old.period,
            _ => false,
        }
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Policy({self})")
    }
}

fn check_quota(quota: u64, most: u64) -> Result<u64, Error> {
    match quota {
        0 => Err(Error::invalid("a quota of 0 admits nothing; give at least 1")),
        quota if quota > most => Err(Error::invalid(format!("a quota of {quota} is too large; at most {most}"))),
        quota => Ok(quota),
    }
}

fn check_window(window: Duration) -> Result<u64, Error> {
    if window < Duration::from_micros(1) {
        Err(Error::invalid("a window shorter than a microsecond; give at least 1us"))
    } else if window > MAX_WINDOW {
        Err(Error::invalid(format!("a window of {window:?} is longer than a century (36525d)")))
    } else if !window.subsec_nanos().is_multiple_of(1000) {
        Err(Error::invalid(format!("a window of {window:?} is not whole microseconds")))
    } else {
        Ok(window.as_micros() as u64)
    }
}
