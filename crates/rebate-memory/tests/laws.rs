//! The memory store under the whole suite, and every answer against the model's.

use std::future::Future;

use rebate_conformance::{Harness, differential, run_at_once, suite};
use rebate_core::{MAX_WINDOW, ManualClock};
use rebate_memory::MemoryStore;

struct Memory;

impl Harness for Memory {
    type Store = MemoryStore<ManualClock>;

    fn store(&self, clock: &ManualClock) -> Self::Store {
        MemoryStore::builder().clock(clock.clone()).build().expect("valid settings")
    }

    fn capped_store(&self, clock: &ManualClock, bytes: usize) -> Option<Self::Store> {
        let builder = MemoryStore::builder().clock(clock.clone()).capacity_bytes(bytes.max(4096));
        Some(builder.build().expect("valid settings"))
    }

    fn forgets_expired(&self) -> bool {
        true
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        run_at_once(future)
    }
}

suite!(Memory);

/// The store, forgetting nothing that has expired: under a clock that goes back and forth the model does not.
struct KeepsAll;

impl Harness for KeepsAll {
    type Store = MemoryStore<ManualClock>;

    fn store(&self, clock: &ManualClock) -> Self::Store {
        let builder = MemoryStore::builder().clock(clock.clone()).keep_expired(MAX_WINDOW);
        builder.build().expect("valid settings")
    }

    fn capped_store(&self, clock: &ManualClock, bytes: usize) -> Option<Self::Store> {
        Memory.capped_store(clock, bytes)
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        run_at_once(future)
    }
}

#[test]
fn every_answer_is_the_models() {
    differential(&KeepsAll, 300);
}

#[test]
fn forgetting_what_has_expired_changes_no_answer() {
    differential(&Memory, 300);
}
