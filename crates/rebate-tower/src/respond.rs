//! What a refused request is answered.

use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use serde_json::{Value, json};

use crate::refusal::Refusal;

const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");
const QUOTA_EXCEEDED: &str = "https://iana.org/assignments/http-problem-types#quota-exceeded";
const REDUCED_CAPACITY: &str = "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity";

/// Makes the response to a refused request. The layer adds `Retry-After`, unless it is there, and its other headers.
///
/// A function from a refusal to a response is one:
///
/// ```
/// use http::Response;
/// use rebate_tower::{Refusal, Respond};
///
/// fn plain(refusal: &Refusal<'_>) -> Response<String> {
///     let mut response = Response::new(refusal.detail());
///     *response.status_mut() = refusal.status();
///     response
/// }
/// # fn takes(_: impl Respond<String>) {}
/// # takes(plain);
/// ```
pub trait Respond<B>: Send + Sync {
    /// The response.
    fn respond(&self, refusal: &Refusal<'_>) -> Response<B>;
}

impl<B, F: Fn(&Refusal<'_>) -> Response<B> + Send + Sync> Respond<B> for F {
    fn respond(&self, refusal: &Refusal<'_>) -> Response<B> {
        self(refusal)
    }
}

/// Answers with `application/problem+json` (RFC 9457), in any body that can be made of bytes: axum's, for one.
///
/// ```json
/// {"type": "https://iana.org/assignments/http-problem-types#quota-exceeded", "title": "Quota Exceeded", "status": 429,
///  "detail": "Rate limit exceeded for /generate (10/month). Try again in 31 seconds.", "violated-policies": ["/generate"],
///  "rule": "/generate", "limit": "/generate", "code": "GENERATE_EXCEEDED", "retry_after": 31}
/// ```
///
/// While the store is away `type` is that of a temporarily reduced capacity; where the request itself is at fault there is
/// none.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProblemJson;

impl<B: From<Vec<u8>>> Respond<B> for ProblemJson {
    fn respond(&self, refusal: &Refusal<'_>) -> Response<B> {
        let status = refusal.status();
        let mut problem = json!({
            "title": status.canonical_reason(),
            "status": status.as_u16(),
            "detail": refusal.detail(),
            "rule": Some(refusal.rule()).filter(|rule| !rule.is_empty()),
            "code": refusal.code(),
        });
        match status {
            StatusCode::TOO_MANY_REQUESTS => {
                problem["type"] = QUOTA_EXCEEDED.into();
                problem["title"] = "Quota Exceeded".into();
                problem["violated-policies"] = refusal.violated().map(|violated| violated.name()).collect();
                problem["limit"] = refusal.limit().map(|violated| violated.name()).into();
                problem["retry_after"] = refusal.retry_after_seconds().into();
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                problem["type"] = REDUCED_CAPACITY.into();
                problem["title"] = "Temporary Reduced Capacity".into();
            }
            _ => {}
        }
        problem_json(status, &problem)
    }
}

/// A response of this problem.
pub(crate) fn problem_json<B: From<Vec<u8>>>(status: StatusCode, problem: &Value) -> Response<B> {
    let mut response = Response::new(B::from(problem.to_string().into_bytes()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, PROBLEM_JSON);
    response
}

/// Answers as gRPC does: HTTP status 200 and the gRPC status in the headers, RESOURCE_EXHAUSTED when limits denied,
/// UNAVAILABLE while the store is away, UNAUTHENTICATED or INVALID_ARGUMENT where a key is missing, ALREADY_EXISTS where
/// an idempotency key has billed the request before.
#[derive(Clone, Copy, Debug, Default)]
pub struct GrpcStatus;

impl<B: Default> Respond<B> for GrpcStatus {
    fn respond(&self, refusal: &Refusal<'_>) -> Response<B> {
        let status: u16 = match refusal.status() {
            StatusCode::TOO_MANY_REQUESTS => 8,
            StatusCode::SERVICE_UNAVAILABLE => 14,
            StatusCode::UNAUTHORIZED => 16,
            StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => 3,
            StatusCode::CONFLICT => 6,
            _ => 13,
        };
        let mut response = Response::new(B::default());
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert("grpc-status", status.into());
        // What of it is not visible ASCII is a header that rules name: percent-encoded, as gRPC asks.
        if let Ok(message) = HeaderValue::from_str(&percent_encoded(&refusal.detail())) {
            headers.insert("grpc-message", message);
        }
        response
    }
}

/// As gRPC writes messages: visible ASCII but for `%` stays.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => encoded.push(byte.into()),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}
