//! The Redis store under the whole suite on a cluster of three nodes.

mod harness;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rebate_conformance::{differential, suite};
use rebate_core::{Clock, Item, KeyRef, Limiter, Timestamp};
use rebate_redis::{RedisStore, Settings};
use rebate_servers::Cluster;

use harness::{OnServers, runtime};

const ON_CLUSTER: OnServers<RedisStore> =
    OnServers { settings: || Settings::cluster(cluster().urls()), across_groups: false, store: |store| store };

/// One cluster for all tests of the program.
fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| Cluster::start(3, 0))
}

suite!(
    ON_CLUSTER,
    without across_groups: "keys of different groups may lie on different nodes",
    without memory_cap: "the servers' own maxmemory is the cap; tests/trouble.rs fills it"
);

#[test]
fn every_answer_is_the_models() {
    differential(&ON_CLUSTER, 100);
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
