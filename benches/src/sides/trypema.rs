//! trypema, local and absolute: a sliding window of small buckets over a DashMap.

use std::sync::Arc;

use ::trypema::local::LocalRateLimiterProvider;
use ::trypema::{RateLimit, RateLimitDecision, RateLimiterBuilder, WindowSize};

use super::{Candidate, Outcome, Role, Side};

/// Its limits are rates per second over the window.
const WINDOW_SECONDS: u64 = 86_400;

struct Trypema {
    provider: Arc<LocalRateLimiterProvider>,
    rate: RateLimit,
}

impl Trypema {
    fn new(outcome: Outcome) -> Self {
        let window = WindowSize::seconds(WINDOW_SECONDS).expect("a window");
        // Without its thread that drops idle keys.
        let builder = LocalRateLimiterProvider::builder().window_size(window).disable_cleanup();
        // Half a unit more than the quota, which it rounds down.
        let rate = RateLimit::per_second((f64::from(outcome.quota()) + 0.5) / WINDOW_SECONDS as f64).expect("a rate");
        Trypema { provider: builder.build().expect("a provider"), rate }
    }
}

impl Side for Trypema {
    #[inline]
    fn charge(&self, key: &String) -> bool {
        matches!(self.provider.absolute().inc(key, &self.rate, 1), RateLimitDecision::Allowed)
    }
}

pub(super) const SLIDING: Candidate =
    Candidate { name: "trypema", role: Role::Other, shorter: 2, make: |outcome| Box::new(Trypema::new(outcome)) };
