//! What the benches share: the sides, their work, how it is measured and how it is told.
//!
//! See README.md beside this crate for what is measured and why it is fair.

pub mod arrivals;
pub mod fence;
pub mod http;
pub mod live_bytes;
pub mod measure;
pub mod scale;
pub mod server;
pub mod sides;
pub mod table;
pub mod targets;
pub mod workload;
