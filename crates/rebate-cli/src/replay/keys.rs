//! The keys of a log: each text once, named by a number.

use std::borrow::Cow;
use std::hash::BuildHasher;
use std::sync::{Mutex, PoisonError};

use foldhash::quality::RandomState;

/// Into how many shards keys are divided: enough that readers rarely wait for each other, and that one
/// shard's share of a big log fits a core's cache.
pub(crate) const SHARDS: usize = 256;

/// A key's shard (the upper 8 bits) and its place there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct KeyId(u32);

impl KeyId {
    const PLACES: u32 = 1 << 24;

    pub(crate) fn new(shard: usize, place: usize) -> Self {
        KeyId((shard as u32) << 24 | place as u32)
    }

    /// Stands for the key where only who is who matters.
    pub(crate) fn bytes(self) -> [u8; 4] {
        self.0.to_be_bytes()
    }

    pub(crate) fn shard(self) -> usize {
        (self.0 >> 24) as usize
    }

    pub(crate) fn place(self) -> usize {
        (self.0 & (Self::PLACES - 1)) as usize
    }
}

/// All keys seen so far. Hashed under a random seed: who writes to a log must not choose collisions.
pub(crate) struct Dictionary {
    hasher: RandomState,
    shards: Vec<Mutex<Shard>>,
}

/// A key and its hash.
pub(crate) struct HashedKey<'k> {
    hash: u64,
    key: Cow<'k, [u8]>,
}

impl HashedKey<'_> {
    /// The shard's table uses the lower bits.
    fn shard(&self) -> usize {
        (self.hash >> 32) as usize % SHARDS
    }
}

/// The keys of one shard: their texts, one after the other, and a table that finds them.
#[derive(Default)]
pub(crate) struct Shard {
    /// Open addressing with linear probing; its length is a power of two. Short keys lie in it whole, so
    /// that a lookup in a table larger than the cache waits for memory once.
    slots: Vec<Slot>,
    text: Vec<u8>,
    /// Where each key ends in the text; it begins where the one before ends.
    ends: Vec<u32>,
}

/// The longest key that lies in its slot.
const INLINE: usize = 24;

#[derive(Clone, Copy, Default)]
#[repr(align(32))]
struct Slot {
    /// A short key's bytes, the rest zero; of a longer one the hash.
    words: [u64; 3],
    length: u32,
    /// The key's place and one more; 0 where the slot is empty.
    place: u32,
}

/// More keys than numbers.
#[derive(Debug)]
pub(crate) struct TooManyKeys;

impl Dictionary {
    pub(crate) fn new() -> Self {
        Dictionary { hasher: RandomState::default(), shards: (0..SHARDS).map(|_| Mutex::default()).collect() }
    }

    /// A key as [`number_all`](Dictionary::number_all) takes it.
    pub(crate) fn hashed<'k>(&self, key: Cow<'k, [u8]>) -> HashedKey<'k> {
        HashedKey { hash: self.hasher.hash_one(&*key), key }
    }

    /// Calls `put` with the place of each key in `keys`, and its number; keys that are new are entered.
    ///
    /// Shard by shard, so that each is locked once, not for each key (locks that go from core to core cost
    /// more than the lookup), and so that the core can wait for several keys' memory at a time.
    pub(crate) fn number_all(
        &self,
        keys: &[HashedKey<'_>],
        mut put: impl FnMut(usize, KeyId),
    ) -> Result<(), TooManyKeys> {
        let mut starts = [0; SHARDS + 1];
        keys.iter().for_each(|key| starts[key.shard() + 1] += 1);
        (0..SHARDS).for_each(|shard| starts[shard + 1] += starts[shard]);
        let (mut order, mut next) = (vec![0; keys.len()], starts);
        for (at, key) in keys.iter().enumerate() {
            order[next[key.shard()]] = at;
            next[key.shard()] += 1;
        }
        for (number, shard) in self.shards.iter().enumerate() {
            let of_shard = &order[starts[number]..starts[number + 1]];
            if of_shard.is_empty() {
                continue;
            }
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            for &at in of_shard {
                let place = shard.place(&keys[at].key, keys[at].hash, &self.hasher)?;
                put(at, KeyId::new(number, place as usize));
            }
        }
        Ok(())
    }

    /// The shards, in their order.
    pub(crate) fn into_shards(self) -> Vec<Shard> {
        self.shards.into_iter().map(|shard| shard.into_inner().unwrap_or_else(PoisonError::into_inner)).collect()
    }
}

impl Shard {
    /// How many keys there are.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(crate) fn key(&self, place: usize) -> &[u8] {
        slice(&self.text, &self.ends, place)
    }

    /// Frees what only [`Dictionary::number`] needs.
    pub(crate) fn close(&mut self) {
        self.slots = Vec::new();
    }

    fn place(&mut self, key: &[u8], hash: u64, hasher: &RandomState) -> Result<u32, TooManyKeys> {
        let wanted = Slot::new(key, hash)?;
        if let Some(place) = self.find(&wanted, key, hash) {
            return Ok(place);
        }
        let place = u32::try_from(self.len()).ok().filter(|&place| place < KeyId::PLACES).ok_or(TooManyKeys)?;
        let end = u32::try_from(self.text.len() + key.len()).map_err(|_| TooManyKeys)?;
        self.text.extend_from_slice(key);
        self.ends.push(end);
        if self.len() > self.slots.len() / 4 * 3 {
            self.slots = vec![Slot::default(); (self.slots.len() * 2).max(16)];
            for place in 0..self.len() {
                let key = slice(&self.text, &self.ends, place);
                let hash = hasher.hash_one(key);
                enter(&mut self.slots, Slot { place: place as u32 + 1, ..Slot::new(key, hash)? }, hash);
            }
        } else {
            enter(&mut self.slots, Slot { place: place + 1, ..wanted }, hash);
        }
        Ok(place)
    }

    fn find(&self, wanted: &Slot, key: &[u8], hash: u64) -> Option<u32> {
        let mask = self.slots.len().checked_sub(1)?;
        let mut at = hash as usize & mask;
        loop {
            let slot = &self.slots[at];
            if slot.place == 0 {
                return None;
            }
            let alike = slot.words == wanted.words && slot.length == wanted.length;
            if alike && (key.len() <= INLINE || self.key(slot.place as usize - 1) == key) {
                return Some(slot.place - 1);
            }
            at = (at + 1) & mask;
        }
    }
}

impl Slot {
    /// What a key's slot holds but for its place.
    fn new(key: &[u8], hash: u64) -> Result<Self, TooManyKeys> {
        let mut words = [hash, 0, 0];
        if key.len() <= INLINE {
            let mut bytes = [0; INLINE];
            bytes[..key.len()].copy_from_slice(key);
            let (chunks, _) = bytes.as_chunks::<8>();
            words = [0, 1, 2].map(|at| u64::from_ne_bytes(chunks[at]));
        }
        Ok(Slot { words, length: u32::try_from(key.len()).map_err(|_| TooManyKeys)?, place: 0 })
    }
}

/// Puts a new key's slot into a table that has room.
fn enter(slots: &mut [Slot], slot: Slot, hash: u64) {
    let mask = slots.len() - 1;
    let mut at = hash as usize & mask;
    while slots[at].place != 0 {
        at = (at + 1) & mask;
    }
    slots[at] = slot;
}

fn slice<'a>(text: &'a [u8], ends: &[u32], place: usize) -> &'a [u8] {
    let start = if place == 0 { 0 } else { ends[place - 1] };
    &text[start as usize..ends[place] as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_one_number_and_is_found_under_it() {
        let dictionary = Dictionary::new();
        let keys: Vec<Vec<u8>> = (0..10_000)
            .map(|i| format!("key {i}").into_bytes())
            .chain([0, 1, 23, 24, 25, 26, 300].map(|length| vec![0; length]))
            .collect();
        let number_all = || {
            let hashed: Vec<_> = keys.iter().map(|key| dictionary.hashed(Cow::Borrowed(key))).collect();
            let mut numbers = vec![KeyId::default(); keys.len()];
            dictionary.number_all(&hashed, |at, number| numbers[at] = number).expect("few keys");
            numbers
        };
        let numbers = number_all();
        assert_eq!(number_all(), numbers);
        let shards = dictionary.into_shards();
        assert_eq!(shards.iter().map(Shard::len).sum::<usize>(), keys.len());
        assert!(keys.iter().zip(&numbers).all(|(key, number)| shards[number.shard()].key(number.place()) == key));
    }
}
