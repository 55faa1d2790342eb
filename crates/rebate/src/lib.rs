#![doc = include_str!("../README.md")]
#![deny(missing_docs)]
#![forbid(unsafe_code)]

pub use rebate_core::*;
#[cfg(feature = "memory")]
pub use rebate_memory::{FastClock, MemoryStore, MemoryStoreBuilder};
#[cfg(feature = "redis")]
pub use rebate_redis::{
    Connection as RedisConnection, CountsPage, ListedCount, RedisStore, RedisStoreBuilder, Settings as RedisSettings,
};
#[cfg(feature = "rules")]
pub use rebate_rules as rules;
#[cfg(feature = "tokio")]
pub use rebate_tokio::{Hold, Metered, Plans};
#[cfg(feature = "tower")]
pub use rebate_tower as tower;
