//! What the programs that run the suite share: its harness over stores on real servers.

use std::future::Future;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rebate_conformance::{Capabilities, Harness};
use rebate_core::{ManualClock, Store};
use rebate_redis::{RedisStore, Settings};
use tokio::runtime::Runtime;

const PATIENCE: Duration = Duration::from_secs(180);

/// Stores on one program's servers, each with keys of its own.
pub(crate) struct OnServers<S> {
    /// How they are reached. They start with the first store.
    pub(crate) settings: fn() -> Settings,
    pub(crate) across_groups: bool,
    /// The store under test, made of ours.
    pub(crate) store: fn(RedisStore) -> S,
}

pub(crate) fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Runtime::new().expect("a runtime"))
}

impl<S: Store> Harness for OnServers<S> {
    type Store = S;

    fn store(&self, clock: &ManualClock) -> Self::Store {
        static STORES: AtomicU64 = AtomicU64::new(0);
        let prefix = format!("t{}", STORES.fetch_add(1, Ordering::Relaxed));
        // These tests share their processors with others, and a slot under way with many keys takes its time too.
        let settings = (self.settings)().connect_timeout(PATIENCE).call_timeout(PATIENCE);
        let builder = RedisStore::builder(settings).prefix(&prefix).clock(clock.clone());
        (self.store)(builder.build().expect("valid settings"))
    }

    fn capped_store(&self, _clock: &ManualClock, _bytes: usize) -> Option<Self::Store> {
        None
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        runtime().block_on(future)
    }

    fn forgets_expired(&self) -> bool {
        true
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { memory_cap: false, across_groups: self.across_groups }
    }
}
