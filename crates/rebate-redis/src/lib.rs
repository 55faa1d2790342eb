//! The Redis and Valkey store of [Rebate](https://docs.rs/rebate): every decision in one round trip.
#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod charge;
mod item;
mod keys;
mod late;
mod library;
mod link;
mod list;
mod look;
mod refund;
mod settle;
mod shared;
mod store;
mod view;

pub use link::{Connection, Settings};
pub use list::{CountsPage, ListedCount};
pub use store::{RedisStore, RedisStoreBuilder};
