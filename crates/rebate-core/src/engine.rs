//! What a store does with a request, over whatever keeps its counts.
//!
//! Pure but for the [`Counts`] it is given: time and randomness are passed in. A store that can hold
//! all the counts of a request at once (a lock, a transaction) gets every law from here;
//! the memory store's faster paths and Redis' scripts repeat these rules and are proved equal.

mod charge;
mod refund;
mod settle;

use smallvec::SmallVec;

pub use charge::{Line, Lines, charge, check_idempotency, check_reserved, sum};
pub use refund::refund;
pub use settle::settle;

use crate::algorithm::entries::Entry;
use crate::count::{Held, NotALease};
use crate::decision::{Lease, PartRenewal, Renewal, Status};
use crate::error::Error;
use crate::key::{Key, KeyRef};
use crate::limit::{Identity, Limit};
use crate::receipt::{LimitRef, Part, Receipt};
use crate::store::{Item, Statuses};
use crate::time::Timestamp;

/// How long after its charge a receipt can be topped up by a settlement, in microseconds: 24 hours.
/// So long a top-up is remembered, and a later one told from a repeated one.
pub const SETTLE_WITHIN: u64 = 86_400 * 1_000_000;

/// Where the engine keeps what it must remember. Whoever implements this holds all the counts of a
/// request for itself while the engine runs.
pub trait Counts {
    /// The store's identity.
    fn identity(&self) -> &Identity;

    /// Takes a count out. The engine puts it back, changed or not, in the same call.
    fn take(&mut self, place: Place<'_>) -> Option<Held>;

    /// Puts a count in; `None` where it is to be forgotten.
    fn put(&mut self, place: Place<'_>, held: Option<Held>);

    /// Takes out the note of a charge that bears an idempotency key.
    fn take_note(&mut self, scope: KeyRef<'_>, key: &[u8]) -> Option<Note>;

    /// Puts a note in; `None` where it is to be forgotten.
    fn put_note(&mut self, scope: KeyRef<'_>, key: &[u8], note: Option<Note>);

    /// Takes out what is known of a count's topped-up receipts.
    fn take_top_ups(&mut self, place: Place<'_>) -> Option<TopUps>;

    /// Puts it in; `None` where there is nothing to know.
    fn put_top_ups(&mut self, place: Place<'_>, top_ups: Option<TopUps>);

    /// Makes sure that counts put at `places` will find room, about `bytes` in all beyond what they
    /// take now. Called before anything is changed.
    ///
    /// # Errors
    /// [`Error::full`] when there is none.
    fn reserve(&mut self, places: &[Place<'_>], bytes: usize) -> Result<(), Error>;
}

/// What identifies a count: the number of its limit's name in the store's registry, and its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place<'a> {
    /// [`LimitIndex::name`](crate::LimitIndex::name).
    pub name: u32,
    /// Who is charged.
    pub key: KeyRef<'a>,
}

/// Remembers a charge that bears an idempotency key.
#[derive(Clone, Debug)]
pub struct Note {
    /// When it is forgotten, in microseconds since the epoch.
    pub expires_at: u64,
    /// When it was charged.
    pub charged_at: Timestamp,
    /// The receipt's first parts, with what was refunded of them.
    pub parts: SmallVec<[Part; 1]>,
    /// When the charge is given back, and the key free, unless it is settled before; in microseconds since the epoch.
    pub reserved_until: Option<u64>,
}

impl Note {
    /// Whether the key still stands for its charge at `now`.
    pub fn is_in_force(&self, now: Timestamp) -> bool {
        now.as_micros() < self.ends_at()
    }

    /// The moment, in microseconds since the epoch, from which it says nothing: it may be dropped. A settlement may move it.
    pub fn ends_at(&self) -> u64 {
        self.reserved_until.map_or(self.expires_at, |end| end.min(self.expires_at))
    }
}

/// Remembers the receipts of one count that settlements have topped up.
#[derive(Clone, Debug, Default)]
pub struct TopUps {
    /// At most [`REMEMBERED`](crate::REMEMBERED) of them.
    pub receipts: Vec<TopUp>,
    /// Receipts charged at or before this moment that are not among them can be topped up no more.
    pub floor: Option<Timestamp>,
}

/// Remembers one topped-up receipt.
#[derive(Clone, Debug)]
pub struct TopUp {
    /// The receipt's identity: the instance and last unit of its first part.
    pub receipt: (u64, u64),
    /// When it was charged.
    pub charged_at: Timestamp,
    /// Its top-ups.
    pub parts: Vec<Part>,
}

impl TopUps {
    /// When there is nothing left to know, in microseconds since the epoch.
    pub fn expires_at(&self) -> u64 {
        let latest = self.receipts.iter().map(|receipt| receipt.charged_at).chain(self.floor).max();
        latest.map_or(0, |moment| moment.as_micros().saturating_add(SETTLE_WITHIN))
    }
}

/// The statuses of `items` at `now`; changes nothing.
///
/// # Errors
/// [`Error::is_invalid`] when there is no item, or a key is too long.
pub fn peek(counts: &mut impl Counts, items: &[Item<'_>], now: Timestamp) -> Result<Statuses, Error> {
    check_items(items)?;
    let mut statuses = Statuses::new();
    for (at, item) in items.iter().enumerate() {
        let place = Place { name: counts.identity().index_of(item.limit).name, key: item.key };
        statuses.push(peek_at(counts, place, item.limit, now).of_item(at, None));
    }
    Ok(statuses)
}

/// Takes a count out as it is at `now`: whatever was reserved only until then has been given back. Whoever looks
/// at a count looks at it by this.
fn look(counts: &mut impl Counts, place: Place<'_>, now: Timestamp) -> Option<Held> {
    let held = counts.take(place)?.lapse(now.as_micros());
    if held.is_none() {
        counts.put(place, None);
    }
    held
}

/// Gives back what of a count was reserved only until `now` or earlier: for stores that list what they keep.
pub fn lapse(counts: &mut impl Counts, place: Place<'_>, now: Timestamp) {
    if let Some(held) = look(counts, place, now) {
        counts.put(place, Some(held));
    }
}

fn peek_at(counts: &mut impl Counts, place: Place<'_>, limit: &Limit, now: Timestamp) -> Status {
    let held = look(counts, place, now);
    let status = Held::peek(held.as_ref(), limit, now.as_micros());
    if held.is_some() {
        counts.put(place, held);
    }
    status
}

/// Moves the ends of the receipt's leases to a whole lease from `now`.
///
/// # Errors
/// [`Error::is_other_store`] when the receipt is another store's.
pub fn renew(counts: &mut impl Counts, receipt: &Receipt, now: Timestamp) -> Result<Renewal, Error> {
    check_receipt(counts.identity(), receipt)?;
    let mut parts = SmallVec::new();
    for part in receipt.parts() {
        parts.push(renew_part(counts, part, now));
    }
    Ok(Renewal { parts })
}

fn renew_part(counts: &mut impl Counts, part: &Part, now: Timestamp) -> PartRenewal {
    let Some((limit, place)) = counts_place(counts.identity(), part) else { return PartRenewal::Expired };
    // By the limit that the receipt names: what the count is now may be something else.
    if !limit.policy().is_concurrency() {
        return PartRenewal::NotALease;
    }
    let Some(mut held) = look(counts, place, now) else { return PartRenewal::Expired };
    let renewed = held.renew(part.instance, part.units(), now.as_micros());
    counts.put(place, Some(held));
    match renewed {
        Ok(Some(end)) => PartRenewal::Until(Timestamp::from_micros(end)),
        Ok(None) | Err(NotALease) => PartRenewal::Expired,
    }
}

/// Who holds places of `limit` under `key` at `now`: each lease, in the order of their ends (of those that end together,
/// of their charges); changes nothing.
///
/// # Errors
/// [`Error::is_invalid`] when `limit` is no concurrency limit, or the key is too long.
pub fn leases(counts: &mut impl Counts, limit: &Limit, key: KeyRef<'_>, now: Timestamp) -> Result<Vec<Lease>, Error> {
    check_leases(limit, key)?;
    let index = counts.identity().index_of(limit);
    let place = Place { name: index.name, key };
    let Some(held) = look(counts, place, now) else { return Ok(Vec::new()) };
    let mut leases = Vec::new();
    if let Some((roll, span, entries)) = held.leases(now.as_micros()) {
        let mut entries: Vec<&Entry> = entries.collect();
        entries.sort_by_key(|entry| (entry.end, entry.last));
        leases.extend(
            entries.iter().map(|entry| lease(counts.identity(), index.limit, key, roll.identity, **entry, span)),
        );
    }
    counts.put(place, Some(held));
    Ok(leases)
}

/// Checks that leases of a limit and key can be asked for.
///
/// # Errors
/// As [`leases`].
pub fn check_leases(limit: &Limit, key: KeyRef<'_>) -> Result<(), Error> {
    if !limit.policy().is_concurrency() {
        return Err(Error::invalid(format!(
            "the limit `{}` ({}) has no leases; ask for those of a limit such as `3 at once for 10m`",
            limit.name(),
            limit.policy()
        )));
    }
    key.check()
}

/// For those who write stores: the lease that an entry of the instance is, under the limit numbered `limit`. `span` is that of
/// the limit it was charged or renewed under.
pub fn lease(identity: &Identity, limit: u32, key: KeyRef<'_>, instance: u64, entry: Entry, span: u64) -> Lease {
    let part = Part {
        limit: LimitRef::Index(limit),
        key: key.into(),
        cost: entry.cost,
        instance,
        last: entry.last,
        refunded: entry.refunded,
        tops_up: None,
    };
    let begun = Timestamp::from_micros(entry.end.saturating_sub(span));
    let receipt = Receipt::new(identity.tag(), begun, SmallVec::from_buf([part]), Statuses::new());
    Lease { receipt, units: entry.cost - entry.refunded, until: Timestamp::from_micros(entry.end) }
}

/// Forgets a count. Answers whether there was one that said anything at `now`.
pub fn reset(counts: &mut impl Counts, limit: &Limit, key: KeyRef<'_>, now: Timestamp) -> bool {
    let place = Place { name: counts.identity().index_of(limit).name, key };
    let held = look(counts, place, now);
    counts.put(place, None);
    held.is_some_and(|held| held.expires_at() > now.as_micros())
}

/// Checks that a receipt is of the store.
///
/// # Errors
/// [`Error::is_other_store`] when the receipt is another store's.
pub fn check_receipt(identity: &Identity, receipt: &Receipt) -> Result<(), Error> {
    if receipt.store == identity.tag() { Ok(()) } else { Err(other_store(identity)) }
}

#[cold]
fn other_store(identity: &Identity) -> Error {
    Error::token(
        crate::error::TokenFault::OtherStore,
        format!("the receipt is of another store than `{}`, which cannot refund it", identity.name()),
    )
}

/// Checks the number of items and their keys' lengths.
///
/// # Errors
/// [`Error::is_invalid`] when there is none, there are too many, or a key is too long.
pub fn check_items(items: &[Item<'_>]) -> Result<(), Error> {
    if items.is_empty() {
        return Err(Error::invalid("a charge of no limits; name at least one"));
    }
    if items.len() > MAX_ITEMS {
        return Err(Error::invalid(format!("a charge of {} limits; at most {MAX_ITEMS}", items.len())));
    }
    items.iter().try_for_each(|item| item.key.check())
}

/// The most items in one request, and parts in one receipt.
pub const MAX_ITEMS: usize = 1024;

/// Where a part's count is kept, if the store knows its limit, and that limit as last entered.
fn counts_place<'a>(identity: &Identity, part: &'a Part) -> Option<(Limit, Place<'a>)> {
    let (limit, index) = match &part.limit {
        LimitRef::Index(index) => (identity.limit(*index)?.clone(), identity.index(*index)?),
        LimitRef::Name(name) => identity.by_name(name)?,
    };
    Some((limit, Place { name: index.name, key: part.key.as_ref() }))
}

/// An owned [`Place`], for a store's maps.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OwnedPlace {
    /// [`Place::name`].
    pub name: u32,
    /// [`Place::key`].
    pub key: Key,
}

impl From<Place<'_>> for OwnedPlace {
    fn from(place: Place<'_>) -> Self {
        OwnedPlace { name: place.name, key: Key::new(place.key) }
    }
}
