//! The library behind the program `rebate`.
//!
//! What is public here is for the program itself, its tests and its fuzz target: no promises are made
//! about it. Services depend on the crate `rebate`.
#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod arguments;
mod json;
mod leases;
mod peek;
mod refund;
mod replay;
mod rules;
mod show;
mod status;
mod store;
mod trouble;

pub use arguments::{Arguments, EXIT_STATUS, run};
pub use replay::parse::{BadLine, Format, KeyField, LineParser, ParsedLine, RequestLine, Shape, TimeUnit, parse_line};
