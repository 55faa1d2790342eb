//! The store: what callers make, and the contract of a [`Store`].

use std::fmt;
use std::sync::Arc;

use rebate_core::{
    ChargeRequest, Clock, Cursor, Decision, Error, Identity, Item, KeyRef, Lease, Limit, ListRequest, Page, Receipt,
    Refund, RefundRequest, Renewal, SettleReply, SettleRequest, Statuses, Store, SystemClock,
};

use crate::keys::Names;
use crate::library::Library;
use crate::link::{Link, Settings};
use crate::list::CountsPage;
use crate::owing::Owing;
use crate::shared::Shared;
use crate::{charge, list, look, refund, settle};

/// Keeps counts in Redis or Valkey, where every process of a service finds them.
///
/// Every decision is one round trip, whatever the number of limits. The server's time counts, so that nodes whose clocks
/// differ agree. No connection is made until the first call; while the server cannot be reached each limit's
/// [`Fallback`](rebate_core::Fallback) decides. Needs Redis 7 or Valkey 7.2, and a tokio runtime around its futures.
///
/// Cheap to clone; clones share the connections.
///
#[doc = include_str!("trouble.md")]
#[derive(Clone)]
pub struct RedisStore {
    shared: Arc<Shared>,
}

/// Settings of a [`RedisStore`].
#[must_use]
pub struct RedisStoreBuilder {
    settings: Settings,
    name: String,
    prefix: String,
    clock: Option<Box<dyn Clock>>,
    /// This machine's time, by which calendar windows are told around the server's.
    local: Box<dyn Clock>,
}

impl RedisStore {
    /// A store called `redis` at `url` ([`Settings`] tells the forms a URL may have), whose keys begin with `rebate:`.
    ///
    /// # Errors
    /// [`Error::is_invalid`] when the URL is wrong. Whether the server answers shows with the first call, or with
    /// [`ping`](RedisStore::ping).
    pub fn new(url: &str) -> Result<Self, Error> {
        Self::builder(url).build()
    }

    /// Settings to change before building.
    pub fn builder(settings: impl Into<Settings>) -> RedisStoreBuilder {
        RedisStoreBuilder {
            settings: settings.into(),
            name: "redis".into(),
            prefix: "rebate".into(),
            clock: None,
            local: Box::new(SystemClock),
        }
    }

    /// Whether the server answers: of a cluster, every master.
    ///
    /// # Errors
    /// [`Error::is_unavailable`] when it does not, with the reason.
    pub async fn ping(&self) -> Result<(), Error> {
        self.shared.link.ping().await
    }

    /// The limits that services have charged in this store, as they wrote them down: for operators' tools. A limit is written
    /// down again once a minute while it is charged, and forgotten a day after its longest window.
    ///
    /// # Errors
    /// [`Error::is_unavailable`].
    pub async fn limits(&self) -> Result<Vec<Limit>, Error> {
        list::limits(&self.shared).await
    }

    /// One step through the server's keys, after where the last one ended, that lists the counts of all of `limits` at
    /// once: for operators' tools, which pace themselves. The server looks at about `step` keys, at least 1; with a few
    /// dozen nobody waits for it. As in any listing a count may come twice.
    ///
    /// # Errors
    /// [`Error::is_unavailable`].
    pub async fn list_all(&self, limits: &[Limit], after: Option<Cursor>, step: usize) -> Result<CountsPage, Error> {
        list::list_all(&self.shared, limits, after, step).await
    }
}

impl RedisStoreBuilder {
    /// The store's name in its receipts' tokens: 1 to 16 visible ASCII characters. Processes that share tokens give the same.
    pub fn name(self, name: &str) -> Self {
        RedisStoreBuilder { name: name.to_owned(), ..self }
    }

    /// What the server's keys begin with: 1 to 64 letters, digits, `.`, `_`, `:` or `-`. Stores with different prefixes share
    /// nothing.
    pub fn prefix(self, prefix: &str) -> Self {
        RedisStoreBuilder { prefix: prefix.to_owned(), ..self }
    }

    /// Reads `clock` instead of the server's time: for tests that move a [`ManualClock`](rebate_core::ManualClock). What the
    /// server keeps lives an hour longer than that clock says it must.
    pub fn clock(self, clock: impl Clock) -> Self {
        RedisStoreBuilder { clock: Some(Box::new(clock)), ..self }
    }

    /// The store. Makes no connection as yet.
    ///
    /// # Errors
    /// [`Error::is_invalid`] when a setting is not one of those described.
    pub fn build(self) -> Result<RedisStore, Error> {
        let identity = Identity::new(&self.name)?;
        let names = Names::new(&self.prefix)?;
        let link = Link::new(self.settings, Arc::new(Library::new()))?;
        Ok(RedisStore { shared: Arc::new(Shared::new(identity, names, link, self.clock, self.local)) })
    }
}

impl Store for RedisStore {
    fn identity(&self) -> &Identity {
        &self.shared.identity
    }

    async fn charge(&self, request: &ChargeRequest<'_>) -> Result<Decision, Error> {
        charge::charge(&self.shared, request).await
    }

    async fn refund(&self, request: &RefundRequest<'_>) -> Result<Refund, Error> {
        refund::refund(&self.shared, request).await
    }

    async fn settle(&self, request: &SettleRequest<'_>) -> Result<SettleReply, Error> {
        settle::settle(&self.shared, request).await
    }

    async fn renew(&self, receipt: &Receipt) -> Result<Renewal, Error> {
        refund::renew(&self.shared, receipt).await
    }

    async fn peek(&self, items: &[Item<'_>]) -> Result<Statuses, Error> {
        look::peek(&self.shared, items).await
    }

    async fn reset(&self, limit: &Limit, key: KeyRef<'_>) -> Result<bool, Error> {
        look::reset(&self.shared, limit, key).await
    }

    async fn list(&self, request: &ListRequest<'_>) -> Result<Page, Error> {
        list::list(&self.shared, request).await
    }

    async fn leases(&self, limit: &Limit, key: KeyRef<'_>) -> Result<Vec<Lease>, Error> {
        look::leases(&self.shared, limit, key).await
    }

    /// Refunds in a task of the runtime that drops it; outside of one, in one of the runtime where the store was first used.
    /// From a drop there is nobody to tell: what is not given back is an event of `tracing` at ERROR.
    fn hand_back(&self, receipt: Receipt) {
        let owing = Owing::of(&self.shared, &receipt);
        let Some(runtime) = self.shared.runtime() else { return };
        let shared = Arc::clone(&self.shared);
        runtime.spawn(async move {
            let totals: Vec<u64> = receipt.parts().iter().map(|part| part.cost).collect();
            owing.answered(refund::refund(&shared, &RefundRequest { receipt: &receipt, totals: &totals }).await);
        });
    }
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedisStore({})", self.shared.identity.name())
    }
}

impl fmt::Debug for RedisStoreBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedisStoreBuilder({}, keys under {})", self.name, self.prefix)
    }
}

impl From<&str> for Settings {
    /// [`Settings::url`].
    fn from(url: &str) -> Self {
        Settings::url(url)
    }
}

impl From<String> for Settings {
    /// [`Settings::url`].
    fn from(url: String) -> Self {
        Settings::url(url)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rebate_core::{Limiter, ManualClock};
    use rebate_servers::Server;

    use super::*;

    #[tokio::test]
    async fn calendar_windows_are_the_servers_though_this_machine_s_clock_is_years_off() {
        let server = Server::start();
        for years in [-3i64, 3] {
            let local = ManualClock::at(SystemClock.now());
            let off = Duration::from_secs(years.unsigned_abs() * 366 * 86_400);
            if years < 0 {
                local.step_back(off)
            } else {
                local.advance(off)
            }
            let mut builder = RedisStore::builder(server.url()).prefix(&format!("off{years}"));
            builder.local = Box::new(local);
            let limiter = Limiter::new(builder.build().expect("valid settings"));
            let month = limiter.limit("month", "2/month").expect("valid limit");
            let day = limiter.limit("day", "5/day in Asia/Tokyo").expect("valid limit");
            let items = [Item::new(&month, "ada"), Item::new(&day, "ada")];
            let receipt = limiter.charge(&month, "ada").await.expect("a server").receipt().expect("it fits");
            assert!(receipt.charged_at().as_micros().abs_diff(SystemClock.now().as_micros()) < 3_600_000_000);
            let several = limiter.charge_all(&items).await.expect("a server").receipt().expect("both fit");
            assert!(several.statuses()[0].reset_after() <= Duration::from_secs(31 * 86_400));
            assert!(several.statuses()[1].reset_after() <= Duration::from_secs(86_400));
            assert!(limiter.charge_all(&items).await.expect("a server").denial().is_some());
        }
    }
}
