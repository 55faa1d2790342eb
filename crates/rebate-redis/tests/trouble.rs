//! Data lost, memory short, keys that are somebody else's, callers that go away: what it costs, on real servers.
//!
//! After each the next calls work or say plainly why not, every key of the server still expires, and no receipt of what was
//! lost is refunded into what came after.

/// What other programs of tests use too.
#[path = "support"]
mod support {
    pub(crate) mod away;
    pub(crate) mod random;
    pub(crate) mod scene;
    pub(crate) mod seed;
    pub(crate) mod steps;
}

#[path = "trouble/away.rs"]
mod away;
#[path = "trouble/data.rs"]
mod data;
#[path = "trouble/eviction.rs"]
mod eviction;
#[path = "trouble/foreign.rs"]
mod foreign;
#[path = "trouble/gone.rs"]
mod gone;
#[path = "trouble/loss.rs"]
mod loss;
#[path = "trouble/memory.rs"]
mod memory;
