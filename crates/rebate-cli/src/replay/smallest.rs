//! The smallest quota under which nobody, or few enough keys, would have been denied.
//!
//! No quotas are tried one after the other, because the limiter tells. As long as everything is
//! admitted, what a count holds does not depend on its limit's quota, in every algorithm; and law 7
//! makes `quota − remaining` right after a charge the smallest quota that admits this charge. So what
//! one key needs is the most that was ever in use after one of its charges, under a quota that
//! denies it none; a higher quota then denies it none either, and a lower one denies it something.
//! Refunds change nothing about that: they follow their charge, which had to be admitted. How many keys
//! need more than a quota falls as the quota rises, so the smallest quota that leaves at most so many
//! is found by counting needs. For a key that the replay never denied the replay itself is that
//! history; only the others are replayed once more.

use std::collections::BTreeMap;

use rebate::{Decision, Error, Item, Limit, Limiter, MAX_QUOTA, ManualClock, Policy, Timestamp};

use super::read::Event;
use super::refunds::StatusSet;
use super::store::{self, ReplayStore};

/// The share of the keys that may be denied something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tolerance {
    /// In millionths of a percent: shares like 0.1 % have no exact double.
    millionths: u64,
}

impl Tolerance {
    const WHOLE: u64 = 100_000_000;

    /// Reads a percentage of at most six decimals, with or without `%`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no percentage; give 0 to 100, such as 0.1");
        let number = text.trim().trim_end_matches('%').trim_end();
        let (whole, decimals) = number.split_once('.').unwrap_or((number, ""));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(decimals) || decimals.len() > 6 || whole.is_empty() {
            return Err(wrong());
        }
        let whole: u64 = whole.parse().map_err(|_| wrong())?;
        let decimals: u64 = format!("{decimals:0<6}").parse().map_err(|_| wrong())?;
        let millionths =
            whole.checked_mul(1_000_000).and_then(|whole| whole.checked_add(decimals)).ok_or_else(wrong)?;
        if millionths > Self::WHOLE { Err(wrong()) } else { Ok(Tolerance { millionths }) }
    }

    /// How many of `keys` that is, rounded down.
    pub(crate) fn of(self, keys: u64) -> u64 {
        (u128::from(keys) * u128::from(self.millionths) / u128::from(Self::WHOLE)) as u64
    }

    pub(crate) fn percent(self) -> f64 {
        self.millionths as f64 / 1_000_000.0
    }
}

/// How many keys need which quota.
#[derive(Clone, Debug, Default)]
pub(crate) struct Needs {
    by_quota: BTreeMap<u64, u64>,
    /// Keys that need more than the largest quota that can be built.
    beyond: u64,
}

impl Needs {
    /// Counts a key that needs `quota`; `None` when there is no quota large enough.
    pub(crate) fn add(&mut self, quota: Option<u64>) {
        match quota {
            Some(quota) => *self.by_quota.entry(quota).or_default() += 1,
            None => self.beyond += 1,
        }
    }

    pub(crate) fn merge(&mut self, other: Needs) {
        self.beyond += other.beyond;
        for (quota, keys) in other.by_quota {
            *self.by_quota.entry(quota).or_default() += keys;
        }
    }

    /// The smallest quota that denies something to at most `tolerated` keys.
    pub(crate) fn smallest(&self, tolerated: u64) -> Option<u64> {
        let mut above = self.beyond;
        if above > tolerated {
            return None;
        }
        for (&quota, keys) in self.by_quota.iter().rev() {
            above += keys;
            if above > tolerated {
                return Some(quota);
            }
        }
        Some(1)
    }
}

/// Finds what single keys need of one limit.
pub(crate) struct Search {
    limiter: Limiter<ReplayStore>,
    clock: ManualClock,
    policy: Policy,
    /// The largest quota its policy can have.
    largest: u64,
    /// Limits with quotas of a power of two, made when needed.
    limits: Vec<Option<Limit>>,
}

impl Search {
    pub(crate) fn new(policy: &Policy) -> Result<Self, Error> {
        let clock = ManualClock::default();
        Ok(Search {
            limiter: store::limiter(&clock)?,
            clock,
            policy: policy.clone(),
            largest: largest(policy),
            limits: vec![None; 65],
        })
    }

    /// The smallest quota under which none of these requests of one key is denied.
    pub(crate) fn need(&mut self, key: &[u8], events: &[Event], refunds: &StatusSet) -> Result<Option<u64>, Error> {
        let limit = self.limit(events.len() as u64)?;
        let item = [Item::new(&limit, key)];
        let mut most = Some(0);
        for event in events {
            self.clock.set(Timestamp::from_micros(event.micros()));
            let Decision::Allowed(mut receipt) = self.limiter.charge_all_now(&item)? else {
                most = None;
                break;
            };
            most = most.max(receipt.statuses().first().map(|status| status.used()));
            if refunds.contains(event.status()) {
                self.limiter.refund_now(&mut receipt)?;
            }
        }
        self.limiter.reset_now(&limit, key)?;
        Ok(most)
    }

    /// The limit with a quota that denies none of `requests`, if there is one.
    fn limit(&mut self, requests: u64) -> Result<Limit, Error> {
        let quota = requests.next_power_of_two().min(self.largest);
        let made = &mut self.limits[quota.ilog2() as usize + usize::from(quota == self.largest)];
        Ok(match made {
            Some(limit) => limit.clone(),
            None => made.insert(Limit::of(&quota.to_string(), self.policy.with_quota(quota)?)?).clone(),
        })
    }
}

/// The largest quota that can be built: where one is too large, a larger one is too.
fn largest(policy: &Policy) -> u64 {
    let (mut good, mut bad) = (policy.quota(), MAX_QUOTA + 1);
    while bad - good > 1 {
        let middle = good + (bad - good) / 2;
        if policy.with_quota(middle).is_ok() { good = middle } else { bad = middle }
    }
    good
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_are_exact() {
        let of = |text: &str, keys| Tolerance::parse(text).map(|tolerance| tolerance.of(keys));
        assert_eq!(of("0", 1000), Ok(0));
        assert_eq!(of("100", 1000), Ok(1000));
        assert_eq!(of("0.1", 1000), Ok(1));
        assert_eq!(of("0.7%", 1000), Ok(7));
        assert_eq!(of("0.29", 10_000), Ok(29));
        assert_eq!(of("12.345678", 100_000_000), Ok(12_345_678));
        for bad in ["", "-1", "100.000001", "1e2", "half", ".5", "0.1234567", "99999999999999999999"] {
            assert!(of(bad, 1).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_smallest_quota_leaves_as_many_keys_as_tolerated() {
        let mut needs = Needs::default();
        for quota in [1, 1, 5, 5, 9] {
            needs.add(Some(quota));
        }
        assert_eq!([0, 1, 2, 3, 4, 5].map(|keys| needs.smallest(keys)), [9, 5, 5, 1, 1, 1].map(Some));
        needs.add(None);
        assert_eq!([0, 1, 2].map(|keys| needs.smallest(keys)), [None, Some(9), Some(5)]);
    }

    #[test]
    fn the_largest_quota_of_each_algorithm() {
        let largest = |text| super::largest(&Policy::parse(text).expect("a good policy"));
        assert_eq!(largest("1/day"), MAX_QUOTA);
        assert_eq!(largest("1/day sliding"), 1 << 32);
        assert_eq!(largest("1/365d burst 5"), 100);
    }
}
