//! What is reported, for programs.

use std::collections::BTreeMap;

use rebate::Timestamp;
use serde::Serialize;

use super::decide::{DeniedKey, Tally};
use crate::arguments::ReplayArguments;

/// The report. Its JSON form is a promise to those who read it by program.
#[derive(Serialize)]
pub(crate) struct Report {
    pub(crate) source: String,
    /// What the key is: `ip`, or a field of JSON lines.
    pub(crate) key: String,
    pub(crate) lines: u64,
    pub(crate) requests: u64,
    pub(crate) keys: u64,
    /// Requests admitted, whether or not refunded.
    pub(crate) allowed: u64,
    pub(crate) denied: u64,
    pub(crate) denied_keys: u64,
    /// Requests refunded.
    pub(crate) refunded: u64,
    pub(crate) bad_lines: u64,
    /// Lines whose key is `-` or null; not charged and no requests here.
    pub(crate) without_key: u64,
    /// The first request's time and the last one's.
    pub(crate) first: Option<String>,
    pub(crate) last: Option<String>,
    pub(crate) tolerate_percent: f64,
    /// How many keys that is.
    pub(crate) tolerated_keys: u64,
    pub(crate) limits: Vec<LimitReport>,
    pub(crate) most_denied: Vec<KeyReport>,
}

/// What became of one limit.
#[derive(Serialize)]
pub(crate) struct LimitReport {
    /// Its name.
    pub(crate) limit: String,
    pub(crate) policy: String,
    /// Units charged, whether or not refunded.
    pub(crate) charged: u64,
    /// Requests that this limit would not admit.
    pub(crate) denied: u64,
    pub(crate) denied_keys: u64,
    /// Units refunded.
    pub(crate) refunded: u64,
    /// By itself; null where no quota that can be built is large enough.
    pub(crate) smallest_quota: Option<u64>,
    /// The policy with that quota.
    pub(crate) smallest_policy: Option<String>,
}

/// A key that was denied something.
#[derive(Serialize)]
pub(crate) struct KeyReport {
    /// As text: bytes that are not UTF-8 are replaced.
    pub(crate) key: String,
    pub(crate) requests: u64,
    pub(crate) denied: u64,
    pub(crate) denied_by: BTreeMap<String, u64>,
    /// When it was denied first and last.
    pub(crate) first: String,
    pub(crate) last: String,
    /// For how long any request of it would have been denied.
    pub(crate) shut_out_seconds: f64,
}

/// What is known of the log's lines.
pub(crate) struct Lines {
    pub(crate) lines: u64,
    pub(crate) bad_lines: u64,
    pub(crate) without_key: u64,
    pub(crate) keys: u64,
}

impl Report {
    pub(crate) fn new(arguments: &ReplayArguments, source: &str, tally: Tally, lines: Lines) -> Self {
        let tolerated_keys = arguments.tolerate.of(lines.keys);
        let limits = arguments.limits.iter().zip(&tally.limits).map(|(limit, answers)| {
            let smallest_quota = answers.needs.smallest(tolerated_keys);
            LimitReport {
                limit: limit.name().to_owned(),
                policy: limit.policy().to_string(),
                charged: answers.charged,
                denied: answers.denied,
                denied_keys: answers.denied_keys,
                refunded: answers.refunded,
                smallest_quota,
                smallest_policy: smallest_quota
                    .and_then(|quota| limit.policy().with_quota(quota).ok())
                    .map(|policy| policy.to_string()),
            }
        });
        let named = |key: DeniedKey| KeyReport {
            key: String::from_utf8_lossy(&key.key).into_owned(),
            requests: key.requests,
            denied: key.denied,
            denied_by: arguments.limits.iter().map(|limit| limit.name().to_owned()).zip(key.denied_by).collect(),
            first: moment(key.first),
            last: moment(key.last),
            shut_out_seconds: key.shut_out as f64 / 1e6,
        };
        Report {
            source: source.to_owned(),
            key: arguments.key_label(),
            lines: lines.lines,
            requests: tally.allowed + tally.denied,
            keys: lines.keys,
            allowed: tally.allowed,
            denied: tally.denied,
            denied_keys: tally.denied_keys,
            refunded: tally.refunded,
            bad_lines: lines.bad_lines,
            without_key: lines.without_key,
            first: tally.span.map(|(first, _)| moment(first)),
            last: tally.span.map(|(_, last)| moment(last)),
            tolerate_percent: arguments.tolerate.percent(),
            tolerated_keys,
            limits: limits.collect(),
            most_denied: tally.most_denied.into_iter().map(named).collect(),
        }
    }

    /// One object, on lines that people can read too.
    pub(crate) fn json(&self) -> String {
        // Nothing in it can fail: no maps with other keys than text, no numbers that are not finite.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }
}

pub(crate) fn moment(micros: u64) -> String {
    Timestamp::from_micros(micros).to_string()
}
