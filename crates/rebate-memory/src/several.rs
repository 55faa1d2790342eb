//! A charge of several limits whose counts all lie in the table: the engine's answer, sooner.

use rebate_core::algorithm::Grant;
use rebate_core::{
    Algorithm, Clock, Decision, Denial, Error, Item, Key, LimitIndex, LimitRef, PackedKey, Part, Policy, Receipt,
    Retry, Status, Statuses, Timestamp,
};
use smallvec::SmallVec;

use crate::charge::{ChargeEntry, Outcome};
use crate::entry::Entry;
use crate::locked::Locked;
use crate::shard::home_hash;
use crate::store::MemoryStore;
use crate::table::Slot;

/// More limits than this are left to the engine.
const MOST: usize = 8;

/// One item, found in the table.
struct Line<'a> {
    item: &'a Item<'a>,
    index: LimitIndex,
    words: PackedKey,
    hash: u64,
    number: usize,
}

/// What one limit says, and its entry after the charge.
struct Said {
    slot: usize,
    entry: Entry,
    outcome: Result<(Grant, Status), (Retry, Status)>,
}

impl<C: Clock> MemoryStore<C> {
    /// Charges several items, all or none; `None` when the engine must do it: a count that is new, kept
    /// beside the table, named twice or under another policy, or that fits its entry no more.
    pub(crate) fn charge_several(&self, items: &[Item<'_>]) -> Option<Result<Decision, Error>> {
        if !(2..=MOST).contains(&items.len()) {
            return None;
        }
        let lines = self.lines(items)?;
        for line in &lines {
            self.shards.of(line.hash).prefetch(home_hash(line.hash, line.index.name));
        }
        let mut locked = Locked::of_shards(&self.shared, &self.shards, lines.iter().map(|line| line.number).collect());
        let now = self.clock.now().as_micros();
        let mut said = SmallVec::<[Said; 3]>::new();
        for line in &lines {
            let shard = locked.shard(line.number);
            let slot = shard.find(&self.shared, line.hash, line.index.name, &line.words, line.index.limit);
            let Slot::Found(slot) = slot else { return None };
            let mut entry = *shard.table.at(slot);
            if entry.limit() != line.index.limit {
                return None;
            }
            let outcome = decide(line.item.limit.policy(), &mut entry, line.item.cost, now, shard.random())?;
            said.push(Said { slot, entry, outcome });
        }
        if said.iter().any(|said| said.outcome.is_err()) {
            return Some(Ok(Decision::Denied(deny(&mut locked, &lines, &said, now))));
        }
        let (mut parts, mut statuses) = (SmallVec::with_capacity(lines.len()), Statuses::with_capacity(lines.len()));
        for (at, (line, said)) in lines.iter().zip(&said).enumerate() {
            let Ok((grant, status)) = said.outcome else { continue };
            locked.shard(line.number).table.set(said.slot, said.entry);
            statuses.push(status.of_item(at, None));
            parts.push(Part {
                limit: LimitRef::Index(line.index.limit),
                key: Key::from_packed(line.words),
                cost: line.item.cost,
                instance: grant.instance,
                last: grant.last,
                refunded: 0,
                tops_up: None,
            });
        }
        let tag = self.shared.identity.tag();
        Some(Ok(Decision::Allowed(Receipt::new(tag, Timestamp::from_micros(now), parts, statuses))))
    }

    fn lines<'a>(&self, items: &'a [Item<'a>]) -> Option<SmallVec<[Line<'a>; 3]>> {
        let mut lines = SmallVec::<[Line<'a>; 3]>::new();
        for item in items {
            let hashed = self.shared.hash(&item.key);
            let words = hashed.words.filter(|_| item.cost > 0 && Entry::takes(item.limit.policy()))?;
            let index = self.shared.identity.index_of(item.limit);
            // One name twice: summed, or a conflict.
            if lines.iter().any(|line| line.index.name == index.name) {
                return None;
            }
            lines.push(Line { item, index, words, hash: hashed.hash, number: self.shards.number(hashed.hash) });
        }
        Some(lines)
    }
}

/// Tells of limits that would have admitted the charge how they stand without it.
fn deny(locked: &mut Locked<'_>, lines: &[Line<'_>], said: &[Said], now: u64) -> Denial {
    let statuses = lines.iter().zip(said).enumerate().map(|(at, (line, said))| match said.outcome {
        Err((retry, status)) => status.of_item(at, Some(retry)),
        Ok(_) => {
            let entry = locked.shard(line.number).table.at(said.slot);
            let status = match line.item.limit.policy().algorithm() {
                Algorithm::Fixed(fixed) => fixed.status(Some(entry.window().state), now),
                Algorithm::Sliding(sliding) => sliding.status(Some(entry.buckets().state), now),
                Algorithm::Bucket(bucket) => bucket.status(Some(entry.level().state), now),
                // Not taken by entries.
                Algorithm::Log(_) | Algorithm::Concurrency(_) => Status::new(0, 0, 0),
            };
            status.of_item(at, None)
        }
    });
    Denial::new(statuses.collect())
}

/// Decides a charge and writes it into `entry`; `None` when the count fits an entry no more.
fn decide(
    policy: &Policy,
    entry: &mut Entry,
    cost: u64,
    now: u64,
    fresh: u64,
) -> Option<Result<(Grant, Status), (Retry, Status)>> {
    let outcome = match policy.algorithm() {
        Algorithm::Fixed(fixed) => fixed.charge_entry(entry, false, cost, now, || fresh),
        Algorithm::Bucket(bucket) => bucket.charge_entry(entry, false, cost, now, || fresh),
        Algorithm::Sliding(sliding) => sliding.charge_entry(entry, false, cost, now, || fresh),
        // Not taken by entries.
        Algorithm::Log(_) | Algorithm::Concurrency(_) => return None,
    };
    match outcome {
        Outcome::Admitted(grant, status) => Some(Ok((grant, status))),
        Outcome::Denied(retry, status) => Some(Err((retry, status))),
        Outcome::DoesNotFit => None,
    }
}
