//! gRPC statuses: in the headers of a call that fails at once, and in the trailers of one that fails later; with tonic's
//! own statuses and bodies.

mod common;

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};

use common::{Later, later, left, limiter, request, rules_of, user};
use http::{HeaderMap, Request, Response};
use http_body::{Body as _, Frame};
use http_body_util::BodyExt;
use rebate_core::{Limiter, Store};
use rebate_rules::{Rule, Rules};
use rebate_tower::{GrpcStatus, GrpcTrailersLayer, RateLimitLayer};
use tonic::body::Body;
use tonic::{Code, Status};
use tower::{ServiceBuilder, ServiceExt, service_fn};

fn rules() -> Rules {
    rules_of(Rule::path("/tasks.Tasks/Generate").limit("10/day").refund_grpc(["ABORTED", "UNAVAILABLE"]))
}

fn grpc_layer<S: Store>(limiter: &Limiter<S>) -> RateLimitLayer<S, GrpcStatus> {
    RateLimitLayer::builder(limiter.clone(), rules()).user(user).respond(GrpcStatus).build().unwrap()
}

/// A response that streams, and then tells its status.
fn streamed(code: Option<Code>) -> Response<Body> {
    let mut trailers = HeaderMap::new();
    if let Some(code) = code {
        trailers.insert("grpc-status", i32::from(code).into());
    }
    let data = http_body_util::Full::new(bytes::Bytes::from_static(b"data"));
    Response::new(Body::new(data.with_trailers(async { Some(Ok(trailers)) }).map_err(|never| match never {})))
}

async fn call<S: Store>(
    layer: &RateLimitLayer<S, GrpcStatus>,
    response: impl Fn() -> Response<Body> + Clone,
) -> Response<impl http_body::Body<Data = bytes::Bytes, Error = Status>> {
    let service = ServiceBuilder::new().layer(layer.clone()).layer(GrpcTrailersLayer).service(service_fn(
        move |_: Request<String>| {
            let response = response();
            async { Ok::<_, Infallible>(response) }
        },
    ));
    service.oneshot(request("/tasks.Tasks/Generate")).await.unwrap()
}

#[tokio::test]
async fn a_status_in_the_headers_gives_back_before_they_go_out() {
    let (limiter, _) = limiter();
    let layer = grpc_layer(&limiter);
    let response = call(&layer, || Status::aborted("busy").into_http()).await;
    assert_eq!(common::remaining(&response), 10);
    let response = call(&layer, || Status::internal("broken").into_http()).await;
    assert_eq!(common::remaining(&response), 9, "another status does not");
}

async fn in_trailers<S: Store>(limiter: &Limiter<S>) {
    let layer = grpc_layer(limiter);
    for (code, remaining) in [
        (Some(Code::Aborted), 10),
        (Some(Code::Ok), 9),
        (None, 8),
        (Some(Code::Unavailable), 8),
        (Some(Code::Internal), 7),
    ] {
        let response = call(&layer, move || streamed(code)).await;
        let collected = response.into_body().collect().await.unwrap();
        let told = collected.trailers().and_then(|trailers| trailers.get("grpc-status").cloned());
        assert_eq!(told.is_some(), code.is_some(), "the trailers go on");
        assert_eq!(collected.to_bytes(), "data");
        assert_eq!(left(limiter, &rules()).await, remaining, "{code:?}");
    }
}

#[tokio::test]
async fn a_status_in_the_trailers_gives_back_when_they_are_sent() {
    in_trailers(&limiter().0).await;
    in_trailers(&later(rules()).1).await;
}

#[tokio::test]
async fn a_body_that_nobody_reads_to_its_end_keeps_the_charge() {
    let (limiter, _) = limiter();
    drop(call(&grpc_layer(&limiter), || streamed(Some(Code::Aborted))).await);
    assert_eq!(left(&limiter, &rules()).await, 9);
}

#[tokio::test]
async fn trailers_that_a_taken_receipt_or_a_failing_store_leave_alone() {
    let limiter = Limiter::new(Later::new());
    let layer = grpc_layer(&limiter);
    let response = call(&layer, || streamed(Some(Code::Aborted))).await;
    limiter.store().go_away();
    let collected = response.into_body().collect().await.unwrap();
    assert!(collected.trailers().is_some(), "a failed refund holds nothing up");
    limiter.store().away.store(false, Ordering::SeqCst);
    assert_eq!(left(&limiter, &rules()).await, 9);
}

#[tokio::test]
async fn a_denial_is_a_grpc_status_in_tonics_body() {
    let (limiter, _) = limiter();
    let layer = grpc_layer(&limiter);
    for _ in 0..10 {
        call(&layer, || streamed(None)).await;
    }
    let response = call(&layer, || streamed(None)).await;
    let status = Status::from_header_map(response.headers()).expect("a status");
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.message().starts_with("Rate limit exceeded for /tasks.Tasks/Generate (10/day)."), "{status:?}");
    assert!(response.into_body().collect().await.unwrap().to_bytes().is_empty());
}

/// A body of trailers only.
#[derive(Default)]
struct Trailers(Option<HeaderMap>);

impl http_body::Body for Trailers {
    type Data = bytes::Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<bytes::Bytes>, Infallible>>> {
        Poll::Ready(self.0.take().map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }
}

#[tokio::test]
async fn a_body_does_not_end_before_its_trailers_are_sent() {
    let limiter = Limiter::new(Later::with_answers(1));
    let trailers = HeaderMap::from_iter([(http::HeaderName::from_static("grpc-status"), 10.into())]);
    let service = ServiceBuilder::new().layer(grpc_layer(&limiter)).layer(GrpcTrailersLayer).service(service_fn(
        move |_: Request<String>| {
            let body = Trailers(Some(trailers.clone()));
            async { Ok::<_, Infallible>(Response::new(body)) }
        },
    ));
    let mut body = service.oneshot(request("/tasks.Tasks/Generate")).await.unwrap().into_body();
    let mut poll = || Pin::new(&mut body).poll_frame(&mut Context::from_waker(Waker::noop())).is_pending();
    assert!(poll() && poll(), "the refund is under way");
    assert!(!body.is_end_stream());
    limiter.store().answers.add_permits(1);
    assert!(body.frame().await.unwrap().unwrap().is_trailers());
    assert!(body.is_end_stream());
    assert_eq!(left(&limiter, &rules()).await, 10);
}
