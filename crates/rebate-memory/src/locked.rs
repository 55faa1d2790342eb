//! The shards of one request, all locked: what the engine works on.

use rebate_core::count::Held;
use rebate_core::engine::{Counts, Note, Place, TopUps};
use rebate_core::{Error, Identity, KeyRef, LimitRef, Part};
use smallvec::SmallVec;

use crate::shard::{BESIDE_BYTES, Kept, Shard, Shared, bytes_of_key};
use crate::shards::Shards;
use crate::sync::MutexGuard;

/// Shards that are locked, and their numbers.
pub(crate) type LockedShards<'a> = [(usize, MutexGuard<'a, Shard>)];

/// A shard that is locked.
#[inline]
pub(crate) fn shard_of<'l>(locked: &'l mut LockedShards<'_>, number: usize) -> &'l mut Shard {
    match locked.iter_mut().find(|(locked, _)| *locked == number) {
        Some((_, shard)) => shard,
        None => unreachable!("the shards of all keys of a request are locked"),
    }
}

/// The locked shards of one request, in the order of their numbers.
///
/// All who lock several shards do so in that order, so no two wait for each other.
pub(crate) struct Locked<'a> {
    shared: &'a Shared,
    shards: &'a Shards,
    guards: SmallVec<[(usize, MutexGuard<'a, Shard>); 2]>,
    now: u64,
}

impl<'a> Locked<'a> {
    /// Locks the shards of `keys`.
    pub(crate) fn new<'k>(shared: &'a Shared, shards: &'a Shards, keys: impl Iterator<Item = KeyRef<'k>>) -> Self {
        Self::of_shards(shared, shards, keys.map(|key| shards.number(shared.hash(&key).hash)).collect())
    }

    /// Locks these shards.
    pub(crate) fn of_shards(shared: &'a Shared, shards: &'a Shards, mut numbers: SmallVec<[usize; 8]>) -> Self {
        numbers.sort_unstable();
        numbers.dedup();
        let guards = numbers.into_iter().map(|number| (number, shards.lock(number))).collect();
        Locked { shared, shards, guards, now: 0 }
    }

    /// Tells the time, read after the locks were had.
    pub(crate) fn at(mut self, now: u64) -> Self {
        self.now = now;
        self
    }

    /// Makes sure that the refund of these parts finds room for its marks. What refunds nothing, and the
    /// release of a lease, need none.
    ///
    /// # Errors
    /// [`Error::is_full`] when there is none, in the reserve either.
    pub(crate) fn reserve_refund(&mut self, parts: &[Part]) -> Result<(), Error> {
        let mut bytes = 0;
        for part in parts {
            let LimitRef::Index(index) = part.limit else { continue };
            let Some(index) = self.shared.identity.index(index) else { continue };
            let place = Place { name: index.name, key: part.key() };
            bytes += self.with(part.key(), |shared, shard, hashed| shard.refund_may_take(shared, hashed, place));
        }
        if bytes == 0 || self.shared.budget.has_reserve(bytes) { Ok(()) } else { Err(self.shared.budget.full()) }
    }

    /// The first shard's random bits.
    pub(crate) fn random_bits(&mut self) -> [u64; 2] {
        match self.guards.first_mut() {
            Some((_, shard)) => [shard.random(), shard.random()],
            None => [0, 0],
        }
    }

    fn shard(&mut self, number: usize) -> &mut Shard {
        shard_of(&mut self.guards, number)
    }

    /// The shards.
    pub(crate) fn guards(&mut self) -> &mut LockedShards<'a> {
        &mut self.guards
    }

    fn with<T>(&mut self, key: KeyRef<'_>, act: impl FnOnce(&Shared, &mut Shard, crate::shard::Hashed) -> T) -> T {
        let hashed = self.shared.hash(&key);
        let number = self.shards.number(hashed.hash);
        let (shared, shards) = (self.shared, self.shards);
        let shard = self.shard(number);
        let outcome = act(shared, shard, hashed);
        shards.note_table(number, shard);
        outcome
    }
}

impl Counts for Locked<'_> {
    fn identity(&self) -> &Identity {
        &self.shared.identity
    }

    fn take(&mut self, place: Place<'_>) -> Option<Held> {
        self.with(place.key, |shared, shard, hashed| shard.count(shared, hashed, place))
    }

    fn put(&mut self, place: Place<'_>, held: Option<Held>) {
        self.with(place.key, |shared, shard, hashed| shard.put(shared, hashed, place, held));
    }

    fn take_note(&mut self, scope: KeyRef<'_>, key: &[u8]) -> Option<Note> {
        self.with(scope, |shared, shard, _| shard.take_note(shared, scope, key))
    }

    fn put_note(&mut self, scope: KeyRef<'_>, key: &[u8], note: Option<Note>) {
        let Some(note) = note else { return };
        self.with(scope, |shared, shard, _| shard.put_note(shared, scope, key, note));
    }

    fn take_top_ups(&mut self, place: Place<'_>) -> Option<TopUps> {
        self.with(place.key, |shared, shard, _| shard.take_top_ups(shared, place))
    }

    fn put_top_ups(&mut self, place: Place<'_>, top_ups: Option<TopUps>) {
        let Some(top_ups) = top_ups else { return };
        self.with(place.key, |shared, shard, _| shard.put_top_ups(shared, place, top_ups));
    }

    fn reserve(&mut self, places: &[Place<'_>], bytes: usize) -> Result<(), Error> {
        let now = self.now;
        let (mut new, mut further) = (SmallVec::<[(usize, usize); 4]>::new(), bytes);
        for place in places {
            let number = self.shards.number(self.shared.hash(&place.key).hash);
            let kept = self.with(place.key, |shared, shard, hashed| shard.kept(shared, hashed, *place));
            if kept == Kept::Nowhere {
                match new.iter_mut().find(|(shard, _)| *shard == number) {
                    Some((_, more)) => *more += 1,
                    None => new.push((number, 1)),
                }
                // It may turn out not to fit an entry.
                further += BESIDE_BYTES + bytes_of_key(place.key);
            } else if kept == Kept::InTable && bytes > 0 {
                // What is reserved is kept beside the table.
                further += BESIDE_BYTES + bytes_of_key(place.key);
            } else if kept == Kept::InTable && !self.shared.budget.has_reserve(further + BESIDE_BYTES) {
                // It may fit its entry no more.
                return Err(self.shared.budget.full());
            }
        }
        for (number, more) in new {
            let (shared, shards) = (self.shared, self.shards);
            let shard = self.shard(number);
            shard.make_room(shared, more, now)?;
            shards.note_table(number, shard);
        }
        match places.first() {
            Some(place) if further > 0 => {
                self.with(place.key, |shared, shard, _| shard.take_bytes(shared, further, now))
            }
            _ => Ok(()),
        }
    }
}
