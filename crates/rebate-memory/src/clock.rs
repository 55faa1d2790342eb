//! A wall clock that costs half of the system's.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use rebate_core::{Clock, Timestamp};

/// How long the processor's counter is trusted to agree with the wall clock, in nanoseconds.
const TRUSTED: u64 = 100_000_000;

/// The wall clock, read from the processor's time stamp counter where it has a steady one.
///
/// Every 100 ms it looks at the operating system's clock again, so it follows a change of that
/// within 100 ms and is otherwise off by what the counter drifts meanwhile: some microseconds.
pub struct FastClock {
    counter: quanta::Clock,
    /// The counter when this clock was made.
    origin: u64,
    /// Microseconds since the epoch less those since `origin`, wrapping.
    offset: AtomicU64,
    /// Nanoseconds since `origin` after which the offset is no longer trusted.
    trusted_until: AtomicU64,
}

impl FastClock {
    /// A clock that agrees with the system's now.
    pub fn new() -> Self {
        let counter = quanta::Clock::new();
        let origin = counter.raw();
        FastClock { counter, origin, offset: AtomicU64::new(0), trusted_until: AtomicU64::new(0) }
    }

    #[cold]
    fn agree(&self) -> u64 {
        let wall = Timestamp::from(SystemTime::now()).as_micros();
        let since = self.since_origin();
        // Two threads may agree at once, either's figures are good; a reader between the two stores
        // uses the old offset once more.
        let offset = wall.wrapping_sub(since / 1000);
        self.offset.store(offset, Ordering::Relaxed);
        self.trusted_until.store(since + TRUSTED, Ordering::Release);
        wall
    }

    #[inline]
    fn since_origin(&self) -> u64 {
        self.counter.delta_as_nanos(self.origin, self.counter.raw())
    }
}

impl Clock for FastClock {
    #[inline]
    fn now(&self) -> Timestamp {
        let since = self.since_origin();
        if since >= self.trusted_until.load(Ordering::Acquire) {
            return Timestamp::from_micros(self.agree());
        }
        Timestamp::from_micros(self.offset.load(Ordering::Relaxed).wrapping_add(since / 1000))
    }
}

impl Default for FastClock {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for FastClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FastClock({})", self.now())
    }
}
