//! The example store, every answer against the model's.

#[path = "../examples/own_store.rs"]
#[expect(dead_code, reason = "the example's main function")]
#[allow(unreachable_pub, reason = "public in an example of its own")]
mod own_store;

use std::future::Future;

use own_store::OwnStore;
use rebate_conformance::{Capabilities, Harness, differential, run_at_once};
use rebate_core::ManualClock;

struct Own;

impl Harness for Own {
    type Store = OwnStore<ManualClock>;

    fn store(&self, clock: &ManualClock) -> Self::Store {
        OwnStore::new(clock.clone())
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

#[test]
fn every_answer_is_the_models() {
    differential(&Own, 300);
}
