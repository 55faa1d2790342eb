//! A count's state as the server keeps it, read back into core's types: core tells what it means.

use rebate_core::algorithm::Verdict;
use rebate_core::algorithm::bucket::{Bucket, Level};
use rebate_core::algorithm::fixed::Window;
use rebate_core::algorithm::sliding::{Buckets, Sliding, Tally};
use rebate_core::count::Count;
use rebate_core::{
    Algorithm, Credit, Held, Limit, MAX_SLIDING_QUOTA, MAX_UNIT, MAX_WINDOW, Marks, Policy, Retry, Status,
};

use smallvec::SmallVec;

use crate::item::{Adopted, Shape, bucket_of};

/// A count's state.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct View {
    pub(crate) shape: Shape,
    pub(crate) instance: u64,
    /// Of the limit it was last charged under.
    pub(crate) quota: u64,
    pub(crate) charged_at: u64,
    pub(crate) state: State,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum State {
    Window(Window),
    Sliding { window: u64, buckets: Buckets },
    Bucket { unit_parts: u64, denominator: u64, level: Level, bytes: [u8; 80] },
    Entries(Entries),
}

/// What the server tells of a log or of leases: the entries themselves stay there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Entries {
    pub(crate) span: u64,
    pub(crate) acted: u64,
    pub(crate) gross: u64,
    /// Units that count at the count's time.
    pub(crate) used: u64,
    /// The end of the last entry that counts, or 0.
    pub(crate) reset: u64,
    /// When the cost asked for fits; 0 where it fits now, or never will.
    pub(crate) fits: u64,
    /// When the count says nothing any more.
    pub(crate) expires_at: u64,
}

/// What a state says to a charge that it was sent back for.
pub(crate) enum Said {
    /// It is denied.
    Denied(Retry, Status),
    /// This limit would admit it; its status as it is.
    Fits(Status),
}

impl View {
    /// Reads what the server sent: nothing for an absent count, [`None`] for what is no state of this version.
    pub(crate) fn read(bytes: &[u8]) -> Option<Option<View>> {
        let view = Self::read_any(bytes)?;
        view.as_ref().is_none_or(View::is_in_range).then_some(view)
    }

    /// Whether no number is larger than core can have written: anyone may write to a server.
    fn is_in_range(&self) -> bool {
        let are_moments = |moments: &[u64]| moments.iter().all(|&moment| moment <= MAX_UNIT);
        let is_used = |tally: &Tally| {
            tally.refunded <= tally.gross && tally.used() <= MAX_SLIDING_QUOTA && tally.gross <= MAX_UNIT
        };
        are_moments(&[self.quota, self.charged_at])
            && match &self.state {
                State::Window(window) => {
                    window.start <= window.end
                        && window.refunded <= window.gross
                        && are_moments(&[window.end, window.gross])
                }
                State::Sliding { window, buckets } => {
                    (1..=MAX_WINDOW.as_micros()).contains(&u128::from(*window))
                        && self.quota <= MAX_SLIDING_QUOTA
                        && buckets.start <= MAX_UNIT
                        && is_used(&buckets.current)
                        && is_used(&buckets.previous)
                }
                State::Bucket { unit_parts, denominator, level, .. } => {
                    self.quota > 0
                        && *denominator > 0
                        && *unit_parts > 0
                        && level.tat.fraction < *denominator
                        && are_moments(&[*unit_parts, *denominator, level.tat.micros, level.gross])
                }
                State::Entries(entries) => are_moments(&[
                    entries.span,
                    entries.acted,
                    entries.gross,
                    entries.used,
                    entries.reset,
                    entries.fits,
                    entries.expires_at,
                ]),
            }
    }

    fn read_any(bytes: &[u8]) -> Option<Option<View>> {
        if bytes.is_empty() {
            return Some(None);
        }
        let shape: Shape = *bytes.first_chunk()?;
        let instance = identity_at(bytes, 8)?;
        let view = |quota, charged_at, state| Some(Some(View { shape, instance, quota, charged_at, state }));
        match shape[7] {
            b'A' | b'D' | b'F' => {
                let [start, end, gross, refunded, quota, charged_at] = wholes(bytes, 16)?;
                view(quota, charged_at, State::Window(Window { instance, start, end, gross, refunded }))
            }
            b'S' => {
                let [start, gross, refunded, gross_before, refunded_before, quota, window, charged_at] =
                    wholes(bytes, 24)?;
                let buckets = Buckets {
                    identity: instance,
                    start,
                    current: Tally { gross, refunded },
                    previous: Tally { gross: gross_before, refunded: refunded_before },
                };
                view(quota, charged_at, State::Sliding { window, buckets })
            }
            b'B' => {
                let [tat, fraction, gross, quota, unit_parts, denominator, _kept, charged_at] = wholes(bytes, 16)?;
                let level = Level { identity: instance, tat: Credit { micros: tat, fraction }, gross };
                let bytes = *bytes.first_chunk()?;
                view(quota, charged_at, State::Bucket { unit_parts, denominator, level, bytes })
            }
            b'L' | b'C' => {
                let [acted, used, gross, _each, _first, _partly, _wholly, _kept, quota, span, _last] =
                    wholes(bytes, 16)?;
                // After a charge only the state itself is sent: all that counts ends with the new entry at the latest.
                let entries = match bytes.len() {
                    136 => {
                        let [used, reset, fits, expires_at] = wholes(bytes, 104)?;
                        Entries { span, acted, gross, used, reset, fits, expires_at }
                    }
                    _ => Entries { span, acted, gross, used, reset: acted + span, fits: 0, expires_at: acted + span },
                };
                view(quota, acted, State::Entries(entries))
            }
            _ => None,
        }
    }

    /// The number of the last unit charged.
    pub(crate) fn last(&self) -> u64 {
        match &self.state {
            State::Window(window) => window.gross,
            State::Sliding { buckets, .. } => buckets.current.gross,
            State::Bucket { level, .. } => level.gross,
            State::Entries(entries) => entries.gross,
        }
    }

    /// When the count says nothing that its absence would not say.
    pub(crate) fn expires_at(&self) -> u64 {
        match &self.state {
            State::Window(window) => window.end,
            State::Sliding { window, buckets } => buckets.start + 2 * window,
            State::Bucket { level, .. } => level.tat.micros + u64::from(level.tat.fraction > 0),
            State::Entries(entries) => entries.expires_at,
        }
    }

    /// The status under the limit it was last charged under, while it says anything. That is likely to be `known`, or near
    /// it, so that a sliding counter's ticks need not be looked for again, which takes long.
    pub(crate) fn own_status(&self, known: Option<&Limit>, now: u64) -> Option<Status> {
        match &self.state {
            State::Window(window) => {
                let window = window.live(now)?;
                Some(Status::new(self.quota, self.quota.saturating_sub(window.used()), window.end - now))
            }
            State::Sliding { window, buckets } => {
                let sliding = match known.map(|limit| limit.policy().algorithm()) {
                    Some(Algorithm::Sliding(known)) if known.window == *window => {
                        Sliding { quota: self.quota, ..*known }
                    }
                    _ => Sliding::new(self.quota, *window),
                };
                sliding.live(*buckets, now).map(|_| sliding.status(Some(*buckets), now))
            }
            State::Bucket { unit_parts, denominator, level, .. } => {
                let bucket = Bucket::new(self.quota, *denominator, *unit_parts)?;
                bucket.live(*level, now).map(|_| bucket.status(Some(*level), now))
            }
            State::Entries(entries) => {
                let live = entries.expires_at > now && entries.acted.saturating_sub(now) <= entries.span;
                live.then(|| entries_status(self.quota, Some(entries), now))
            }
        }
    }
}

/// The status of `limit`, whose shape is `shape`, for the count that `view` shows.
pub(crate) fn status(view: Option<&View>, limit: &Limit, shape: &Shape, now: u64) -> Status {
    let view = view.filter(|view| view.shape == *shape);
    match (limit.policy().algorithm(), view.map(|view| &view.state)) {
        (Algorithm::Fixed(fixed), Some(State::Window(window))) => fixed.status(Some(*window), now),
        (Algorithm::Sliding(sliding), Some(State::Sliding { buckets, .. })) => sliding.status(Some(*buckets), now),
        (Algorithm::Log(entries) | Algorithm::Concurrency(entries), held) => {
            let held = match held {
                Some(State::Entries(held)) => Some(held),
                _ => None,
            };
            entries_status(entries.quota, held, now)
        }
        (Algorithm::Bucket(bucket), Some(State::Bucket { unit_parts, denominator, level, .. })) => {
            let same = (bucket.unit_parts(), bucket.denominator) == (*unit_parts, *denominator);
            match view.and_then(|view| held_bucket(view, limit)).filter(|_| !same || quota_of(view) != bucket.burst) {
                Some(held) => Held::peek(Some(&held), limit, now),
                None => bucket.status(Some(*level), now),
            }
        }
        _ => Held::peek(None, limit, now),
    }
}

/// What the state says to a charge of `cost` that the server did not admit, or asked about.
pub(crate) fn said(view: Option<&View>, limit: &Limit, shape: &Shape, cost: u64, now: u64) -> Said {
    let same_shape = view.filter(|view| view.shape == *shape);
    let verdict = match (limit.policy().algorithm(), same_shape.map(|view| &view.state)) {
        (Algorithm::Fixed(fixed), state) => {
            let window = if let Some(State::Window(window)) = state { Some(*window) } else { None };
            denial(fixed.charge(window, cost, now, 0))
        }
        (Algorithm::Sliding(sliding), state) => {
            let buckets = if let Some(State::Sliding { buckets, .. }) = state { Some(*buckets) } else { None };
            denial(sliding.charge(buckets, cost, now, 0))
        }
        (Algorithm::Log(limit) | Algorithm::Concurrency(limit), state) => {
            let held = if let Some(State::Entries(held)) = state { Some(held) } else { None };
            denied_by_entries(limit.quota, held, cost, now)
        }
        (Algorithm::Bucket(_), Some(State::Bucket { .. })) => {
            let held = same_shape.and_then(|view| held_bucket(view, limit));
            Held::decide(held.as_ref(), limit, cost, now, 0).err()
        }
        (Algorithm::Bucket(bucket), _) => denial(bucket.charge(None, cost, now, 0)),
    };
    match verdict {
        Some((retry, status)) => Said::Denied(retry, status),
        None => Said::Fits(self::status(view, limit, shape, now)),
    }
}

/// What a charge must bring along when the state is a bucket's that refills at another rate yet: core works it out, for it
/// takes more than the server's numbers hold.
pub(crate) fn adoption(view: Option<&View>, limit: &Limit, shape: &Shape, now: u64) -> Option<Adopted> {
    let view = view.filter(|view| view.shape == *shape)?;
    let (Algorithm::Bucket(bucket), State::Bucket { unit_parts, denominator, level, bytes }) =
        (limit.policy().algorithm(), &view.state)
    else {
        return None;
    };
    if (bucket.unit_parts(), bucket.denominator) == (*unit_parts, *denominator) {
        return None;
    }
    let held = held_bucket(view, limit)?;
    let Algorithm::Bucket(old) = held.limit.policy().algorithm() else { return None };
    Some(Adopted {
        old: *bytes,
        level: bucket.adopt(old, *level, now, 0),
        remaining: Held::peek(Some(&held), limit, now).remaining(),
    })
}

fn denial<S>(verdict: Verdict<S>) -> Option<(Retry, Status)> {
    match verdict {
        Verdict::Denied { retry, status } => Some((retry, status)),
        Verdict::Admitted { .. } => None,
    }
}

fn denied_by_entries(quota: u64, held: Option<&Entries>, cost: u64, now: u64) -> Option<(Retry, Status)> {
    let status = entries_status(quota, held, now);
    if cost > quota {
        return Some((Retry::Never, status));
    }
    match held {
        Some(held) if cost > quota.saturating_sub(held.used) => {
            let retry = if held.fits == 0 { Retry::Never } else { Retry::AfterMicros(held.fits.saturating_sub(now)) };
            Some((retry, status))
        }
        _ => None,
    }
}

fn entries_status(quota: u64, held: Option<&Entries>, now: u64) -> Status {
    let (used, reset) = held.map_or((0, 0), |held| (held.used, held.reset));
    Status::new(quota, quota.saturating_sub(used), reset.saturating_sub(now))
}

fn quota_of(view: Option<&View>) -> u64 {
    view.map_or(0, |view| view.quota)
}

/// A bucket's count under the limit it was last charged under, whose period is that of `limit`.
fn held_bucket(view: &View, limit: &Limit) -> Option<Held> {
    let (Algorithm::Bucket(bucket), State::Bucket { unit_parts, denominator, level, .. }) =
        (limit.policy().algorithm(), &view.state)
    else {
        return None;
    };
    let old = bucket_of(view.quota, *unit_parts, *denominator, bucket.period)?;
    let period = std::time::Duration::from_micros(old.period);
    let policy = Policy::bucket(old.rate, period, old.burst).ok()?;
    let limit = Limit::of(limit.name(), policy).ok()?;
    Some(Held::new(limit, Count::Bucket(*level, Marks::default())))
}

/// The headers of the states in an answer to a charge that was admitted, one behind the other; what follows them is none.
pub(crate) fn headers(mut answer: &[u8]) -> SmallVec<[&[u8]; 4]> {
    let mut headers = SmallVec::new();
    while let Some(letter) = answer.get(7) {
        let length = match letter {
            b'A' | b'D' | b'F' => 64,
            b'S' => 88,
            b'B' => 80,
            b'L' | b'C' => 104,
            _ => break,
        };
        let Some((header, rest)) = answer.split_at_checked(length) else { break };
        headers.push(header);
        answer = rest;
    }
    headers
}

/// The server's time and the state in the answer to a lone charge that is denied: no state begins with a negative number.
pub(crate) fn denied(answer: &[u8]) -> Option<(u64, &[u8])> {
    let (time, state) = answer.split_first_chunk()?;
    let time = -1.0 - f64::from_le_bytes(*time);
    (time >= 0.0).then_some((time as u64, state))
}

/// The identity that stands at a byte.
pub(crate) fn identity_at(bytes: &[u8], offset: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(offset..offset + 8)?.try_into().ok()?))
}

/// A double that holds a whole number; [`None`] where it does not.
pub(crate) fn whole(bytes: &[u8]) -> Option<u64> {
    let number = f64::from_le_bytes(bytes.try_into().ok()?);
    // 2^62 stands for "never"; nothing is above.
    (number >= 0.0 && number <= (1u64 << 62) as f64 && number.fract() == 0.0).then_some(number as u64)
}

/// So many doubles that hold whole numbers, from a byte on.
#[inline]
pub(crate) fn wholes<const COUNT: usize>(bytes: &[u8], offset: usize) -> Option<[u64; COUNT]> {
    let mut numbers = [0; COUNT];
    let bytes = bytes.get(offset..offset + 8 * COUNT)?;
    for (number, bytes) in numbers.iter_mut().zip(bytes.chunks_exact(8)) {
        *number = whole(bytes)?;
    }
    Some(numbers)
}
