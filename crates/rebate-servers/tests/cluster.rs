//! A cluster does what it says.

use rebate_servers::{Cluster, Server};
use redis::Value;

#[test]
fn slots_migrate_in_steps() {
    let cluster = Cluster::start(3, 0);
    assert_eq!((cluster.masters(), cluster.urls().len()), (vec![0, 1, 2], 3));
    assert_eq!([0, 5461, 16383].map(|slot| cluster.node_of_slot(slot)), [0, 1, 2]);
    let slot = cluster.slot_of("{tag}");
    let from = cluster.node_of_slot(slot);
    let to = (from + 1) % 3;
    let (old, new) = (cluster.node(from), cluster.node(to));
    for number in 0..10 {
        old.command(&["SET", &format!("{{tag}}{number}"), "value"]);
    }
    cluster.begin_migration(slot, to);
    assert_eq!(cluster.migrate_some_keys(slot, 4), 4);
    let answers = |node: &Server, word: &str| {
        let asked = (0..10).map(|number| node.try_command(&["GET", &format!("{{tag}}{number}")]));
        asked
            .filter(|answer| answer.as_ref().is_err_and(|error| error.to_string().to_uppercase().contains(word)))
            .count()
    };
    assert_eq!((answers(old, "ASK"), answers(new, "MOVED")), (4, 10));
    let several: Vec<String> = (0..10).map(|number| format!("{{tag}}{number}")).collect();
    let words: Vec<&str> = ["MGET"].into_iter().chain(several.iter().map(|key| &**key)).collect();
    assert!(old.try_command(&words).unwrap_err().to_string().to_uppercase().contains("TRYAGAIN"));
    assert_eq!((cluster.node_of_slot(slot), cluster.migrate_keys(slot)), (from, 6));
    cluster.end_migration(slot);
    assert_eq!(cluster.node_of_slot(slot), to);
    assert_eq!((answers(old, "MOVED"), new.command(&["DBSIZE"])), (10, Value::Int(10)));
    cluster.migrate_slot(slot, from);
    assert_eq!(old.command(&["DBSIZE"]), Value::Int(10));
    cluster.begin_migration(slot, to);
    cluster.cancel_migration(slot);
    assert_eq!((cluster.node_of_slot(slot), answers(old, "ASK")), (from, 0));
}

#[test]
fn masters_have_successors() {
    let cluster = Cluster::start(3, 1);
    assert_eq!([0, 1, 2].map(|master| cluster.replicas(master)), [[3], [4], [5]]);
    // In order, by its replica; then by the first again.
    assert_eq!(cluster.fail_over(0), 3);
    assert_eq!((cluster.node_of_slot(0), cluster.masters()), (3, vec![1, 2, 3]));
    assert_eq!(cluster.replicas(3), [0]);
    assert_eq!(cluster.fail_over(3), 0);
    // By the cluster.
    assert_eq!(cluster.kill_master(1), 4);
    assert_eq!(cluster.node_of_slot(8338), 4);
    cluster.node(4).command(&["SET", "{tag}", "of slot 8338"]);
    cluster.node(1).restart();
    cluster.settle();
    assert_eq!(cluster.replicas(4), [1]);
    // By force.
    cluster.node(2).kill();
    assert_eq!(cluster.fail_over(2), 5);
    assert_eq!(cluster.node_of_slot(16383), 5);
}

#[test]
fn nodes_send_clients_through_proxies() {
    let cluster = Cluster::start(3, 0);
    let proxies = cluster.behind_proxies();
    let moved = |word: &str| {
        let error = cluster.node(0).try_command(&["GET", word]).unwrap_err();
        error.redirect_node().map(|(address, slot)| (address.to_owned(), slot))
    };
    assert_eq!(moved("{tag}"), Some((proxies[1].address().to_string(), 8338)));
    cluster.node(1).restart();
    cluster.settle();
    assert_eq!(moved("{tag}"), Some((proxies[1].address().to_string(), 8338)));
    let mut connection = proxies[1].client().get_connection().unwrap();
    redis::cmd("SET").arg("{tag}").arg("value").exec(&mut connection).unwrap();
    proxies[1].lose_next_reply();
    assert!(redis::cmd("APPEND").arg("{tag}").arg("s").exec(&mut connection).is_err());
    assert_eq!(cluster.node(1).ask(&["GET", "{tag}"]), "values");
}
