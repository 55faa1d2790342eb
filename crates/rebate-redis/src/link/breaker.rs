//! The circuit breaker of one node: after failures in a row its callers are refused at once.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The first wait is between half of this and all of it; each one after a failed probe up to twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// So long after its moment a probe that was not made was forgotten.
const OVERDUE: Duration = Duration::from_millis(500);

pub(super) struct Breaker {
    /// 0 while closed; else the moment, in microseconds since `origin`, from which a probe may be made. Whoever
    /// makes it moves this on first, so that there is one probe at a time, also when the runtime that was to make it
    /// is gone.
    open_until: AtomicU64,
    failures: AtomicU32,
    /// Waits since it was last closed.
    waits: AtomicU32,
    open_after: u32,
    origin: Instant,
}

/// The moment of a probe.
pub(super) struct Due {
    until: u64,
    pub(super) wait: Duration,
}

impl Breaker {
    pub(super) fn new(open_after: u32) -> Breaker {
        Breaker {
            open_until: AtomicU64::new(0),
            failures: AtomicU32::new(0),
            waits: AtomicU32::new(0),
            open_after,
            origin: Instant::now(),
        }
    }

    /// The one thing that every call asks.
    #[inline]
    pub(super) fn is_closed(&self) -> bool {
        self.open_until.load(Ordering::Relaxed) == 0
    }

    /// The server answered.
    #[inline]
    pub(super) fn succeeded(&self) {
        // Looked at first: a store by every call would fight over the line.
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
    }

    /// The way failed once more; says whether that opened the breaker.
    pub(super) fn failed(&self) -> bool {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        failures >= self.open_after && self.trip()
    }

    /// Opens the breaker; says whether it was closed.
    pub(super) fn trip(&self) -> bool {
        let until = self.after(self.next_wait());
        self.open_until.compare_exchange(0, until, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// When the next probe may be made, if it is open.
    pub(super) fn due(&self) -> Option<Due> {
        let until = self.open_until.load(Ordering::Acquire);
        let wait = Duration::from_micros(until.saturating_sub(self.after(Duration::ZERO)));
        (until != 0).then_some(Due { until, wait })
    }

    /// Takes on the probe that was due, unless another has. It must end within `lease`; after that another may be
    /// made.
    pub(super) fn claim(&self, due: Due, lease: Duration) -> bool {
        let until = self.after(lease);
        self.open_until.compare_exchange(due.until, until, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Takes on a probe that should have been made some time ago.
    pub(super) fn claim_overdue(&self, lease: Duration) -> bool {
        let until = self.open_until.load(Ordering::Acquire);
        let due = Due { until, wait: Duration::ZERO };
        until != 0 && until + OVERDUE.as_micros() as u64 <= self.after(Duration::ZERO) && self.claim(due, lease)
    }

    /// The probe succeeded.
    pub(super) fn close(&self) {
        self.failures.store(0, Ordering::Relaxed);
        self.waits.store(0, Ordering::Relaxed);
        self.open_until.store(0, Ordering::Release);
    }

    /// The probe failed.
    pub(super) fn stay_open(&self) {
        self.open_until.store(self.after(self.next_wait()), Ordering::Release);
    }

    fn next_wait(&self) -> Duration {
        let waits = self.waits.fetch_add(1, Ordering::Relaxed).min(16);
        let longest = FIRST_WAIT.saturating_mul(1 << waits).min(LONGEST_WAIT);
        // Jitter, so that many processes do not come back at once. The hasher is seeded anew by each `RandomState`.
        let random = RandomState::new().hash_one(waits) >> 32;
        let half = longest / 2;
        half + Duration::from_micros((half.as_micros() as u64 * random) >> 32)
    }

    /// Never 0.
    fn after(&self, wait: Duration) -> u64 {
        (self.origin.elapsed() + wait).as_micros().max(1) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_after_failures_in_a_row_only() {
        let breaker = Breaker::new(3);
        assert!(!breaker.failed());
        assert!(!breaker.failed());
        breaker.succeeded();
        assert!(!breaker.failed());
        assert!(!breaker.failed());
        assert!(breaker.is_closed());
        assert!(breaker.failed());
        assert!(!breaker.is_closed());
        assert!(!breaker.failed(), "it was open already");
    }

    #[test]
    fn one_claims_the_probe() {
        let breaker = Breaker::new(1);
        let lease = Duration::from_secs(60);
        assert!(breaker.due().is_none());
        assert!(!breaker.claim_overdue(lease), "nothing to probe");
        assert!(breaker.trip());
        let (one, other) = (breaker.due().unwrap(), breaker.due().unwrap());
        assert!(breaker.claim(one, lease));
        assert!(!breaker.claim(other, lease), "another is at it");
        assert!(!breaker.claim_overdue(lease), "and not overdue");
        assert!(!breaker.is_closed(), "the others are still refused");
        breaker.close();
        assert!(breaker.is_closed());
        assert!(breaker.due().is_none());
    }

    #[test]
    fn a_forgotten_probe_is_taken_over_once() {
        let mut breaker = Breaker::new(1);
        breaker.origin -= Duration::from_secs(3600);
        breaker.open_until.store(1, Ordering::Release);
        assert!(breaker.claim_overdue(Duration::from_secs(60)));
        assert!(!breaker.claim_overdue(Duration::from_secs(60)));
    }

    #[test]
    fn waits_grow_and_are_bounded() {
        let breaker = Breaker::new(1);
        let waits: Vec<_> = (0..40).map(|_| breaker.next_wait()).collect();
        assert!(waits[0] >= Duration::from_millis(100) && waits[0] <= Duration::from_millis(200));
        assert!(waits[3] >= Duration::from_millis(800));
        assert!(waits.iter().all(|wait| *wait <= LONGEST_WAIT));
        assert!(waits[39] >= LONGEST_WAIT / 2);
    }
}
