//! The example store under the whole suite.

#[path = "../examples/own_store.rs"]
#[allow(dead_code, unreachable_pub, reason = "an example has a main")]
mod own_store;

use rebate_conformance::{Capabilities, Harness, run_at_once, suite};
use rebate_core::ManualClock;

struct Own;

impl Harness for Own {
    type Store = own_store::OwnStore<ManualClock>;

    fn store(&self, clock: &ManualClock) -> Self::Store {
        own_store::OwnStore::new(clock.clone())
    }

    fn capped_store(&self, _clock: &ManualClock, _bytes: usize) -> Option<Self::Store> {
        None
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        run_at_once(future)
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { memory_cap: false, ..Capabilities::default() }
    }
}

suite!(Own, without memory_cap: "the example grows as it needs to");
