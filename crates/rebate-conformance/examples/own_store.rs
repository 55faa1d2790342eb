//! A store of your own: maps behind one lock, every rule from `rebate_core::engine`.
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard};

use rebate_core::engine::{self, Counts, Note, OwnedPlace, Place, TopUps};
use rebate_core::*;

/// Keeps everything in maps, behind one lock that makes each request atomic.
pub struct OwnStore<C> {
    identity: Identity,
    clock: C,
    keys: RandomState,
    book: Mutex<Book>,
}

#[derive(Default)]
struct Book {
    counts: HashMap<OwnedPlace, Held>,
    notes: HashMap<(Key, Vec<u8>), Note>,
    top_ups: HashMap<OwnedPlace, TopUps>,
    windows: u64,
}

/// The book and the identity, as the engine wants to see them.
struct Open<'a>(&'a Identity, MutexGuard<'a, Book>);

impl Counts for Open<'_> {
    fn identity(&self) -> &Identity {
        self.0
    }
    fn take(&mut self, place: Place<'_>) -> Option<Held> {
        self.1.counts.remove(&place.into())
    }
    fn put(&mut self, place: Place<'_>, held: Option<Held>) {
        let Some(held) = held else { return };
        self.1.counts.insert(place.into(), held);
    }
    fn take_note(&mut self, scope: KeyRef<'_>, key: &[u8]) -> Option<Note> {
        self.1.notes.remove(&(scope.into(), key.to_vec()))
    }
    fn put_note(&mut self, scope: KeyRef<'_>, key: &[u8], note: Option<Note>) {
        let Some(note) = note else { return };
        self.1.notes.insert((scope.into(), key.to_vec()), note);
    }
    fn take_top_ups(&mut self, place: Place<'_>) -> Option<TopUps> {
        self.1.top_ups.remove(&place.into())
    }
    fn put_top_ups(&mut self, place: Place<'_>, top_ups: Option<TopUps>) {
        let Some(top_ups) = top_ups else { return };
        self.1.top_ups.insert(place.into(), top_ups);
    }
    fn reserve(&mut self, _places: &[Place<'_>], _bytes: usize) -> Result<(), Error> {
        Ok(())
    }
}

impl<C: Clock> OwnStore<C> {
    /// An empty store that reads `clock`.
    pub fn new(clock: C) -> Self {
        let identity = Identity::new("own").expect("a good name");
        OwnStore { identity, clock, keys: RandomState::new(), book: Mutex::default() }
    }

    fn open(&self) -> (Open<'_>, Timestamp) {
        let book = self.book.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        (Open(&self.identity, book), self.clock.now())
    }

    /// Random bits for the identities of windows, which must not repeat: SipHash of a counter, under
    /// a random key.
    fn random(&self, open: &mut Open<'_>) -> impl FnMut() -> u64 + use<C> {
        open.1.windows += 1;
        let (window, keys) = (open.1.windows, self.keys.clone());
        let mut next = 0;
        move || {
            next += 1;
            keys.hash_one((window, next))
        }
    }
}

impl<C: Clock> SyncStore for OwnStore<C> {
    fn identity(&self) -> &Identity {
        &self.identity
    }
    fn charge_now(&self, request: &ChargeRequest<'_>) -> Result<Decision, Error> {
        let (mut open, now) = self.open();
        let mut random = self.random(&mut open);
        engine::charge(&mut open, request, now, &mut random)
    }
    fn refund_now(&self, request: &RefundRequest<'_>) -> Result<Refund, Error> {
        let (mut open, now) = self.open();
        engine::refund(&mut open, request, now)
    }
    fn settle_now(&self, request: &SettleRequest<'_>) -> Result<SettleReply, Error> {
        let (mut open, now) = self.open();
        let mut random = self.random(&mut open);
        engine::settle(&mut open, request, now, &mut random)
    }
    fn renew_now(&self, receipt: &Receipt) -> Result<Renewal, Error> {
        let (mut open, now) = self.open();
        engine::renew(&mut open, receipt, now)
    }
    fn peek_now(&self, items: &[Item<'_>]) -> Result<Statuses, Error> {
        let (mut open, now) = self.open();
        engine::peek(&mut open, items, now)
    }
    fn reset_now(&self, limit: &Limit, key: KeyRef<'_>) -> Result<bool, Error> {
        let (mut open, now) = self.open();
        Ok(engine::reset(&mut open, limit, key, now))
    }
    fn leases_now(&self, limit: &Limit, key: KeyRef<'_>) -> Result<Vec<Lease>, Error> {
        let (mut open, now) = self.open();
        engine::leases(&mut open, limit, key, now)
    }
    fn list_now(&self, request: &ListRequest<'_>) -> Result<Page, Error> {
        let (mut open, now) = self.open();
        let name = self.identity.index_of(request.limit).name;
        let places: Vec<OwnedPlace> = open.1.counts.keys().filter(|place| place.name == name).cloned().collect();
        for OwnedPlace { name, key } in &places {
            engine::lapse(&mut open, Place { name: *name, key: key.as_ref() }, now);
        }
        let counts =
            open.1.counts.iter().filter(|(place, held)| place.name == name && held.expires_at() > now.as_micros());
        let status = |held| Held::peek(Some(held), request.limit, now.as_micros());
        // All in one page: allowed, as a page's size is about right at best.
        Ok(Page { keys: counts.map(|(place, held)| (place.key.clone(), status(held))).collect(), next: None })
    }
}

fn main() {
    let limiter = Limiter::new(OwnStore::new(SystemClock));
    let limit = limiter.limit("greetings", "2/day").expect("a good limit");
    for _ in 0..3 {
        println!("{:?}", limiter.charge_now(&limit, "world").expect("no trouble"));
    }
}
