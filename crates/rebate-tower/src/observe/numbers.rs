//! Counters and histograms of the `metrics` crate. No key of a client is in a label.

use std::time::Instant;

use metrics::{Key, Label, Level, Metadata, with_recorder};
use rebate_core::{Decision, Error, Refund};
use rebate_rules::RuleLimit;

use crate::charged::Terms;

static METADATA: Metadata<'static> = Metadata::new(module_path!(), Level::INFO, Some(module_path!()));

const DECISIONS: &str = "rebate_decisions_total";
const REFUNDS: &str = "rebate_refunds_total";
const KEYS_MISSING: &str = "rebate_keys_missing_total";
const STORE_SECONDS: &str = "rebate_store_duration_seconds";
const STORE_FAILURES: &str = "rebate_store_failures_total";

/// Since when a store has been asked.
#[derive(Clone, Copy)]
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    pub(crate) fn start() -> Self {
        Stopwatch(Instant::now())
    }
}

/// The counters of each limit, named beforehand. They are looked up with every request all the same: who records them
/// may come later than the layer.
pub(crate) struct Numbers {
    limits: Box<[[Key; 5]]>,
    charge_seconds: Key,
}

/// Places in a limit's counters.
const ALLOWED: usize = 0;
const DENIED: usize = 1;
const UNCHECKED: usize = 2;
const UNAVAILABLE: usize = 3;
const REPLAYED: usize = 4;

impl Numbers {
    pub(crate) fn new(limits: &[RuleLimit]) -> Self {
        metrics::describe_counter!(
            DECISIONS,
            "Requests by limit and outcome: allowed, denied, unchecked, unavailable, replayed"
        );
        metrics::describe_counter!(
            REFUNDS,
            "Refunds by cause and outcome: done, nothing, expired, failed, handed_back, not_charged"
        );
        metrics::describe_counter!(KEYS_MISSING, "Requests refused because they lack the key to charge, by rule");
        metrics::describe_histogram!(
            STORE_SECONDS,
            metrics::Unit::Seconds,
            "How long stores took to answer, by operation"
        );
        metrics::describe_counter!(STORE_FAILURES, "Answers that stores failed to give, by operation and kind");
        let key = |limit: &RuleLimit, outcome: &'static str| {
            let limit = Label::new("limit", limit.limit().name().to_owned());
            Key::from_parts(DECISIONS, vec![limit, Label::from_static_parts("outcome", outcome)])
        };
        let outcomes = ["allowed", "denied", "unchecked", "unavailable", "replayed"];
        Numbers {
            limits: limits.iter().map(|limit| outcomes.map(|outcome| key(limit, outcome))).collect(),
            charge_seconds: seconds("charge"),
        }
    }

    /// Counts a decision for every limit that had a part in it: of a denial, for those that denied.
    pub(crate) fn decided(&self, terms: &Terms, answer: &Result<Decision, Error>, passes: bool) {
        let outcome = match answer {
            Ok(Decision::Allowed(receipt)) if receipt.is_replay() => REPLAYED,
            Ok(Decision::Allowed(_)) => ALLOWED,
            Ok(Decision::Denied(denial)) if denial.trouble().is_none() => {
                for violated in denial.violated() {
                    if let Some(&place) = terms.limits.get(violated.item()) {
                        count(&self.limits[place as usize][DENIED]);
                    }
                }
                return;
            }
            _ if passes => UNCHECKED,
            _ => UNAVAILABLE,
        };
        for &place in &terms.limits {
            count(&self.limits[place as usize][outcome]);
        }
    }

    /// A store was charged.
    pub(crate) fn charged(&self, watch: Stopwatch, answer: &Result<Decision, Error>) {
        asked(&self.charge_seconds, watch);
        let trouble = match answer {
            Ok(Decision::Allowed(_)) => None,
            Ok(Decision::Denied(denial)) => denial.trouble(),
            Ok(Decision::Unchecked(unchecked)) => Some(unchecked.error()),
            Err(error) => Some(error),
        };
        if let Some(error) = trouble {
            failed("charge", error);
        }
    }
}

/// A refund was answered.
pub(super) fn refund(cause: &'static str, watch: Stopwatch, answer: &Result<Refund, Error>) {
    asked(&seconds("refund"), watch);
    let outcome = match answer {
        Ok(refund) if refund.given_back() > 0 => "done",
        Ok(refund) if refund.any_expired() => "expired",
        Ok(_) => "nothing",
        Err(error) => {
            failed("refund", error);
            "failed"
        }
    };
    refunded(cause, outcome);
}

/// A request was refused because it lacks its key.
pub(super) fn key_missing(rule: &str) {
    count(&Key::from_parts(KEYS_MISSING, vec![Label::new("rule", rule.to_owned())]));
}

pub(super) fn handed_back(cause: &'static str) {
    refunded(cause, "handed_back");
}

pub(super) fn nothing_charged(cause: &'static str) {
    refunded(cause, "not_charged");
}

fn refunded(cause: &'static str, outcome: &'static str) {
    let labels = vec![Label::from_static_parts("cause", cause), Label::from_static_parts("outcome", outcome)];
    count(&Key::from_parts(REFUNDS, labels));
}

fn failed(operation: &'static str, error: &Error) {
    if error.is_invalid() || error.is_conflict() || error.is_cross_group() || error.is_other_store() {
        // The charge is wrong, not the store.
        return;
    }
    let kind = match () {
        () if error.is_unavailable() => "unavailable",
        () if error.is_full() => "full",
        () => "other",
    };
    let labels = vec![Label::from_static_parts("operation", operation), Label::from_static_parts("kind", kind)];
    count(&Key::from_parts(STORE_FAILURES, labels));
}

fn seconds(operation: &'static str) -> Key {
    Key::from_parts(STORE_SECONDS, vec![Label::from_static_parts("operation", operation)])
}

fn asked(seconds: &Key, watch: Stopwatch) {
    with_recorder(|recorder| recorder.register_histogram(seconds, &METADATA).record(watch.0.elapsed()));
}

fn count(key: &Key) {
    with_recorder(|recorder| recorder.register_counter(key, &METADATA).increment(1));
}
