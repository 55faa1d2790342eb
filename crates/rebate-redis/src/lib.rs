//! The Redis and Valkey store of [Rebate](https://docs.rs/rebate): every decision in one round trip.
#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod library;
mod link;
