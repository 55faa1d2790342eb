//! For axum: the handle as an extractor.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use http::request::Parts;

use crate::charged::Charged;

/// What the request was charged. Of a request that no layer charged it is a handle of nothing: extracting it never
/// fails.
impl<T: Send + Sync> FromRequestParts<T> for Charged {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &T) -> Result<Self, Infallible> {
        Ok(Charged::of(&parts.extensions))
    }
}
