//! The least that a fixed window on dashmap can do: no receipt, no remaining, no reset.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dashmap::DashMap;

use super::{Candidate, PERIOD_DAYS, Role, Side};

struct Floor {
    counts: DashMap<String, (u64, u64)>,
    quota: u64,
    window: u64,
}

impl Side for Floor {
    #[inline]
    fn charge(&self, key: &String) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_micros() as u64;
        let window = now / self.window;
        match self.counts.get_mut(key) {
            Some(mut count) => self.take(&mut count, window),
            None => self.take(&mut self.counts.entry(key.clone()).or_default(), window),
        }
    }
}

impl Floor {
    #[inline]
    fn take(&self, count: &mut (u64, u64), window: u64) -> bool {
        if count.0 != window {
            *count = (window, 0);
        }
        let admitted = count.1 < self.quota;
        count.1 += u64::from(admitted);
        admitted
    }
}

pub(super) const FIXED: Candidate = Candidate {
    name: "bare dashmap",
    role: Role::Other,
    shorter: 1,
    make: |outcome| {
        let window = Duration::from_secs(PERIOD_DAYS * 86_400).as_micros() as u64;
        Box::new(Floor { counts: DashMap::new(), quota: u64::from(outcome.quota()), window })
    },
};
