//! A store that does not answer at once, as one over a network, in whatever trouble a test wants.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rebate_core::{
    ChargeRequest, Decision, Error, IdempotencyNote, Identity, Item, Key, KeyRef, Lease, Limit, ListRequest,
    ManualClock, Page, Receipt, Refund, RefundRequest, Renewal, SettleReply, SettleRequest, Statuses, Store,
};
use rebate_memory::MemoryStore;
use tokio::sync::Semaphore;

use super::NOON;

pub(crate) struct Later {
    store: MemoryStore<ManualClock>,
    /// One permit for each answer.
    pub(crate) answers: Semaphore,
    pub(crate) away: AtomicBool,
    pub(crate) full: AtomicBool,
    /// Whether every charge is answered as one made before.
    pub(crate) replays: AtomicBool,
    pub(crate) handed_back: AtomicUsize,
    pub(crate) asked: AtomicUsize,
}

impl Later {
    pub(crate) fn new() -> Self {
        Self::with_answers(1000)
    }

    /// One that gives so many answers before it is given more permits.
    pub(crate) fn with_answers(answers: usize) -> Self {
        Later {
            store: MemoryStore::builder().clock(ManualClock::at(NOON)).build().unwrap(),
            answers: Semaphore::new(answers),
            away: AtomicBool::new(false),
            full: AtomicBool::new(false),
            replays: AtomicBool::new(false),
            handed_back: AtomicUsize::new(0),
            asked: AtomicUsize::new(0),
        }
    }

    pub(crate) fn go_away(&self) {
        self.away.store(true, Ordering::SeqCst);
    }

    async fn answer(&self) -> Result<&MemoryStore<ManualClock>, Error> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        tokio::task::yield_now().await;
        self.answers.acquire().await.unwrap().forget();
        if self.away.load(Ordering::SeqCst) {
            return Err(Error::unavailable("the store is away", true));
        }
        if self.full.load(Ordering::SeqCst) {
            return Err(Error::full("the store is full"));
        }
        Ok(&self.store)
    }
}

impl Store for Later {
    fn identity(&self) -> &Identity {
        Store::identity(&self.store)
    }

    async fn charge(&self, request: &ChargeRequest<'_>) -> Result<Decision, Error> {
        let decision = self.answer().await?.charge(request).await?;
        Ok(match decision {
            Decision::Allowed(receipt) if self.replays.load(Ordering::SeqCst) => {
                let (scope, key) = (Key::new(request.items[0].key), b"request-7"[..].into());
                Decision::Allowed(receipt.with_idempotency(IdempotencyNote { scope, key, replay: true }))
            }
            decision => decision,
        })
    }

    async fn refund(&self, request: &RefundRequest<'_>) -> Result<Refund, Error> {
        self.answer().await?.refund(request).await
    }

    async fn settle(&self, request: &SettleRequest<'_>) -> Result<SettleReply, Error> {
        self.answer().await?.settle(request).await
    }

    async fn renew(&self, receipt: &Receipt) -> Result<Renewal, Error> {
        self.answer().await?.renew(receipt).await
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
        self.handed_back.fetch_add(1, Ordering::SeqCst);
        self.store.hand_back(receipt);
    }
}
