//! How the suite gets at a store.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use rebate_core::{ManualClock, Store};

/// Gives the suite fresh stores, bound to a clock that it moves.
pub trait Harness: Send + Sync + 'static {
    /// The store under test.
    type Store: Store;

    /// An empty store, named as its kind is always named, that reads `clock`. Stores of two calls share
    /// nothing.
    fn store(&self, clock: &ManualClock) -> Self::Store;

    /// The same with room for about `bytes` of state; `None` where a store has no cap of its own.
    fn capped_store(&self, clock: &ManualClock, bytes: usize) -> Option<Self::Store>;

    /// Runs a future of the store to its end.
    fn block_on<F: Future>(&self, future: F) -> F::Output;

    /// Whether the store may have forgotten an expired count that a clock which steps back would bring to
    /// life again. Law 12 allows it; the differential test's clock then never steps back.
    fn forgets_expired(&self) -> bool {
        false
    }

    /// What the store can do.
    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }
}

/// What a store can do. A case that needs what is missing is reported as ignored, with the reason.
#[derive(Clone, Copy, Debug)]
pub struct Capabilities {
    /// Whether keys of different groups can be charged together. If not, the differential test takes the error
    /// that says so for an answer, and charges within one group instead.
    pub across_groups: bool,
    /// Whether there is a cap on memory ([`Harness::capped_store`]).
    pub memory_cap: bool,
}

impl Default for Capabilities {
    /// Everything.
    fn default() -> Self {
        Capabilities { across_groups: true, memory_cap: true }
    }
}

/// Runs a future that never waits, as those of a synchronous store do.
///
/// # Panics
/// When the future waits all the same.
pub fn run_at_once<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("a synchronous store's future waited"),
    }
}
