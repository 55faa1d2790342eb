//! A count: the state of one (limit name, group, key), whatever its algorithm.
//!
//! One shape for what every algorithm can do, so that a store need not tell them apart.

use crate::algorithm::bucket::{Bucket, Level};
use crate::algorithm::entries::{Entry, Roll};
use crate::algorithm::fixed::{self, Layout, Window};
use crate::algorithm::sliding::{self, Buckets, Sliding};
use crate::algorithm::{Grant, Returned, Verdict};
use crate::decision::{Retry, Status};
use crate::limit::Limit;
use crate::marks::{Marks, Units};
use crate::policy::Algorithm;
use crate::reserved::{Reservation, Reservations};

/// A count and the limit under which it was last charged.
#[derive(Clone, Debug)]
pub struct Held {
    /// The limit whose numbers the state is in.
    pub limit: Limit,
    /// The state.
    pub count: Count,
    /// What of it is given back unless it is settled in time.
    pub reserved: Reservations,
}

/// The state of one count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Count {
    /// Of a fixed window.
    Window(Window, Marks),
    /// Of a sliding window counter, with the marks of the current and the previous bucket.
    Sliding(Buckets, Marks, Marks),
    /// Of a token bucket.
    Bucket(Level, Marks),
    /// Of a log, or of leases.
    Entries(Roll),
}

/// A charge that was found to fit: what is to be done.
#[derive(Debug)]
pub struct Plan(Next);

#[derive(Debug)]
enum Next {
    Window(Window, Grant),
    Sliding(Buckets, Grant),
    Bucket(Level, Grant),
    Entries { cost: u64, now: u64, fresh: u64 },
}

impl Held {
    /// A count of which nothing is reserved.
    #[inline]
    pub fn new(limit: Limit, count: Count) -> Self {
        Held { limit, count, reserved: Reservations::default() }
    }

    /// Gives back the reservations that have ended at `now`, each as at its own end. Answers what is left; nothing where
    /// that closed the count.
    pub fn lapse(mut self, now: u64) -> Option<Held> {
        for Reservation { ends_at, instance, units } in self.reserved.take_due(now) {
            if self.refund(instance, units, units.cost, ends_at).closed {
                return None;
            }
        }
        Some(self)
    }

    /// Decides a charge of `cost` under `limit` (its status is that before the charge) without changing anything. `fresh` becomes the
    /// identity of a window that the charge opens.
    ///
    /// # Errors
    /// No error but the denial: when to retry.
    pub fn decide(
        held: Option<&Held>,
        limit: &Limit,
        cost: u64,
        now: u64,
        fresh: u64,
    ) -> Result<(Plan, Status), (Retry, Status)> {
        let held = held.filter(|held| limit.policy().continues(held.limit.policy()));
        match limit.policy().algorithm() {
            Algorithm::Fixed(fixed) => {
                let state = held.and_then(Held::window);
                plan(fixed.charge(state, cost, now, fresh), Next::Window)
            }
            Algorithm::Sliding(sliding) => {
                let state = held.and_then(Held::buckets);
                plan(sliding.charge(state, cost, now, fresh), Next::Sliding)
            }
            Algorithm::Bucket(bucket) => {
                if let Some((Some(retry), status)) = held.and_then(|held| at_old_rate(held, bucket, cost, now)) {
                    return Err((retry, status));
                }
                let live = held.and_then(|held| adopt(held, limit, now, fresh));
                plan(bucket.charge_live(live, cost, now, fresh), Next::Bucket)
            }
            Algorithm::Log(entries) | Algorithm::Concurrency(entries) => {
                match entries.decide(held.and_then(Held::roll), cost, now) {
                    (Some(retry), status) => Err((retry, status)),
                    (None, status) => Ok((Plan(Next::Entries { cost, now, fresh }), status)),
                }
            }
        }
    }

    /// Does what [`decide`](Held::decide) planned for the same count, limit and moment.
    pub fn charge(held: Option<Held>, limit: &Limit, plan: Plan) -> (Held, Grant) {
        let mut held = held.filter(|held| limit.policy().continues(held.limit.policy()));
        let mut reserved = held.as_mut().map(|held| std::mem::take(&mut held.reserved)).unwrap_or_default();
        let (count, grant) = match plan.0 {
            Next::Window(window, grant) => {
                let marks = match held {
                    Some(Held { count: Count::Window(old, marks), .. }) if old.instance == window.instance => marks,
                    _ => Marks::default(),
                };
                (Count::Window(window, marks), grant)
            }
            Next::Sliding(buckets, grant) => {
                let (current, previous) = match held {
                    Some(Held { count: Count::Sliding(old, current, previous), .. })
                        if old.identity == buckets.identity =>
                    {
                        moved(&old, &buckets, current, previous)
                    }
                    _ => Default::default(),
                };
                (Count::Sliding(buckets, current, previous), grant)
            }
            Next::Bucket(level, grant) => {
                let marks = match held {
                    Some(Held { count: Count::Bucket(old, marks), .. }) if old.identity == level.identity => marks,
                    _ => Marks::default(),
                };
                (Count::Bucket(level, marks), grant)
            }
            Next::Entries { cost, now, fresh } => {
                let (Algorithm::Log(entries) | Algorithm::Concurrency(entries)) = limit.policy().algorithm() else {
                    unreachable!("a plan is used for the limit it was made for");
                };
                let mut roll = match held {
                    Some(Held { count: Count::Entries(roll), .. }) if entries.time(&roll, now).is_some() => roll,
                    _ => entries.open(now, fresh),
                };
                let grant = entries.charge(&mut roll, cost, now, fresh);
                (Count::Entries(roll), grant)
            }
        };
        reserved.keep(|instance| has_instance(limit, &count, instance));
        (Held { limit: limit.clone(), count, reserved }, grant)
    }

    /// Quota, remaining and reset of `limit` at `now`.
    pub fn peek(held: Option<&Held>, limit: &Limit, now: u64) -> Status {
        let held = held.filter(|held| limit.policy().continues(held.limit.policy()));
        match limit.policy().algorithm() {
            Algorithm::Fixed(fixed) => fixed.status(held.and_then(Held::window), now),
            Algorithm::Sliding(sliding) => sliding.status(held.and_then(Held::buckets), now),
            Algorithm::Bucket(bucket) => match held.and_then(|held| at_old_rate(held, bucket, 1, now)) {
                Some((_, status)) => status,
                None => bucket.status_live(held.and_then(|held| adopt(held, limit, now, 0)), now),
            },
            Algorithm::Log(entries) | Algorithm::Concurrency(entries) => {
                entries.decide(held.and_then(Held::roll), 1, now).1
            }
        }
    }

    /// Gives back up to `total` of `units` of the instance. When the answer says `closed`, the count
    /// must be dropped.
    pub fn refund(&mut self, instance: u64, units: Units, total: u64, now: u64) -> Returned {
        match (self.limit.policy().algorithm(), &mut self.count) {
            (Algorithm::Fixed(limit), Count::Window(window, marks)) => {
                let closes = matches!(limit.layout, Layout::FromFirst(_));
                fixed::refund(window, marks, instance, units, total, now, closes)
            }
            (Algorithm::Sliding(limit), Count::Sliding(buckets, current, previous)) => {
                refund_sliding(limit, buckets, current, previous, instance, units, total, now)
            }
            (Algorithm::Bucket(bucket), Count::Bucket(level, marks)) => {
                bucket.refund(level, marks, instance, units, total, now)
            }
            (Algorithm::Log(entries) | Algorithm::Concurrency(entries), Count::Entries(roll)) => {
                entries.refund(roll, instance, units, total, now)
            }
            _ => Returned::EXPIRED,
        }
    }

    /// Moves the end of a lease; `None` when it has ended, and [`Err`] when this is no lease.
    ///
    /// # Errors
    /// When the count is not of a concurrency limit.
    pub fn renew(&mut self, instance: u64, units: Units, now: u64) -> Result<Option<u64>, NotALease> {
        match (self.limit.policy().algorithm(), &mut self.count) {
            (Algorithm::Concurrency(entries), Count::Entries(roll)) => Ok(entries.renew(roll, instance, units, now)),
            _ => Err(NotALease),
        }
    }

    /// Of leases that count at `now`: their roll, their span in microseconds, and each one, in the order of their ends.
    pub(crate) fn leases(&self, now: u64) -> Option<(&Roll, u64, impl Iterator<Item = &Entry>)> {
        let (Algorithm::Concurrency(entries), Count::Entries(roll)) = (self.limit.policy().algorithm(), &self.count)
        else {
            return None;
        };
        let time = entries.time(roll, now)?;
        let counting = roll.entries.iter().filter(move |entry| entry.end > time && entry.refunded < entry.cost);
        Some((roll, entries.span, counting))
    }

    /// Whether it is there at `now`: neither at its end, nor as if absent because the clock is far behind.
    pub fn is_live(&self, now: u64) -> bool {
        match (self.limit.policy().algorithm(), &self.count) {
            (_, Count::Window(window, _)) => window.live(now).is_some(),
            (Algorithm::Sliding(sliding), Count::Sliding(buckets, ..)) => sliding.live(*buckets, now).is_some(),
            (Algorithm::Bucket(bucket), Count::Bucket(level, _)) => bucket.live(*level, now).is_some(),
            (Algorithm::Log(entries) | Algorithm::Concurrency(entries), Count::Entries(roll)) => {
                self.expires_at() > now && entries.time(roll, now).is_some()
            }
            _ => false,
        }
    }

    /// The moment, in microseconds since the epoch, from which the count says nothing that its absence
    /// would not say: it may be dropped.
    pub fn expires_at(&self) -> u64 {
        match (self.limit.policy().algorithm(), &self.count) {
            (_, Count::Window(window, _)) => window.end,
            (Algorithm::Sliding(sliding), Count::Sliding(buckets, ..)) => sliding.empty_at(buckets),
            (_, Count::Bucket(level, _)) => level.tat.micros + u64::from(level.tat.fraction > 0),
            (Algorithm::Log(entries) | Algorithm::Concurrency(entries), Count::Entries(roll)) => entries.empty_at(roll),
            _ => 0,
        }
    }

    /// Whether what was charged just now may count still at `moment`, so that there is something to give back then. Leases
    /// end by themselves; a bucket may be charged on.
    pub(crate) fn may_count_at(&self, moment: u64) -> bool {
        match self.limit.policy().algorithm() {
            Algorithm::Concurrency(_) => false,
            Algorithm::Bucket(_) => true,
            _ => self.expires_at() > moment,
        }
    }

    /// Bytes that the state holds on the heap.
    pub fn heap_bytes(&self) -> usize {
        let count = match &self.count {
            Count::Window(_, marks) | Count::Bucket(_, marks) => marks.heap_bytes(),
            Count::Sliding(_, current, previous) => current.heap_bytes() + previous.heap_bytes(),
            Count::Entries(roll) => roll.entries.capacity() * size_of::<Entry>() + roll.returned.len() * 16,
        };
        count + self.reserved.heap_bytes()
    }

    fn window(&self) -> Option<Window> {
        if let Count::Window(window, _) = self.count { Some(window) } else { None }
    }

    fn buckets(&self) -> Option<Buckets> {
        if let Count::Sliding(buckets, ..) = self.count { Some(buckets) } else { None }
    }

    fn roll(&self) -> Option<&Roll> {
        if let Count::Entries(roll) = &self.count { Some(roll) } else { None }
    }
}

/// Whether a count still tells of the window instance.
fn has_instance(limit: &Limit, count: &Count, instance: u64) -> bool {
    match (limit.policy().algorithm(), count) {
        (_, Count::Window(window, _)) => window.instance == instance,
        (Algorithm::Sliding(sliding), Count::Sliding(buckets, ..)) => {
            let starts = [buckets.start, buckets.start.wrapping_sub(sliding.window)];
            starts.iter().any(|&start| buckets.instance(start) == instance)
        }
        (_, Count::Bucket(level, _)) => level.identity == instance,
        (_, Count::Entries(roll)) => roll.identity == instance,
        _ => false,
    }
}

/// The count is not of a concurrency limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotALease;

fn plan<S>(verdict: Verdict<S>, next: impl FnOnce(S, Grant) -> Next) -> Result<(Plan, Status), (Retry, Status)> {
    match verdict {
        Verdict::Admitted { state, grant, status } => Ok((Plan(next(state, grant)), status)),
        Verdict::Denied { retry, status } => Err((retry, status)),
    }
}

/// What a bucket is told under `new` whose count still refills at another rate; `None` where it does not.
fn at_old_rate(held: &Held, new: &Bucket, cost: u64, now: u64) -> Option<(Option<Retry>, Status)> {
    let (Algorithm::Bucket(old), Count::Bucket(level, _)) = (held.limit.policy().algorithm(), &held.count) else {
        return None;
    };
    if !new.has_other_rate(old) {
        return None;
    }
    Some(new.told_at_rate_of(old, old.live(*level, now)?, cost, now))
}

/// A bucket's level and time under `limit`, which may have another burst or rate than it had.
fn adopt(held: &Held, limit: &Limit, now: u64, fresh: u64) -> Option<(Level, u64)> {
    let (Algorithm::Bucket(new), Algorithm::Bucket(old), Count::Bucket(level, _)) =
        (limit.policy().algorithm(), held.limit.policy().algorithm(), &held.count)
    else {
        return None;
    };
    new.adopt(old, *level, now, fresh)
}

/// The marks of the current and the previous bucket after a count went from `old` to `new`.
pub fn moved(old: &Buckets, new: &Buckets, current: Marks, previous: Marks) -> (Marks, Marks) {
    if old.start == new.start { (current, previous) } else { (Marks::default(), current) }
}

#[expect(clippy::too_many_arguments, reason = "a state in its parts, and a refund in its parts")]
fn refund_sliding(
    limit: &Sliding,
    buckets: &mut Buckets,
    current: &mut Marks,
    previous: &mut Marks,
    instance: u64,
    units: Units,
    total: u64,
    now: u64,
) -> Returned {
    let Some((mut live, was_moved)) = limit.live(*buckets, now) else { return Returned::EXPIRED };
    if !was_moved {
        return sliding::refund(buckets, current, previous, limit.window, instance, units, total);
    }
    // The bucket that was current is the previous one by now.
    let returned = sliding::refund(&mut live, &mut Marks::default(), current, limit.window, instance, units, total);
    // A refund of nothing leaves the count as it was, its time too.
    if returned.now > 0 {
        *previous = std::mem::take(current);
        *buckets = live;
    }
    returned
}
