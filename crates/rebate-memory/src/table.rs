//! An open-addressing table of entries: linear probing from a home slot, no tombstones.
//!
//! A capacity is any number, so a table can grow by a quarter and stay well filled; the home of a hash
//! is its share of the capacity. Removing moves later entries of the run back.
//!
//! Beside the entries lies a byte for each slot, with seven bits of the hash. Eight of them are looked at in
//! one step, so that most often a single entry is read, the right one, and no branch depends on how far
//! it lies from its home.

use rebate_core::PackedKey;

use crate::entry::Entry;

/// Slots of the smallest table.
const LEAST: usize = 8;

/// Tags that are looked at in one step. No table but the empty one has fewer slots.
const GROUP: usize = 8;
/// The tag of an empty slot; that of any other has its upper bit set.
const NO_TAG: u8 = 0;
const LOWER_BITS: u64 = 0x0101_0101_0101_0101;
const UPPER_BITS: u64 = 0x8080_8080_8080_8080;

/// The entries of one shard.
#[repr(C)]
pub(crate) struct Table {
    entries: Box<[Entry]>,
    /// One for each slot, and the first seven once more at the end: every slot begins a group.
    tags: Box<[u8]>,
    filled: usize,
    /// Where the sweep goes on.
    cursor: usize,
}

/// Where a key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    /// Here it is.
    Found(usize),
    /// It is not there.
    Vacant,
}

impl Table {
    pub(crate) fn new() -> Self {
        Table { entries: Box::default(), tags: Box::default(), filled: 0, cursor: 0 }
    }

    pub(crate) fn capacity(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn len(&self) -> usize {
        self.filled
    }

    /// Bytes that a table of `capacity` slots takes.
    pub(crate) fn bytes(capacity: usize) -> usize {
        capacity * size_of::<Entry>() + tags_of(capacity)
    }

    /// The addresses of the first slot and of the first tag, for prefetching only.
    pub(crate) fn addresses(&self) -> (usize, usize) {
        (self.entries.as_ptr() as usize, self.tags.as_ptr() as usize)
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| !entry.is_empty())
    }

    #[inline]
    pub(crate) fn at(&self, slot: usize) -> &Entry {
        &self.entries[slot]
    }

    /// A slot that was found, to be written in place; key and limit stay.
    #[inline]
    pub(crate) fn at_mut(&mut self, slot: usize) -> &mut Entry {
        &mut self.entries[slot]
    }

    /// Overwrites a slot that was found, with another count of the same key.
    #[inline]
    pub(crate) fn set(&mut self, slot: usize, entry: Entry) {
        debug_assert!(self.entries[slot].key == entry.key && !entry.is_empty());
        self.entries[slot] = entry;
    }

    /// Looks for `key` whose hash is `hash`, among the entries whose limit is `same`.
    #[inline(always)]
    pub(crate) fn find(&self, hash: u64, key: &PackedKey, mut same: impl FnMut(u32) -> bool) -> Slot {
        match self.search(hash, |entry| same_key(&entry.key, key) && same(entry.limit())) {
            Some(slot) => Slot::Found(slot),
            None => Slot::Vacant,
        }
    }

    /// The entry of `key`, whose hash is `hash`, and of the limit numbered `limit`.
    #[inline(always)]
    pub(crate) fn find_own(&mut self, hash: u64, key: &PackedKey, limit: u32) -> Option<&mut Entry> {
        let slot = self.search(hash, |entry| same_key(&entry.key, key) && entry.is_of(limit))?;
        self.entries.get_mut(slot)
    }

    /// The slot of the entry with this hash for which `is_it` holds.
    #[inline(always)]
    fn search(&self, hash: u64, mut is_it: impl FnMut(&Entry) -> bool) -> Option<usize> {
        let tags = LOWER_BITS * u64::from(tag(hash));
        let mut start = home(hash, self.entries.len());
        loop {
            let group = self.group(start)?;
            // A byte is zero where the tag is the one sought; one above such a byte may look as if it were,
            // and its entry tells.
            let differing = group ^ tags;
            let mut same = differing.wrapping_sub(LOWER_BITS) & !differing & UPPER_BITS;
            while same != 0 {
                let slot = self.wrap(start + same.trailing_zeros() as usize / 8);
                if is_it(self.entries.get(slot)?) {
                    return Some(slot);
                }
                same &= same - 1;
            }
            if group & UPPER_BITS != UPPER_BITS {
                return None;
            }
            start = self.wrap(start + GROUP);
        }
    }

    /// The tags of the slot `start` and of the seven after it; `None` when the table has no slots yet.
    #[inline(always)]
    fn group(&self, start: usize) -> Option<u64> {
        self.tags.get(start..)?.first_chunk::<GROUP>().map(|group| u64::from_le_bytes(*group))
    }

    /// Whether an entry can be put in without growing: at least one slot in seven stays empty.
    #[inline]
    pub(crate) fn has_room(&self) -> bool {
        self.filled < most(self.entries.len())
    }

    /// The capacity to grow to so that `more` entries find room.
    pub(crate) fn grown(&self, more: usize) -> usize {
        let mut capacity = self.entries.len().max(LEAST);
        while self.filled + more > most(capacity) {
            capacity += (capacity / 4).max(LEAST);
        }
        capacity
    }

    /// Moves all entries into a table of `capacity` slots. `hash` is that of an entry.
    pub(crate) fn resize(&mut self, capacity: usize, hash: impl Fn(&Entry) -> u64) {
        debug_assert!(self.filled <= most(capacity) && capacity >= GROUP);
        let old = std::mem::replace(&mut self.entries, vec![Entry::EMPTY; capacity].into());
        self.tags = vec![NO_TAG; tags_of(capacity)].into();
        self.filled = 0;
        self.cursor = 0;
        for entry in old.iter().filter(|entry| !entry.is_empty()) {
            self.insert(hash(entry), *entry);
        }
    }

    /// Puts in an entry that is not there; there must be [room](Table::has_room).
    pub(crate) fn insert(&mut self, hash: u64, entry: Entry) {
        debug_assert!(self.has_room());
        let mut slot = home(hash, self.entries.len());
        while self.tags[slot] != NO_TAG {
            slot = self.wrap(slot + 1);
        }
        self.write(slot, tag(hash), entry);
        self.filled += 1;
    }

    #[inline]
    fn write(&mut self, slot: usize, tag: u8, entry: Entry) {
        self.entries[slot] = entry;
        self.tags[slot] = tag;
        if slot < GROUP - 1 {
            self.tags[self.entries.len() + slot] = tag;
        }
    }

    /// Empties a slot and closes the gap.
    pub(crate) fn remove(&mut self, slot: usize, hash: impl Fn(&Entry) -> u64) {
        let capacity = self.entries.len();
        let distance = |from: usize, to: usize| if to >= from { to - from } else { to + capacity - from };
        let (mut gap, mut next) = (slot, slot);
        loop {
            next = self.wrap(next + 1);
            let (entry, tag) = (self.entries[next], self.tags[next]);
            if tag == NO_TAG {
                break;
            }
            // It may move back into the gap unless its home lies behind the gap.
            if distance(home(hash(&entry), capacity), next) >= distance(gap, next) {
                self.write(gap, tag, entry);
                gap = next;
            }
        }
        self.write(gap, NO_TAG, Entry::EMPTY);
        self.filled -= 1;
    }

    /// Looks at the next `slots` slots and removes those whose entries `expired`. Returns how many it
    /// removed, and whether the sweep came round to the beginning.
    pub(crate) fn sweep(
        &mut self,
        slots: usize,
        mut expired: impl FnMut(&Entry) -> bool,
        hash: impl Fn(&Entry) -> u64,
    ) -> (usize, bool) {
        let (mut removed, mut came_round) = (0, false);
        for _ in 0..slots.min(self.entries.len()) {
            // A removal moves another entry here, or none: look again.
            while !self.entries[self.cursor].is_empty() && expired(&self.entries[self.cursor]) {
                self.remove(self.cursor, &hash);
                removed += 1;
            }
            self.cursor = self.wrap(self.cursor + 1);
            came_round |= self.cursor == 0;
        }
        (removed, came_round)
    }

    /// A slot counted on past the last one begins at the first again.
    #[inline(always)]
    fn wrap(&self, slot: usize) -> usize {
        if slot >= self.entries.len() { slot - self.entries.len() } else { slot }
    }
}

/// The tag of a hash: bits that neither pick its shard, as the lowest do, nor its home, as the highest.
#[inline(always)]
fn tag(hash: u64) -> u8 {
    (hash >> 32) as u8 | 0x80
}

/// Tags of a table of `capacity` slots.
fn tags_of(capacity: usize) -> usize {
    if capacity == 0 { 0 } else { capacity + GROUP - 1 }
}

/// Word by word, without a call to compare memory.
#[inline(always)]
fn same_key(a: &PackedKey, b: &PackedKey) -> bool {
    (a[0] ^ b[0]) | (a[1] ^ b[1]) | (a[2] ^ b[2]) == 0
}

/// The home slot of a hash.
#[inline]
pub(crate) fn home(hash: u64, capacity: usize) -> usize {
    ((u128::from(hash) * capacity as u128) >> 64) as usize
}

/// The most entries in a table of `capacity` slots: six in seven.
fn most(capacity: usize) -> usize {
    capacity - capacity.div_ceil(7)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use rebate_core::algorithm::fixed::Window;

    fn entry(key: u64, mark: u64) -> Entry {
        let window = Window { instance: mark, start: 0, end: mark, gross: 1, refunded: 0 };
        let mut entry = Entry::new([key, 0, 0], 0);
        entry.write_window(window, None);
        entry
    }

    /// Few homes, the first and the last slot among them, and few tags, so that runs are long, wrap round and mix,
    /// in the smallest table too, whose slots are one group.
    fn hash(key: u64) -> u64 {
        ((key % 6) * (u64::MAX / 5)) | key
    }

    fn hash_entry(entry: &Entry) -> u64 {
        hash(entry.key[0])
    }

    proptest! {
        #[test]
        fn behaves_like_a_map(steps in prop::collection::vec((0u64..40, 0u8..8), 1..300)) {
            let mut table = Table::new();
            let mut map = std::collections::BTreeMap::new();
            for (at, (key, step)) in steps.into_iter().enumerate() {
                let mark = at as u64 + 1;
                let found = table.find(hash(key), &[key, 0, 0], |_| true);
                prop_assert_eq!(matches!(found, Slot::Found(_)), map.contains_key(&key));
                match (step, found) {
                    (0..=3, Slot::Found(slot)) => {
                        table.set(slot, entry(key, mark));
                        map.insert(key, mark);
                    }
                    (0..=3, Slot::Vacant) => {
                        if !table.has_room() {
                            table.resize(table.grown(1), hash_entry);
                        }
                        table.insert(hash(key), entry(key, mark));
                        map.insert(key, mark);
                    }
                    (4..=5, Slot::Found(slot)) => {
                        table.remove(slot, hash_entry);
                        map.remove(&key);
                    }
                    (6, _) => {
                        let old = |entry: &Entry| entry.window().state.end.is_multiple_of(3);
                        let (removed, _) = table.sweep(table.capacity(), old, hash_entry);
                        let before = map.len();
                        map.retain(|_, mark| *mark % 3 != 0);
                        prop_assert!(removed <= before - map.len());
                        // A removal next to the end may move an entry to where the sweep has been.
                        let (rest, _) = table.sweep(table.capacity(), old, hash_entry);
                        prop_assert_eq!(removed + rest, before - map.len());
                    }
                    (7, _) => table.resize(table.grown(7), hash_entry),
                    _ => {}
                }
                prop_assert_eq!(table.len(), map.len());
                let mut all: Vec<_> = table.entries().map(|entry| (entry.key[0], entry.window().state.end)).collect();
                all.sort_unstable();
                prop_assert_eq!(all, map.iter().map(|(key, mark)| (*key, *mark)).collect::<Vec<_>>());
                for key in map.keys() {
                    prop_assert!(matches!(table.find(hash(*key), &[*key, 0, 0], |_| true), Slot::Found(_)));
                }
            }
        }
    }
}
