//! A store for the tests: the worked example of rebate-conformance.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test uses some of it")]

#[path = "../../../rebate-conformance/examples/own_store.rs"]
mod own_store;

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

pub use own_store::OwnStore;
use rebate_core::{Decision, Denial, Error, Limiter, ManualClock, Receipt, Timestamp};

/// Noon of 14 November 2023, UTC.
pub const NOON: Timestamp = Timestamp::from_secs(1_699_963_200);

pub fn limiter() -> (Limiter<OwnStore<ManualClock>>, ManualClock) {
    let clock = ManualClock::at(NOON);
    (Limiter::new(OwnStore::new(clock.clone())), clock)
}

#[track_caller]
pub fn allowed(decision: Result<Decision, Error>) -> Receipt {
    decision.expect("no trouble").receipt().expect("an admission")
}

#[track_caller]
pub fn denied(decision: Result<Decision, Error>) -> Denial {
    decision.expect("no trouble").denial().expect("a denial")
}

/// Runs a future that never waits.
pub fn run<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("it waited"),
    }
}
