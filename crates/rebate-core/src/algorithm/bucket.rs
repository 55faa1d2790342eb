//! The token bucket, as GCRA (the generic cell rate algorithm of ITU-T I.371) with exact fractions.
//!
//! A unit takes T = period / rate. The state is `tat`, the theoretical arrival time: when the bucket
//! would be full again. A charge moves it to `max(tat, now) + cost · T` and fits while that is at most
//! `burst · T` ahead of now. Times are (microseconds, fraction), the fraction in parts of the rate
//! reduced by its common divisor with the period, so nothing is ever rounded.
//!
//! *Refund.* What has refilled already is not given back. Within one busy period (from an idle bucket
//! to the next) units are numbered, so the charge that ends at unit `u` of `gross` ends, on the net
//! axis, at `tat − (gross − u) · T + credits given above u`; that position less `now` is the most
//! that a refund of it can credit. (This is DESIGN's `g − credits at or before g − now`, told
//! from the other end, so that no axis can overflow.)
//!
//! A count's time is the later of the clock and `tat − burst · T`, the start of its window; when
//! the clock is before that by more than `burst · T`, the count follows the clock and starts afresh.

use crate::algorithm::{Grant, Returned, Verdict};
use crate::decision::{Retry, Status};
use crate::marks::{Credit, MAX_UNIT, Marks, Units};

/// A token-bucket limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Units the bucket holds: its quota.
    pub burst: u64,
    /// Units that refill in one period.
    pub rate: u64,
    /// The period, in microseconds.
    pub period: u64,
    /// The fraction's denominator: the rate reduced.
    pub denominator: u64,
    /// T, the time of one unit.
    pub unit: Credit,
    /// `burst · T`: the time an empty bucket takes to fill.
    pub span: Credit,
    /// T in fractions: the period reduced.
    unit_parts: u64,
    /// `burst · T` in fractions.
    span_parts: u64,
    /// `burst · T` in microseconds, rounded up.
    longest: u64,
}

/// The level of one bucket, within one busy period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// The busy period's identity.
    pub identity: u64,
    /// When the bucket is full again, as a time since the epoch.
    pub tat: Credit,
    /// Units charged in this busy period, whether or not refunded since.
    pub gross: u64,
}

impl Bucket {
    /// A bucket of `burst` units that refills `rate` units per `period` microseconds; `None` when
    /// its arithmetic could overflow (`burst · reduced rate > 2^52`, `burst · reduced period ≥
    /// 2^63`), none of the three zero.
    pub fn new(burst: u64, rate: u64, period: u64) -> Option<Self> {
        let divisor = greatest_common_divisor(rate, period);
        let (denominator, unit_parts) = (rate / divisor, period / divisor);
        let span_parts = burst.checked_mul(unit_parts).filter(|&parts| parts < 1 << 63)?;
        burst.checked_add(1)?.checked_mul(denominator).filter(|&parts| parts <= 1 << 52)?;
        let split = |parts: u64| Credit { micros: parts / denominator, fraction: parts % denominator };
        let span = split(span_parts);
        Some(Bucket {
            burst,
            rate,
            period,
            denominator,
            unit: split(unit_parts),
            span,
            unit_parts,
            span_parts,
            longest: span.micros + u64::from(span.fraction > 0),
        })
    }

    /// The level, if the bucket is not idle at `now`, and the count's time.
    #[inline(always)]
    pub fn live(&self, state: Level, now: u64) -> Option<(Level, u64)> {
        if state.tat.micros < now || (state.tat.micros == now && state.tat.fraction == 0) {
            return None;
        }
        let start = state.tat.micros.saturating_sub(self.longest);
        if now >= start {
            return Some((state, now));
        }
        if start - now > self.longest { None } else { Some((state, start)) }
    }

    /// Decides a charge of `cost` at `now`; `fresh` becomes the identity of a busy period it opens.
    #[inline(always)]
    pub fn charge(&self, state: Option<Level>, cost: u64, now: u64, fresh: u64) -> Verdict<Level> {
        self.charge_live(state.and_then(|level| self.live(level, now)), cost, now, fresh)
    }

    /// The same for a level and its time already found by [`live`](Bucket::live) or
    /// [`adopt`](Bucket::adopt).
    #[inline(always)]
    pub fn charge_live(&self, live: Option<(Level, u64)>, cost: u64, now: u64, fresh: u64) -> Verdict<Level> {
        let (level, time) = match live {
            Some(live) => live,
            None => (Level { identity: fresh, tat: Credit { micros: now, fraction: 0 }, gross: 0 }, now),
        };
        if cost > self.burst {
            return Verdict::Denied { retry: Retry::Never, status: self.status_of(level.tat, time, now) };
        }
        // What is missing now and what the charge takes, in fractions: compared with the span, and told.
        let missing = self.missing(level.tat, time);
        let after = missing.saturating_add(cost * self.unit_parts);
        let tat = level.tat.plus(self.span_of(cost), self.denominator);
        if after > self.span_parts {
            let wait = tat.minus(self.span, self.denominator);
            let admitted_at = wait.micros + u64::from(wait.fraction > 0);
            return Verdict::Denied {
                retry: Retry::after_micros(admitted_at - now),
                status: self.status_with(missing, level.tat, now),
            };
        }
        let (identity, gross) = match level.gross > MAX_UNIT - cost {
            true => (fresh, cost),
            false => (level.identity, level.gross + cost),
        };
        Verdict::Admitted {
            state: Level { identity, tat, gross },
            grant: Grant { instance: identity, last: gross },
            status: self.status_with(after, tat, now),
        }
    }

    /// Quota (the burst), remaining and reset (when the bucket is full) at `now`.
    #[inline]
    pub fn status(&self, state: Option<Level>, now: u64) -> Status {
        self.status_live(state.and_then(|level| self.live(level, now)), now)
    }

    /// The same for a level and its time already found.
    #[inline]
    pub fn status_live(&self, live: Option<(Level, u64)>, now: u64) -> Status {
        match live {
            Some((level, time)) => self.status_of(level.tat, time, now),
            None => Status::new(self.burst, self.burst, 0),
        }
    }

    /// Gives back up to `total` of `units`, of the busy period `instance`.
    #[inline]
    pub fn refund(
        &self,
        level: &mut Level,
        marks: &mut Marks,
        instance: u64,
        units: Units,
        total: u64,
        now: u64,
    ) -> Returned {
        let Some((_, time)) = self.live(*level, now) else { return Returned::EXPIRED };
        if level.identity != instance || !units.issued_by(level.gross) || marks.forgot(units.last) {
            return Returned::EXPIRED;
        }
        let already = marks.given_back(units);
        let newly = total.min(units.cost).saturating_sub(already);
        let credit = self.span_of_many(newly).min(self.unfilled(level, marks, units.last, time));
        let newly = marks.mark(units, total, credit, self.denominator);
        level.tat = level.tat.minus(credit, self.denominator);
        Returned {
            now: newly,
            in_all: already + newly,
            expired: false,
            closed: level.tat <= Credit { micros: now, fraction: 0 },
        }
    }

    /// T in parts of the denominator: the period reduced.
    pub fn unit_parts(&self) -> u64 {
        self.unit_parts
    }

    /// A level that `old` left, and its time, under this limit of the same period: the missing tokens
    /// stay as many. Where the rate is another, this is a new busy period (older receipts expire), its
    /// level rounded up to a fraction.
    pub fn adopt(&self, old: &Bucket, state: Level, now: u64, fresh: u64) -> Option<(Level, u64)> {
        let (level, time) = old.live(state, now)?;
        if !self.has_other_rate(old) {
            return Some((level, time));
        }
        let missing = old.parts(Credit { micros: level.tat.micros - time, fraction: level.tat.fraction });
        let parts = (u128::from(missing) * u128::from(self.unit_parts)).div_ceil(u128::from(old.unit_parts));
        let denominator = u128::from(self.denominator);
        let tat = Credit {
            micros: u64::try_from(parts / denominator).ok()?.checked_add(time)?,
            fraction: (parts % denominator) as u64,
        };
        Some((Level { identity: fresh, tat, gross: 0 }, time))
    }

    /// Whether a unit takes another time to refill than under `old`.
    pub fn has_other_rate(&self, old: &Bucket) -> bool {
        (self.unit, self.denominator) != (old.unit, old.denominator)
    }

    /// What a charge of `cost` is told under this limit while `old`, of another rate, still refills the bucket:
    /// a new rate holds from the first charge admitted under it, so waits and resets told at it would
    /// be false. Also when to retry, if the charge does not fit.
    pub fn told_at_rate_of(&self, old: &Bucket, live: (Level, u64), cost: u64, now: u64) -> (Option<Retry>, Status) {
        let (level, time) = live;
        let missing = u128::from(old.parts(Credit { micros: level.tat.micros - time, fraction: level.tat.fraction }));
        let unit = u128::from(old.unit_parts);
        let held = u128::from(self.burst) * unit;
        let reset = level.tat.micros + u64::from(level.tat.fraction > 0) - now;
        let status = Status::new(self.burst, (held.saturating_sub(missing) / unit) as u64, reset);
        let wanted = u128::from(cost) * unit + missing;
        let retry = if cost > self.burst {
            Some(Retry::Never)
        } else if wanted > held {
            let wait = (wanted - held).div_ceil(u128::from(old.denominator)) as u64;
            Some(Retry::after_micros(time - now + wait))
        } else {
            None
        };
        (retry, status)
    }

    /// How far the span of the charge that ends at unit `last` reaches beyond `time` on the net axis.
    #[inline]
    fn unfilled(&self, level: &Level, marks: &Marks, last: u64, time: u64) -> Credit {
        let above = level.tat.plus(marks.credit_above(last, self.denominator), self.denominator);
        let end = above.minus(self.span_of_many(level.gross - last), self.denominator);
        end.minus(Credit { micros: time, fraction: 0 }, self.denominator)
    }

    /// `cost · T`, for a cost of at most the burst.
    #[inline(always)]
    fn span_of(&self, cost: u64) -> Credit {
        if cost == 1 {
            return self.unit;
        }
        let parts = cost * self.unit.fraction;
        Credit { micros: cost * self.unit.micros + parts / self.denominator, fraction: parts % self.denominator }
    }

    /// `units · T` for any number of units, at most the end of time.
    #[inline]
    fn span_of_many(&self, units: u64) -> Credit {
        if units <= self.burst {
            return self.span_of(units);
        }
        let parts = u128::from(units) * u128::from(self.unit_parts);
        let denominator = u128::from(self.denominator);
        match u64::try_from(parts / denominator) {
            Ok(micros) if micros < 1 << 62 => Credit { micros, fraction: (parts % denominator) as u64 },
            _ => Credit { micros: 1 << 62, fraction: 0 },
        }
    }

    #[inline(always)]
    fn status_of(&self, tat: Credit, time: u64, now: u64) -> Status {
        self.status_with(self.missing(tat, time), tat, now)
    }

    #[inline(always)]
    fn status_with(&self, missing: u64, tat: Credit, now: u64) -> Status {
        let free = self.span_parts.saturating_sub(missing);
        let reset = tat.micros + u64::from(tat.fraction > 0) - now;
        Status::in_parts(self.burst, free, self.unit_parts, reset)
    }

    /// What is missing of a full bucket, in fractions.
    #[inline(always)]
    fn missing(&self, tat: Credit, time: u64) -> u64 {
        self.parts(Credit { micros: tat.micros - time, fraction: tat.fraction })
    }

    /// A time of at most a few spans, in fractions; saturates.
    #[inline(always)]
    fn parts(&self, time: Credit) -> u64 {
        time.micros.saturating_mul(self.denominator).saturating_add(time.fraction)
    }
}

fn greatest_common_divisor(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}
