//! The laws of Rebate as a test suite that any store can run.
//!
//! - [`suite!`] makes a named test of every case of every law; LAWS.md lists them.
//! - [`broken`] holds stores that are each one step away from right, and that the suite must kill.
//! - [`differential`] runs random operations against a store and the [`model`], which shares no code with
//!   core's algorithms.
//!
//! # A store of your own, and its proof
//!
//! Whatever can hold the counts of one request for itself while it is decided, under a lock or in a
//! transaction, gets every law from [`rebate_core::engine`]: it implements
//! [`Counts`](rebate_core::engine::Counts), where counts are kept, and
//! [`Store`](rebate_core::Store), or [`SyncStore`](rebate_core::SyncStore) when it answers without
//! waiting. Below is all of `examples/own_store.rs`, such a store over maps; behind it, what `tests/own_store.rs`
//! proves it with: a [`Harness`], which says how to make a fresh store that reads a clock the suite
//! moves, and one line.
//!
//! What the store cannot do is said in two places that are checked against each other: in the harness'
//! [`Capabilities`], and to `suite!`, which then reports the cases that need it as ignored, with
//! the reason. A store that counts its bytes says no to a new count in
//! [`Counts::reserve`](rebate_core::engine::Counts::reserve), and leaves out nothing.
//!
//! ```
#![doc = include_str!("../examples/own_store.rs")]
//!
//! // In tests/own_store.rs, with the store above as a module.
//! use rebate_conformance::{Capabilities, Harness, run_at_once, suite};
//!
//! struct Own;
//!
//! impl Harness for Own {
//!     type Store = OwnStore<ManualClock>;
//!
//!     fn store(&self, clock: &ManualClock) -> Self::Store {
//!         OwnStore::new(clock.clone())
//!     }
//!
//!     fn capped_store(&self, _clock: &ManualClock, _bytes: usize) -> Option<Self::Store> {
//!         None
//!     }
//!
//!     fn block_on<F: Future>(&self, future: F) -> F::Output {
//!         run_at_once(future)
//!     }
//!
//!     fn capabilities(&self) -> Capabilities {
//!         Capabilities { memory_cap: false, ..Capabilities::default() }
//!     }
//! }
//!
//! suite!(Own, without memory_cap: "the example grows as it needs to");
//! ```
//!
//! What a store must do beyond its counts:
//!
//! - Answers that arrive when nobody waits for them any more are refunded, unless they bear an idempotency
//!   key (law 14). A store that never waits has none.
//! - [`Store::hand_back`](rebate_core::Store::hand_back) refunds from a drop, without waiting.
//! - What has expired may be forgotten ([`Held::expires_at`](rebate_core::Held::expires_at)); what has not
//!   may never be, however full the store is (law 12).
#![deny(missing_docs)]

pub mod answer;
pub mod broken;
mod differential;
mod harness;
pub mod model;
mod operations;
pub mod suite;

pub use differential::{Difference, differential, run_sequence};
pub use harness::{Capabilities, Harness, run_at_once};
pub use operations::{Bearing, Billed, Move, Operation, operations, sequences};
