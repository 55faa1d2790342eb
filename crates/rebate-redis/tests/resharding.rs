//! The Redis store under the whole suite on a cluster whose slots move all the while, and whose masters change.
//!
//! But for listing: a scan of node after node misses a key that moves from one ahead of it to one behind. Slots stand still
//! while a list is made.

mod harness;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{OnceLock, RwLock};
use std::thread;

use rebate_conformance::{differential, suite};
use rebate_core::{
    ChargeRequest, Decision, Error, Identity, Item, KeyRef, Lease, Limit, ListRequest, Page, Receipt, Refund,
    RefundRequest, Renewal, SettleReply, SettleRequest, Statuses, Store,
};
use rebate_redis::{RedisStore, Settings};
use rebate_servers::Cluster;

use harness::{OnServers, runtime};

const ON_MOVING_CLUSTER: OnServers<Listing> =
    OnServers { settings: || Settings::cluster(cluster().urls()), across_groups: false, store: Listing };

/// Held to write while a list is made, to read while slots or masters change.
static STANDSTILL: RwLock<()> = RwLock::new(());
static MOVES: AtomicU64 = AtomicU64::new(0);
const MASTERS: usize = 3;

fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| {
        thread::spawn(keep_moving);
        Cluster::start(MASTERS, 1)
    })
}

/// Moves every slot that holds keys to the next master, over and over; after every few moves a replica takes over, which has
/// all that its master had.
fn keep_moving() {
    let cluster = cluster();
    loop {
        let slots: BTreeSet<u16> =
            cluster.masters().into_iter().flat_map(|node| slots_with_keys(cluster, node)).collect();
        for slot in slots {
            let _moving = STANDSTILL.read();
            let masters = cluster.masters();
            let owner = cluster.node_of_slot(slot);
            let place = masters.iter().position(|&node| node == owner).unwrap_or_default();
            cluster.migrate_slot(slot, masters[(place + 1) % masters.len()]);
            if MOVES.fetch_add(1, Ordering::SeqCst) % 40 == 39 {
                cluster.fail_over(owner);
                cluster.settle();
            }
        }
        thread::yield_now();
    }
}

fn slots_with_keys(cluster: &Cluster, node: usize) -> BTreeSet<u16> {
    let keys = cluster.node(node).command(&["KEYS", "*"]);
    let keys: Vec<String> = redis::from_redis_value(keys).expect("names of keys");
    keys.iter().map(|key| cluster.slot_of(key)).collect()
}

/// The store, its lists made whole while nothing moves.
struct Listing(RedisStore);

impl Store for Listing {
    fn identity(&self) -> &Identity {
        self.0.identity()
    }

    async fn charge(&self, request: &ChargeRequest<'_>) -> Result<Decision, Error> {
        self.0.charge(request).await
    }

    async fn refund(&self, request: &RefundRequest<'_>) -> Result<Refund, Error> {
        self.0.refund(request).await
    }

    async fn settle(&self, request: &SettleRequest<'_>) -> Result<SettleReply, Error> {
        self.0.settle(request).await
    }

    async fn renew(&self, receipt: &Receipt) -> Result<Renewal, Error> {
        self.0.renew(receipt).await
    }

    async fn peek(&self, items: &[Item<'_>]) -> Result<Statuses, Error> {
        self.0.peek(items).await
    }

    async fn reset(&self, limit: &Limit, key: KeyRef<'_>) -> Result<bool, Error> {
        self.0.reset(limit, key).await
    }

    async fn leases(&self, limit: &Limit, key: KeyRef<'_>) -> Result<Vec<Lease>, Error> {
        self.0.leases(limit, key).await
    }

    async fn list(&self, request: &ListRequest<'_>) -> Result<Page, Error> {
        let (store, limit) = (self.0.clone(), request.limit.clone());
        let all = move || {
            let _still = STANDSTILL.write();
            let mut all = Page { keys: Vec::new(), next: None };
            loop {
                let request = ListRequest { limit: &limit, after: all.next, size: 1000 };
                let page = runtime().block_on(store.list(&request))?;
                all.keys.extend(page.keys);
                all.next = page.next;
                if all.next.is_none() {
                    return Ok(all);
                }
            }
        };
        tokio::task::spawn_blocking(all).await.expect("a list")
    }

    fn hand_back(&self, receipt: Receipt) {
        self.0.hand_back(receipt);
    }
}

suite!(
    ON_MOVING_CLUSTER,
    without across_groups: "keys of different groups may lie on different nodes",
    without memory_cap: "the servers' own maxmemory is the cap; tests/trouble.rs fills it"
);

#[test]
fn every_answer_is_the_models() {
    differential(&ON_MOVING_CLUSTER, 60);
    assert!(MOVES.load(Ordering::SeqCst) > 0, "no slot has moved meanwhile");
}
