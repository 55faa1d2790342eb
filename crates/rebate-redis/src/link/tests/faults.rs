//! A network and servers that fail.

use rebate_servers::Proxy;

use super::*;

/// A server behind a faulty network, and a link through it that has been used once.
async fn behind(set: impl FnOnce(Settings) -> Settings) -> (Server, Proxy, Link) {
    let server = Server::start();
    let proxy = Proxy::start(server.address());
    let link = link(set(Settings::url(proxy.url())));
    recovered(&link, "warm").await;
    (server, proxy, link)
}

fn settled(server: &Server, key: &str, expected: &str) {
    until("the server has acted on it", || (held(server, key).as_deref() == Some(expected)).then_some(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_reply_may_have_happened_and_is_not_sent_again() {
    let (server, proxy, link) = behind(patient).await;
    proxy.lose_next_reply();
    let error = link.call(count("key")).await.unwrap_err();
    assert!(error.is_unavailable() && error.may_have_happened(), "{error}");
    assert!(error.to_string().contains(&proxy.address().to_string()) && error.source().is_some(), "{error}");
    settled(&server, "key", "1");
    assert!(!proxy.is_faulty());
    assert_eq!(counted(&link, "key").await, 2, "sent once, and the link is well again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeatable_call_is_sent_again_and_no_more_than_twice() {
    let (server, proxy, link) = behind(patient).await;
    proxy.lose_next_reply();
    let call = Call { repeatable: true, ..count("key") };
    assert_eq!(link.call(call).await.unwrap(), Value::Int(2), "the first one was lost");
    assert_eq!(held(&server, "key").as_deref(), Some("2"));
    proxy.lose_replies();
    let error = link.call(Call { repeatable: true, ..count("key") }).await.unwrap_err();
    // Even where the last attempt did not get as far as sending it: the first did.
    assert!(error.is_unavailable() && error.may_have_happened(), "{error}");
    assert_eq!(held(&server, "key").as_deref(), Some("3"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_reads_only_never_may_have_happened() {
    let (_server, proxy, link) = behind(patient).await;
    proxy.lose_next_reply();
    let error = link.call(look("warm")).await.unwrap_err();
    assert!(error.is_unavailable() && !error.may_have_happened(), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_reply_may_have_happened() {
    let (server, proxy, link) = behind(patient).await;
    proxy.truncate_replies(2);
    let error = link.call(count("key")).await.unwrap_err();
    assert!(error.is_unavailable() && error.may_have_happened(), "{error}");
    settled(&server, "key", "1");
    proxy.pass();
    assert_eq!(recovered(&link, "key").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_may_have_happened_and_ends_the_connection() {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut buffer = [0; 4096];
        let mut greeted = false;
        while let Ok(1..) = stream.read(&mut buffer) {
            // The greeting's commands: HELLO and two of CLIENT SETINFO.
            let answer: &[u8] = if greeted { b"!?garbage\r\n" } else { b"%0\r\n+OK\r\n+OK\r\n" };
            greeted = true;
            stream.write_all(answer).unwrap();
        }
    });
    let link = link(patient(Settings::url(format!("redis://{address}"))));
    let error = link.call(count("key")).await.unwrap_err();
    assert!(error.is_unavailable() && error.may_have_happened(), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_in_time_may_have_happened() {
    let (server, proxy, link) = behind(hasty).await;
    proxy.delay_replies(Duration::from_secs(3600));
    let error = link.call(count("key")).await.unwrap_err();
    assert!(error.is_unavailable() && error.may_have_happened(), "{error}");
    assert!(error.to_string().contains("call timeout"), "{error}");
    settled(&server, "key", "1");
    proxy.pass();
    // By another connection, after more of the same perhaps.
    recovered(&link, "other").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_listening_did_not_happen() {
    let server = Server::start();
    server.kill();
    let error = link(patient(Settings::url(server.url()))).call(count("key")).await.unwrap_err();
    assert!(error.is_unavailable() && !error.may_have_happened(), "{error}");
    assert!(error.to_string().contains(&server.address().to_string()) && error.source().is_some(), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_not_made_in_time_did_not_happen() {
    let server = Server::start();
    server.freeze();
    let error = link(hasty(Settings::url(server.url()))).call(count("key")).await.unwrap_err();
    assert!(error.is_unavailable() && !error.may_have_happened(), "{error}");
    server.thaw();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_breaker_refuses_without_touching_the_network_and_closes_by_one_probe() {
    let (server, proxy, link) = behind(|settings| hasty(settings).open_after(3)).await;
    let Servers::One(node) = &link.0.servers else { unreachable!() };
    proxy.hole();
    // The network swallows all: callers find out, a few at most, and then are refused.
    let mut refused = None;
    for _ in 0..20 {
        let error = link.call(count("key")).await.unwrap_err();
        if error.to_string().contains("refused without asking") {
            refused = Some(error);
            break;
        }
    }
    let error = refused.expect("the breaker opens");
    assert!(error.is_unavailable() && !error.may_have_happened());
    let pings = calls(&server, "ping");
    let helloes = calls(&server, "hello");

    // Many calls now cost nothing: of them all none reaches the network. The probe alone does.
    proxy.refuse();
    let (bytes, connections) = (proxy.request_bytes(), proxy.connections());
    for _ in 0..10_000 {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let mut call = std::pin::pin!(link.call(count("key")));
        // At the first poll: nothing is awaited.
        assert!(call.as_mut().poll(&mut context).is_ready());
    }
    assert_eq!((proxy.request_bytes(), proxy.connections()), (bytes, connections));
    assert_eq!(held(&server, "key"), None);

    // While it is open many call, and go on calling: still one probe lets them in.
    let callers: Vec<_> = (0..50)
        .map(|_| {
            let link = link.clone();
            tokio::spawn(async move { recovered(&link, "after").await })
        })
        .collect();
    assert!(!node.is_connected());
    proxy.pass();
    for caller in callers {
        caller.await.unwrap();
    }
    assert!(node.is_connected());
    assert_eq!(held(&server, "after").as_deref(), Some("50"));
    assert_eq!(calls(&server, "ping"), pings + 1);
    assert_eq!(calls(&server, "hello"), helloes + 1, "one connection for all");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_server_is_found_out_once() {
    let server = Server::start();
    let link = link(hasty(Settings::url(server.url())));
    recovered(&link, "warm").await;
    server.freeze();
    let mut waited = 0;
    loop {
        let error = link.call(count("key")).await.unwrap_err();
        if error.to_string().contains("refused without asking") {
            break;
        }
        waited += 1;
        assert!(waited < 20, "every caller waits");
    }
    server.thaw();
    recovered(&link, "warm").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_comes_back() {
    let server = Server::start();
    let link = link(hasty(Settings::url(server.url())));
    recovered(&link, "warm").await;
    server.kill();
    until("the breaker opens", || {
        let error = tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(link.call(count("key"))));
        error.unwrap_err().to_string().contains("refused without asking").then_some(())
    });
    server.restart();
    assert_eq!(recovered(&link, "key").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_ended_connection_is_one_failure_however_many_calls_it_takes_along() {
    let (server, proxy, link) = behind(|settings| patient(settings).open_after(2)).await;
    proxy.delay_replies(Duration::from_secs(3600));
    let calls: Vec<_> = (0..50).map(|_| tokio::spawn(link.call(count("key")))).collect();
    settled(&server, "key", "50");
    proxy.drop_connections();
    for call in calls {
        assert!(call.await.unwrap().unwrap_err().may_have_happened());
    }
    proxy.pass();
    assert_eq!(counted(&link, "key").await, 51, "the breaker is closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn dropped_futures_leave_the_connection_usable() {
    let (server, proxy, link) = behind(patient).await;
    let connections = proxy.connections();
    proxy.delay(Duration::from_millis(1));
    for round in 0..200 {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let mut call = Box::pin(link.call(count("dropped")));
        assert!(call.as_mut().poll(&mut context).is_pending());
        if round % 3 == 0 {
            tokio::task::yield_now().await;
        }
        drop(call);
    }
    for round in 1..=20 {
        assert_eq!(counted(&link, "key").await, round, "each gets its own answer");
    }
    assert_eq!(proxy.connections(), connections);
    drop(server);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_gives_up_connecting_does_not_keep_others_from_it() {
    let server = Server::start();
    let proxy = Proxy::start(server.address());
    let link = link(patient(Settings::url(proxy.url())));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let mut call = Box::pin(link.call(count("key")));
    assert!(call.as_mut().poll(&mut context).is_pending());
    drop(call);
    let tasks: Vec<_> = (0..20).map(|_| tokio::spawn(link.call(count("key")))).collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    assert_eq!(proxy.connections(), 1);
}
