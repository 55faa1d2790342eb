//! Clusters, and masters that sentinels know.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rebate_servers::{Cluster as TestCluster, Sentinels};

use super::*;

fn cluster_of(cluster: &TestCluster) -> Settings {
    Settings::cluster(cluster.urls())
}

/// A key whose slot this node has.
fn key_at(cluster: &TestCluster, node: usize) -> String {
    (0..)
        .map(|number| format!("{{{number}}}key"))
        .find(|key| cluster.node_of_slot(slot(key.as_bytes())) == node)
        .unwrap()
}

/// What all callers together were told, while something went on.
#[derive(Default)]
struct Tally {
    succeeded: AtomicU64,
    ambiguous: AtomicU64,
    stop: AtomicBool,
}

/// Callers of one key until they are stopped. An error of another kind than `allowed` fails the test.
fn callers(link: &Link, key: &str, allowed: fn(&Error) -> bool) -> (Arc<Tally>, Vec<tokio::task::JoinHandle<()>>) {
    let tally = Arc::new(Tally::default());
    let tasks = (0..4).map(|_| {
        let (link, tally, key) = (link.clone(), Arc::clone(&tally), key.to_owned());
        tokio::spawn(async move {
            while !tally.stop.load(Ordering::SeqCst) {
                match link.call(count(&key)).await {
                    Ok(_) => tally.succeeded.fetch_add(1, Ordering::SeqCst),
                    Err(error) => {
                        assert!(allowed(&error), "{error}");
                        tally.ambiguous.fetch_add(u64::from(error.may_have_happened()), Ordering::SeqCst)
                    }
                };
                tokio::task::yield_now().await;
            }
        })
    });
    let tasks = tasks.collect();
    (tally, tasks)
}

impl Tally {
    /// Waits until so many more have succeeded.
    fn await_more(&self, more: u64) {
        let seen = self.succeeded.load(Ordering::SeqCst);
        tokio::task::block_in_place(|| {
            until("calls succeed", || (self.succeeded.load(Ordering::SeqCst) >= seen + more).then_some(()));
        });
    }

    async fn end(&self, tasks: Vec<tokio::task::JoinHandle<()>>) -> (u64, u64) {
        self.stop.store(true, Ordering::SeqCst);
        for task in tasks {
            task.await.unwrap();
        }
        (self.succeeded.load(Ordering::SeqCst), self.ambiguous.load(Ordering::SeqCst))
    }
}

fn none(_: &Error) -> bool {
    false
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_found_from_any_of_its_nodes() {
    let cluster = TestCluster::start(3, 0);
    let addresses: Vec<_> = cluster.nodes().iter().map(|node| node.address().to_string()).collect();
    for url in [format!("redis+cluster://127.0.0.1:1,{}", addresses[1]), format!("redis+cluster://{}", addresses[0])] {
        let link = link(patient(Settings::url(url)));
        assert!(link.is_cluster());
        assert_eq!(link.nodes().await.unwrap(), 3);
        link.ping().await.unwrap();
        for node in 0..3 {
            counted(&link, &key_at(&cluster, node)).await;
        }
    }
    let link = link(patient(cluster_of(&cluster)));
    let mut keys = Vec::new();
    for node in 0..link.nodes().await.unwrap() {
        let (cursor, mut found) = link.scan(node, 0, b"*", 1000).await.unwrap();
        assert_eq!((cursor, found.len()), (0, 1), "each node its own");
        keys.append(&mut found);
    }
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 3);
    let key = key_at(&cluster, 2);
    let mut command = redis::cmd("GET");
    command.arg(&key);
    assert_eq!(link.command(Some(key.as_bytes()), command, true).await.unwrap(), Value::BulkString(b"2".to_vec()));

    // Keys of different slots in one call.
    let mut call = function("both", &key_at(&cluster, 0));
    call.keys.push(key_at(&cluster, 1).into_bytes());
    assert!(link.call(call).await.unwrap_err().is_cross_group());
    // And a node of a cluster that is taken for a server by itself.
    let alone = Link::new(patient(Settings::url(cluster.node(0).url())), library()).unwrap();
    let error = alone.call(count(&key_at(&cluster, 1))).await.unwrap_err();
    assert!(error.to_string().contains("redis+cluster://") && !error.may_have_happened(), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_s_user_needs_few_rules() {
    let rules = "~* +fcall +fcall_ro +function|load +ping +incrby +get +cluster|slots +asking";
    let settings = Server::builder().user("limiter", "hush", rules);
    let cluster = TestCluster::start_with(settings, 2, 0);
    let url = cluster.node(0).url_of("limiter", "hush").replace("redis://", "redis+cluster://");
    let link = link(patient(Settings::url(url)));
    let key = key_at(&cluster, 1);
    assert_eq!(counted(&link, &key).await, 1);
    let slot = slot(key.as_bytes());
    tokio::task::block_in_place(|| {
        cluster.begin_migration(slot, 0);
        cluster.migrate_keys(slot);
    });
    assert_eq!(counted(&link, &key).await, 2, "by ASK");
}

#[tokio::test(flavor = "multi_thread")]
async fn moved_and_asked_without_an_error() {
    let cluster = TestCluster::start(3, 0);
    let link = link(patient(cluster_of(&cluster)));
    let key = key_at(&cluster, 0);
    let slot = slot(key.as_bytes());
    assert_eq!(counted(&link, &key).await, 1);

    // Not a single one may fail: all that a migration brings is answered before anything happens.
    let (tally, tasks) = callers(&link, &key, none);
    tally.await_more(20);
    for to in [1, 2, 0] {
        tokio::task::block_in_place(|| cluster.begin_migration(slot, to));
        tally.await_more(20);
        tokio::task::block_in_place(|| cluster.migrate_keys(slot));
        tally.await_more(20);
        tokio::task::block_in_place(|| cluster.end_migration(slot));
        tally.await_more(20);
    }
    let (succeeded, _) = tally.end(tasks).await;
    assert_eq!(held(cluster.node(0), &key).unwrap(), (succeeded + 1).to_string(), "each counted once");
    assert!(link.nodes().await.unwrap() == 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn asked_where_the_functions_are_missing() {
    let cluster = TestCluster::start(2, 0);
    let link = link(patient(cluster_of(&cluster)));
    let key = key_at(&cluster, 0);
    assert_eq!(counted(&link, &key).await, 1);
    tokio::task::block_in_place(|| {
        cluster.begin_migration(slot(key.as_bytes()), 1);
        cluster.migrate_keys(slot(key.as_bytes()));
    });
    // ASK; the library is missing there; again, with another ASKING.
    assert_eq!(counted(&link, &key).await, 2);
    assert_eq!(calls(cluster.node(1), "function|load"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_on_their_way_are_tried_again() {
    let cluster = TestCluster::start(2, 0);
    let link = link(patient(cluster_of(&cluster)));
    let one = key_at(&cluster, 0);
    let slot = slot(one.as_bytes());
    let other = format!("{one}2").replace("key2", "other");
    let both = || {
        let mut call = function("both", &one);
        call.keys.push(other.clone().into_bytes());
        call
    };
    link.call(both()).await.unwrap();
    tokio::task::block_in_place(|| {
        cluster.begin_migration(slot, 1);
        cluster.migrate_some_keys(slot, 1);
    });
    // One is here, one there: TRYAGAIN until the rest has moved.
    let asked = calls(cluster.node(0), "fcall");
    let pending = tokio::spawn(link.call(both()));
    tokio::task::block_in_place(|| {
        until("it was asked and refused", || {
            (calls(cluster.node(0), "fcall") > asked || pending.is_finished()).then_some(())
        });
        cluster.migrate_keys(slot);
        cluster.end_migration(slot);
    });
    match pending.await.unwrap() {
        Ok(value) => assert_eq!(value, Value::Int(2)),
        Err(error) => assert!(!error.may_have_happened() && error.to_string().contains("TRYAGAIN"), "{error}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_promoted_in_good_order_is_found() {
    let cluster = TestCluster::start(3, 1);
    let link = link(patient(cluster_of(&cluster)));
    let key = key_at(&cluster, 0);
    let (tally, tasks) = callers(&link, &key, |error| !error.may_have_happened());
    tally.await_more(20);
    let successor = tokio::task::block_in_place(|| cluster.fail_over(0));
    tally.await_more(20);
    let (succeeded, _) = tally.end(tasks).await;
    assert_eq!(held(cluster.node(successor), &key).unwrap(), succeeded.to_string());
    assert_eq!(link.nodes().await.unwrap(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_promoted_after_its_master_was_killed_is_found() {
    let cluster = TestCluster::start(3, 1);
    let link = link(hasty(cluster_of(&cluster)));
    let (key, elsewhere) = (key_at(&cluster, 0), key_at(&cluster, 1));
    recovered(&link, &key).await;
    recovered(&link, &elsewhere).await;
    tokio::task::block_in_place(|| cluster.kill_master(0));
    recovered(&link, &key).await;
    recovered(&link, &elsewhere).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_master_does_not_trouble_the_others() {
    let cluster = TestCluster::start(3, 1);
    let link = link(hasty(cluster_of(&cluster)));
    let (key, elsewhere) = (key_at(&cluster, 0), key_at(&cluster, 1));
    recovered(&link, &key).await;
    recovered(&link, &elsewhere).await;
    let replicas = tokio::task::block_in_place(|| cluster.replicas(0));
    cluster.node(0).freeze();
    link.call(count(&key)).await.unwrap_err();
    recovered(&link, &elsewhere).await;
    tokio::task::block_in_place(|| {
        until("its replica is master", || {
            let is_master = |replica: &usize| cluster.node(*replica).information("role").as_deref() == Some("master");
            replicas.iter().any(is_master).then_some(())
        });
    });
    recovered(&link, &key).await;
    cluster.node(0).thaw();
    tokio::task::block_in_place(|| cluster.settle());
    recovered(&link, &key).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeatable_call_outlives_its_master_s_connection() {
    let cluster = TestCluster::start(2, 0);
    let link = link(patient(cluster_of(&cluster)));
    let key = key_at(&cluster, 0);
    counted(&link, &key).await;
    let kill = || cluster.node(0).command(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    for _ in 0..20 {
        let calls: Vec<_> =
            (0..20).map(|_| tokio::spawn(link.call(Call { repeatable: true, ..count(&key) }))).collect();
        tokio::task::block_in_place(kill);
        for call in calls {
            // A greeting may be cut off too.
            if let Err(error) = call.await.unwrap() {
                assert!(error.to_string().contains("cannot connect"), "{error}");
            }
        }
        recovered(&link, &key).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_under_names_that_mean_nothing_here_are_reached_where_one_was_asked() {
    let cluster = TestCluster::start(2, 0);
    for node in cluster.nodes() {
        node.command(&["CONFIG", "SET", "cluster-announce-hostname", "nowhere.invalid"]);
        node.command(&["CONFIG", "SET", "cluster-preferred-endpoint-type", "hostname"]);
    }
    tokio::task::block_in_place(|| {
        until("all know the names", || {
            let told = |node: &Server| format!("{:?}", node.command(&["CLUSTER", "SLOTS"])).matches("nowhere").count();
            cluster.nodes().iter().all(|node| told(node) == 2).then_some(())
        });
    });
    let link = link(patient(cluster_of(&cluster)));
    for node in 0..2 {
        assert_eq!(counted(&link, &key_at(&cluster, node)).await, 1);
    }
    // And those that tell none at all.
    for node in cluster.nodes() {
        node.command(&["CONFIG", "SET", "cluster-preferred-endpoint-type", "unknown-endpoint"]);
    }
    let link = Link::new(patient(cluster_of(&cluster)), library()).unwrap();
    for node in 0..2 {
        assert_eq!(counted(&link, &key_at(&cluster, node)).await, 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_is_not_there_did_not_happen() {
    let link = link(hasty(Settings::url("redis+cluster://user:hush@127.0.0.1:1,127.0.0.1:2")));
    let error = link.call(count("key")).await.unwrap_err();
    assert!(error.is_unavailable() && !error.may_have_happened(), "{error}");
    assert!(error.to_string().contains("127.0.0.1:1") && error.to_string().contains("127.0.0.1:2"), "{error}");
    assert!(!error.to_string().contains("hush"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_sentinels_replace_is_followed() {
    let master = Server::start();
    let replica = master.replica();
    let sentinels = Sentinels::start(&master, 1);
    let link = link(hasty(Settings::sentinel(sentinels.service(), sentinels.urls())));
    recovered(&link, "key").await;
    assert_eq!(held(&master, "key").as_deref(), Some("1"));
    tokio::task::block_in_place(|| sentinels.fail_over());
    tokio::task::block_in_place(|| {
        until("the old one obeys", || (master.information("role").as_deref() == Some("slave")).then_some(()));
    });
    // It says that it is a replica now, and the sentinels know better.
    recovered(&link, "after").await;
    assert_eq!(held(&replica, "after").as_deref(), Some("1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_is_killed_has_a_successor() {
    let master = Server::start();
    let replica = master.replica();
    let sentinels = Sentinels::start(&master, 1);
    let urls = sentinels.urls().join(",").replace("redis://", "");
    // The first is not there.
    let url = format!("redis+sentinel://127.0.0.1:1,{urls}/{}", sentinels.service());
    let link = link(hasty(Settings::url(url)));
    recovered(&link, "key").await;
    replica.synchronize(&master);
    master.kill();
    recovered(&link, "after").await;
    assert_eq!(held(&replica, "after").as_deref(), Some("1"));
    tokio::task::block_in_place(|| sentinels.await_successor(master.address()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_no_sentinel_knows() {
    let master = Server::start();
    let sentinels = Sentinels::start(&master, 1);
    let link = link(patient(Settings::sentinel("other", sentinels.urls())));
    let error = link.call(count("key")).await.unwrap_err();
    assert!(error.is_unavailable() && !error.may_have_happened(), "{error}");
    assert!(error.to_string().contains("\"other\"") && error.to_string().contains("does not know"), "{error}");
}
