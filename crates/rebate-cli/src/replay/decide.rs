//! Charges the requests through a limiter and counts its answers.

use std::cmp::Reverse;
use std::sync::{Mutex, PoisonError};
use std::thread;

use rebate::{Decision, Error, Item, Limit, Limiter, ManualClock, Timestamp};
use smallvec::SmallVec;

use super::keys::{KeyId, Shard};
use super::order::Ordered;
use super::progress::Progress;
use super::read::{Event, Record};
use super::refunds::StatusSet;
use super::smallest::{Needs, Search};
use super::store::{self, ReplayStore};

/// What a replay is to try.
pub(crate) struct Trial<'a> {
    pub(crate) limits: &'a [Limit],
    pub(crate) refunds: &'a StatusSet,
    /// How many of the most denied keys to name.
    pub(crate) top: usize,
}

/// What the limiter answered.
#[derive(Default)]
pub(crate) struct Tally {
    /// Requests that were admitted, whether or not refunded.
    pub(crate) allowed: u64,
    pub(crate) denied: u64,
    pub(crate) denied_keys: u64,
    /// Requests that were refunded.
    pub(crate) refunded: u64,
    /// The first request's time and the last one's.
    pub(crate) span: Option<(u64, u64)>,
    pub(crate) limits: Vec<LimitTally>,
    /// The most denied keys first.
    pub(crate) most_denied: Vec<DeniedKey>,
}

/// What one limit answered.
#[derive(Clone, Default)]
pub(crate) struct LimitTally {
    pub(crate) charged: u64,
    /// Requests that this limit would not admit.
    pub(crate) denied: u64,
    pub(crate) denied_keys: u64,
    pub(crate) refunded: u64,
    pub(crate) needs: Needs,
}

/// A key that was denied something.
pub(crate) struct DeniedKey {
    pub(crate) key: Vec<u8>,
    pub(crate) requests: u64,
    pub(crate) denied: u64,
    /// By each limit.
    pub(crate) denied_by: Vec<u64>,
    /// When it was denied first and last.
    pub(crate) first: u64,
    pub(crate) last: u64,
    /// For how long, in microseconds, a request of it would have been denied: from the first denial after
    /// an admission until when the last one before the next admission said that it may come back.
    pub(crate) shut_out: u64,
}

/// Replays all requests, shard after shard, on several threads.
pub(crate) fn decide(
    trial: &Trial<'_>,
    shards: Vec<(Shard, Vec<Record>)>,
    threads: usize,
    progress: &Progress,
) -> Result<Tally, Error> {
    let shards = Mutex::new(shards.into_iter().enumerate());
    let work = || {
        let limits = own_limits(trial)?;
        let mut decider = Decider::new(trial, &limits)?;
        let mut ordered = Ordered::default();
        loop {
            let next = shards.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some((number, (keys, records))) = next else { return Ok(decider.tally) };
            ordered.fill(&keys, &records);
            drop(records);
            decider.shard(number, &keys, &ordered)?;
            progress.decided();
        }
    };
    let tallies: Result<Vec<Tally>, Error> = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    let mut whole = Tally::new(trial.limits.len());
    tallies?.into_iter().for_each(|tally| whole.merge(tally));
    whole.keep_most_denied(trial.top);
    Ok(whole)
}

/// The limits once more: a limiter is at its fastest with limits that no other has met.
fn own_limits(trial: &Trial<'_>) -> Result<Vec<Limit>, Error> {
    trial.limits.iter().map(|limit| Limit::of(limit.name(), limit.policy().clone())).collect()
}

/// Replays key after key.
struct Decider<'t> {
    trial: &'t Trial<'t>,
    limits: &'t [Limit],
    limiter: Limiter<ReplayStore>,
    clock: ManualClock,
    searches: Vec<Search>,
    tally: Tally,
    /// Of the key at hand and each limit: the most that was in use after a charge, and the denials.
    most_used: Vec<u64>,
    denied_by: Vec<u64>,
}

impl<'t> Decider<'t> {
    fn new(trial: &'t Trial<'t>, limits: &'t [Limit]) -> Result<Self, Error> {
        let clock = ManualClock::default();
        Ok(Decider {
            trial,
            limits,
            limiter: store::limiter(&clock)?,
            clock,
            searches: trial.limits.iter().map(|limit| Search::new(limit.policy())).collect::<Result<_, _>>()?,
            tally: Tally::new(trial.limits.len()),
            most_used: vec![0; trial.limits.len()],
            denied_by: vec![0; trial.limits.len()],
        })
    }

    fn shard(&mut self, number: usize, keys: &Shard, ordered: &Ordered) -> Result<(), Error> {
        for (place, events) in ordered.by_key() {
            let (Some(first), Some(last)) = (events.first(), events.last()) else { continue };
            self.tally.note_span(first.micros(), last.micros());
            // The number is charged in the key's stead: it is as much its own, and always short.
            let number = KeyId::new(number, place).bytes();
            let items: SmallVec<[Item<'_>; 4]> = self.limits.iter().map(|limit| Item::new(limit, &number)).collect();
            let denied = self.replay(&items, keys.key(place), events)?;
            self.note_needs(&number, events, denied)?;
            // So the store is empty when the clock goes back to the next key's first request.
            for limit in self.limits {
                self.limiter.reset_now(limit, &number)?;
            }
        }
        self.tally.keep_most_denied(self.trial.top);
        Ok(())
    }

    /// Charges the requests of one key; answers whether any was denied.
    fn replay(&mut self, items: &[Item<'_>], key: &[u8], events: &[Event]) -> Result<bool, Error> {
        let (mut denied, mut shut_out) = (0, 0);
        let (mut first, mut last) = (None, 0);
        let mut spell: Option<(u64, u64)> = None;
        self.most_used.fill(0);
        self.denied_by.fill(0);
        for event in events {
            let now = event.micros();
            self.clock.set(Timestamp::from_micros(now));
            match self.limiter.charge_all_now(items)? {
                Decision::Allowed(mut receipt) => {
                    self.tally.allowed += 1;
                    shut_out += spell.take().map_or(0, |(start, until)| until - start);
                    for status in receipt.statuses() {
                        let most = &mut self.most_used[status.item()];
                        *most = status.used().max(*most);
                    }
                    self.tally.limits.iter_mut().for_each(|limit| limit.charged += 1);
                    if self.trial.refunds.contains(event.status()) {
                        let refund = self.limiter.refund_now(&mut receipt)?;
                        self.tally.refunded += 1;
                        for (limit, part) in self.tally.limits.iter_mut().zip(&refund.parts) {
                            limit.refunded += part.given_back;
                        }
                    }
                }
                Decision::Denied(denial) => {
                    denied += 1;
                    for status in denial.violated() {
                        self.denied_by[status.item()] += 1;
                    }
                    let wait = denial.retry_after().map_or(0, |wait| wait.as_micros() as u64);
                    let start = spell.map_or(now, |(start, _)| start);
                    spell = Some((start, now + wait));
                    first.get_or_insert(now);
                    last = now;
                }
                // Only a limit whose fallback allows would let it pass.
                Decision::Unchecked(unchecked) => return Err(Error::invalid(unchecked.error().to_string())),
            }
        }
        let Some(first) = first else { return Ok(false) };
        shut_out += spell.map_or(0, |(start, until)| until - start);
        self.tally.denied += denied;
        self.tally.denied_keys += 1;
        for (limit, denied) in self.tally.limits.iter_mut().zip(&self.denied_by) {
            limit.denied += denied;
            limit.denied_keys += u64::from(*denied > 0);
        }
        let key = DeniedKey {
            key: key.to_vec(),
            requests: events.len() as u64,
            denied,
            denied_by: self.denied_by.clone(),
            first,
            last,
            shut_out,
        };
        self.tally.most_denied.push(key);
        if self.tally.most_denied.len() > 4 * self.trial.top + 64 {
            self.tally.keep_most_denied(self.trial.top);
        }
        Ok(true)
    }

    /// Counts what the key needs of each limit by itself.
    fn note_needs(&mut self, key: &[u8], events: &[Event], denied: bool) -> Result<(), Error> {
        for (at, search) in self.searches.iter_mut().enumerate() {
            let need = if denied { search.need(key, events, self.trial.refunds)? } else { Some(self.most_used[at]) };
            self.tally.limits[at].needs.add(need);
        }
        Ok(())
    }
}

impl Tally {
    fn new(limits: usize) -> Self {
        Tally { limits: vec![LimitTally::default(); limits], ..Tally::default() }
    }

    fn note_span(&mut self, first: u64, last: u64) {
        self.span = Some(match self.span {
            Some((earliest, latest)) => (earliest.min(first), latest.max(last)),
            None => (first, last),
        });
    }

    fn merge(&mut self, other: Tally) {
        self.allowed += other.allowed;
        self.denied += other.denied;
        self.denied_keys += other.denied_keys;
        self.refunded += other.refunded;
        if let Some((first, last)) = other.span {
            self.note_span(first, last);
        }
        for (mine, limit) in self.limits.iter_mut().zip(other.limits) {
            mine.charged += limit.charged;
            mine.denied += limit.denied;
            mine.denied_keys += limit.denied_keys;
            mine.refunded += limit.refunded;
            mine.needs.merge(limit.needs);
        }
        self.most_denied.extend(other.most_denied);
    }

    /// Drops all but the `top` most denied keys. Of those denied equally often, who was denied first
    /// comes first.
    fn keep_most_denied(&mut self, top: usize) {
        self.most_denied.sort_unstable_by(|one, other| {
            let rank = |key: &DeniedKey| (Reverse(key.denied), key.first);
            rank(one).cmp(&rank(other)).then_with(|| one.key.cmp(&other.key))
        });
        self.most_denied.truncate(top);
    }
}
