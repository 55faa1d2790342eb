//! The keys of a log: each text once, named by a number.

use std::hash::BuildHasher;
use std::sync::{Mutex, PoisonError};

use foldhash::quality::RandomState;
use hashbrown::HashTable;

/// Into how many shards keys are divided: enough that readers rarely wait for each other, and that one
/// shard's share of a big log fits a core's cache.
pub(crate) const SHARDS: usize = 256;

/// A key's shard (the upper 8 bits) and its place there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyId(u32);

impl KeyId {
    const PLACES: u32 = 1 << 24;

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

/// The keys of one shard, one after the other.
#[derive(Default)]
pub(crate) struct Shard {
    places: HashTable<u32>,
    text: Vec<u8>,
    /// Where each key ends in the text; it begins where the one before ends.
    ends: Vec<u32>,
}

/// More keys than numbers.
#[derive(Debug)]
pub(crate) struct TooManyKeys;

impl Dictionary {
    pub(crate) fn new() -> Self {
        Dictionary { hasher: RandomState::default(), shards: (0..SHARDS).map(|_| Mutex::default()).collect() }
    }

    /// The number of `key`, which is entered when it is new.
    pub(crate) fn number(&self, key: &[u8]) -> Result<KeyId, TooManyKeys> {
        let hash = self.hasher.hash_one(key);
        // The table inside uses the hash's ends; the shard comes from its middle.
        let shard = (hash >> 32) as usize % SHARDS;
        let place = self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner).place(key, hash, &self.hasher)?;
        Ok(KeyId((shard as u32) << 24 | place))
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
        self.places = HashTable::new();
    }

    fn place(&mut self, key: &[u8], hash: u64, hasher: &RandomState) -> Result<u32, TooManyKeys> {
        let (text, ends) = (&self.text, &self.ends);
        if let Some(&place) = self.places.find(hash, |&place| slice(text, ends, place as usize) == key) {
            return Ok(place);
        }
        let place = u32::try_from(ends.len()).ok().filter(|&place| place < KeyId::PLACES).ok_or(TooManyKeys)?;
        let end = u32::try_from(text.len() + key.len()).map_err(|_| TooManyKeys)?;
        self.text.extend_from_slice(key);
        self.ends.push(end);
        let (text, ends) = (&self.text, &self.ends);
        self.places.insert_unique(hash, place, |&place| hasher.hash_one(slice(text, ends, place as usize)));
        Ok(place)
    }
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
        let keys: Vec<Vec<u8>> = (0..10_000).map(|i| format!("key {i}").into_bytes()).chain([vec![], vec![0]]).collect();
        let numbers: Vec<KeyId> = keys.iter().map(|key| dictionary.number(key).expect("few keys")).collect();
        assert!(keys.iter().zip(&numbers).all(|(key, number)| dictionary.number(key).expect("few keys") == *number));
        let shards = dictionary.into_shards();
        assert_eq!(shards.iter().map(Shard::len).sum::<usize>(), keys.len());
        assert!(keys.iter().zip(&numbers).all(|(key, number)| shards[number.shard()].key(number.place()) == key));
    }
}
