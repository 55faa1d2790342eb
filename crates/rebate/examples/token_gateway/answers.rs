//! What the gateway itself answers, in the words of OpenAI's API, so that its clients' retries work.

use std::time::Duration;

use axum::Json;
use axum::http::StatusCode;
use axum::http::header::{HeaderMap, HeaderValue, RETRY_AFTER};
use axum::response::{IntoResponse, Response};
use rebate::{Denial, Retry, Status};
use serde_json::json;

/// An error as OpenAI's API writes it.
pub(crate) fn error(status: StatusCode, kind: &str, code: Option<&str>, message: &str) -> Response {
    let error = json!({"message": message, "type": kind, "param": null, "code": code});
    (status, Json(json!({"error": error}))).into_response()
}

/// The answer to a request whose estimate did not fit. `names` are the limits' in the order of the charge.
pub(crate) fn denied(denial: &Denial, names: [&str; 2], requested: u64) -> Response {
    // The one that denies for longest.
    let Some(status) = denial.violated().max_by_key(|status| status.denied()) else {
        return unavailable();
    };
    let (name, quota, used) = (names[status.item()], status.quota(), status.used());
    let limit = format!("{name}: Limit {quota}, Used {used}, Requested {requested}");
    let message = match denial.retry_after() {
        Some(wait) => format!("Rate limit reached on {limit}. Please try again in {}.", span(wait)),
        None => format!("Request too large for {limit}. No wait will admit it."),
    };
    let mut response = error(StatusCode::TOO_MANY_REQUESTS, "tokens", Some("rate_limit_exceeded"), &message);
    if let Retry::AfterMicros(wait) = denial.retry() {
        response.headers_mut().insert(RETRY_AFTER, wait.div_ceil(1_000_000).into());
    }
    tell(response.headers_mut(), status);
    response
}

/// The answer while nobody can say whether the request would fit.
pub(crate) fn unavailable() -> Response {
    error(StatusCode::SERVICE_UNAVAILABLE, "server_error", None, "The limits cannot be looked at now.")
}

/// Tells where a limit stands.
pub(crate) fn tell(headers: &mut HeaderMap, status: &Status) {
    headers.insert("x-ratelimit-limit-tokens", status.quota().into());
    headers.insert("x-ratelimit-remaining-tokens", status.remaining().into());
    if let Ok(reset) = HeaderValue::from_str(&span(status.reset_after())) {
        headers.insert("x-ratelimit-reset-tokens", reset);
    }
}

/// A span as OpenAI's API writes it: `20ms`, `1.5s`, `6m0s`. In milliseconds, rounded up.
fn span(span: Duration) -> String {
    let millis = span.as_micros().div_ceil(1000);
    if millis < 1000 {
        return format!("{millis}ms");
    }
    let (hours, minutes, millis) = (millis / 3_600_000, millis / 60_000 % 60, millis % 60_000);
    let seconds = millis as f64 / 1000.0;
    match (hours, minutes) {
        (0, 0) => format!("{seconds}s"),
        (0, _) => format!("{minutes}m{seconds}s"),
        _ => format!("{hours}h{minutes}m{seconds}s"),
    }
}
