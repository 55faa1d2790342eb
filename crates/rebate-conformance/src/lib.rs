//! The laws of Rebate as a test suite that any store can run.
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
