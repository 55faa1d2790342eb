//! What operators see: events for logs and, with the feature `metrics`, numbers.

#[cfg_attr(not(feature = "metrics"), path = "observe/no_numbers.rs")]
mod numbers;

use std::fmt;

use rebate_core::{Error, KeyRef, Receipt, Refund, Store};

use crate::layer::Shared;
use crate::refusal::{Reason, Refusal};

pub(crate) use numbers::{Numbers, Stopwatch};

/// Why a charge is given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// By the handler's hand.
    Handler,
    /// An HTTP status that the rule names, or any 5xx.
    Status(u16),
    /// A gRPC status that the rule names.
    GrpcStatus(u32),
    /// The service's own predicate on the response.
    Response,
    /// The inner service's error.
    Error,
    /// A panic in the inner service.
    Panic,
    /// A client that went away.
    Disconnect,
}

impl Cause {
    fn kind(self) -> &'static str {
        match self {
            Cause::Handler => "handler",
            Cause::Status(_) => "status",
            Cause::GrpcStatus(_) => "grpc_status",
            Cause::Response => "response",
            Cause::Error => "error",
            Cause::Panic => "panic",
            Cause::Disconnect => "disconnect",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::Handler => f.write_str("by hand"),
            Cause::Status(status) => write!(f, "status {status}"),
            Cause::GrpcStatus(status) => write!(f, "gRPC status {status}"),
            Cause::Response => f.write_str("response"),
            Cause::Error => f.write_str("error"),
            Cause::Panic => f.write_str("panic"),
            Cause::Disconnect => f.write_str("client gone"),
        }
    }
}

/// A refund was tried.
pub(crate) fn refund<S: Store>(
    shared: &Shared<S>,
    rule: &str,
    cause: Cause,
    receipt: &Receipt,
    watch: Stopwatch,
    answer: &Result<Refund, Error>,
) {
    match answer {
        Ok(refund) => tracing::debug!(
            rule,
            key = %Masked(shared, receipt),
            %cause,
            given_back = refund.given_back(),
            expired = refund.any_expired(),
            "rate limit refunded"
        ),
        Err(error) => tracing::error!(
            rule,
            key = %Masked(shared, receipt),
            %cause,
            %error,
            may_have_happened = error.may_have_happened(),
            "rate limit refund failed"
        ),
    }
    numbers::refund(cause.kind(), watch, answer);
}

/// A receipt was given to the store to refund, which tells nobody what came of it.
pub(crate) fn handed_back<S: Store>(shared: &Shared<S>, rule: &str, cause: Cause, receipt: &Receipt) {
    tracing::debug!(rule, key = %Masked(shared, receipt), %cause, "rate limit handed back to its store");
    numbers::handed_back(cause.kind());
}

/// A handler asked for a refund of nothing.
pub(crate) fn nothing_charged(rule: Option<&str>) {
    tracing::warn!(rule, "a refund was asked for with nothing charged");
    numbers::nothing_charged(Cause::Handler.kind());
}

/// A request was refused, or passed because the store did not answer.
pub(crate) fn refused<S: Store>(shared: &Shared<S>, refusal: &Refusal<'_>, key: Option<KeyRef<'_>>) {
    let rule = refusal.rule();
    let key = || key.map(|key| shared.mask(key)).map(tracing::field::display);
    if let Reason::IdempotencyKey(fault) = refusal.reason {
        let (code, status) = (fault.code(), fault.status().as_u16());
        tracing::info!(rule, key = key(), code, status, "rate limit: not let through for its idempotency key");
    } else if let Some(error) = refusal.error() {
        if error.is_retryable() {
            tracing::warn!(rule, key = key(), %error, may_have_happened = error.may_have_happened(), "rate limit unavailable: request denied");
        } else {
            tracing::error!(rule, key = key(), %error, "rate limit cannot be charged: request denied");
        }
    } else if refusal.violated().next().is_some() {
        tracing::info!(
            rule,
            key = key(),
            limit = refusal.limit().map(|limit| limit.name()),
            retry_after = refusal.retry_after_seconds(),
            "rate limit exceeded"
        );
    } else if refusal.missing_key().is_none() {
        tracing::info!(status = refusal.status().as_u16(), "rate limit: a path that can be read in too many ways");
    } else {
        if refusal.missing_key().is_some() {
            numbers::key_missing(rule);
        }
        tracing::info!(
            rule,
            source = refusal.missing_key(),
            status = refusal.status().as_u16(),
            "rate limit: no key to charge"
        );
    }
}

/// A request passed because the store did not answer.
pub(crate) fn unchecked<S: Store>(shared: &Shared<S>, rule: &str, key: KeyRef<'_>, error: &Error) {
    tracing::warn!(
        rule,
        key = %shared.mask(key),
        %error,
        may_have_happened = error.may_have_happened(),
        "rate limit unavailable: request passes unchecked"
    );
}

/// A receipt's key, masked when somebody looks.
struct Masked<'a, S: Store>(&'a Shared<S>, &'a Receipt);

impl<S: Store> fmt::Display for Masked<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // All parts are of one request; its first key stands for it.
        match self.1.parts().first() {
            Some(part) => self.0.mask(part.key()).fmt(f),
            None => f.write_str("none"),
        }
    }
}
