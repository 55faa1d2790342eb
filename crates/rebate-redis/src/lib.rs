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
mod owing;
mod refund;
mod settle;
mod shared;
mod store;
mod view;

pub use link::{Connection, Settings};
pub use list::{CountsPage, ListedCount};
pub use store::{RedisStore, RedisStoreBuilder};

/// For the fuzzer: reads a stored state and asks all that is asked of one.
#[cfg(fuzzing)]
pub fn fuzz_state(bytes: &[u8], limit: &rebate_core::Limit, cost: u64, now: u64) {
    let Some(Some(mut view)) = view::View::read(bytes) else { return };
    let shape = item::Prepared::new(limit, 0).shape;
    // As it is, and as one of this very limit.
    for shape in [view.shape, shape] {
        view.shape = shape;
        let _ = (view.last(), view.expires_at(), view.own_status(Some(limit), now));
        let _ = view::status(Some(&view), limit, &shape, now);
        let _ = view::said(Some(&view), limit, &shape, cost, now);
        let _ = view::adoption(Some(&view), limit, &shape, now);
    }
}
