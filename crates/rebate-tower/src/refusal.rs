//! Why a request is not let through.

use std::time::Duration;

use http::StatusCode;
use rebate_core::{Denial, Error, Retry, Status};
use rebate_rules::{MissingKey, RuleLimit};

use crate::idempotency::KeyFault;
use crate::request::RequestHead;

/// A request that is not let through: what a [response](crate::Respond) is made of.
#[derive(Clone, Copy, Debug)]
pub struct Refusal<'a> {
    pub(crate) request: RequestHead<'a>,
    pub(crate) rule: &'a str,
    pub(crate) reason: Reason<'a>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Reason<'a> {
    /// Limits denied it.
    Denied(Denied<'a>),
    /// The store did not decide.
    Trouble(&'a Error),
    /// It lacks the key to charge.
    MissingKey(MissingKey<'a>),
    /// Its path can be read in too many ways to say which rule is for it.
    Path,
    /// Its idempotency key is none, or is known.
    IdempotencyKey(KeyFault),
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Denied<'a> {
    pub(crate) denial: &'a Denial,
    pub(crate) limits: &'a [RuleLimit],
    /// The place among them of each item charged.
    pub(crate) places: &'a [u32],
}

/// A limit that denied a request.
#[derive(Clone, Copy, Debug)]
pub struct Violated<'a> {
    limit: &'a RuleLimit,
    status: &'a Status,
}

impl<'a> Refusal<'a> {
    /// The request, without its body.
    pub fn request(&self) -> RequestHead<'a> {
        self.request
    }

    /// The name of the rule; empty where the path can be read in too many ways to tell.
    pub fn rule(&self) -> &'a str {
        self.rule
    }

    /// 429 when limits denied it; 503 when the store did not answer and the rule denies then; 401 when nobody said
    /// who the user is, 400 when another key is missing or one is too long, or when the path can be read in too many
    /// ways to say which rule is for it, or an `Idempotency-Key` is missing or malformed; 409 when that has billed the
    /// request before, 422 when another charge; 500 when the charge itself is wrong, which
    /// is the service's fault.
    pub fn status(&self) -> StatusCode {
        match &self.reason {
            Reason::Denied(_) => StatusCode::TOO_MANY_REQUESTS,
            Reason::Trouble(error) if error.is_retryable() => StatusCode::SERVICE_UNAVAILABLE,
            Reason::Trouble(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Reason::MissingKey(key) => StatusCode::from_u16(key.status()).unwrap_or(StatusCode::BAD_REQUEST),
            Reason::Path => StatusCode::BAD_REQUEST,
            Reason::IdempotencyKey(fault) => fault.status(),
        }
    }

    /// The limits that denied it: empty when it is refused for another reason.
    pub fn violated(&self) -> impl Iterator<Item = Violated<'a>> {
        let denied = match self.reason {
            Reason::Denied(denied) => Some(denied),
            _ => None,
        };
        denied.into_iter().flat_map(|denied| {
            denied.denial.violated().filter_map(move |status| {
                let place = *denied.places.get(status.item())?;
                Some(Violated { limit: denied.limits.get(place as usize)?, status })
            })
        })
    }

    /// Of the limits that denied it the one that does so for longest.
    pub fn limit(&self) -> Option<Violated<'a>> {
        self.violated().max_by_key(|violated| violated.status.denied())
    }

    /// A word for programs: that of the [limit](Refusal::limit), such as `DAILY_QUOTA_EXCEEDED`; else
    /// `LIMITER_UNAVAILABLE`, `USER_MISSING`, `KEY_MISSING`, `KEY_TOO_LONG`, `PATH_UNCLEAR`, `LIMITER_MISUSED`, or
    /// `IDEMPOTENCY_KEY_MISSING`, `_MALFORMED`, `_REPLAYED` or `_REUSED`.
    pub fn code(&self) -> &'a str {
        match &self.reason {
            Reason::Denied(_) => self.limit().map_or("RATE_LIMIT_EXCEEDED", |violated| violated.limit.code()),
            Reason::Trouble(error) if error.is_retryable() => "LIMITER_UNAVAILABLE",
            Reason::Trouble(_) => "LIMITER_MISUSED",
            Reason::MissingKey(key) if key.is_too_long() => "KEY_TOO_LONG",
            Reason::MissingKey(key) if key.source().is_user() => "USER_MISSING",
            Reason::MissingKey(_) => "KEY_MISSING",
            Reason::Path => "PATH_UNCLEAR",
            Reason::IdempotencyKey(fault) => fault.code(),
        }
    }

    /// The wait until the same request would be let through, absent other traffic; `None` when it never will be, or
    /// nobody knows.
    pub fn retry_after(&self) -> Option<Duration> {
        match &self.reason {
            Reason::Denied(denied) => denied.denial.retry_after(),
            _ => None,
        }
    }

    /// The same in whole seconds, rounded up, as `Retry-After` says it: never too early, never 0.
    pub fn retry_after_seconds(&self) -> Option<u64> {
        self.retry_after().map(|wait| seconds(wait.as_micros() as u64).max(1))
    }

    /// The store's trouble, where that is the reason.
    pub fn error(&self) -> Option<&'a Error> {
        match self.reason {
            Reason::Trouble(error) => Some(error),
            _ => None,
        }
    }

    /// What is missing, as rules write it (`user`, `header:x-tenant`), where that is the reason.
    pub fn missing_key(&self) -> Option<String> {
        match &self.reason {
            Reason::MissingKey(key) => Some(key.source().to_string()),
            _ => None,
        }
    }

    /// The reason for people: `Rate limit exceeded for /generate (10/month). Try again in 31 seconds.`
    pub fn detail(&self) -> String {
        match &self.reason {
            Reason::Denied(_) => {
                let limits: Vec<_> =
                    self.violated().map(|violated| format!("{} ({})", violated.name(), violated.policy())).collect();
                let advice = match self.retry_after_seconds() {
                    Some(1) => "Try again in 1 second.".to_owned(),
                    Some(seconds) => format!("Try again in {seconds} seconds."),
                    None => "It asks for more than the limit allows at all.".to_owned(),
                };
                format!("Rate limit exceeded for {}. {advice}", limits.join(" and "))
            }
            Reason::Trouble(error) if error.is_retryable() => {
                format!("Requests to {} cannot be counted at the moment. Try again later.", self.rule)
            }
            Reason::Trouble(_) => format!("Requests to {} cannot be counted.", self.rule),
            Reason::MissingKey(key) if key.is_too_long() => {
                format!("Requests to {} are limited by {}, which is too long here.", self.rule, key.source())
            }
            Reason::MissingKey(key) => {
                format!("Requests to {} are limited by {}, which is missing.", self.rule, key.source())
            }
            Reason::Path => "The path can be read in too many ways.".to_owned(),
            Reason::IdempotencyKey(fault) => fault.detail().to_owned(),
        }
    }
}

impl<'a> Violated<'a> {
    /// The limit's name.
    pub fn name(&self) -> &'a str {
        self.limit.limit().name()
    }

    /// Its policy, as the rules write it: `10/month`.
    pub fn policy(&self) -> &'a str {
        self.limit.policy()
    }

    /// A word for programs: `DAILY_QUOTA_EXCEEDED`.
    pub fn code(&self) -> &'a str {
        self.limit.code()
    }

    /// Its quota, what remains of it and when it is free again.
    pub fn status(&self) -> Status {
        *self.status
    }

    /// The wait until it would admit the request; `None` when it never will.
    pub fn retry_after(&self) -> Option<Duration> {
        self.status.denied().and_then(Retry::duration)
    }
}

/// Whole seconds, rounded up.
pub(crate) fn seconds(micros: u64) -> u64 {
    micros.div_ceil(1_000_000)
}
