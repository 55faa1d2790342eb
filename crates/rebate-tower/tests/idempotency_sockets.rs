//! Requests that are billed once, over real sockets: axum's extractors, and two processes' worth of layers over one Redis.
#![cfg(feature = "axum")]

mod common;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::post;
use common::{limiter, rules_of};
use rebate_core::{Limiter, Store};
use rebate_redis::RedisStore;
use rebate_rules::{Rule, Rules};
use rebate_servers::Server;
use rebate_tower::{Charged, IdempotencyKey, IdempotencyKeys, RateLimitLayer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Barrier;

fn rules() -> Rules {
    rules_of(Rule::path("/generate").limit("10/day").key("ip").refund(["409"]))
}

fn layer<S: Store>(limiter: &Limiter<S>, keys: IdempotencyKeys) -> RateLimitLayer<S> {
    RateLimitLayer::builder(limiter.clone(), rules()).idempotency_keys(keys).build().unwrap()
}

async fn serve(router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, service).await });
    address
}

/// What a server answers to a POST with these lines among its headers.
async fn ask(address: SocketAddr, path: &str, lines: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!("POST {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-length: 0\r\n{lines}\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn extractors_tell_the_key_or_what_is_wrong_with_it() {
    let (limiter, _) = limiter();
    let needs = async |key: IdempotencyKey| format!("{}:{}", key.key(), key.is_replay());
    let takes = async |key: Option<IdempotencyKey>| key.map_or("none".to_owned(), |key| key.key().to_owned());
    let router = Router::new()
        .route("/generate", post(needs))
        .route("/free", post(needs))
        .route("/free/perhaps", post(takes))
        .layer(layer(&limiter, IdempotencyKeys::new().pass_replays(["/generate"])));
    let address = serve(router).await;
    let one = "idempotency-key: \"one\"\r\n";
    assert!(ask(address, "/generate", one).await.ends_with("one:false"));
    let replay = ask(address, "/generate", "Idempotency-Key: one\r\n").await;
    assert!(replay.ends_with("one:true") && replay.contains("ratelimit: \"/generate\";r=9;"), "{replay}");
    // No rule is for these: nothing is billed, and the header is read all the same.
    assert!(ask(address, "/free", one).await.ends_with("one:false"));
    assert!(ask(address, "/free", one).await.ends_with("one:false"));
    assert!(ask(address, "/free/perhaps", one).await.ends_with("one"));
    assert!(ask(address, "/free/perhaps", "").await.ends_with("none"));
    for (path, lines, code) in [
        ("/generate", "", "IDEMPOTENCY_KEY_MISSING"),
        ("/free", "", "IDEMPOTENCY_KEY_MISSING"),
        ("/free", "idempotency-key: a b\r\n", "IDEMPOTENCY_KEY_MALFORMED"),
        ("/free/perhaps", "idempotency-key: one\r\nidempotency-key: two\r\n", "IDEMPOTENCY_KEY_MALFORMED"),
    ] {
        let answer = ask(address, path, lines).await;
        assert!(answer.starts_with("HTTP/1.1 400") && answer.contains(code), "{answer}");
        assert!(answer.contains("content-type: application/problem+json"), "{answer}");
    }
}

/// A server of its own over the shared Redis, whose handler waits until so many requests are in it.
async fn server_of(url: &str, keys: IdempotencyKeys, inside: &Arc<Barrier>) -> SocketAddr {
    let limiter = Limiter::new(RedisStore::new(url).unwrap());
    let inside = Arc::clone(inside);
    let handler = async move |key: IdempotencyKey, charged: Charged| {
        inside.wait().await;
        assert_eq!(key.is_replay(), charged.is_replay());
        let status = if key.is_replay() { StatusCode::CONFLICT } else { StatusCode::CREATED };
        (status, key.key().to_owned())
    };
    serve(Router::new().route("/generate", post(handler)).layer(layer(&limiter, keys))).await
}

async fn left(url: &str) -> u64 {
    let limiter = Limiter::new(RedisStore::new(url).unwrap());
    limiter.peek(rules().limits()[0].limit(), "ip:127.0.0.1").await.unwrap().remaining()
}

fn sorted(one: &str, other: &str) -> [String; 2] {
    let mut statuses = [one, other].map(|answer| answer["HTTP/1.1 ".len()..][..3].to_owned());
    statuses.sort();
    statuses
}

#[tokio::test]
async fn two_racing_requests_on_two_servers_over_redis_bill_once_and_both_learn_it() {
    let redis = Server::start();
    let url = redis.url();
    let line = |round: usize| format!("idempotency-key: round-{round}\r\n");
    // Both are inside at once, the replay by the service's leave: its own 409 gives nothing back.
    let inside = Arc::new(Barrier::new(2));
    let passing = || IdempotencyKeys::new().pass_replays(["/generate"]);
    let servers = [server_of(&url, passing(), &inside).await, server_of(&url, passing(), &inside).await];
    for round in 0..4 {
        let asks = servers.map(|address| async move { ask(address, "/generate", &line(round)).await });
        let [one, other] = asks;
        let (one, other) = tokio::join!(one, other);
        assert_eq!(sorted(&one, &other), ["201", "409"], "{one}\n{other}");
        assert_eq!(left(&url).await, 9 - round as u64);
    }
    // And by the layer's own: the service is called once.
    let inside = Arc::new(Barrier::new(1));
    let keys = IdempotencyKeys::new;
    let servers = [server_of(&url, keys(), &inside).await, server_of(&url, keys(), &inside).await];
    for round in 4..10 {
        let asks = servers.map(|address| async move { ask(address, "/generate", &line(round)).await });
        let [one, other] = asks;
        let (one, other) = tokio::join!(one, other);
        assert_eq!(sorted(&one, &other), ["201", "409"], "{one}\n{other}");
        assert!([one, other].iter().any(|answer| answer.contains("IDEMPOTENCY_KEY_REPLAYED")));
        assert_eq!(left(&url).await, 9 - round as u64);
    }
    // All is used: who asks again is told so, and who asks anew is denied.
    assert!(ask(servers[0], "/generate", &line(0)).await.starts_with("HTTP/1.1 409"));
    assert!(ask(servers[1], "/generate", &line(10)).await.starts_with("HTTP/1.1 429"));
}
