//! For axum: the handle and the idempotency key as extractors.

use std::convert::Infallible;

use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use serde_json::json;

use crate::charged::Charged;
use crate::idempotency::{IdempotencyKey, KeyFault};
use crate::respond::problem_json;

/// What the request was charged. Of a request that no layer charged it is a handle of nothing: extracting it never
/// fails.
impl<T: Send + Sync> FromRequestParts<T> for Charged {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &T) -> Result<Self, Infallible> {
        Ok(Charged::of(&parts.extensions))
    }
}

impl<T: Send + Sync> FromRequestParts<T> for IdempotencyKey {
    type Rejection = IdempotencyKeyRejection;

    async fn from_request_parts(parts: &mut Parts, _state: &T) -> Result<Self, IdempotencyKeyRejection> {
        key_of(parts)?.ok_or(IdempotencyKeyRejection(KeyFault::Missing))
    }
}

impl<T: Send + Sync> OptionalFromRequestParts<T> for IdempotencyKey {
    type Rejection = IdempotencyKeyRejection;

    async fn from_request_parts(parts: &mut Parts, _state: &T) -> Result<Option<Self>, IdempotencyKeyRejection> {
        key_of(parts)
    }
}

/// As the layer read it; of a request that no layer charged by its key, what the header says.
fn key_of(parts: &Parts) -> Result<Option<IdempotencyKey>, IdempotencyKeyRejection> {
    match IdempotencyKey::of(&parts.extensions) {
        Some(key) => Ok(Some(key)),
        None => IdempotencyKey::in_header(&parts.headers).map_err(IdempotencyKeyRejection),
    }
}

/// A request whose `Idempotency-Key` is missing or malformed: answered 400, with `application/problem+json`.
#[derive(Clone, Copy, Debug)]
pub struct IdempotencyKeyRejection(KeyFault);

impl IntoResponse for IdempotencyKeyRejection {
    fn into_response(self) -> Response {
        let status = self.0.status();
        let problem = json!({
            "title": status.canonical_reason(),
            "status": status.as_u16(),
            "detail": self.0.detail(),
            "code": self.0.code(),
        });
        problem_json(status, &problem)
    }
}
