//! Over real sockets: axum and hyper, with clients that write what they like and hang up when they like.
#![cfg(feature = "axum")]

mod common;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::rejection::BytesRejection;
use axum::http::{Request, Response, StatusCode};
use axum::routing::post;
use common::{Store, left, limiter, rules_of};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use rebate_core::Limiter;
use rebate_rules::{Rule, Rules};
use rebate_tower::{Charged, RateLimitLayer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tower::{Layer, service_fn};

fn rules() -> Rules {
    rules_of(Rule::path("/generate").limit("10/day").key("ip").refund(["409"]))
}

fn layer(limiter: &Limiter<Store>) -> RateLimitLayer<Store> {
    RateLimitLayer::builder(limiter.clone(), rules()).refund_on_disconnect(true).build().unwrap()
}

async fn serve(router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, service).await });
    address
}

/// All that a server answers to these bytes.
async fn ask(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

fn post_to(path: &str) -> Vec<u8> {
    format!("POST {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").into_bytes()
}

#[tokio::test]
async fn axum_serves_the_extractor_the_headers_and_the_denial() {
    let (limiter, _) = limiter();
    let handler = async |charged: Charged| match charged.refund().await {
        Ok(Some(_)) => StatusCode::ACCEPTED,
        _ => StatusCode::IM_A_TEAPOT,
    };
    let router = Router::new()
        .route("/generate", post(handler).put(async || StatusCode::CONFLICT).get(async || "done"))
        .route("/free", post(handler))
        .layer(layer(&limiter));
    let address = serve(router).await;
    let answer = ask(address, &post_to("/generate")).await;
    assert!(answer.starts_with("HTTP/1.1 202") && answer.contains("ratelimit: \"/generate\";r=10;t=43200"), "{answer}");
    assert!(ask(address, &post_to("/free")).await.starts_with("HTTP/1.1 418"), "nothing was charged");
    for _ in 0..3 {
        let conflict = String::from_utf8(post_to("/generate")).unwrap().replace("POST", "PUT");
        assert!(ask(address, conflict.as_bytes()).await.contains("\";r=10;t="));
    }
    // HTTP/1.0 knows no Host; a HEAD has no body.
    assert!(ask(address, b"GET /generate HTTP/1.0\r\n\r\n").await.contains("\";r=9;t="));
    let head = ask(address, b"HEAD /generate HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").await;
    assert!(head.contains("\";r=8;t=") && head.ends_with("\r\n\r\n"), "{head}");
    for _ in 0..8 {
        ask(address, b"GET /generate HTTP/1.0\r\n\r\n").await;
    }
    let denied = ask(address, b"GET /generate HTTP/1.0\r\n\r\n").await;
    assert!(denied.starts_with("HTTP/1.0 429") && denied.contains("retry-after: 43200"), "{denied}");
    assert!(denied.contains("content-type: application/problem+json"), "{denied}");
    assert!(denied.contains("\"code\":\"GENERATE_EXCEEDED\""), "{denied}");
    // Bytes that are no ASCII in headers that are looked at.
    let odd = b"GET /generate HTTP/1.1\r\nhost: h\r\nx-forwarded-for: \xff\xfe\r\nconnection: close\r\n\r\n";
    assert!(ask(address, odd).await.starts_with("HTTP/1.1 429"));
}

#[tokio::test]
async fn a_client_that_hangs_up_is_noticed() {
    let (limiter, _) = limiter();
    let started = Arc::new(Notify::new());
    let starts = Arc::clone(&started);
    let handler = move || {
        starts.notify_one();
        std::future::pending::<StatusCode>()
    };
    let address = serve(Router::new().route("/generate", post(handler)).layer(layer(&limiter))).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(&post_to("/generate")).await.unwrap();
    started.notified().await;
    let limit = rules().limits()[0].limit().clone();
    let remaining = async || limiter.peek(&limit, "ip:127.0.0.1").await.unwrap().remaining();
    assert_eq!(remaining().await, 9);
    drop(stream);
    while remaining().await == 9 {
        tokio::task::yield_now().await;
    }
    assert_eq!(remaining().await, 10);
}

#[tokio::test]
async fn a_client_that_hangs_up_while_its_body_is_read_gets_a_response() {
    let (limiter, _) = limiter();
    let (send, mut receive) = tokio::sync::mpsc::unbounded_channel();
    let handler = async move |body: Result<Bytes, BytesRejection>| {
        let status = body.map_or_else(|rejection| rejection.status(), |_| StatusCode::OK);
        send.send(status).unwrap();
        status
    };
    let address = serve(Router::new().route("/generate", post(handler)).layer(layer(&limiter))).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"POST /generate HTTP/1.1\r\nhost: h\r\ncontent-length: 100\r\n\r\nhalf").await.unwrap();
    drop(stream);
    assert_eq!(receive.recv().await, Some(StatusCode::BAD_REQUEST));
    // Once more around, so that what the connection does then is done.
    assert!(ask(address, &post_to("/elsewhere")).await.starts_with("HTTP/1.1 404"));
    let left = limiter.peek(rules().limits()[0].limit(), "ip:127.0.0.1").await.unwrap().remaining();
    assert_eq!(left, 9, "no client gone: it stands, with `refund_on_disconnect` too");
}

#[tokio::test]
async fn every_connection_of_a_hyper_server_has_the_same_count() {
    let (limiter, _) = limiter();
    let rules = rules_of(Rule::path("/generate").limit("3/day").key("header:x-user"));
    let layer = RateLimitLayer::builder(limiter.clone(), rules.clone()).build().unwrap();
    let service = layer.layer(service_fn(|_: Request<hyper::body::Incoming>| async {
        Ok::<_, Infallible>(Response::new(Body::from("done")))
    }));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = TowerToHyperService::new(service.clone());
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    let request = b"GET /generate HTTP/1.1\r\nhost: h\r\nx-user: 42\r\nconnection: close\r\n\r\n";
    for status in ["200", "200", "200", "429", "429"] {
        let answer = ask(address, request).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
    }
    assert_eq!(limiter.peek(rules.limits()[0].limit(), "header:x-user:42").await.unwrap().remaining(), 0);
    assert_eq!(left(&limiter, &rules).await, 3, "nobody else was charged");
}
