//! Receipts: proof of one admitted charge, and all that its refund needs.

use std::fmt;

use smallvec::SmallVec;

use crate::decision::Status;
use crate::key::{Key, KeyRef};
use crate::limit::Identity;
use crate::marks::Units;
use crate::time::Timestamp;

/// Proof of one admitted charge.
///
/// It is not `Clone`: a refund borrows it mutably, so in-process a receipt is refunded from one place
/// at a time. What guarantees that no unit is given back twice is the store, for copies of a token
/// too. It can be written as a [token](crate::Limiter::token) and read in another process.
#[must_use = "without its receipt a charge cannot be refunded"]
pub struct Receipt {
    body: Body,
    /// The tag of the [registry](crate::Registry) that the parts' indexes belong to.
    pub(crate) store: u64,
    pub(crate) charged_at: Timestamp,
    pub(crate) idempotency: Option<Box<IdempotencyNote>>,
}

/// Parts and statuses: one of each in place, which is moved at little cost, or more in one piece on the heap.
enum Body {
    One([Part; 1], [Status; 1]),
    More(Box<More>),
}

#[derive(Default)]
struct More {
    parts: SmallVec<[Part; 3]>,
    statuses: SmallVec<[Status; 3]>,
}

impl Body {
    fn new(parts: SmallVec<[Part; 1]>, statuses: SmallVec<[Status; 1]>) -> Self {
        match (parts.into_inner(), statuses.into_inner()) {
            (Ok(part), Ok(status)) => Body::One(part, status),
            (parts, statuses) => Body::More(Box::new(More {
                parts: parts.map_or_else(SmallVec::from_iter, SmallVec::from_iter),
                statuses: statuses.map_or_else(SmallVec::from_iter, SmallVec::from_iter),
            })),
        }
    }
}

/// What a receipt must say of its idempotency key, so that a full refund frees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyNote {
    /// The charged key it was scoped to.
    pub scope: Key,
    /// The idempotency key.
    pub key: Box<[u8]>,
    /// Whether the charge had been made before.
    pub replay: bool,
}

/// One limit's part of a receipt.
#[derive(Clone, PartialEq, Eq)]
pub struct Part {
    /// Which limit was charged.
    pub limit: LimitRef,
    /// Who was charged.
    pub key: Key,
    /// How many units.
    pub cost: u64,
    /// The identity of the window instance they were taken from.
    pub instance: u64,
    /// The number of the last of these units in that instance; they are `(last − cost, last]`.
    pub last: u64,
    /// Units given back, as far as this receipt has heard.
    pub refunded: u64,
    /// For a part that a settlement added: the part it tops up.
    pub tops_up: Option<u16>,
}

/// How a part names its limit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LimitRef {
    /// By its place in the store's registry.
    Index(u32),
    /// By its name, in a receipt read from a token whose limit this process does not know.
    Name(Box<str>),
}

impl Receipt {
    /// For those who write stores: a receipt of `parts`, whose indexes belong to the registry with
    /// the tag `store`.
    pub fn new(store: u64, charged_at: Timestamp, parts: SmallVec<[Part; 1]>, statuses: SmallVec<[Status; 1]>) -> Self {
        Receipt { body: Body::new(parts, statuses), store, charged_at, idempotency: None }
    }

    /// The same for one part and its status, on a store's fastest path.
    #[inline(always)]
    pub fn of_one(store: u64, charged_at: Timestamp, part: Part, status: Status) -> Self {
        Receipt { body: Body::One([part], [status]), store, charged_at, idempotency: None }
    }

    /// The same for `count` parts and their statuses, told by their places.
    #[inline(always)]
    pub fn of_more(
        store: u64,
        charged_at: Timestamp,
        count: usize,
        part: impl Fn(usize) -> Part,
        status: impl Fn(usize) -> Status,
    ) -> Self {
        // Filled where it lies: it is large.
        let mut more = Box::<More>::default();
        for place in 0..count {
            more.parts.push(part(place));
            more.statuses.push(status(place));
        }
        Receipt { body: Body::More(more), store, charged_at, idempotency: None }
    }

    /// The parts: one for each limit and key charged, then one for each top-up.
    #[inline]
    pub fn parts(&self) -> &[Part] {
        match &self.body {
            Body::One(part, _) => part,
            Body::More(more) => &more.parts,
        }
    }

    #[inline]
    pub(crate) fn parts_mut(&mut self) -> &mut [Part] {
        match &mut self.body {
            Body::One(part, _) => part,
            Body::More(more) => &mut more.parts,
        }
    }

    /// The same receipt with other parts.
    pub(crate) fn set_parts(&mut self, parts: SmallVec<[Part; 1]>) {
        let statuses = self.statuses().iter().copied().collect();
        self.body = Body::new(parts, statuses);
    }

    /// Quota, remaining and reset of each limit right after the charge. Empty in a receipt read from
    /// a token.
    pub fn statuses(&self) -> &[Status] {
        match &self.body {
            Body::One(_, status) => status,
            Body::More(more) => &more.statuses,
        }
    }

    /// When it was charged, by the store's clock.
    pub fn charged_at(&self) -> Timestamp {
        self.charged_at
    }

    /// Whether an idempotency key found this charge already made: it was billed then, not now. Nothing
    /// automatic refunds a replay.
    pub fn is_replay(&self) -> bool {
        self.idempotency.as_ref().is_some_and(|note| note.replay)
    }

    /// Whether the charge bears an idempotency key.
    pub fn is_idempotent(&self) -> bool {
        self.idempotency.is_some()
    }

    /// For those who write stores: whether the store `identity` issued it.
    #[inline]
    pub fn is_of(&self, identity: &Identity) -> bool {
        self.store == identity.tag()
    }

    /// For those who write stores: the same receipt, bearing an idempotency key.
    pub fn with_idempotency(mut self, note: IdempotencyNote) -> Self {
        self.idempotency = Some(Box::new(note));
        self
    }

    /// For those who write stores: the idempotency key it bears.
    pub fn idempotency(&self) -> Option<&IdempotencyNote> {
        self.idempotency.as_deref()
    }

    /// For those who write stores: the key to which its idempotency key is scoped.
    pub fn idempotency_scope(&self) -> Option<KeyRef<'_>> {
        self.idempotency.as_ref().map(|note| note.scope.as_ref())
    }

    /// Units charged, over all parts.
    pub fn cost(&self) -> u64 {
        self.parts().iter().map(|part| part.cost).fold(0, u64::saturating_add)
    }

    /// Units given back, over all parts, as far as this receipt has heard.
    pub fn refunded(&self) -> u64 {
        self.parts().iter().map(|part| part.refunded).fold(0, u64::saturating_add)
    }
}

impl Part {
    /// The units as their count numbers them.
    #[inline]
    pub fn units(&self) -> Units {
        Units { cost: self.cost, last: self.last }
    }

    /// Who was charged, borrowed.
    pub fn key(&self) -> KeyRef<'_> {
        self.key.as_ref()
    }
}

impl fmt::Debug for Receipt {
    /// Neither keys nor what a token is made of: a receipt is a bearer credential.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receipt")
            .field("parts", &self.parts())
            .field("charged_at", &self.charged_at)
            .field("replay", &self.is_replay())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Part")
            .field("limit", &self.limit)
            .field("cost", &self.cost)
            .field("refunded", &self.refunded)
            .finish_non_exhaustive()
    }
}
