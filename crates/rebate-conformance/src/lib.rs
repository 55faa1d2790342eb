//! The laws of Rebate as a test suite that any store can run.
#![deny(missing_docs)]

pub mod broken;
mod harness;
pub mod suite;

pub use harness::{Capabilities, Harness, run_at_once};
