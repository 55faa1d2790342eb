//! Sequences of operations on the memory store, every answer against the model's.
#![no_main]

use std::future::Future;

use libfuzzer_sys::fuzz_target;
use rebate_conformance::{Harness, operations, run_at_once, run_sequence};
use rebate_core::ManualClock;
use rebate_memory::MemoryStore;

struct Memory;

impl Harness for Memory {
    type Store = MemoryStore<ManualClock>;

    fn store(&self, clock: &ManualClock) -> Self::Store {
        MemoryStore::builder().clock(clock.clone()).build().expect("the default name is good")
    }

    fn capped_store(&self, clock: &ManualClock, bytes: usize) -> Option<Self::Store> {
        MemoryStore::builder().clock(clock.clone()).capacity_bytes(bytes).build().ok()
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        run_at_once(future)
    }
}

fuzz_target!(|bytes: &[u8]| {
    let operations = operations(bytes);
    if let Err(difference) = run_sequence(&Memory, &operations) {
        panic!("store and model differ\n{difference}\nafter {operations:#?}");
    }
});
