//! Rebate for tower services.
#![deny(missing_docs)]
#![forbid(unsafe_code)]

#[cfg(feature = "axum")]
mod axum;
mod charged;
mod client;
mod future;
mod grpc;
mod headers;
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
pub use layer::{RateLimitLayer, RateLimitLayerBuilder};
pub use refusal::{Refusal, Violated};
pub use request::{RequestHead, ResponseHead};
pub use respond::{GrpcStatus, ProblemJson, Respond};
pub use service::RateLimited;
