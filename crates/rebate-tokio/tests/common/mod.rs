//! A memory store whose clock is moved together with tokio's, and one that answers later or not at all.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test uses some of it")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rebate_core::{
    ChargeRequest, Decision, Error, Identity, Item, KeyRef, Lease, Limit, Limiter, ListRequest, ManualClock, Page,
    Receipt, Refund, RefundRequest, Renewal, SettleReply, SettleRequest, Statuses, Store, SyncStore, Timestamp,
};
use rebate_memory::MemoryStore;
use tokio::task::yield_now;

pub const SECOND: Duration = Duration::from_secs(1);
pub const MINUTE: Duration = Duration::from_secs(60);

/// A limiter in memory, by a clock of the test's.
pub fn memory() -> (Limiter<MemoryStore<ManualClock>>, ManualClock) {
    let clock = ManualClock::at(Timestamp::from_secs(1_699_963_200));
    (Limiter::new(MemoryStore::builder().clock(clock.clone()).build().unwrap()), clock)
}

/// Lets time pass in the store and in tokio, and what is due happen.
pub async fn pass(clock: &ManualClock, span: Duration) {
    let mut left = span;
    while !left.is_zero() {
        let step = left.min(SECOND);
        clock.advance(step);
        tokio::time::advance(step).await;
        settle_down().await;
        left -= step;
    }
}

/// Lets the tasks run until all wait.
pub async fn settle_down() {
    for _ in 0..20 {
        yield_now().await;
    }
}

pub async fn charged<S: Store>(limiter: &Limiter<S>, items: &[Item<'_>]) -> Receipt {
    allowed(limiter.charge_all(items).await)
}

#[track_caller]
pub fn allowed(decision: Result<Decision, Error>) -> Receipt {
    decision.expect("no trouble").receipt().expect("an admission")
}

pub async fn used<S: Store>(limiter: &Limiter<S>, limit: &Limit) -> u64 {
    limiter.peek(limit, "k").await.unwrap().used()
}

/// A memory store that is asked over a network, as it were: it answers later, and not while it is away.
#[derive(Clone)]
pub struct Remote {
    store: Arc<MemoryStore<ManualClock>>,
    pub away: Arc<AtomicBool>,
    pub calls: Arc<AtomicU64>,
}

pub fn remote() -> (Limiter<Remote>, ManualClock) {
    let clock = ManualClock::at(Timestamp::from_secs(1_699_963_200));
    let store = Arc::new(MemoryStore::builder().clock(clock.clone()).build().unwrap());
    (Limiter::new(Remote { store, away: Arc::default(), calls: Arc::default() }), clock)
}

impl Remote {
    async fn reach(&self) -> Result<&MemoryStore<ManualClock>, Error> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        yield_now().await;
        match self.away.load(Ordering::SeqCst) {
            true => Err(Error::unavailable("the test has taken it away", false)),
            false => Ok(&self.store),
        }
    }
}

impl Store for Remote {
    fn identity(&self) -> &Identity {
        SyncStore::identity(&*self.store)
    }

    async fn charge(&self, request: &ChargeRequest<'_>) -> Result<Decision, Error> {
        self.reach().await?.charge_now(request)
    }

    async fn refund(&self, request: &RefundRequest<'_>) -> Result<Refund, Error> {
        self.reach().await?.refund_now(request)
    }

    async fn settle(&self, request: &SettleRequest<'_>) -> Result<SettleReply, Error> {
        self.reach().await?.settle_now(request)
    }

    async fn renew(&self, receipt: &Receipt) -> Result<Renewal, Error> {
        self.reach().await?.renew_now(receipt)
    }

    async fn peek(&self, items: &[Item<'_>]) -> Result<Statuses, Error> {
        self.reach().await?.peek_now(items)
    }

    async fn reset(&self, limit: &Limit, key: KeyRef<'_>) -> Result<bool, Error> {
        self.reach().await?.reset_now(limit, key)
    }

    async fn list(&self, request: &ListRequest<'_>) -> Result<Page, Error> {
        self.reach().await?.list_now(request)
    }

    async fn leases(&self, limit: &Limit, key: KeyRef<'_>) -> Result<Vec<Lease>, Error> {
        self.reach().await?.leases_now(limit, key)
    }

    fn hand_back(&self, _receipt: Receipt) {
        panic!("nothing here hands back a whole receipt");
    }
}
