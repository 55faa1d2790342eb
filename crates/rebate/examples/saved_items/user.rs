//! Who is asking, and under which key.
//!
//! `Authorization: Bearer ada` stands for authentication: whoever says to be `ada` is.

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;

use crate::answers::problem;

/// The longest name.
const LONGEST: usize = 64;
/// The longest key, as the limiter has it.
const LONGEST_KEY: usize = 255;

/// A user who is logged in.
pub(crate) struct User(pub(crate) String);

/// What tells a request from another one, and is the same when it is sent again: `Idempotency-Key`.
pub(crate) struct RequestKey(pub(crate) String);

impl<S: Sync> FromRequestParts<S> for User {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Response> {
        let name = header(&parts.headers, AUTHORIZATION.as_str(), "Bearer ".len() + LONGEST);
        let name = name.and_then(|text| text.strip_prefix("Bearer ")).filter(|name| !name.is_empty());
        name.map(|name| User(name.to_owned())).ok_or_else(|| {
            problem(StatusCode::UNAUTHORIZED, "USER_MISSING", "Say who you are: `Authorization: Bearer NAME`.")
        })
    }
}

impl<S: Sync> FromRequestParts<S> for RequestKey {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Response> {
        header(&parts.headers, "idempotency-key", LONGEST_KEY).map(|key| RequestKey(key.to_owned())).ok_or_else(|| {
            let detail = "Give the request a key of its own, of at most 255 characters, and the same when you send it again: \
                          `Idempotency-Key: KEY`.";
            problem(StatusCode::BAD_REQUEST, "KEY_MISSING", detail)
        })
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &str, longest: usize) -> Option<&'a str> {
    let text = headers.get(name)?.to_str().ok()?.trim_ascii();
    (1..=longest).contains(&text.len()).then_some(text)
}
