//! governor: GCRA over a DashMap, its default keyed store and clock.

use std::time::Duration;

use ::governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use std::num::NonZeroU32;

use super::{Candidate, Outcome, PERIOD_DAYS, Role, Side};

pub(super) struct Governor(DefaultKeyedRateLimiter<String>);

impl Governor {
    pub(super) fn new(outcome: Outcome) -> Self {
        let burst = NonZeroU32::new(outcome.quota()).expect("a quota");
        let period = Duration::from_secs(PERIOD_DAYS * 86_400) / burst.get();
        let quota = Quota::with_period(period).expect("a period").allow_burst(burst);
        Governor(RateLimiter::keyed(quota))
    }
}

impl Side for Governor {
    #[inline]
    fn charge(&self, key: &String) -> bool {
        self.0.check_key(key).is_ok()
    }
}

pub(super) const GOVERNOR: Candidate =
    Candidate { name: "governor", role: Role::Governor, shorter: 1, make: |outcome| Box::new(Governor::new(outcome)) };
