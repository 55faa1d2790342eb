//! Replicas and sentinels do what they say.

use rebate_servers::{Sentinels, Server};

#[test]
fn a_replica_follows_until_promoted() {
    let server = Server::start();
    server.command(&["SET", "key", "value"]);
    let replica = server.replica();
    assert_eq!(replica.ask(&["GET", "key"]), "value");
    server.command(&["SET", "key", "later"]);
    replica.synchronize(&server);
    assert_eq!(replica.ask(&["GET", "key"]), "later");
    assert!(replica.try_command(&["SET", "key", "own"]).is_err());
    server.kill();
    replica.promote();
    replica.command(&["SET", "key", "own"]);
    replica.restart();
    assert_eq!(replica.information("role").as_deref(), Some("master"));
}

#[test]
fn servers_with_passwords_have_replicas() {
    let server = Server::builder().user("default", "unknown", "~* &* +@all").persistent(true).start();
    let (first, second) = (server.replica(), server.replica());
    server.command(&["SET", "key", "value"]);
    for replica in [first, second] {
        replica.synchronize(&server);
        assert_eq!(replica.ask(&["GET", "key"]), "value");
    }
}

#[test]
fn one_sentinel_replaces_a_killed_master() {
    let master = Server::start();
    let replica = master.replica();
    let sentinels = Sentinels::start(&master, 1);
    assert_eq!((sentinels.urls().len(), sentinels.master_address()), (1, master.address()));
    master.kill();
    assert_eq!(sentinels.await_successor(master.address()), replica.address());
    replica.command(&["SET", "key", "value"]);
}

#[test]
fn three_sentinels_agree() {
    let master = Server::start();
    let replica = master.replica();
    let sentinels = Sentinels::start(&master, 2);
    assert_eq!((sentinels.urls().len(), sentinels.service()), (3, "rebate"));
    sentinels.sentinels()[0].kill();
    assert_eq!(sentinels.fail_over(), replica.address());
}
