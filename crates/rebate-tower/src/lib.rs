//! Rebate for tower services: axum, tonic, hyper. Requests are charged by [rules](rebate_rules), and given back by their
//! responses or by hand.
//!
//! Services depend on the crate `rebate`, whose feature `tower` re-exports this one as `rebate::tower`; its feature `axum`
//! adds extractors and the client's address.
//!
//! ```
//! use rebate_core::Limiter;
//! use rebate_memory::MemoryStore;
//! use rebate_rules::{Rule, Rules};
//! use rebate_tower::{Charged, RateLimitLayer};
//! use tower::{Layer, ServiceExt, service_fn};
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!
//! let rules = Rules::builder().rule(Rule::path("/generate").limit("1/day").key("header:x-tenant")).build()?;
//! let layer = RateLimitLayer::builder(Limiter::new(MemoryStore::new()), rules).build()?;
//! let service = layer.layer(service_fn(async |request: http::Request<()>| {
//!     let charged = Charged::of(request.extensions());
//!     charged.refund().await?; // It could not be done: the attempt is given back.
//!     Ok::<_, rebate_core::Error>(http::Response::new(Vec::new()))
//! }));
//! let request = http::Request::get("/generate").header("x-tenant", "acme").body(())?;
//! let response = service.oneshot(request).await?;
//! assert!(response.headers()["ratelimit"].to_str()?.starts_with(r#""/generate";r=1;t="#));
//! # Ok(()) }
//! ```
//!
//! # Who decides about a charge
//!
//! The layer charges all limits of a request or none before the inner service is called, and puts a [`Charged`] into the
//! request's extensions. When there is a response it refunds if the response says so: its HTTP status or gRPC
//! status is one that *every* rule which charged the request names, or the settings'
//! [predicate](RateLimitLayerBuilder::refund_when) or [5xx](RateLimitLayerBuilder::refund_on_5xx) holds. The headers are
//! written after that, and tell what is left then.
//!
//! | what happens | what becomes of the charge |
//! | --- | --- |
//! | the handler leaves it alone; the response says to refund | the layer gives it back, before the headers are written |
//! | the handler leaves it alone; another response | it stands |
//! | the handler refunds by hand; any response | given back once, the headers say so |
//! | the handler settles it; the response says to refund | all that it costs by then is given back |
//! | the handler [takes](Charged::take) the receipt; whatever follows | the layer leaves it alone: it is the handler's |
//! | the handler [keeps](Charged::keep) it; whatever follows | it stands until the handle refunds. Before the handler's first `await`: at each one the client may go away |
//! | the handler stores its [token](Charged::token) | the layer still decides by the response; a later refund by the token gives back what is left |
//! | a task refunds by hand when the response has gone | given back, unless the layer did so before |
//! | a task refunds or settles while the response is ready | the response does not wait: its headers tell what was heard last |
//! | the same, and the response, or a client gone, says to refund | the decision is left with the receipt: the task's call gives the rest back before it answers, or the store does when the call is dropped |
//! | a refund of all by hand is dropped half-way | it may have happened, so it is made sure of: with the response, before the headers are written, or when the client goes away; the handler can still take the receipt, settle or refund |
//! | a refund by hand of a part is dropped half-way | as if the handler had left it alone |
//! | a settlement is dropped half-way | the receipt does not know of a top-up that may have happened: a refund may leave that charged. Settle again first; repeating it charges nothing more |
//! | a layer inside retries after the handler refunded by hand | the next attempt has the same handle, and is not charged again: [`is_charged`](Charged::is_charged) is false, and it can refuse |
//! | the inner service answers an error | it stands; [`refund_on_error`](RateLimitLayerBuilder::refund_on_error) gives it back |
//! | the inner service panics, called or polled | it stands; [`refund_on_panic`](RateLimitLayerBuilder::refund_on_panic) gives it back |
//! | the settings' own predicate panics | as a panic of the inner service |
//! | a layer inside catches the panic | that layer's response decides |
//! | the client goes away while the store is asked | the service is not called; the store gives back an answer whose caller has gone |
//! | the client goes away before the response | it stands; [`refund_on_disconnect`](RateLimitLayerBuilder::refund_on_disconnect) gives it back |
//! | a timeout outside this layer, or its task aborted | as a client that goes away: nobody can tell them apart |
//! | the client goes away while its body is read | with hyper as the handler answers the body's error (axum: 400): that is a response |
//! | the client goes away while the layer refunds, by the response or by trailers | it is given back all the same |
//! | the client goes away while the body is sent | it stands |
//! | the refund fails | the response goes out as it is, with what was known last; the log says so |
//! | the charge is a [replay](rebate_core::Receipt::is_replay) | nothing gives it back by itself; by hand it is the first request's that is given back |
//! | the store was away and the rule lets requests pass | nobody has a receipt: there is nothing to give back |
//! | the same, or 503, and the store had charged before it failed to answer | it stands and nobody can give it back (the event says `may_have_happened`); how much that can be is in `trouble.md` of `rebate-redis` |
//!
//! Of several of these layers around a service each decides about its own charge; the handle is that of the innermost. A
//! gRPC status that comes with the trailers is seen with a [`GrpcTrailersLayer`] inside.
//!
//! # Requests that are billed once
//!
//! With [`idempotency_keys`](RateLimitLayerBuilder::idempotency_keys) a request that bears an `Idempotency-Key` is billed once,
//! however often it is sent. Who learns what:
//!
//! | what happens | the client | the handler | the charge |
//! | --- | --- | --- | --- |
//! | a key's first request | its response | [`is_replay`](IdempotencyKey::is_replay) is false | as of any request |
//! | its replay, or the later of two that race | 409, `IDEMPOTENCY_KEY_REPLAYED`, and the headers of its limits as they are now | is not called | the first one's, as it is: neither the 409 nor anything else gives it back |
//! | the same under a rule whose [replays pass](IdempotencyKeys::pass_replays) | what the service answers | [`is_replay`](IdempotencyKey::is_replay) and [`Charged::is_replay`] are true | the same; by hand the handle gives back what the first one was charged |
//! | a replay while its limit is exhausted, all places are taken or the store is full | the same: no 429 | the same | the same |
//! | the key again after all was given back, whoever did so | its response | a first request | charged anew |
//! | the key again after a denial, or after its [lifetime](IdempotencyKeys::lifetime) | its response | a first request | charged anew |
//! | the key with another rule, method, path, query, user or charged key | its response | a first request | its own |
//! | the key when the rules charge the request other limits or costs than then | 422, `IDEMPOTENCY_KEY_REUSED` | is not called | the first one's, as it is |
//! | a key that is repeated, malformed, empty or above 255 bytes | 400, `IDEMPOTENCY_KEY_MALFORMED` | is not called | none |
//! | none, where the rule [requires](IdempotencyKeys::require) it | 400, `IDEMPOTENCY_KEY_MISSING` | is not called | none |
//! | the store is away and the rule lets requests pass | its response | nobody knows: false | none |
//! | the client goes away while the store is asked, or the store had charged before it failed to answer | its retry is a replay, though no service was called | where replays pass: true | stands, so that the retry finds it |
//!
//! So a 409 says that the request was billed before, not that it was carried out. Where a client must get what it paid for, let
//! replays pass: a service that finds no record of the key does the work then, and it is billed once.
//!
//! A replay may pass while the first request is under way, and that one's end gives the charge back as ever: by its status, by hand,
//! or because its client went away. Both then had one charge, and none is left of it. So a service whose replays pass
//! records a key *before* it works, keeps the record of what failed, and answers a replay of what is under way (409) or has
//! failed from it; whoever lets a replay do what a first request of it might yet give back, works for nothing.
//!
//! # What is logged and counted
//!
//! Events of `tracing`: a refund at DEBUG; a denial, a missing key, or what an idempotency key was refused for, at INFO; a store in trouble, or a refund asked for with
//! nothing charged, at WARN; a failed refund, or a charge that is wrong in itself, at ERROR. Keys are masked: eight digits
//! of an HMAC, the same for the same key in every process that has the
//! [secret](RateLimitLayerBuilder::mask_secret). A charge handed back to its store, because nobody is left to wait for a
//! refund, is at DEBUG too, and counted as `handed_back`: not as a refund done, for what comes of it only the store knows
//! (`RedisStore` says at ERROR what it could not give back).
//!
//! With the feature `metrics`:
//!
//! | metric | labels |
//! | --- | --- |
//! | `rebate_decisions_total` | `limit`; `outcome`: `allowed`, `denied` (of the limits that denied), `replayed` (charged before, under the same idempotency key), `unchecked` (passed, the store did not answer), `unavailable` (denied, likewise) |
//! | `rebate_keys_missing_total` (requests refused without a key to charge) | `rule` |
//! | `rebate_refunds_total` | `cause`: `handler`, `status`, `grpc_status`, `response`, `error`, `panic`, `disconnect`; `outcome`: `done`, `nothing` (given back before), `expired`, `failed`, `handed_back` (to a store that tells nobody), `not_charged` |
//! | `rebate_store_duration_seconds` | `operation`: `charge`, `refund` |
//! | `rebate_store_failures_total` | `operation`; `kind`: `unavailable`, `full`, `other` |
#![deny(missing_docs)]
#![forbid(unsafe_code)]

#[cfg(feature = "axum")]
pub mod axum;
mod charged;
mod client;
mod future;
mod grpc;
mod headers;
mod idempotency;
mod layer;
mod mask;
mod observe;
mod refusal;
mod request;
mod respond;
mod service;
mod subject;

pub use charged::Charged;
pub use client::ClientAddress;
pub use future::ResponseFuture;
pub use grpc::{GrpcTrailers, GrpcTrailersBody, GrpcTrailersFuture, GrpcTrailersLayer};
pub use headers::Headers;
pub use idempotency::{IdempotencyKey, IdempotencyKeys};
pub use layer::{RateLimitLayer, RateLimitLayerBuilder};
pub use refusal::{Refusal, Violated};
pub use request::{RequestHead, ResponseHead};
pub use respond::{GrpcStatus, ProblemJson, Respond};
pub use service::RateLimited;
