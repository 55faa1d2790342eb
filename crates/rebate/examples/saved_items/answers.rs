//! What clients are told: quotas in headers, and what is wrong as problem+json (RFC 9457).

use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;
use std::time::Duration;

use axum::Json;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{AppendHeaders, IntoResponse, Response};
use rebate::{Denial, Usage};
use serde_json::{Value, json};

use crate::service::{Quota, Trouble};

const QUOTA_EXCEEDED: &str = "https://iana.org/assignments/http-problem-types#quota-exceeded";

/// `X-AI-Quota-*`: what the user has of the day.
pub(crate) fn quota_headers(daily: &Usage) -> AppendHeaders<[(HeaderName, HeaderValue); 4]> {
    AppendHeaders([
        (HeaderName::from_static("x-ai-quota-limit"), daily.quota.into()),
        (HeaderName::from_static("x-ai-quota-used"), daily.used.into()),
        (HeaderName::from_static("x-ai-quota-remaining"), daily.remaining.into()),
        (HeaderName::from_static("x-ai-quota-reset"), seconds(daily.reset_after).into()),
    ])
}

/// 429, and which of the two it was. Who has nothing left today need not hear of places. The breach is logged.
pub(crate) fn denied(user: &str, denial: &Denial, quota: &Quota) -> Response {
    // The items of a charge in their order: the place, and the day.
    let is_daily = denial.violated().any(|status| status.item() == 1);
    let (code, usage) =
        if is_daily { ("DAILY_QUOTA_EXCEEDED", &quota.daily) } else { ("CONCURRENCY_LIMIT_EXCEEDED", &quota.at_once) };
    let wait = denial.retry_after().map(seconds);
    let detail = match (is_daily, wait) {
        (true, Some(wait)) => format!("You have used {usage} enrichments today. Try again in {wait} seconds."),
        (true, None) => format!("You have used {usage} enrichments today."),
        (false, _) => {
            format!("{} of your items are waiting or being enriched. Try again when one is done.", usage.used)
        }
    };
    tracing::warn!(
        code,
        user = mask(user),
        plan = quota.plan,
        used = usage.used,
        quota = usage.quota,
        "a quota is exceeded"
    );
    let problem = json!({
        "type": QUOTA_EXCEEDED, "title": "Quota Exceeded", "status": 429, "detail": detail, "code": code,
        "limit": usage.limit, "used": usage.used, "quota": usage.quota, "retry_after": wait,
    });
    let mut response = (quota_headers(&quota.daily), answer(StatusCode::TOO_MANY_REQUESTS, &problem)).into_response();
    if let Some(wait) = wait {
        response.headers_mut().insert(RETRY_AFTER, wait.into());
    }
    response
}

/// What went wrong, of which nothing was charged.
pub(crate) fn trouble(trouble: &Trouble) -> Response {
    match trouble {
        Trouble::KeyOfAnother => {
            let detail = "This key was used for another item. Give each request a key of its own.";
            problem(StatusCode::UNPROCESSABLE_ENTITY, "KEY_OF_ANOTHER_REQUEST", detail)
        }
        Trouble::Limiter(error) if error.is_retryable() => {
            tracing::error!(%error, "the limiter's store is in trouble");
            problem(StatusCode::SERVICE_UNAVAILABLE, "LIMITER_UNAVAILABLE", "Try again, with the same key, in a while.")
        }
        trouble => {
            tracing::error!(%trouble, "a request failed");
            let detail = "This is our fault, and was not charged. Try again, with the same key.";
            problem(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL_ERROR", detail)
        }
    }
}

pub(crate) fn problem(status: StatusCode, code: &str, detail: &str) -> Response {
    let title = status.canonical_reason();
    answer(status, &json!({"title": title, "status": status.as_u16(), "detail": detail, "code": code}))
}

fn answer(status: StatusCode, problem: &Value) -> Response {
    let mut response = (status, Json(problem)).into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    response
}

/// In whole seconds, never too early.
fn seconds(span: Duration) -> u64 {
    span.as_micros().div_ceil(1_000_000) as u64
}

/// Tells users apart in the log, and names nobody; other in each process.
fn mask(user: &str) -> String {
    static SECRET: OnceLock<RandomState> = OnceLock::new();
    format!("{:08x}", SECRET.get_or_init(RandomState::new).hash_one(user) as u32)
}
