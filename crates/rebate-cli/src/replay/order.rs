//! Brings the requests into the order in which they are charged: by key, and each key's by time.
//!
//! A count belongs to one key, so what one key is answered does not depend on when others are
//! charged: key after key, each in the order of time, is the replay of all in the order of time. It
//! is as many times faster as a core's cache is than memory. Requests of the same time keep the
//! order of their lines.

use super::keys::{SHARDS, Shard};
use super::read::{Event, Record};

/// Divides the requests into the shards of their keys, each in the order of lines. Frees each chunk as
/// soon as it is divided.
pub(crate) fn divide(chunks: Vec<Vec<Record>>) -> Vec<Vec<Record>> {
    let mut sizes = [0; SHARDS];
    chunks.iter().flatten().for_each(|record| sizes[record.key.shard()] += 1);
    let mut shards: Vec<Vec<Record>> = sizes.iter().map(|&size| Vec::with_capacity(size)).collect();
    for chunk in chunks {
        for record in chunk {
            shards[record.key.shard()].push(record);
        }
    }
    shards
}

/// The requests of one shard, by key and time.
#[derive(Default)]
pub(crate) struct Ordered {
    events: Vec<Event>,
    /// Where each key's requests end; they begin where those of the key before end.
    ends: Vec<usize>,
}

impl Ordered {
    /// Takes in the requests of `keys`; what it held before is gone.
    pub(crate) fn fill(&mut self, keys: &Shard, records: &[Record]) {
        self.ends.clear();
        self.ends.resize(keys.len() + 1, 0);
        // `ends` holds each key's beginning until all its requests have been put there.
        for record in records {
            self.ends[record.key.place() + 1] += 1;
        }
        let mut sum = 0;
        for end in &mut self.ends {
            sum += *end;
            *end = sum;
        }
        self.events.clear();
        self.events.resize(records.len(), Event::new(0, 0));
        for record in records {
            let next = &mut self.ends[record.key.place()];
            self.events[*next] = record.event();
            *next += 1;
        }
        self.ends.pop();
        let mut start = 0;
        for &end in &self.ends {
            // A stable sort: ties keep the order of their lines.
            self.events[start..end].sort_by_key(|event| event.micros());
            start = end;
        }
    }

    /// Each key's place and its requests.
    pub(crate) fn by_key(&self) -> impl Iterator<Item = (usize, &[Event])> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| &self.events[start..end]).enumerate()
    }
}
