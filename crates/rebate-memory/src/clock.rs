//! A wall clock that costs half of the system's.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use rebate_core::{Clock, Timestamp};

/// How long the processor's counter is trusted to agree with the wall clock, in microseconds.
const TRUSTED: u64 = 100_000;

/// The wall clock, read from the processor's time stamp counter where it has a steady one.
///
/// Every 100 ms it looks at the operating system's clock again, so it follows a change of that
/// within 100 ms and is otherwise off by what the counter drifts meanwhile: some microseconds.
pub struct FastClock {
    counter: quanta::Clock,
    /// The counter when this clock was made.
    origin: u64,
    /// Microseconds per tick of the counter, times 2^64: one multiplication makes time of ticks.
    micros_per_tick: u64,
    /// Microseconds since the epoch less those since `origin`, wrapping.
    offset: AtomicU64,
    /// The microseconds since `origin` at which the offset was found.
    agreed_at: AtomicU64,
}

impl FastClock {
    /// A clock that agrees with the system's now.
    pub fn new() -> Self {
        let counter = quanta::Clock::new();
        let origin = counter.raw();
        // 2^40 ticks take some minutes: told in whole nanoseconds, that is exact to 12 digits.
        let nanos = u128::from(counter.delta_as_nanos(0, 1 << 40));
        let micros_per_tick = u64::try_from((nanos << 24) / 1000).unwrap_or(u64::MAX);
        let clock =
            FastClock { counter, origin, micros_per_tick, offset: AtomicU64::new(0), agreed_at: AtomicU64::new(0) };
        clock.agree();
        clock
    }

    #[cold]
    fn agree(&self) -> u64 {
        let wall = Timestamp::from(SystemTime::now()).as_micros();
        let since = self.since_origin();
        // Two threads may agree at once, either's figures are good; a reader between the two stores
        // uses the old offset once more.
        self.offset.store(wall.wrapping_sub(since), Ordering::Relaxed);
        self.agreed_at.store(since, Ordering::Release);
        wall
    }

    /// Microseconds since `origin`; nonsense when the counter was set back behind it.
    #[inline]
    fn since_origin(&self) -> u64 {
        let ticks = self.counter.raw().wrapping_sub(self.origin);
        ((u128::from(ticks) * u128::from(self.micros_per_tick)) >> 64) as u64
    }
}

impl Clock for FastClock {
    #[inline]
    fn now(&self) -> Timestamp {
        let since = self.since_origin();
        // Also where the counter was set back (a suspended machine): the difference wraps.
        if since.wrapping_sub(self.agreed_at.load(Ordering::Acquire)) >= TRUSTED {
            return Timestamp::from_micros(self.agree());
        }
        Timestamp::from_micros(self.offset.load(Ordering::Relaxed).wrapping_add(since))
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
