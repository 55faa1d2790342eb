//! Bodies of requests.

use axum::Json;
use axum::extract::rejection::{BytesRejection, FailedToBufferBody, JsonRejection};
use axum::extract::{FromRequest, Request};
use axum::response::Response;
use serde::de::DeserializeOwned;

use crate::api::answer;

/// What a client has sent, as JSON.
pub(crate) struct Sent<T>(pub(crate) T);

/// Noted in the response to a request whose client went away before it had sent all of it. A handler cannot tell from
/// whom a body comes that ends too early, so that it is an answer like any other, which nobody reads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HungUp;

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Sent<T> {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        match Json::from_request(request, state).await {
            Ok(Json(sent)) => Ok(Sent(sent)),
            Err(rejection) => {
                let mut response = answer(rejection.status(), &rejection.body_text());
                if is_cut_off(&rejection) {
                    response.extensions_mut().insert(HungUp);
                }
                Err(response)
            }
        }
    }
}

fn is_cut_off(rejection: &JsonRejection) -> bool {
    matches!(
        rejection,
        JsonRejection::BytesRejection(BytesRejection::FailedToBufferBody(FailedToBufferBody::UnknownBodyError(_)))
    )
}
