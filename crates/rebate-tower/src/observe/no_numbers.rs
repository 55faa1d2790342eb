//! In place of counters and histograms, without the feature `metrics`.

use rebate_core::{Decision, Error, Refund};
use rebate_rules::RuleLimit;

use crate::charged::Terms;

#[derive(Clone, Copy)]
pub(crate) struct Stopwatch;

impl Stopwatch {
    #[inline(always)]
    pub(crate) fn start() -> Self {
        Stopwatch
    }
}

pub(crate) struct Numbers;

impl Numbers {
    pub(crate) fn new(_limits: &[RuleLimit]) -> Self {
        Numbers
    }

    #[inline(always)]
    pub(crate) fn decided(&self, _terms: &Terms, _answer: &Result<Decision, Error>, _passes: bool) {}

    #[inline(always)]
    pub(crate) fn charged(&self, _watch: Stopwatch, _answer: &Result<Decision, Error>) {}
}

pub(super) fn refund(_cause: &'static str, _watch: Stopwatch, _answer: &Result<Refund, Error>) {}

pub(super) fn key_missing(_rule: &str) {}

pub(super) fn handed_back(_cause: &'static str) {}

pub(super) fn nothing_charged(_cause: &'static str) {}
