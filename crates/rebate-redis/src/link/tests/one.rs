//! One server.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn calls_commands_and_scans() {
    let server = Server::start();
    let link = link(patient(Settings::url(server.url())));
    assert!(!link.is_cluster());
    assert_eq!(counted(&link, "key").await, 1);
    assert_eq!(counted(&link, "key").await, 2);
    assert_eq!(link.call(look("key")).await.unwrap(), Value::BulkString(b"2".to_vec()));
    link.ping().await.unwrap();
    assert_eq!(link.nodes().await.unwrap(), 1);
    assert_eq!(link.scan(0, 0, b"k*", 100).await.unwrap(), (0, vec![b"key".to_vec()]));
    assert!(link.scan(1, 0, b"k*", 100).await.unwrap_err().is_unavailable());
    let mut command = redis::cmd("EXISTS");
    command.arg("key");
    assert_eq!(link.command(Some(b"key"), command, true).await.unwrap(), Value::Int(1));
    assert_eq!(calls(&server, "function|load"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_that_find_the_library_missing_load_it_once() {
    let server = Server::start();
    let link = link(patient(Settings::url(server.url())));
    link.ping().await.unwrap();
    let tasks: Vec<_> = (0..50).map(|_| tokio::spawn(link.call(count("key")))).collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    assert_eq!(held(&server, "key").as_deref(), Some("50"));
    // A few may have been told so only after it was loaded; they find that it is there.
    assert_eq!(server.command(&["FUNCTION", "LIST"]).as_sequence().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unix_socket() {
    let server = Server::builder().unix_socket().start();
    let link = link(patient(Settings::url(server.unix_url())));
    assert_eq!(counted(&link, "key").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_database() {
    let server = Server::start();
    let link = link(patient(Settings::url(server.url()).database(3)));
    assert_eq!(counted(&link, "key").await, 1);
    assert_eq!(held(&server, "key"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_with_exactly_the_rules_that_are_needed() {
    let rules = "~own* +fcall +fcall_ro +function|load +ping +incrby +get";
    let server = Server::builder().user("limiter", "hush", rules).start();
    let one = link(patient(Settings::url(server.url_of("limiter", "hush"))));
    assert_eq!(counted(&one, "own:key").await, 1);
    one.call(look("own:key")).await.unwrap();
    one.ping().await.unwrap();
    // Given apart from the URL.
    let other = link(patient(Settings::url(server.url()).credentials(Some("limiter"), "hush")));
    assert_eq!(counted(&other, "own:key").await, 2);

    let error = one.call(count("foreign")).await.unwrap_err();
    assert!(error.is_unavailable() && !error.may_have_happened(), "{error}");
    assert!(error.to_string().contains("ACL"), "{error}");
    let error = one.scan(0, 0, b"*", 1).await.unwrap_err().to_string();
    assert!(error.contains("'scan'") && error.contains("+fcall +fcall_ro +function|load"), "{error}");
    assert!(!error.contains("limiter") && !error.contains("hush"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_one_of_the_rules_the_text_names_it() {
    for missing in ["+fcall", "+function|load"] {
        let rules = "~own* +fcall +fcall_ro +function|load +ping +incrby +get";
        let rules: Vec<_> = rules.split(' ').filter(|rule| *rule != missing).collect();
        let server = Server::builder().user("limiter", "hush", &rules.join(" ")).start();
        let link = link(patient(Settings::url(server.url_of("limiter", "hush"))));
        let error = link.call(count("own")).await.unwrap_err();
        assert!(!error.may_have_happened(), "{error}");
        assert!(error.to_string().contains(&format!("'{}'", &missing[1..])), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_said_without_being_shown() {
    let server = Server::builder().user("limiter", "hush", "~* +@all").start();
    for url in [server.url_of("limiter", "wrongword"), server.url_of("nobody", "wrongword")] {
        let error = link(patient(Settings::url(url))).call(count("key")).await.unwrap_err();
        assert!(error.is_unavailable() && !error.may_have_happened());
        let shown = format!("{error} {error:?} {:?}", error.source());
        assert!(shown.contains("password") && shown.contains(&server.address().to_string()), "{shown}");
        assert!(!shown.contains("wrongword") && !shown.contains("limiter") && !shown.contains("nobody"), "{shown}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_of_the_application() {
    let server = Server::start();
    let connection = server.client().get_multiplexed_async_connection().await.unwrap();
    let link = link(hasty(Settings::connection(connection)));
    assert_eq!(counted(&link, "key").await, 1);
    server.kill();
    until("the link says that it is closed", || {
        let error = futures_block(link.call(count("key"))).unwrap_err();
        (error.to_string().contains("given by the application has closed") && !error.may_have_happened()).then_some(())
    });
}

/// From within a runtime of several threads.
fn futures_block<T>(future: impl Future<Output = T>) -> T {
    tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(future))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_refuses_did_not_happen() {
    let server = Server::builder().argument("maxmemory-policy", "noeviction").start();
    let link = link(patient(Settings::url(server.url())));
    counted(&link, "key").await;

    server.command(&["CONFIG", "SET", "maxmemory", "1"]);
    let error = link.call(count("key")).await.unwrap_err();
    assert!(error.is_full() && !error.may_have_happened(), "{error}");
    assert!(error.to_string().contains("maxmemory"), "{error}");
    server.command(&["CONFIG", "SET", "maxmemory", "0"]);

    server.command(&["CONFIG", "SET", "min-replicas-to-write", "1"]);
    let error = link.call(count("key")).await.unwrap_err();
    assert!(error.is_unavailable() && !error.may_have_happened(), "{error}");
    assert!(error.to_string().contains("NOREPLICAS"), "{error}");
    server.command(&["CONFIG", "SET", "min-replicas-to-write", "0"]);
    assert_eq!(counted(&link, "key").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_that_fails_may_have_written() {
    let server = Server::start();
    let link = link(patient(Settings::url(server.url())));
    let error = link.call(function("fail", "key")).await.unwrap_err();
    assert!(error.is_unavailable() && error.may_have_happened(), "{error}");
    assert!(error.to_string().contains("WRONGTYPE") && error.source().is_some(), "{error}");
    assert_eq!(held(&server, "key").as_deref(), Some("1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_functions_is_said_to_be_too_old() {
    let server = Server::builder().argument("rename-command", "FCALL gone").start();
    let link = link(patient(Settings::url(server.url())));
    let error = link.call(count("secretkey")).await.unwrap_err();
    assert!(!error.may_have_happened(), "{error}");
    assert!(error.to_string().contains("Redis 7.0 or Valkey 7.2"), "{error}");
    assert!(!format!("{error:?} {:?}", error.source()).contains("secretkey"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_has_too_many_clients() {
    let server = Server::builder().argument("maxclients", "1").start();
    let holder = link(patient(Settings::url(server.url())));
    holder.ping().await.unwrap();
    let error = link(hasty(Settings::url(server.url()))).ping().await.unwrap_err();
    assert!(error.is_unavailable() && !error.may_have_happened(), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_restarted_empty_gets_its_functions_again() {
    let server = Server::start();
    let link = link(patient(Settings::url(server.url())));
    assert_eq!(counted(&link, "key").await, 1);
    server.restart();
    assert_eq!(recovered(&link, "key").await, 1);
    server.command(&["FUNCTION", "FLUSH"]);
    assert_eq!(counted(&link, "key").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_closed_while_idle_costs_no_call() {
    let server = Server::start();
    let link = link(patient(Settings::url(server.url())));
    for round in 1..=20 {
        assert_eq!(counted(&link, "key").await, round);
        server.command(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
        // The kernel has the end of the connection; our task has yet to see it. What is sent before it does may be
        // lost, which then is said.
        let Servers::One(node) = &link.0.servers else { unreachable!() };
        until("the end is seen", || (!node.is_connected()).then_some(()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_is_no_master_until_it_is_promoted() {
    let server = Server::start();
    let replica = server.replica();
    let link = link(patient(Settings::url(replica.url())));
    let error = link.call(count("key")).await.unwrap_err();
    assert!(error.is_unavailable() && !error.may_have_happened(), "{error}");
    assert!(error.to_string().contains("READONLY"), "{error}");
    replica.promote();
    assert_eq!(counted(&link, "key").await, 1);
}

#[test]
fn outlives_the_runtime_it_began_on() {
    let server = Server::start();
    let link = link(patient(Settings::url(server.url())));
    for round in 1..=3 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        assert_eq!(runtime.block_on(counted(&link, "key")), round);
    }
    // And one that is there still but does not run.
    let held = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    assert_eq!(held.block_on(counted(&link, "key")), 4);
    let hasty = Link::new(hasty(Settings::url(server.url())), library()).unwrap();
    held.block_on(hasty.ping()).unwrap();
    let other = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    other.block_on(recovered(&hasty, "other"));
}

#[test]
fn outside_a_runtime_it_is_said() {
    let link = link(Settings::url("redis://127.0.0.1:1"));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let mut call = std::pin::pin!(link.call(count("key")));
    match call.as_mut().poll(&mut context) {
        std::task::Poll::Ready(Err(error)) => assert!(error.to_string().contains("Tokio"), "{error}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn settings_that_are_wrong_are_said_at_once_without_secrets() {
    let wrong = [
        ("", "scheme"),
        ("127.0.0.1:6379", "scheme"),
        ("http://user:hush@host", "redis://"),
        ("redis://user:hush@host:99999", "redis://"),
        ("redis://user:hush@host/notanumber", "database"),
        ("redis+cluster://user:hush@", "redis+cluster"),
        ("redis+cluster://user:hush@one:1,two:2/5", "database 0"),
        ("redis+sentinel://user:hush@one:1", "service"),
    ];
    for (url, expected) in wrong {
        let Err(error) = Link::new(Settings::url(url), library()) else { panic!("{url} was taken") };
        assert!(error.is_invalid());
        let shown = format!("{error} {error:?}");
        assert!(shown.contains(expected), "{url}: {shown}");
        assert!(!shown.contains("hush"), "{shown}");
    }
    let settings = Settings::url("redis://user:hush@host");
    assert!(!format!("{settings:?}").contains("hush"));
    for settings in [
        settings.clone().call_timeout(Duration::ZERO),
        settings.clone().connect_timeout(Duration::MAX),
        settings.clone().open_after(0),
        settings.root_certificates_file("/nowhere/at/all.pem"),
        Settings::cluster(Vec::<String>::new()),
        Settings::sentinel("service", Vec::<String>::new()),
        Settings::sentinel("", ["redis://host"]),
    ] {
        assert!(Link::new(settings, library()).is_err_and(|error| error.is_invalid()));
    }
    for url in ["redis+cluster://u:p@one:1,two:2", "redis+sentinel://u:p@one,two:2/service/3", "valkey://host"] {
        assert!(Link::new(Settings::url(url), library()).is_ok(), "{url}");
    }
}
