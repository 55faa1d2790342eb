//! The core of Rebate, a rate limiter whose refunds are as sound as its charges.
//!
//! Services depend on the crate `rebate`, which re-exports this one. This crate holds limits and their
//! text form, the algorithms as pure functions, receipts and their tokens, the [`Store`] contract and
//! the [`Limiter`]; no I/O and no runtime.
#![deny(missing_docs)]
#![forbid(unsafe_code)]

pub mod algorithm;
mod any_store;
mod calendar;
mod clock;
pub mod count;
mod decision;
pub mod engine;
mod error;
mod few;
mod guard;
mod key;
mod limit;
mod limiter;
mod marks;
mod policy;
mod receipt;
mod reserved;
mod store;
mod time;
mod token;
mod usage;

pub use any_store::AnyStore;
pub use calendar::{Calendar, CalendarUnit};
pub use clock::{Clock, ManualClock, SystemClock};
pub use count::Held;
pub use decision::{
    Decision, Denial, Lease, PartRefund, PartRenewal, PartSettled, Refund, Renewal, Retry, Settled, Settlement,
    Shortfall, Status, Unchecked,
};
pub use error::Error;
pub use guard::Guard;
pub use key::{Key, KeyRef, MAX_KEY_BYTES, PackedKey, pack};
pub use limit::{Fallback, Identity, Limit, LimitIndex, MAX_NAME_BYTES, MAX_STORE_NAME_BYTES};
pub use limiter::Limiter;
pub use marks::{Credit, MAX_UNIT, Marks, REMEMBERED, Run, Units};
pub use policy::{Algorithm, MAX_QUOTA, MAX_SLIDING_QUOTA, MAX_WINDOW, Policy};
pub use receipt::{IdempotencyNote, LimitRef, Part, Receipt};
pub use reserved::{Reservation, Reservations};
pub use store::{
    ChargeRequest, Cursor, Idempotency, Item, ListRequest, Page, RefundRequest, SettleReply, SettleRequest, Statuses,
    Store, SyncStore,
};
pub use time::Timestamp;
pub use usage::Usage;
