//! A store whose type is known at run time only.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use crate::decision::{Decision, Lease, Refund, Renewal};
use crate::error::Error;
use crate::key::KeyRef;
use crate::limit::{Identity, Limit};
use crate::receipt::Receipt;
use crate::store::{
    ChargeRequest, Item, ListRequest, Page, RefundRequest, SettleReply, SettleRequest, Statuses, Store,
};

/// Any store behind one type, for a service that picks its store at run time. Cheap to clone.
///
/// It allocates a future for each call and has no method that ends in `_now`; charges and refunds that the
/// store answers [at once](crate::Limiter::charge_all_at_once) need no future. Where the store is known when compiling,
/// use it as it is.
#[derive(Clone)]
pub struct AnyStore {
    store: Arc<dyn DynStore>,
}

impl AnyStore {
    /// `store`, its type forgotten.
    pub fn new(store: impl Store) -> Self {
        AnyStore { store: Arc::new(store) }
    }
}

/// [`Store`], object-safe: one boxed future for each call.
#[async_trait]
trait DynStore: Send + Sync + 'static {
    fn identity(&self) -> &Identity;
    async fn charge(&self, request: &ChargeRequest<'_>) -> Result<Decision, Error>;
    async fn refund(&self, request: &RefundRequest<'_>) -> Result<Refund, Error>;
    async fn settle(&self, request: &SettleRequest<'_>) -> Result<SettleReply, Error>;
    async fn renew(&self, receipt: &Receipt) -> Result<Renewal, Error>;
    async fn peek(&self, items: &[Item<'_>]) -> Result<Statuses, Error>;
    async fn reset(&self, limit: &Limit, key: KeyRef<'_>) -> Result<bool, Error>;
    async fn list(&self, request: &ListRequest<'_>) -> Result<Page, Error>;
    async fn leases(&self, limit: &Limit, key: KeyRef<'_>) -> Result<Vec<Lease>, Error>;
    fn hand_back(&self, receipt: Receipt);
    fn charge_at_once(&self, request: &ChargeRequest<'_>) -> Option<Result<Decision, Error>>;
    fn refund_at_once(&self, request: &RefundRequest<'_>) -> Option<Result<Refund, Error>>;
}

#[async_trait]
impl<S: Store> DynStore for S {
    fn identity(&self) -> &Identity {
        Store::identity(self)
    }

    async fn charge(&self, request: &ChargeRequest<'_>) -> Result<Decision, Error> {
        Store::charge(self, request).await
    }

    async fn refund(&self, request: &RefundRequest<'_>) -> Result<Refund, Error> {
        Store::refund(self, request).await
    }

    async fn settle(&self, request: &SettleRequest<'_>) -> Result<SettleReply, Error> {
        Store::settle(self, request).await
    }

    async fn renew(&self, receipt: &Receipt) -> Result<Renewal, Error> {
        Store::renew(self, receipt).await
    }

    async fn peek(&self, items: &[Item<'_>]) -> Result<Statuses, Error> {
        Store::peek(self, items).await
    }

    async fn reset(&self, limit: &Limit, key: KeyRef<'_>) -> Result<bool, Error> {
        Store::reset(self, limit, key).await
    }

    async fn list(&self, request: &ListRequest<'_>) -> Result<Page, Error> {
        Store::list(self, request).await
    }

    async fn leases(&self, limit: &Limit, key: KeyRef<'_>) -> Result<Vec<Lease>, Error> {
        Store::leases(self, limit, key).await
    }

    fn hand_back(&self, receipt: Receipt) {
        Store::hand_back(self, receipt);
    }

    fn charge_at_once(&self, request: &ChargeRequest<'_>) -> Option<Result<Decision, Error>> {
        Store::charge_at_once(self, request)
    }

    fn refund_at_once(&self, request: &RefundRequest<'_>) -> Option<Result<Refund, Error>> {
        Store::refund_at_once(self, request)
    }
}

impl Store for AnyStore {
    fn identity(&self) -> &Identity {
        self.store.identity()
    }

    async fn charge(&self, request: &ChargeRequest<'_>) -> Result<Decision, Error> {
        self.store.charge(request).await
    }

    async fn refund(&self, request: &RefundRequest<'_>) -> Result<Refund, Error> {
        self.store.refund(request).await
    }

    async fn settle(&self, request: &SettleRequest<'_>) -> Result<SettleReply, Error> {
        self.store.settle(request).await
    }

    async fn renew(&self, receipt: &Receipt) -> Result<Renewal, Error> {
        self.store.renew(receipt).await
    }

    async fn peek(&self, items: &[Item<'_>]) -> Result<Statuses, Error> {
        self.store.peek(items).await
    }

    async fn reset(&self, limit: &Limit, key: KeyRef<'_>) -> Result<bool, Error> {
        self.store.reset(limit, key).await
    }

    async fn list(&self, request: &ListRequest<'_>) -> Result<Page, Error> {
        self.store.list(request).await
    }

    async fn leases(&self, limit: &Limit, key: KeyRef<'_>) -> Result<Vec<Lease>, Error> {
        self.store.leases(limit, key).await
    }

    fn hand_back(&self, receipt: Receipt) {
        self.store.hand_back(receipt);
    }

    fn charge_at_once(&self, request: &ChargeRequest<'_>) -> Option<Result<Decision, Error>> {
        self.store.charge_at_once(request)
    }

    fn refund_at_once(&self, request: &RefundRequest<'_>) -> Option<Result<Refund, Error>> {
        self.store.refund_at_once(request)
    }
}

impl fmt::Debug for AnyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AnyStore({})", self.store.identity().name())
    }
}
