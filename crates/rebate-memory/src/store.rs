//! The store: the fast path for one count in a table entry, and the engine for the rest.

use std::fmt;
use std::time::Duration;

use rebate_core::algorithm::Grant;
use rebate_core::engine::{self, MAX_ITEMS};
use rebate_core::{
    Algorithm, ChargeRequest, Clock, Cursor, Decision, Denial, Error, Held, Identity, Item, Key, KeyRef, Lease, Limit,
    LimitIndex, LimitRef, ListRequest, MAX_WINDOW, PackedKey, Page, Part, PartRefund, Receipt, Refund, RefundRequest,
    Renewal, SettleReply, SettleRequest, Statuses, SyncStore, Timestamp, pack,
};
use smallvec::SmallVec;

use crate::budget::Budget;
use crate::charge::{ChargeEntry, Outcome, refund_level, refund_window};
use crate::clock::FastClock;
use crate::entry::Entry;
use crate::locked::Locked;
use crate::shard::{Shard, Shared, home_hash, next_random};
use crate::shards::Shards;
use crate::table::Slot;

/// Keeps counts in this process.
///
/// Memory is capped: at the cap a charge that needs a new count answers
/// [`Error::is_full`] and the limit's fallback decides; counts in force are never evicted. What has
/// expired is dropped in work spread over the charges of new keys.
pub struct MemoryStore<C = FastClock> {
    pub(crate) shared: Shared,
    pub(crate) shards: Shards,
    pub(crate) clock: C,
}

/// Settings of a [`MemoryStore`].
#[derive(Clone, Debug)]
#[must_use]
pub struct MemoryStoreBuilder<C> {
    name: String,
    cap: usize,
    kept: Duration,
    clock: C,
}

impl MemoryStore {
    /// A store called `memory`, of at most 1 GiB, on the system's time.
    pub fn new() -> Self {
        match Self::builder().build() {
            Ok(store) => store,
            Err(error) => unreachable!("the defaults are valid: {error}"),
        }
    }

    /// Settings to change before building.
    pub fn builder() -> MemoryStoreBuilder<FastClock> {
        MemoryStoreBuilder { name: "memory".to_owned(), cap: 1 << 30, kept: Duration::ZERO, clock: FastClock::new() }
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl<C: Clock> MemoryStoreBuilder<C> {
    /// The store's name in its receipts' tokens: 1 to 16 visible ASCII characters.
    pub fn name(self, name: &str) -> Self {
        MemoryStoreBuilder { name: name.to_owned(), ..self }
    }

    /// The most bytes that the store holds, at least 4096. The last sixteenth is kept for refunds.
    pub fn capacity_bytes(self, cap: usize) -> Self {
        MemoryStoreBuilder { cap, ..self }
    }

    /// Keeps what has expired for `span` at least while there is room; without this, a count is kept for as
    /// long again as it may count. A clock that steps back by more finds some counts forgotten: they
    /// start afresh.
    pub fn keep_expired(self, span: Duration) -> Self {
        MemoryStoreBuilder { kept: span, ..self }
    }

    /// Reads `clock` instead of the system's time: a [`ManualClock`](rebate_core::ManualClock) in tests.
    pub fn clock<D: Clock>(self, clock: D) -> MemoryStoreBuilder<D> {
        MemoryStoreBuilder { name: self.name, cap: self.cap, kept: self.kept, clock }
    }

    /// The store.
    ///
    /// # Errors
    /// [`Error::is_invalid`] when the name or the capacity is not one of those described.
    pub fn build(self) -> Result<MemoryStore<C>, Error> {
        let identity = Identity::new(&self.name)?;
        let kept = self.kept.min(MAX_WINDOW).as_micros() as u64;
        if self.cap < 4096 {
            return Err(Error::invalid(format!("a memory cap of {} bytes; at least 4096 are needed", self.cap)));
        }
        let shared =
            Shared { identity, budget: Budget::new(self.cap), hasher: foldhash::fast::RandomState::default(), kept };
        Ok(MemoryStore { shared, shards: Shards::new(self.cap), clock: self.clock })
    }
}

impl<C: Clock> MemoryStore<C> {
    /// Bytes held now, as counted against the cap.
    pub fn used_bytes(&self) -> usize {
        self.shared.budget.used()
    }

    /// The cap, in bytes.
    pub fn capacity_bytes(&self) -> usize {
        self.shared.budget.cap()
    }

    fn lock<'k>(&self, keys: impl Iterator<Item = KeyRef<'k>>) -> (Locked<'_>, Timestamp) {
        let locked = Locked::new(&self.shared, &self.shards, keys);
        let now = self.clock.now();
        (locked.at(now.as_micros()), now)
    }

    /// Charges what is not in the table.
    #[cold]
    #[inline(never)]
    pub(crate) fn charge_apart(&self, request: &ChargeRequest<'_>, answer: &mut Option<Result<Decision, Error>>) {
        if let ChargeRequest { items: [item], idempotency: None, reserved: None } = request
            && let Some(decision) = self.charge_new(item)
        {
            *answer = Some(Ok(decision));
            return;
        }
        if request.items.len() > MAX_ITEMS {
            let error = Error::invalid(format!("a charge of {} limits; at most {MAX_ITEMS}", request.items.len()));
            *answer = Some(Err(error));
            return;
        }
        *answer = Some(self.or_after_making_space(|| {
            let (mut locked, now) = self.lock(request.items.iter().map(|item| item.key));
            let mut random = sequence(locked.random_bits());
            engine::charge(&mut locked, request, now, &mut random)
        }));
    }

    /// Acts, and acts again if the store was full and something had expired: at best the shards of the
    /// request's own keys were swept, and what has expired in others holds room as well.
    fn or_after_making_space<T>(&self, act: impl Fn() -> Result<T, Error>) -> Result<T, Error> {
        let answer = act();
        if answer.as_ref().is_err_and(Error::is_full) && self.make_space() { act() } else { answer }
    }

    /// Removes what has expired in every shard, one after the other; a shard where nothing can have is passed
    /// over. Answers whether it removed anything.
    #[cold]
    fn make_space(&self) -> bool {
        let now = self.clock.now().as_micros();
        (0..self.shards.len()).fold(false, |removed, number| {
            let mut shard = self.shards.lock(number);
            let here = shard.make_space(&self.shared, now);
            self.shards.note_table(number, &shard);
            removed | here
        })
    }

    /// The fast path: one item whose count lies in the table. `None` when it does not, or does not fit.
    ///
    /// All of it is inlined in the caller, and nothing is passed by its address: what a charge takes when all lies
    /// in the cache is mostly the time to write to memory what would else have stayed in registers.
    #[inline(always)]
    fn charge_in_table(&self, request: &ChargeRequest<'_>) -> Option<Decision> {
        let ChargeRequest { items: [Item { limit, key, cost: cost @ 1.. }], idempotency: None, reserved: None } =
            request
        else {
            return None;
        };
        let words = pack(key)?;
        let shared = &self.shared;
        let hash = shared.hash_words(&words);
        let index = shared.identity.index_of(limit);
        let padded = self.shards.of(hash);
        let home = home_hash(hash, index.name);
        padded.prefetch(home);
        let time = self.clock.now();
        let now = time.as_micros();
        let mut shard = padded.shard.lock();
        let Shard { table, random, .. } = &mut *shard;
        let entry = table.find_own(home, &words, index.limit)?;
        let fresh = || next_random(random);
        let outcome = match limit.policy().algorithm() {
            Algorithm::Fixed(fixed) => fixed.charge_entry(entry, false, *cost, now, fresh),
            Algorithm::Bucket(bucket) => bucket.charge_entry(entry, false, *cost, now, fresh),
            Algorithm::Sliding(sliding) => sliding.charge_entry(entry, false, *cost, now, fresh),
            // Their counts are in no entry.
            Algorithm::Log(_) | Algorithm::Concurrency(_) => return None,
        };
        drop(shard);
        self.decision(outcome, index, words, *cost, time)
    }

    /// The same for an item that has no count of its limit in the table, but will.
    #[inline(never)]
    fn charge_new(&self, Item { limit, key, cost }: &Item<'_>) -> Option<Decision> {
        let words = pack(key).filter(|_| *cost > 0 && Entry::takes(limit.policy()))?;
        let shared = &self.shared;
        let hash = shared.hash_words(&words);
        let index = shared.identity.index_of(limit);
        let number = self.shards.number(hash);
        let time = self.clock.now();
        let now = time.as_micros();
        let mut shard = self.shards.lock(number);
        let is_found = matches!(shard.find(shared, hash, index.name, &words, index.limit), Slot::Found(_));
        // Under another policy of the same name, or beside the table; or it has come there meanwhile.
        if is_found || shard.has_beside(index.name, *key) {
            return None;
        }
        let mut entry = Entry::new(words, index.limit);
        let fresh = || shard.random();
        let outcome = match limit.policy().algorithm() {
            Algorithm::Fixed(fixed) => fixed.charge_entry(&mut entry, true, *cost, now, fresh),
            Algorithm::Bucket(bucket) => bucket.charge_entry(&mut entry, true, *cost, now, fresh),
            Algorithm::Sliding(sliding) => sliding.charge_entry(&mut entry, true, *cost, now, fresh),
            Algorithm::Log(_) | Algorithm::Concurrency(_) => return None,
        };
        if let Outcome::Admitted(..) = outcome {
            // Where there is none, the engine looks again and says so.
            shard.make_room(shared, 1, now).ok()?;
            shard.will_expire(shared.entry_expires_at(&entry));
            shard.table.insert(home_hash(hash, index.name), entry);
            self.shards.note_table(number, &shard);
        }
        drop(shard);
        self.decision(outcome, index, words, *cost, time)
    }

    /// The answer; `None` when the engine must find it.
    #[inline(always)]
    fn decision(
        &self,
        outcome: Outcome,
        index: LimitIndex,
        words: PackedKey,
        cost: u64,
        charged_at: Timestamp,
    ) -> Option<Decision> {
        match outcome {
            Outcome::Admitted(Grant { instance, last }, status) => {
                let (limit, key) = (LimitRef::Index(index.limit), Key::from_packed(words));
                let part = Part { limit, key, cost, instance, last, refunded: 0, tops_up: None };
                Some(Decision::Allowed(Receipt::of_one(self.shared.identity.tag(), charged_at, part, status)))
            }
            Outcome::Denied(retry, status) => Some(Decision::Denied(Denial::of_one(status.of_item(0, Some(retry))))),
            Outcome::DoesNotFit => None,
        }
    }

    /// Refunds one part whose count lies in the table and still fits an entry afterwards; `None` when
    /// the engine must do it.
    #[inline]
    fn refund_in_table(&self, receipt: &Receipt, total: u64) -> Option<PartRefund> {
        let [part] = receipt.parts() else { return None };
        if receipt.is_idempotent() {
            return None;
        }
        let LimitRef::Index(index) = part.limit else { return None };
        let shared = &self.shared;
        let name = shared.identity.index(index)?.name;
        let hashed = shared.hash(&part.key());
        let words = hashed.words?;
        let number = self.shards.number(hashed.hash);
        self.shards.of(hashed.hash).prefetch(home_hash(hashed.hash, name));
        let now = self.clock.now().as_micros();
        let mut shard = self.shards.lock(number);
        let Slot::Found(slot) = shard.find(shared, hashed.hash, name, &words, index) else { return None };
        let entry = shard.table.at_mut(slot);
        let limit = shared.identity.limit(entry.limit())?;
        let (returned, status) = match limit.policy().algorithm() {
            Algorithm::Fixed(fixed) => refund_window(fixed, entry, part, total, now)?,
            Algorithm::Bucket(bucket) => refund_level(bucket, entry, part, total, now)?,
            _ => {
                let mut held = Held::new(limit.clone(), entry.unpack(limit.policy()));
                let returned = held.refund(part.instance, part.units(), total, now);
                if !returned.closed {
                    *entry = Entry::pack(words, entry.limit(), limit, &held.count)?;
                }
                let is_there = !returned.closed && held.is_live(now);
                (returned, is_there.then(|| Held::peek(Some(&held), limit, now)))
            }
        };
        if returned.closed {
            shard.table.remove(slot, |entry| shared.hash_entry(entry));
        } else {
            let expires_at = shared.entry_expires_at(shard.table.at(slot));
            shard.will_expire(expires_at);
        }
        drop(shard);
        // Of a count that is gone, under the limit that the receipt names: as if it had been evicted.
        let status = match status {
            Some(status) => status,
            None => Held::peek(None, shared.identity.limit(index)?, now),
        };
        Some(PartRefund {
            given_back: returned.now,
            in_all: returned.in_all.max(part.refunded),
            expired: returned.expired,
            status: Some(status),
        })
    }
}

impl<C: Clock> SyncStore for MemoryStore<C> {
    fn identity(&self) -> &Identity {
        &self.shared.identity
    }

    #[inline(always)]
    fn charge_now(&self, request: &ChargeRequest<'_>) -> Result<Decision, Error> {
        if let Some(decision) = self.charge_in_table(request) {
            return Ok(decision);
        }
        // By way of another place, and of a copy of the request: what a function was given the address of cannot
        // stay in registers above either.
        let mut answer = None;
        match request {
            ChargeRequest { items: [item], idempotency: None, reserved: None } => {
                let items = [*item];
                self.charge_apart(&ChargeRequest::new(&items), &mut answer);
            }
            _ => return self.charge_many(request),
        }
        answer.unwrap_or_else(|| Err(self.shared.budget.full()))
    }

    fn refund_now(&self, request: &RefundRequest<'_>) -> Result<Refund, Error> {
        let receipt = request.receipt;
        if let [total] = request.totals
            && receipt.is_of(&self.shared.identity)
            && let Some(answer) = self.refund_in_table(receipt, *total)
        {
            return Ok(Refund { parts: SmallVec::from_buf([answer]) });
        }
        self.or_after_making_space(|| {
            let (mut locked, now) = self.lock(keys_of(receipt));
            locked.reserve_refund(receipt.parts())?;
            engine::refund(&mut locked, request, now)
        })
    }

    fn settle_now(&self, request: &SettleRequest<'_>) -> Result<SettleReply, Error> {
        self.or_after_making_space(|| {
            let (mut locked, now) = self.lock(keys_of(request.receipt));
            locked.reserve_refund(request.receipt.parts())?;
            let mut random = sequence(locked.random_bits());
            engine::settle(&mut locked, request, now, &mut random)
        })
    }

    fn renew_now(&self, receipt: &Receipt) -> Result<Renewal, Error> {
        let (mut locked, now) = self.lock(keys_of(receipt));
        engine::renew(&mut locked, receipt, now)
    }

    fn peek_now(&self, items: &[Item<'_>]) -> Result<Statuses, Error> {
        let (mut locked, now) = self.lock(items.iter().map(|item| item.key));
        engine::peek(&mut locked, items, now)
    }

    fn reset_now(&self, limit: &Limit, key: KeyRef<'_>) -> Result<bool, Error> {
        let (mut locked, now) = self.lock(std::iter::once(key));
        Ok(engine::reset(&mut locked, limit, key, now))
    }

    fn leases_now(&self, limit: &Limit, key: KeyRef<'_>) -> Result<Vec<Lease>, Error> {
        let (mut locked, now) = self.lock(std::iter::once(key));
        engine::leases(&mut locked, limit, key, now)
    }

    fn list_now(&self, request: &ListRequest<'_>) -> Result<Page, Error> {
        let name = self.shared.identity.index_of(request.limit).name;
        let mut page = Page { keys: Vec::new(), next: None };
        let first = request.after.map_or(0, |cursor| cursor.0 as usize);
        for number in first..self.shards.len() {
            if page.keys.len() >= request.size {
                page.next = Some(Cursor(number as u64));
                break;
            }
            let mut shard = self.shards.lock(number);
            let now = self.clock.now().as_micros();
            shard.lapse(&self.shared, name, now);
            let mut add = |key: Key, held: &Held| {
                if held.expires_at() > now {
                    page.keys.push((key, Held::peek(Some(held), request.limit, now)));
                }
            };
            for entry in shard.table.entries() {
                if let Some(limit) = self.shared.identity.limit(entry.limit())
                    && self.shared.identity.index(entry.limit()).is_some_and(|index| index.name == name)
                {
                    let held = Held::new(limit.clone(), entry.unpack(limit.policy()));
                    add(Key::from_packed(entry.key), &held);
                }
            }
            for (place, held) in &shard.beside {
                if place.name == name {
                    add(place.key.clone(), held);
                }
            }
        }
        Ok(page)
    }
}

impl<C: Clock> fmt::Debug for MemoryStore<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore")
            .field("name", &self.shared.identity.name())
            .field("used_bytes", &self.used_bytes())
            .field("capacity_bytes", &self.capacity_bytes())
            .finish_non_exhaustive()
    }
}

fn keys_of(receipt: &Receipt) -> impl Iterator<Item = KeyRef<'_>> {
    receipt.parts().iter().map(Part::key).chain(receipt.idempotency_scope())
}

/// Random bits after random bits: SplitMix64 of two numbers that nobody knows.
fn sequence([start, step]: [u64; 2]) -> impl FnMut() -> u64 {
    let mut state = start;
    move || {
        state = state.wrapping_add(step | 1);
        let mut bits = state;
        bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ bits >> 31
    }
}
