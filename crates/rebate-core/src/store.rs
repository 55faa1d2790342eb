//! The contract of a store.

use std::future::Future;
use std::time::Duration;

use smallvec::SmallVec;

use crate::decision::{Decision, Lease, PartRefund, Refund, Renewal, Settlement, Shortfall, Status};
use crate::error::Error;
use crate::key::{Key, KeyRef};
use crate::limit::{Identity, Limit};
use crate::receipt::{Part, Receipt};

/// Where the counts live, and what makes a charge atomic.
///
/// The fifteen laws of DESIGN.md are the contract; every one is a group of cases in the conformance
/// suite. The short form: a charge takes all of its items or none (1, 2); a refund names a receipt and
/// an absolute total for each part, repeats harmlessly, reaches the window it was charged to or
/// none, creates nothing (3, 4, 5); waits and remainders told are true (6, 7); an idempotency key
/// bills once (8); the answers are those of [`engine`](crate::engine), by the store's own clock (9,
/// 11); keys do not meet (10); forgetting and looking change nothing, and live state is never evicted:
/// a full store answers [`Error::full`] (12, 13); an error says whether the request may have happened,
/// and an answer whose caller has gone is refunded, unless it bears an idempotency key (14); a charge that is
/// reserved for a time and not settled in it is given back as of its end, once, whoever looks first (15).
///
/// A store that answers without waiting implements [`SyncStore`] instead and is a `Store` by that.
/// For `dyn`, see [`AnyStore`](crate::AnyStore). What callers like to write is on
/// [`Limiter`](crate::Limiter).
pub trait Store: Send + Sync + 'static {
    /// Its name and the limits it has met.
    fn identity(&self) -> &Identity;

    /// Takes every item or none. A denial is an answer, not an error.
    fn charge(&self, request: &ChargeRequest<'_>) -> impl Future<Output = Result<Decision, Error>> + Send;

    /// Gives back up to a total of each part.
    fn refund(&self, request: &RefundRequest<'_>) -> impl Future<Output = Result<Refund, Error>> + Send;

    /// Fixes the true cost of a charge: gives back, or tops up in the window current now.
    fn settle(&self, request: &SettleRequest<'_>) -> impl Future<Output = Result<SettleReply, Error>> + Send;

    /// Moves the end of the receipt's leases to a whole lease from now.
    fn renew(&self, receipt: &Receipt) -> impl Future<Output = Result<Renewal, Error>> + Send;

    /// The status of each item; changes nothing. Costs are not looked at.
    fn peek(&self, items: &[Item<'_>]) -> impl Future<Output = Result<Statuses, Error>> + Send;

    /// Forgets a count; its receipts expire. Answers whether there was one.
    fn reset(&self, limit: &Limit, key: KeyRef<'_>) -> impl Future<Output = Result<bool, Error>> + Send;

    /// A page of the keys that have a count under a limit.
    fn list(&self, request: &ListRequest<'_>) -> impl Future<Output = Result<Page, Error>> + Send;

    /// The leases that a key holds of a concurrency limit, in the order of their ends; changes nothing.
    fn leases(&self, limit: &Limit, key: KeyRef<'_>) -> impl Future<Output = Result<Vec<Lease>, Error>> + Send;

    /// Refunds a receipt whole, from a drop: without waiting here, as well as it can. There is nobody to tell of a failure:
    /// `RedisStore` says it in the log. A store that answers without waiting fails only where it is full and cannot note the
    /// refund, and core, which has no log, says nothing of that.
    fn hand_back(&self, receipt: Receipt);

    /// [`charge`](Store::charge) without a future, in a store that answers without waiting: for callers that
    /// would have to box one. `None`, and nothing has happened, in every other store.
    fn charge_at_once(&self, _request: &ChargeRequest<'_>) -> Option<Result<Decision, Error>> {
        None
    }

    /// [`refund`](Store::refund) without a future, likewise.
    fn refund_at_once(&self, _request: &RefundRequest<'_>) -> Option<Result<Refund, Error>> {
        None
    }
}

/// A [`Store`] that answers without waiting. The methods mean what the store's do.
#[expect(missing_docs, reason = "each is the method of Store of the same name")]
pub trait SyncStore: Send + Sync + 'static {
    fn identity(&self) -> &Identity;
    fn charge_now(&self, request: &ChargeRequest<'_>) -> Result<Decision, Error>;
    fn refund_now(&self, request: &RefundRequest<'_>) -> Result<Refund, Error>;
    fn settle_now(&self, request: &SettleRequest<'_>) -> Result<SettleReply, Error>;
    fn renew_now(&self, receipt: &Receipt) -> Result<Renewal, Error>;
    fn peek_now(&self, items: &[Item<'_>]) -> Result<Statuses, Error>;
    fn reset_now(&self, limit: &Limit, key: KeyRef<'_>) -> Result<bool, Error>;
    fn list_now(&self, request: &ListRequest<'_>) -> Result<Page, Error>;
    fn leases_now(&self, limit: &Limit, key: KeyRef<'_>) -> Result<Vec<Lease>, Error>;
}

impl<S: SyncStore> Store for S {
    fn identity(&self) -> &Identity {
        SyncStore::identity(self)
    }

    async fn charge(&self, request: &ChargeRequest<'_>) -> Result<Decision, Error> {
        self.charge_now(request)
    }

    async fn refund(&self, request: &RefundRequest<'_>) -> Result<Refund, Error> {
        self.refund_now(request)
    }

    async fn settle(&self, request: &SettleRequest<'_>) -> Result<SettleReply, Error> {
        self.settle_now(request)
    }

    async fn renew(&self, receipt: &Receipt) -> Result<Renewal, Error> {
        self.renew_now(receipt)
    }

    async fn peek(&self, items: &[Item<'_>]) -> Result<Statuses, Error> {
        self.peek_now(items)
    }

    async fn reset(&self, limit: &Limit, key: KeyRef<'_>) -> Result<bool, Error> {
        self.reset_now(limit, key)
    }

    async fn list(&self, request: &ListRequest<'_>) -> Result<Page, Error> {
        self.list_now(request)
    }

    async fn leases(&self, limit: &Limit, key: KeyRef<'_>) -> Result<Vec<Lease>, Error> {
        self.leases_now(limit, key)
    }

    fn hand_back(&self, receipt: Receipt) {
        let totals: SmallVec<[u64; 4]> = receipt.parts().iter().map(|part| part.cost).collect();
        // From a drop there is nobody to tell. A full store cannot note the refund; nothing else fails.
        let _ = self.refund_now(&RefundRequest { receipt: &receipt, totals: &totals });
    }

    #[inline]
    fn charge_at_once(&self, request: &ChargeRequest<'_>) -> Option<Result<Decision, Error>> {
        Some(self.charge_now(request))
    }

    #[inline]
    fn refund_at_once(&self, request: &RefundRequest<'_>) -> Option<Result<Refund, Error>> {
        Some(self.refund_now(request))
    }
}

/// One status for each item of a request.
pub type Statuses = SmallVec<[Status; 1]>;

/// One limit, key and cost of a charge.
#[derive(Clone, Copy, Debug)]
pub struct Item<'a> {
    /// The limit to charge.
    pub limit: &'a Limit,
    /// Who is charged.
    pub key: KeyRef<'a>,
    /// How many units, at least 1.
    pub cost: u64,
}

impl<'a> Item<'a> {
    /// One unit of `limit` for `key`.
    #[inline]
    pub fn new(limit: &'a Limit, key: impl Into<KeyRef<'a>>) -> Self {
        Item { limit, key: key.into(), cost: 1 }
    }

    /// The same with another cost.
    #[must_use]
    pub fn cost(self, cost: u64) -> Self {
        Item { cost, ..self }
    }
}

/// What [`Store::charge`] is asked.
#[derive(Clone, Copy, Debug)]
pub struct ChargeRequest<'a> {
    /// At least one. The same limit and key named twice is summed.
    pub items: &'a [Item<'a>],
    /// The key under which the charge is billed once.
    pub idempotency: Option<Idempotency<'a>>,
    /// Within which time the charge is to be settled, from a microsecond to a century; else it is given back then. `None`
    /// lets it stand.
    pub reserved: Option<Duration>,
}

impl<'a> ChargeRequest<'a> {
    /// A charge of these items, which stands.
    #[inline]
    pub fn new(items: &'a [Item<'a>]) -> Self {
        ChargeRequest { items, idempotency: None, reserved: None }
    }

    /// The same, billed once however often it is sent with this key.
    #[must_use]
    pub fn once(self, idempotency: Idempotency<'a>) -> Self {
        ChargeRequest { idempotency: Some(idempotency), ..self }
    }

    /// The same, [reserved](crate::Limiter::reserve) for this time.
    #[must_use]
    pub fn reserved(self, within: Duration) -> Self {
        ChargeRequest { reserved: Some(within), ..self }
    }
}

/// A key under which a charge is billed once, however often it is sent.
#[derive(Clone, Copy)]
pub struct Idempotency<'a> {
    /// The request's own key: 1 to 255 bytes.
    pub key: &'a [u8],
    /// The charged key within which it is unique: the place of its item in the request.
    pub scope: usize,
    /// For how long it is remembered.
    pub lifetime: Duration,
}

impl<'a> Idempotency<'a> {
    /// `key`, unique within the first item's key, remembered for 24 hours.
    pub fn new(key: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        Idempotency { key: key.as_ref(), scope: 0, lifetime: Duration::from_secs(86_400) }
    }

    /// The same, unique within the key of the item at place `scope`.
    #[must_use]
    pub fn scope(self, scope: usize) -> Self {
        Idempotency { scope, ..self }
    }

    /// The same, remembered for `lifetime`.
    #[must_use]
    pub fn lifetime(self, lifetime: Duration) -> Self {
        Idempotency { lifetime, ..self }
    }
}

impl std::fmt::Debug for Idempotency<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Idempotency({} bytes for {:?})", self.key.len(), self.lifetime)
    }
}

/// What [`Store::refund`] is asked.
#[derive(Clone, Copy, Debug)]
pub struct RefundRequest<'a> {
    /// The receipt.
    pub receipt: &'a Receipt,
    /// One for each part, in their order: how many of its units are to have been given back in all.
    /// More than it cost means all; 0 leaves the part alone.
    pub totals: &'a [u64],
}

/// What [`Store::settle`] is asked.
#[derive(Clone, Copy, Debug)]
pub struct SettleRequest<'a> {
    /// The receipt.
    pub receipt: &'a Receipt,
    /// The true cost of each part that was charged at first, in their order.
    pub costs: &'a [u64],
    /// What to do when a higher cost does not fit.
    pub shortfall: Shortfall,
}

/// What [`Store::settle`] answers.
#[derive(Clone, Debug)]
pub struct SettleReply {
    /// What became of it.
    pub settlement: Settlement,
    /// All parts of the receipt as the store knows them now, top-ups included; empty when refused.
    pub parts: SmallVec<[Part; 1]>,
}

/// What [`Store::list`] is asked.
#[derive(Clone, Copy, Debug)]
pub struct ListRequest<'a> {
    /// The limit.
    pub limit: &'a Limit,
    /// Where the last page ended; `None` for the first.
    pub after: Option<Cursor>,
    /// About how many keys to return, at least 1.
    pub size: usize,
}

/// Where a page ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor(pub u64);

/// A page of keys. A key that has a count all the while appears in some page; one whose count comes
/// or goes meanwhile may appear or not, or twice.
#[derive(Clone, Debug)]
pub struct Page {
    /// Keys and their statuses.
    pub keys: Vec<(Key, Status)>,
    /// Where to go on; `None` at the end.
    pub next: Option<Cursor>,
}

impl PartRefund {
    /// For those who write stores: a part that was not asked to be refunded, or has expired.
    pub fn nothing(in_all: u64, expired: bool, status: Option<Status>) -> Self {
        PartRefund { given_back: 0, in_all, expired, status }
    }
}
