//! The Redis store under the whole suite on a cluster of three nodes.

use std::future::Future;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use rebate_conformance::{Capabilities, Harness, differential, suite};
use rebate_core::ManualClock;
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
