//! The memory store of Rebate: counts in this process, decided in some tens of nanoseconds.
//!
//! Counts lie in a sharded table of 64-byte entries, one cache line each, key included; what does not
//! fit an entry (long keys, logs, leases, counts with several runs of refunds) lies in maps
//! beside it, under the same lock. All state of one key is in one shard, whatever the limit.
//!
//! ```
//! use rebate_core::{Decision, Limiter};
//! use rebate_memory::MemoryStore;
//!
//! let limiter = Limiter::new(MemoryStore::new());
//! let limit = limiter.limit("generate", "10/month")?;
//! match limiter.charge_now(&limit, "user:42")? {
//!     Decision::Allowed(mut receipt) => {
//!         limiter.refund_now(&mut receipt)?;
//!     }
//!     Decision::Denied(denial) => println!("come back in {:?}", denial.retry_after()),
//!     Decision::Unchecked(_) => {}
//! }
//! # Ok::<(), rebate_core::Error>(())
//! ```
#![deny(missing_docs)]
#![deny(unsafe_code)]

mod budget;
mod charge;
mod clock;
mod entry;
mod locked;
mod several;
mod shard;
mod shards;
mod store;
mod sync;
mod table;

pub use clock::FastClock;
pub use store::{MemoryStore, MemoryStoreBuilder};
