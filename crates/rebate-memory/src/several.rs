//! A charge of several limits whose counts all lie in the table: the engine's answer, sooner.

use rebate_core::algorithm::Grant;
use rebate_core::{
    Algorithm, ChargeRequest, Clock, Decision, Denial, Error, Item, Key, Limit, LimitIndex, LimitRef, PackedKey, Part,
    Receipt, Status, Timestamp, pack,
};
use smallvec::SmallVec;

use crate::charge::{ChargeEntry, Outcome};
use crate::entry::Entry;
use crate::locked::{Locked, LockedShards, shard_of};
use crate::shard::{Shard, home_hash, next_random};
use crate::store::MemoryStore;

/// More limits than this are left to the engine.
const MOST: usize = 8;
/// So many are charged without the heap, but for the receipt.
const FEW: usize = 3;

/// One item, and where to look for its count.
struct Line<'a> {
    item: &'a Item<'a>,
    index: LimitIndex,
    words: PackedKey,
    hash: u64,
    home: u64,
    shard: usize,
}

/// What became of a charge of several limits: all that its answer is made of.
struct Several {
    now: Timestamp,
    is_denied: bool,
    said: SmallVec<[Said; FEW]>,
}

/// What one limit says.
struct Said {
    /// Its entry before the charge.
    before: Entry,
    limit: u32,
    words: PackedKey,
    cost: u64,
    grant: Grant,
    status: Status,
}

impl Said {
    fn admits(&self) -> bool {
        self.status.denied().is_none()
    }
}

impl Several {
    #[inline(always)]
    fn new() -> Self {
        Several { now: Timestamp::from_micros(0), is_denied: false, said: SmallVec::new() }
    }

    /// The answer, put together in the caller, where it stays: of `count` parts.
    #[inline(always)]
    fn answer(&self, tag: u64, count: usize) -> Decision {
        let said = &self.said[..];
        let status = |at: usize| said[at].status;
        if self.is_denied {
            return Decision::Denied(Denial::of_more(count, status));
        }
        let part = |at: usize| {
            let Said { limit, words, cost, grant: Grant { instance, last }, .. } = said[at];
            let (limit, key) = (LimitRef::Index(limit), Key::from_packed(words));
            Part { limit, key, cost, instance, last, refunded: 0, tops_up: None }
        };
        Decision::Allowed(Receipt::of_more(tag, self.now, count, part, status))
    }
}

impl<C: Clock> MemoryStore<C> {
    /// A charge of several items, or one with an idempotency key or reserved.
    #[inline(always)]
    pub(crate) fn charge_many(&self, request: &ChargeRequest<'_>) -> Result<Decision, Error> {
        if request.idempotency.is_none() && request.reserved.is_none() {
            let mut told = Several::new();
            if self.charge_several(request.items, &mut told) {
                return Ok(told.answer(self.shared.identity.tag(), request.items.len()));
            }
        }
        let mut answer = None;
        self.charge_apart(request, &mut answer);
        answer.unwrap_or_else(|| Err(self.shared.budget.full()))
    }

    /// Charges several items, all or none; answers false when the engine must do it: a count that is new,
    /// kept beside the table, named twice or under another policy, or that fits its entry no more.
    #[inline(never)]
    fn charge_several(&self, items: &[Item<'_>], told: &mut Several) -> bool {
        self.try_several(items, told).is_some()
    }

    #[inline(always)]
    fn try_several(&self, items: &[Item<'_>], told: &mut Several) -> Option<()> {
        if !(2..=MOST).contains(&items.len()) {
            return None;
        }
        let mut lines = SmallVec::new();
        self.find_lines(items, &mut lines)?;
        told.now = self.clock.now();
        let now = told.now.as_micros();
        let shard = lines[0].shard;
        let (mut one, mut more);
        let locked: &mut LockedShards<'_> = if lines.iter().all(|line| line.shard == shard) {
            one = [(shard, self.shards.lock(shard))];
            &mut one
        } else {
            more = Locked::of_shards(&self.shared, &self.shards, lines.iter().map(|line| line.shard).collect());
            more.guards()
        };
        for line in &lines {
            let (shard, said) = (shard_of(locked, line.shard), &mut told.said);
            let is_charged = match line.item.limit.policy().algorithm() {
                Algorithm::Fixed(fixed) => charge_line(fixed, shard, line, now, said),
                Algorithm::Bucket(bucket) => charge_line(bucket, shard, line, now, said),
                Algorithm::Sliding(sliding) => charge_line(sliding, shard, line, now, said),
                // Not taken by entries.
                Algorithm::Log(_) | Algorithm::Concurrency(_) => None,
            };
            match is_charged {
                Some(is_charged) => told.is_denied |= !is_charged,
                None => {
                    restore(locked, &lines, said);
                    return None;
                }
            }
        }
        if told.is_denied {
            restore(locked, &lines, &told.said);
            for (line, said) in lines.iter().zip(&mut told.said).filter(|(_, said)| said.admits()) {
                let item = said.status.item();
                said.status = status_before(line.item.limit, &said.before, now).of_item(item, None);
            }
        }
        Some(())
    }

    /// Where to look for each item's count; asks for its cache line.
    #[inline(always)]
    fn find_lines<'a>(&self, items: &'a [Item<'a>], lines: &mut SmallVec<[Line<'a>; FEW]>) -> Option<()> {
        for item in items {
            // Most often all items are of one key.
            let (words, hash) = match lines.last() {
                Some(line) if line.item.key == item.key => (line.words, line.hash),
                _ => {
                    let words = pack(&item.key)?;
                    (words, self.shared.hash_words(&words))
                }
            };
            if item.cost == 0 {
                return None;
            }
            let index = self.shared.identity.index_of(item.limit);
            // One name twice: summed, or a conflict.
            if lines.iter().any(|line| line.index.name == index.name) {
                return None;
            }
            let home = home_hash(hash, index.name);
            self.shards.of(hash).prefetch(home);
            lines.push(Line { item, index, words, hash, home, shard: self.shards.number(hash) });
        }
        Some(())
    }
}

/// Charges one item in its entry, tells what became of it, and answers whether it was admitted; `None` when
/// there is no entry, or the count would fit it no more. By a function for each algorithm, as with one limit.
#[inline(never)]
fn charge_line<A: ChargeEntry>(
    algorithm: &A,
    shard: &mut Shard,
    line: &Line<'_>,
    now: u64,
    said: &mut SmallVec<[Said; FEW]>,
) -> Option<bool> {
    let Shard { table, random, .. } = shard;
    let entry = table.find_own(line.home, &line.words, line.index.limit)?;
    let (before, item, cost) = (*entry, said.len(), line.item.cost);
    let (limit, words) = (line.index.limit, line.words);
    match algorithm.charge_entry(entry, false, cost, now, || next_random(random)) {
        Outcome::Admitted(grant, status) => {
            said.push(Said { before, limit, words, cost, grant, status: status.of_item(item, None) });
            Some(true)
        }
        Outcome::Denied(retry, status) => {
            let grant = Grant { instance: 0, last: 0 };
            said.push(Said { before, limit, words, cost, grant, status: status.of_item(item, Some(retry)) });
            Some(false)
        }
        Outcome::DoesNotFit => None,
    }
}

/// Takes back what was written for those who would have admitted the charge.
fn restore(locked: &mut LockedShards<'_>, lines: &[Line<'_>], said: &[Said]) {
    for (line, said) in lines.iter().zip(said).filter(|(_, said)| said.admits()) {
        if let Some(entry) = shard_of(locked, line.shard).table.find_own(line.home, &line.words, line.index.limit) {
            *entry = said.before;
        }
    }
}

/// How a limit that would have admitted the charge stands without it.
fn status_before(limit: &Limit, before: &Entry, now: u64) -> Status {
    match limit.policy().algorithm() {
        Algorithm::Fixed(fixed) => fixed.status(Some(before.window().state), now),
        Algorithm::Sliding(sliding) => sliding.status(Some(before.buckets().state), now),
        Algorithm::Bucket(bucket) => bucket.status(Some(before.level().state), now),
        // Not taken by entries.
        Algorithm::Log(_) | Algorithm::Concurrency(_) => Status::new(0, 0, 0),
    }
}
