//! What the store keeps, as the engine wants to see it.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use rebate_core::count::Count;
use rebate_core::engine::{Counts, Note, OwnedPlace, Place, TopUps};
use rebate_core::{Denial, Error, Held, Identity, Key, KeyRef, Marks, Reservation, Reservations, Timestamp};

use super::Fault;

/// Everything the store remembers.
#[derive(Clone, Default)]
pub(super) struct Book {
    pub(super) counts: HashMap<OwnedPlace, Held>,
    notes: HashMap<(Key, Vec<u8>), Note>,
    top_ups: HashMap<OwnedPlace, TopUps>,
    /// For the fault of remembering them.
    pub(super) denials: HashMap<Vec<u8>, Denial>,
    pub(super) windows: u64,
    pub(super) latest: Timestamp,
}

/// The book at one moment.
pub(super) struct Open<'a> {
    pub(super) fault: Option<Fault>,
    pub(super) identity: &'a Identity,
    pub(super) book: &'a mut Book,
    pub(super) now: Timestamp,
    pub(super) room: usize,
}

/// Bytes that an entry takes beyond what it holds on the heap.
const ENTRY: usize = 256;

impl Open<'_> {
    pub(super) fn is(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    /// Where a count is kept.
    pub(super) fn place(&self, place: Place<'_>) -> OwnedPlace {
        if self.is(Fault::EndsKeysAtNul) && place.key.group().is_none() {
            let key = place.key.bytes().split(|&byte| byte == 0).next().unwrap_or_default();
            return OwnedPlace { key: key.into(), ..place.into() };
        }
        if self.is(Fault::IgnoresGroups) {
            return OwnedPlace { key: place.key.bytes().into(), ..place.into() };
        }
        if self.is(Fault::JoinsGroups) {
            let joined = [place.key.group().unwrap_or_default(), place.key.bytes()].concat();
            return OwnedPlace { key: (&joined).into(), ..place.into() };
        }
        if self.is(Fault::JoinsNamesWithColons) {
            let limit = self.identity.limit(place.name);
            let name = limit.as_ref().map_or("", |limit| limit.name());
            let joined = [name.as_bytes(), b":", place.key.bytes()].concat();
            return OwnedPlace { name: 0, key: (&joined).into() };
        }
        place.into()
    }

    fn note_place(&self, scope: KeyRef<'_>, key: &[u8]) -> (Key, Vec<u8>) {
        let scope = if self.is(Fault::ForgetsTheScope) { "".into() } else { scope };
        (scope.into(), key.to_vec())
    }

    fn is_over(&self, held: &Held) -> bool {
        let early = if self.is(Fault::ForgetsEarly) { 1_000_000 } else { 0 };
        let before = match &held.count {
            Count::Window(window, _) => self.now.as_micros() < window.start,
            _ => false,
        };
        held.expires_at() <= self.now.as_micros() + early || (before && self.is(Fault::FollowsEveryStepBack))
    }

    fn bytes(&self) -> usize {
        let counts = self.book.counts.iter().map(|(place, held)| count_bytes(place.key.as_ref()) + held.heap_bytes());
        let notes = self.book.notes.iter().map(|((_, key), note)| note_bytes(key.len(), note.parts.len()));
        let top_ups = self.book.top_ups.values().flat_map(|top_ups| &top_ups.receipts);
        counts.sum::<usize>()
            + notes.sum::<usize>()
            + top_ups.map(|top_up| ENTRY * (1 + top_up.parts.len())).sum::<usize>()
    }

    /// Forgets what is over, to make room for `places`.
    fn tidy(&mut self, places: &[Place<'_>]) {
        if self.is(Fault::NeverTidies) {
            return;
        }
        let (now, only_theirs) = (self.now.as_micros(), self.is(Fault::TidiesOneShard));
        let passed_over = |key: &Key| only_theirs && places.iter().all(|place| shard(place.key) != shard(key.as_ref()));
        let keeps_top_ups = self.is(Fault::KeepsEndedTopUps);
        self.book.counts.retain(|place, held| held.expires_at() > now || passed_over(&place.key));
        self.book.notes.retain(|(scope, _), note| note.ends_at() > now || passed_over(scope));
        self.book
            .top_ups
            .retain(|place, top_ups| top_ups.expires_at() > now || keeps_top_ups || passed_over(&place.key));
    }

    fn evict_one(&mut self, places: &[Place<'_>]) -> bool {
        let wanted: Vec<OwnedPlace> = places.iter().map(|place| self.place(*place)).collect();
        let victim = self.book.counts.keys().find(|place| !wanted.contains(place)).cloned();
        victim.is_some_and(|victim| self.book.counts.remove(&victim).is_some())
    }
}

/// Forgets which units were given back.
fn forget_marks(held: &mut Held) {
    match &mut held.count {
        Count::Window(_, marks) | Count::Bucket(_, marks) => *marks = Marks::default(),
        _ => {}
    }
}

/// Where a key is, for the fault of looking nowhere else.
fn shard(key: KeyRef<'_>) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish() % 8
}

fn count_bytes(key: KeyRef<'_>) -> usize {
    ENTRY + key.bytes().len() + key.group().map_or(0, <[u8]>::len)
}

fn note_bytes(key: usize, parts: usize) -> usize {
    size_of::<Note>() + key + parts * size_of::<rebate_core::Part>()
}

impl Counts for Open<'_> {
    fn identity(&self) -> &Identity {
        self.identity
    }

    fn take(&mut self, place: Place<'_>) -> Option<Held> {
        let mut held = self.book.counts.remove(&self.place(place))?;
        if let Count::Window(window, _) = &mut held.count
            && self.is(Fault::CarriesOver)
        {
            window.end = window.end.max(self.now.as_micros() + 1);
        }
        let now = self.now.as_micros();
        if self.is(Fault::LapsesWhatWasRefunded) && held.reserved.is_due(now) {
            forget_marks(&mut held);
        }
        if self.is(Fault::LapsesWhenLookedAt) {
            let due = held.reserved.take_due(now);
            due.into_iter().for_each(|due| held.reserved.insert(Reservation { ends_at: now, ..due }));
        }
        (!self.is_over(&held)).then_some(held)
    }

    fn put(&mut self, place: Place<'_>, held: Option<Held>) {
        let Some(mut held) = held else { return };
        if self.is(Fault::ForgetsRefunds) {
            forget_marks(&mut held);
        }
        if self.is(Fault::NeverLapses) {
            held.reserved = Reservations::default();
        }
        self.book.counts.insert(self.place(place), held);
    }

    fn take_note(&mut self, scope: KeyRef<'_>, key: &[u8]) -> Option<Note> {
        let place = self.note_place(scope, key);
        match self.fault {
            Some(Fault::BillsAgain) => None,
            Some(Fault::NeverFreesTheKey) => self.book.notes.get(&place).cloned(),
            _ => self.book.notes.remove(&place),
        }
    }

    fn put_note(&mut self, scope: KeyRef<'_>, key: &[u8], note: Option<Note>) {
        let Some(mut note) = note else { return };
        if self.is(Fault::KeepsLapsedKeys) {
            note.reserved_until = None;
        }
        self.book.notes.insert(self.note_place(scope, key), note);
    }

    fn take_top_ups(&mut self, place: Place<'_>) -> Option<TopUps> {
        self.book.top_ups.remove(&self.place(place))
    }

    fn put_top_ups(&mut self, place: Place<'_>, top_ups: Option<TopUps>) {
        let Some(top_ups) = top_ups else { return };
        if !self.is(Fault::ForgetsTopUps) {
            self.book.top_ups.insert(self.place(place), top_ups);
        }
    }

    fn reserve(&mut self, places: &[Place<'_>], bytes: usize) -> Result<(), Error> {
        let new = places.iter().filter(|place| !self.book.counts.contains_key(&self.place(**place)));
        let wanted = bytes + new.map(|place| count_bytes(place.key)).sum::<usize>();
        let fits = |open: &Self| open.room == usize::MAX || open.bytes() + wanted <= open.room;
        if !fits(self) {
            self.tidy(places);
        }
        while self.is(Fault::EvictsLiveCounts) && !fits(self) && self.evict_one(places) {}
        if fits(self) { Ok(()) } else { Err(Error::full("the store is at its cap of memory; try later")) }
    }
}
