//! The sliding window counter: two buckets, the older one weighted by what is left of it.
//!
//! The estimate of the last window is `previous · (1 − elapsed / W) + current`. The window is cut
//! into `n` ticks, so `previous · (n − k) + (current + cost) · n ≤ quota · n` is exact in 64 bits
//! and in doubles. Bound: an adversary can reach just under twice the quota in some span of one
//! window (all of it at the end of one bucket and again at the end of the next).
//!
//! A count's time is the later of the clock and its current bucket's start; when the clock is
//! before that by more than a window, the count follows the clock and starts afresh.

use crate::algorithm::{Grant, Returned, Verdict};
use crate::decision::{Retry, Status};
use crate::marks::{Credit, MAX_UNIT, Marks, Units};

/// The most ticks a window is cut into.
const MAX_TICKS: u64 = 1 << 20;
/// The fewest ticks that a divisor of the window is taken for.
const MIN_TICKS: u64 = 1 << 10;

/// A sliding-counter limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sliding {
    /// Units per window, at most 2^32.
    pub quota: u64,
    /// The window and its buckets, in microseconds.
    pub window: u64,
    /// One tick, in microseconds.
    pub tick: u64,
    /// Ticks in a window; when they do not divide it the last one is shorter.
    pub ticks: u64,
}

/// The units of one bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Units charged, whether or not refunded since.
    pub gross: u64,
    /// Units refunded.
    pub refunded: u64,
}

/// The two buckets of one count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buckets {
    /// The count's identity, from which each bucket's follows.
    pub identity: u64,
    /// The current bucket's first microsecond.
    pub start: u64,
    /// The bucket from `start`.
    pub current: Tally,
    /// The bucket before it.
    pub previous: Tally,
}

impl Tally {
    /// Units that count.
    #[inline(always)]
    pub fn used(&self) -> u64 {
        self.gross.saturating_sub(self.refunded)
    }
}

impl Buckets {
    /// The identity of the bucket that starts at `start`.
    #[inline]
    pub fn instance(&self, start: u64) -> u64 {
        // An odd factor (2^64 over the golden ratio): one-to-one, and far from any step of identities.
        self.identity.wrapping_add(start.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }
}

impl Sliding {
    /// A limit of `quota` units in a sliding `window` of microseconds, both in range.
    ///
    /// The ticks are the largest divisor of the window up to 2^20, so that their times are whole;
    /// where the window has none above 2^10, `window / 2^20` rounded up is one tick.
    pub fn new(quota: u64, window: u64) -> Self {
        let divisor = (MIN_TICKS..=MAX_TICKS.min(window)).rev().find(|ticks| window.is_multiple_of(*ticks));
        let tick = match divisor {
            Some(ticks) => window / ticks,
            None => window.div_ceil(MAX_TICKS),
        };
        Sliding { quota, window, tick, ticks: window.div_ceil(tick) }
    }

    /// The buckets as they are at `now`, moved on by a bucket when that is due; `None` when nothing
    /// in them counts any more. Also whether they were moved on.
    #[inline(always)]
    pub fn live(&self, state: Buckets, now: u64) -> Option<(Buckets, bool)> {
        if now < state.start {
            return if state.start - now > self.window { None } else { Some((state, false)) };
        }
        let elapsed = now - state.start;
        if elapsed < self.window {
            Some((state, false))
        } else if elapsed - self.window < self.window {
            let moved = Buckets {
                start: state.start + self.window,
                current: Tally::default(),
                previous: state.current,
                ..state
            };
            Some((moved, true))
        } else {
            None
        }
    }

    /// Decides a charge of `cost` at `now`; `fresh` becomes the identity of a count it opens.
    #[inline(always)]
    pub fn charge(&self, state: Option<Buckets>, cost: u64, now: u64, fresh: u64) -> Verdict<Buckets> {
        let live = state.and_then(|state| self.live(state, now));
        let mut buckets = match live {
            Some((buckets, _)) => buckets,
            None => self.open(now, fresh),
        };
        if cost > self.quota {
            return Verdict::Denied { retry: Retry::Never, status: self.status_of(&buckets, now) };
        }
        let (current, previous) = (buckets.current.used(), buckets.previous.used());
        let weight = self.ticks - self.tick_at(&buckets, now);
        let fits = cost <= self.quota.saturating_sub(current)
            && previous * weight + (current + cost) * self.ticks <= self.quota * self.ticks;
        if !fits {
            let admitted_at = self.admits_at(&buckets, cost);
            return Verdict::Denied {
                retry: Retry::after_micros(admitted_at - now),
                status: self.status_of(&buckets, now),
            };
        }
        if buckets.current.gross > MAX_UNIT - cost {
            let renumbered = |used| Tally { gross: used, refunded: 0 };
            buckets =
                Buckets { identity: fresh, current: renumbered(current), previous: renumbered(previous), ..buckets };
        }
        buckets.current.gross += cost;
        Verdict::Admitted {
            state: buckets,
            grant: Grant { instance: buckets.instance(buckets.start), last: buckets.current.gross },
            status: self.status_of(&buckets, now),
        }
    }

    /// Quota, remaining and reset at `now`. The reset is when nothing counts any more.
    pub fn status(&self, state: Option<Buckets>, now: u64) -> Status {
        match state.and_then(|state| self.live(state, now)) {
            Some((buckets, _)) => self.status_of(&buckets, now),
            None => Status::new(self.quota, self.quota, 0),
        }
    }

    /// When nothing in `state` counts any more.
    pub fn empty_at(&self, state: &Buckets) -> u64 {
        state.start + 2 * self.window
    }

    #[inline(always)]
    fn status_of(&self, buckets: &Buckets, now: u64) -> Status {
        let (current, previous) = (buckets.current.used(), buckets.previous.used());
        let weighted = previous * (self.ticks - self.tick_at(buckets, now));
        let left = (self.quota * self.ticks).saturating_sub(weighted);
        let remaining = if previous == 0 { self.quota } else { left / self.ticks };
        let reset = match (current, previous) {
            (0, 0) => 0,
            (0, _) => buckets.start + self.window - now,
            _ => self.empty_at(buckets) - now,
        };
        Status::new(self.quota, remaining.saturating_sub(current), reset)
    }

    /// The tick of the current bucket that `now` falls into.
    #[inline]
    fn tick_at(&self, buckets: &Buckets, now: u64) -> u64 {
        now.saturating_sub(buckets.start) / self.tick
    }

    /// The first moment at which `cost`, denied now and at most the quota, fits without other
    /// traffic: in the current bucket, the next, or at the start of the one after.
    fn admits_at(&self, buckets: &Buckets, cost: u64) -> u64 {
        let (current, previous) = (buckets.current.used(), buckets.previous.used());
        let first_tick = |weighted: u64, plain: u64| {
            let room = self.quota.checked_sub(plain)?.checked_sub(cost)?;
            let weight = (room * self.ticks).checked_div(weighted)?.min(self.ticks);
            (weight >= 1).then_some(self.ticks - weight)
        };
        if let Some(tick) = first_tick(previous, current) {
            return buckets.start + tick * self.tick;
        }
        let next = buckets.start + self.window;
        match first_tick(current, 0) {
            Some(tick) => next + tick * self.tick,
            None if current == 0 => next,
            None => next + self.window,
        }
    }

    fn open(&self, now: u64, fresh: u64) -> Buckets {
        let start = now - now % self.window;
        Buckets { identity: fresh, start, current: Tally::default(), previous: Tally::default() }
    }
}

/// Gives back up to `total` of `units` in the bucket whose instance is named, current or previous.
/// `buckets` and the marks must have been moved on to `now`.
pub fn refund(
    buckets: &mut Buckets,
    current: &mut Marks,
    previous: &mut Marks,
    window: u64,
    instance: u64,
    units: Units,
    total: u64,
) -> Returned {
    let (tally, marks) = if instance == buckets.instance(buckets.start) {
        (&mut buckets.current, current)
    } else if instance == buckets.instance(buckets.start.wrapping_sub(window)) {
        (&mut buckets.previous, previous)
    } else {
        return Returned::EXPIRED;
    };
    if !units.issued_by(tally.gross) || marks.forgot(units.last) {
        return Returned::EXPIRED;
    }
    let already = marks.given_back(units);
    let newly = marks.mark(units, total, Credit::default(), 1);
    tally.refunded += newly;
    // Not asked of the marks, which may just have forgotten it.
    Returned { now: newly, in_all: already + newly, expired: false, closed: false }
}
