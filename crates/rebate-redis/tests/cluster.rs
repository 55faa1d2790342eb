//! The Redis store under the whole suite on a cluster of three nodes.

use std::future::Future;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rebate_conformance::{Capabilities, Harness, differential, suite};
use rebate_core::{Clock, Item, KeyRef, Limiter, ManualClock, Timestamp};
use rebate_redis::{RedisStore, Settings};
use rebate_servers::Cluster;
use tokio::runtime::Runtime;

struct OnCluster;

/// One cluster for all tests of the program; each store has keys of its own.
fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| Cluster::start(3, 0))
}

fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Runtime::new().expect("a runtime"))
}

impl Harness for OnCluster {
    type Store = RedisStore;

    fn store(&self, clock: &ManualClock) -> Self::Store {
        static STORES: AtomicU64 = AtomicU64::new(0);
        let prefix = format!("t{}", STORES.fetch_add(1, Ordering::Relaxed));
        let builder = RedisStore::builder(Settings::cluster(cluster().urls())).prefix(&prefix).clock(clock.clone());
        builder.build().expect("valid settings")
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
        Capabilities { memory_cap: false, across_groups: false }
    }
}

suite!(
    OnCluster,
    without across_groups: "keys of different groups may lie on different nodes",
    without memory_cap: "the servers' own maxmemory is the cap; tests/trouble.rs fills it"
);

#[test]
fn every_answer_is_the_models() {
    differential(&OnCluster, 100);
}

/// Goes on at every reading.
struct Ticking(AtomicU64);

impl Clock for Ticking {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.fetch_add(1_000_000, Ordering::Relaxed))
    }
}

#[test]
fn a_group_is_looked_at_in_one_moment() {
    let clock = Ticking(AtomicU64::new(1_700_000_000_000_000));
    let builder = RedisStore::builder(Settings::cluster(cluster().urls())).prefix("moment").clock(clock);
    let limiter = Limiter::new(builder.build().expect("valid settings"));
    let limits = ["one", "other"].map(|name| limiter.limit(name, "5/day").expect("a sound limit"));
    let items = [
        Item::new(&limits[0], KeyRef::in_group("acme", "ada")),
        Item::new(&limits[1], KeyRef::in_group("acme", "bob")),
    ];
    let statuses = runtime().block_on(limiter.peek_all(&items)).expect("a cluster");
    assert_eq!(statuses[0].reset_after(), statuses[1].reset_after());
    assert!(statuses[0].reset_after() > Duration::ZERO);
}
