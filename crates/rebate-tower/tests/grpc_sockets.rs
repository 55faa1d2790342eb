//! A gRPC service of tonic's over a real socket, called by tonic's own client: what is charged, and given back by the
//! status that the client sees.

mod common;

use std::convert::Infallible;
use std::future::{Ready, ready};

use bytes::{Buf, BufMut};
use common::{Store, limiter, rules_of};
use http::uri::PathAndQuery;
use rebate_core::Limiter;
use rebate_rules::{Rule, Rules};
use rebate_tower::{GrpcStatus, GrpcTrailersLayer, IdempotencyKeys, RateLimitLayer};
use tokio::net::TcpListener;
use tonic::body::Body;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::MetadataMap;
use tonic::server::ServerStreamingService;
use tonic::transport::server::{TcpConnectInfo, TcpIncoming};
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Request, Response, Status};
use tower::service_fn;

/// Messages that are texts.
#[derive(Clone, Copy, Default)]
struct Text;

impl Codec for Text {
    type Encode = String;
    type Decode = String;
    type Encoder = Text;
    type Decoder = Text;

    fn encoder(&mut self) -> Text {
        Text
    }

    fn decoder(&mut self) -> Text {
        Text
    }
}

impl Encoder for Text {
    type Item = String;
    type Error = Status;

    fn encode(&mut self, item: String, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(item.as_bytes());
        Ok(())
    }
}

impl Decoder for Text {
    type Item = String;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<String>, Status> {
        let mut bytes = vec![0; buffer.remaining()];
        buffer.copy_to_slice(&mut bytes);
        String::from_utf8(bytes).map(Some).map_err(|_| Status::invalid_argument("no text"))
    }
}

/// Does what it is told: `at once CODE`, or a message and then `CODE`.
struct Generate;

type Answers = tokio_stream::Iter<std::vec::IntoIter<Result<String, Status>>>;

impl ServerStreamingService<String> for Generate {
    type Response = String;
    type ResponseStream = Answers;
    type Future = Ready<Result<Response<Answers>, Status>>;

    fn call(&mut self, request: Request<String>) -> Self::Future {
        let told = request.into_inner();
        let number = |text: &str| Status::new(Code::from(text.parse::<i32>().unwrap()), "as told");
        ready(match told.strip_prefix("at once ") {
            Some(code) => Err(number(code)),
            None => {
                let mut answers = vec![Ok("a picture".to_owned())];
                answers.extend(Some(number(&told)).filter(|status| status.code() != Code::Ok).map(Err));
                Ok(Response::new(tokio_stream::iter(answers)))
            }
        })
    }
}

fn rules() -> Rules {
    rules_of(Rule::path("/tasks.Tasks/Generate").limit("3/day").key("ip").refund_grpc(["ABORTED", "UNAVAILABLE"]))
}

/// A server of this limiter's, and a client.
async fn served(limiter: &Limiter<Store>) -> Channel {
    let layer = RateLimitLayer::builder(limiter.clone(), rules())
        .socket_address(|request| Some(request.extensions.get::<TcpConnectInfo>()?.remote_addr()?.ip()))
        .idempotency_keys(IdempotencyKeys::new())
        .respond(GrpcStatus)
        .build()
        .unwrap();
    let service = service_fn(|request: http::Request<Body>| async {
        Ok::<_, Infallible>(tonic::server::Grpc::new(Text).server_streaming(Generate, request).await)
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::builder().layer(layer).layer(GrpcTrailersLayer);
    tokio::spawn(server.serve_with_incoming(service, TcpIncoming::from(listener)));
    Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap()
}

/// What a client sees of a call: how many messages, with which status it ends, and what it was told first.
async fn call(channel: &Channel, told: &str, key: Option<&'static str>) -> (usize, Code, MetadataMap) {
    let mut client = tonic::client::Grpc::new(channel.clone());
    client.ready().await.unwrap();
    let mut request = Request::new(told.to_owned());
    if let Some(key) = key {
        request.metadata_mut().insert("idempotency-key", key.parse().unwrap());
    }
    let path = PathAndQuery::from_static("/tasks.Tasks/Generate");
    match client.server_streaming(request, path, Text).await {
        Err(status) => (0, status.code(), status.metadata().clone()),
        Ok(response) => {
            let (told, mut stream, _) = response.into_parts();
            let mut messages = 0;
            loop {
                match stream.message().await {
                    Ok(Some(_)) => messages += 1,
                    Ok(None) => return (messages, Code::Ok, told),
                    Err(status) => return (messages, status.code(), told),
                }
            }
        }
    }
}

async fn left(limiter: &Limiter<Store>) -> u64 {
    limiter.peek(rules().limits()[0].limit(), "ip:127.0.0.1").await.unwrap().remaining()
}

#[tokio::test]
async fn a_status_at_once_or_in_the_trailers_gives_back_what_was_charged() {
    let (limiter, _) = limiter();
    let channel = served(&limiter).await;
    let (aborted, unavailable, internal) = (Code::Aborted as i32, Code::Unavailable as i32, Code::Internal as i32);
    for (told, messages, code, first, then) in [
        (format!("at once {aborted}"), 0, Code::Aborted, "3", 3),
        (format!("{unavailable}"), 1, Code::Unavailable, "2", 3),
        (format!("at once {internal}"), 0, Code::Internal, "2", 2),
        (format!("{internal}"), 1, Code::Internal, "1", 1),
        ("0".to_owned(), 1, Code::Ok, "0", 0),
    ] {
        let (seen, status, metadata) = call(&channel, &told, None).await;
        assert_eq!((seen, status), (messages, code), "{told}");
        let limits = metadata.get("ratelimit").expect("told").to_str().unwrap();
        assert!(limits.starts_with(&format!("\"/tasks.Tasks/Generate\";r={first};")), "{told}: {limits}");
        // The trailers wait for the refund.
        assert_eq!(left(&limiter).await, then, "{told}");
    }
    let (messages, status, metadata) = call(&channel, "0", None).await;
    assert_eq!((messages, status), (0, Code::ResourceExhausted));
    assert_eq!(metadata.get("retry-after").expect("told"), "43200");
}

#[tokio::test]
async fn a_call_is_billed_once_under_its_key() {
    let (limiter, _) = limiter();
    let channel = served(&limiter).await;
    assert_eq!(call(&channel, "0", Some("one")).await.1, Code::Ok);
    assert_eq!(call(&channel, "0", Some("one")).await.1, Code::AlreadyExists);
    assert_eq!(left(&limiter).await, 2);
    // Given back by the trailers, the key is free.
    for _ in 0..2 {
        let (messages, status, _) = call(&channel, &(Code::Aborted as i32).to_string(), Some("two")).await;
        assert_eq!((messages, status), (1, Code::Aborted));
        assert_eq!(left(&limiter).await, 2);
    }
}
