//! One shard: a table of entries and the maps beside it, under one lock.

use std::hash::{BuildHasher, Hasher};

use foldhash::quality::RandomState;
use indexmap::IndexMap;
use rebate_core::count::{Count, Held};
use rebate_core::engine::{Note, OwnedPlace, Place, TopUps};
use rebate_core::{Error, Identity, Key, KeyRef, Limit, PackedKey, Run, pack};

use crate::budget::Budget;
use crate::entry::Entry;
use crate::table::{Slot, Table};

/// Slots that a new key's charge sweeps: so many that the sweep comes round before the table has grown
/// by a half.
const SWEPT: usize = 4;

/// What all shards share.
pub(crate) struct Shared {
    pub(crate) identity: Identity,
    pub(crate) budget: Budget,
    /// The quicker of foldhash's two: what it leaves uneven, [`home_hash`] multiplies again.
    pub(crate) hasher: foldhash::fast::RandomState,
    /// For how long what has expired is kept at least while there is room, in microseconds.
    pub(crate) kept: u64,
}

/// The state of the keys of one shard. What a charge needs comes first, on the lock's cache line.
#[repr(C)]
pub(crate) struct Shard {
    pub(crate) table: Table,
    pub(crate) random: u64,
    /// Counts that do not fit an entry. One is here or in the table, never in both.
    pub(crate) beside: IndexMap<OwnedPlace, Held, RandomState>,
    pub(crate) notes: IndexMap<(Key, Box<[u8]>), Note, RandomState>,
    pub(crate) top_ups: IndexMap<OwnedPlace, TopUps, RandomState>,
    cursor: usize,
    /// Before this moment a whole sweep will find nothing: the least expiry that the last one saw.
    next_expiry: u64,
}

/// A key's words and hash.
#[derive(Clone, Copy)]
pub(crate) struct Hashed {
    pub(crate) words: Option<PackedKey>,
    pub(crate) hash: u64,
}

impl Shared {
    /// The words of a key that fits an entry, and any key's hash, which picks its shard.
    #[inline(always)]
    pub(crate) fn hash(&self, key: &KeyRef<'_>) -> Hashed {
        match pack(key) {
            Some(words) => Hashed { words: Some(words), hash: self.hash_words(&words) },
            None => Hashed { words: None, hash: self.hasher.hash_one(key) },
        }
    }

    #[inline(always)]
    pub(crate) fn hash_words(&self, words: &PackedKey) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        // One by one: a loop would have the words go through memory.
        hasher.write_u64(words[0]);
        hasher.write_u64(words[1]);
        hasher.write_u64(words[2]);
        hasher.finish()
    }

    /// The hash by which an entry finds its home: its key's, and its limit's name.
    #[inline]
    pub(crate) fn hash_entry(&self, entry: &Entry) -> u64 {
        let name = self.identity.index(entry.limit()).map_or(0, |index| index.name);
        home_hash(self.hash_words(&entry.key), name)
    }

    /// Whether a limit of another policy has this name.
    #[cold]
    fn is_named(&self, number: u32, name: u32) -> bool {
        self.identity.index(number).is_some_and(|index| index.name == name)
    }

    pub(crate) fn entry_expires_at(&self, entry: &Entry) -> u64 {
        self.identity.limit(entry.limit()).map_or(0, |limit| entry.expires_at(limit.policy()))
    }

    /// How long a count is kept after it expired while there is room: at least as long as it may count, so
    /// that a clock that steps back by less than a window finds it.
    fn grace(&self, limit: Option<&Limit>) -> u64 {
        limit.map_or(0, |limit| limit.policy().longest().as_micros() as u64).max(self.kept)
    }
}

/// Mixes a limit's name into a key's hash, so that one key's counts lie apart.
#[inline]
pub(crate) fn home_hash(hash: u64, name: u32) -> u64 {
    (hash ^ u64::from(name).wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_mul(0xd6e8_feb8_6659_fd93)
}

/// The next random bits after `state`: SplitMix64, of a random start.
#[inline(always)]
pub(crate) fn next_random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut bits = *state;
    bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ bits >> 31
}

/// Where a count is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    InTable,
    Beside,
    Nowhere,
}

impl Shard {
    pub(crate) fn new(seed: u64) -> Self {
        Shard {
            table: Table::new(),
            random: seed,
            beside: IndexMap::default(),
            notes: IndexMap::default(),
            top_ups: IndexMap::default(),
            cursor: 0,
            next_expiry: 0,
        }
    }

    /// 64 random bits for the identity of a window.
    pub(crate) fn random(&mut self) -> u64 {
        next_random(&mut self.random)
    }

    /// Where a count is in the table.
    #[inline(always)]
    pub(crate) fn find(&self, shared: &Shared, hash: u64, name: u32, words: &PackedKey, number: u32) -> Slot {
        self.table.find(home_hash(hash, name), words, |limit| limit == number || shared.is_named(limit, name))
    }

    /// Makes room in the table for `more` new entries.
    ///
    /// # Errors
    /// [`Error::is_full`] when there is none at the cap.
    #[inline]
    pub(crate) fn make_room(&mut self, shared: &Shared, more: usize, now: u64) -> Result<(), Error> {
        self.sweep(shared, SWEPT * more, now, true);
        if self.table.grown(more) == self.table.capacity() { Ok(()) } else { self.grow(shared, more, now) }
    }

    #[cold]
    fn grow(&mut self, shared: &Shared, more: usize, now: u64) -> Result<(), Error> {
        let grown = self.table.grown(more);
        if self.resize(shared, grown) {
            return Ok(());
        }
        // Both tables lie in memory for a moment, so a smaller step may fit where a larger does not.
        if self.make_space(shared, now) {
            let grown = self.table.grown(more);
            if grown == self.table.capacity() || self.resize(shared, grown) {
                return Ok(());
            }
        }
        Err(shared.budget.full())
    }

    /// Takes `bytes` of the budget for what lies beside the table.
    ///
    /// # Errors
    /// [`Error::is_full`] when they are not there.
    pub(crate) fn take_bytes(&mut self, shared: &Shared, bytes: usize, now: u64) -> Result<(), Error> {
        let fits = || shared.budget.take(bytes);
        if fits() || (self.make_space(shared, now) && fits()) {
            // What is put in is counted then.
            shared.budget.give_back(bytes);
            return Ok(());
        }
        Err(shared.budget.full())
    }

    /// At the cap: removes all that has expired, unless a sweep would find nothing. Answers whether it
    /// removed anything.
    pub(crate) fn make_space(&mut self, shared: &Shared, now: u64) -> bool {
        if now < self.next_expiry {
            return false;
        }
        let before = self.len();
        let all = self.table.capacity().max(self.beside.len()).max(self.notes.len()).max(self.top_ups.len());
        // Twice: a removal at the seam may move an entry to where the sweep has been.
        self.sweep(shared, all, now, false);
        self.sweep(shared, all, now, false);
        let in_table = self.table.entries().map(|entry| shared.entry_expires_at(entry));
        let beside = self.beside.values().map(Held::expires_at);
        let notes = self.notes.values().map(Note::ends_at);
        let top_ups = self.top_ups.values().map(TopUps::expires_at);
        self.next_expiry = in_table.chain(beside).chain(notes).chain(top_ups).min().unwrap_or(0);
        self.shrink(shared);
        before > self.len()
    }

    fn len(&self) -> usize {
        self.table.len() + self.beside.len() + self.notes.len() + self.top_ups.len()
    }

    /// Removes what has expired among the next `slots` slots of the table and of each map.
    fn sweep(&mut self, shared: &Shared, slots: usize, now: u64, with_grace: bool) {
        let hash = |entry: &Entry| shared.hash_entry(entry);
        let grace = |limit: Option<&Limit>| if with_grace { shared.grace(limit) } else { 0 };
        let expired = |entry: &Entry| {
            let expires_at = shared.entry_expires_at(entry);
            expires_at <= now && expires_at + grace(shared.identity.limit(entry.limit())) <= now
        };
        let (_, came_round) = self.table.sweep(slots, expired, hash);
        if came_round {
            self.shrink(shared);
        }
        if self.beside.is_empty() && self.notes.is_empty() && self.top_ups.is_empty() {
            self.fit_maps();
            return;
        }
        for _ in 0..slots {
            self.cursor = self.cursor.wrapping_add(1);
            if let Some(at) = turn(self.cursor, self.beside.len())
                && self.beside[at].expires_at() + grace(Some(&self.beside[at].limit)) <= now
                && let Some((place, held)) = self.beside.swap_remove_index(at)
            {
                shared.budget.give_back(bytes_of_held(&place, &held));
            }
            if let Some(at) = turn(self.cursor, self.notes.len())
                && self.notes[at].ends_at() + grace(None) <= now
                && let Some((key, note)) = self.notes.swap_remove_index(at)
            {
                shared.budget.give_back(bytes_of_note(&key, &note));
            }
            if let Some(at) = turn(self.cursor, self.top_ups.len())
                && self.top_ups[at].expires_at() + grace(None) <= now
                && let Some((place, top_ups)) = self.top_ups.swap_remove_index(at)
            {
                shared.budget.give_back(bytes_of_top_ups(&place, &top_ups));
            }
        }
        self.fit_maps();
    }

    /// Gives memory of the maps back: what they hold is counted twice, for their slack, and no more than that
    /// may be slack.
    fn fit_maps(&mut self) {
        fn fit<K, V>(map: &mut IndexMap<K, V, RandomState>) {
            if map.capacity() > 2 * map.len() + 16 {
                map.shrink_to(map.len() + map.len() / 4);
            }
        }
        fit(&mut self.beside);
        fit(&mut self.notes);
        fit(&mut self.top_ups);
    }

    /// Gives memory back when most of the table is empty.
    fn shrink(&mut self, shared: &Shared) {
        if self.table.capacity() >= 64 && self.table.len() < self.table.capacity() / 4 {
            self.resize(shared, self.table.capacity() / 2);
        }
    }

    fn resize(&mut self, shared: &Shared, capacity: usize) -> bool {
        if !shared.budget.take(Table::bytes(capacity)) {
            return false;
        }
        let old = self.table.capacity();
        self.table.resize(capacity, |entry| shared.hash_entry(entry));
        shared.budget.give_back(Table::bytes(old));
        true
    }

    /// A copy of a count.
    pub(crate) fn count(&mut self, shared: &Shared, hashed: Hashed, place: Place<'_>) -> Option<Held> {
        if let Some(words) = hashed.words
            && let Slot::Found(slot) = self.find(shared, hashed.hash, place.name, &words, place.name)
        {
            let entry = self.table.at(slot);
            let limit = shared.identity.limit(entry.limit())?;
            return Some(Held::new(limit.clone(), entry.unpack(limit.policy())));
        }
        if self.beside.is_empty() {
            return None;
        }
        let (place, held) = self.beside.swap_remove_entry(&OwnedPlace::from(place))?;
        shared.budget.give_back(bytes_of_held(&place, &held));
        Some(held)
    }

    /// Puts a count where it fits, in place of what was there; `None` removes that.
    pub(crate) fn put(&mut self, shared: &Shared, hashed: Hashed, place: Place<'_>, held: Option<Held>) {
        if let Some(held) = &held {
            self.will_expire(held.expires_at());
        }
        let in_table = match hashed.words {
            Some(words) => match self.find(shared, hashed.hash, place.name, &words, place.name) {
                Slot::Found(slot) => Some(slot),
                Slot::Vacant => None,
            },
            None => None,
        };
        let fits = held.as_ref().filter(|held| held.reserved.is_empty());
        let entry = fits.zip(hashed.words).and_then(|(held, words)| {
            Entry::pack(words, shared.identity.index_of(&held.limit).limit, &held.limit, &held.count)
        });
        match (entry, in_table) {
            (Some(entry), Some(slot)) => self.table.set(slot, entry),
            (Some(entry), None) if self.table.has_room() => {
                self.table.insert(home_hash(hashed.hash, place.name), entry);
            }
            (_, in_table) => {
                if let Some(slot) = in_table {
                    self.table.remove(slot, |entry| shared.hash_entry(entry));
                }
                if let Some(held) = held {
                    let place = OwnedPlace::from(place);
                    shared.budget.add(bytes_of_held(&place, &held));
                    if let Some(old) = self.beside.insert(place, held) {
                        debug_assert!(false, "a count was put that had not been taken: {old:?}");
                    }
                }
            }
        }
    }

    /// Gives back what was reserved only until `now` of the counts of one limit.
    pub(crate) fn lapse(&mut self, shared: &Shared, name: u32, now: u64) {
        let is_due = |(place, held): &(&OwnedPlace, &Held)| place.name == name && held.reserved.is_due(now);
        let due: Vec<OwnedPlace> = self.beside.iter().filter(is_due).map(|(place, _)| place.clone()).collect();
        for OwnedPlace { name, key } in &due {
            let (place, hashed) = (Place { name: *name, key: key.as_ref() }, shared.hash(&key.as_ref()));
            let held = self.count(shared, hashed, place).and_then(|held| held.lapse(now));
            self.put(shared, hashed, place, held);
        }
    }

    /// Where a count is kept.
    pub(crate) fn kept(&self, shared: &Shared, hashed: Hashed, place: Place<'_>) -> Kept {
        let in_table = hashed.words.is_some_and(|words| {
            matches!(self.find(shared, hashed.hash, place.name, &words, place.name), Slot::Found(_))
        });
        match in_table {
            true => Kept::InTable,
            false if self.has_beside(place.name, place.key) => Kept::Beside,
            false => Kept::Nowhere,
        }
    }

    /// The most that a refund of a count may take in addition: a place beside the table, and marks.
    pub(crate) fn refund_may_take(&self, shared: &Shared, hashed: Hashed, place: Place<'_>) -> usize {
        const FIRST_MARKS: usize = 4 * size_of::<Run>();
        match self.kept(shared, hashed, place) {
            Kept::Nowhere => 0,
            Kept::InTable => BESIDE_BYTES + bytes_of_key(place.key) + FIRST_MARKS,
            Kept::Beside => match self.beside.get(&OwnedPlace::from(place)) {
                Some(Held { count: Count::Entries(_), .. }) | None => 0,
                Some(held) => (held.heap_bytes() - held.reserved.heap_bytes()).max(FIRST_MARKS),
            },
        }
    }

    /// Notes that something was put in which expires at this moment.
    #[inline]
    pub(crate) fn will_expire(&mut self, at: u64) {
        self.next_expiry = self.next_expiry.min(at);
    }

    /// Whether a count lies beside the table.
    #[inline]
    pub(crate) fn has_beside(&self, name: u32, key: KeyRef<'_>) -> bool {
        !self.beside.is_empty() && self.beside.contains_key(&OwnedPlace::from(Place { name, key }))
    }

    pub(crate) fn take_note(&mut self, shared: &Shared, scope: KeyRef<'_>, key: &[u8]) -> Option<Note> {
        if self.notes.is_empty() {
            return None;
        }
        let (key, note) = self.notes.swap_remove_entry(&(Key::new(scope), Box::from(key)))?;
        shared.budget.give_back(bytes_of_note(&key, &note));
        Some(note)
    }

    pub(crate) fn put_note(&mut self, shared: &Shared, scope: KeyRef<'_>, key: &[u8], note: Note) {
        let key = (Key::new(scope), Box::from(key));
        shared.budget.add(bytes_of_note(&key, &note));
        self.will_expire(note.ends_at());
        self.notes.insert(key, note);
    }

    pub(crate) fn take_top_ups(&mut self, shared: &Shared, place: Place<'_>) -> Option<TopUps> {
        if self.top_ups.is_empty() {
            return None;
        }
        let (place, top_ups) = self.top_ups.swap_remove_entry(&OwnedPlace::from(place))?;
        shared.budget.give_back(bytes_of_top_ups(&place, &top_ups));
        Some(top_ups)
    }

    pub(crate) fn put_top_ups(&mut self, shared: &Shared, place: Place<'_>, top_ups: TopUps) {
        let place = OwnedPlace::from(place);
        shared.budget.add(bytes_of_top_ups(&place, &top_ups));
        self.will_expire(top_ups.expires_at());
        self.top_ups.insert(place, top_ups);
    }
}

/// About what a map takes for one more key: the key and value, a hash and an index, and the slack of
/// growing by doubling.
pub(crate) const BESIDE_BYTES: usize = 2 * (size_of::<OwnedPlace>() + size_of::<Held>() + 24);

/// Bytes that a key holds on the heap.
pub(crate) fn bytes_of_key(key: KeyRef<'_>) -> usize {
    if pack(&key).is_some() { 0 } else { 48 + key.bytes().len() + key.group().map_or(0, <[u8]>::len) }
}

fn bytes_of_held(place: &OwnedPlace, held: &Held) -> usize {
    BESIDE_BYTES + bytes_of_key(place.key.as_ref()) + held.heap_bytes()
}

fn bytes_of_note(key: &(Key, Box<[u8]>), note: &Note) -> usize {
    let parts: usize = note.parts.iter().map(|part| bytes_of_key(part.key())).sum();
    let spilled = if note.parts.len() > 1 { note.parts.capacity() * size_of::<rebate_core::Part>() } else { 0 };
    2 * (size_of::<Note>() + 64) + bytes_of_key(key.0.as_ref()) + key.1.len() + parts + spilled
}

fn bytes_of_top_ups(place: &OwnedPlace, top_ups: &TopUps) -> usize {
    let receipts = top_ups.receipts.iter().map(|receipt| {
        let parts: usize = receipt.parts.iter().map(|part| size_of_val(part) + bytes_of_key(part.key())).sum();
        2 * size_of_val(receipt) + parts
    });
    2 * (size_of::<TopUps>() + 64) + bytes_of_key(place.key.as_ref()) + receipts.sum::<usize>()
}

/// Whose turn it is among `length` when the cursor is at `cursor`.
fn turn(cursor: usize, length: usize) -> Option<usize> {
    cursor.checked_rem(length)
}
