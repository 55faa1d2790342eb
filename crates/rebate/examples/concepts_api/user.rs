//! Who is asking.
//!
//! `Authorization: Bearer ada` stands for authentication: whoever says to be `ada` is. A service of yours asks its
//! session or verifies a token here, and both the limits and the handlers go by what came of that.

use axum::Json;
use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

/// The longest name.
const LONGEST: usize = 64;

/// A user who is logged in.
#[derive(Clone, Debug)]
pub(crate) struct User(pub(crate) String);

/// The name that a request's headers prove.
pub(crate) fn of(headers: &HeaderMap) -> Option<&str> {
    let name = headers.get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")?.trim_ascii();
    let is_name = (1..=LONGEST).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic());
    is_name.then_some(name)
}

impl<S: Sync> FromRequestParts<S> for User {
    type Rejection = (StatusCode, Json<Value>);

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Self::Rejection> {
        let name = of(&parts.headers).map(str::to_owned);
        name.map(User).ok_or((
            StatusCode::UNAUTHORIZED,
            Json(json!({"detail": "Say who you are: `Authorization: Bearer NAME`."})),
        ))
    }
}
