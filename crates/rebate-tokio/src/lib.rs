//! What a service that runs on tokio does with receipts in the background: [`Hold`] renews leases while work runs and releases
//! them however it ends, [`Metered`] settles an estimate at its true cost however its stream ends, [`Plans`] asks for each
//! subject's limits once and keeps the answer for a while.
//!
//! Needs a tokio runtime with its time enabled, as `#[tokio::main]` makes it.
//!
//! ```
//! use rebate_core::{Decision, Item, Limiter};
//! use rebate_memory::MemoryStore;
//! use rebate_tokio::Hold;
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), rebate_core::Error> {
//! let limiter = Limiter::new(MemoryStore::new());
//! let at_once = limiter.limit("at-once", "3 at once for 1m")?;
//! let day = limiter.limit("day", "50/day")?;
//! let both = [Item::new(&at_once, "user:42"), Item::new(&day, "user:42")];
//! if let Decision::Allowed(receipt) = limiter.charge_all(&both).await? {
//!     let hold = Hold::new(&limiter, receipt)?;
//!     tokio::select! {
//!         () = work() => println!("done"),
//!         () = hold.lost() => println!("the place is another's now: stop"),
//!     }
//!     hold.release().await?; // So would the drop, a panic or a cancelled task.
//! }
//! assert_eq!(limiter.peek(&at_once, "user:42").await?.used(), 0);
//! assert_eq!(limiter.peek(&day, "user:42").await?.used(), 1);
//! # Ok(()) }
//! # async fn work() {}
//! ```
#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod again;
mod hold;
mod metered;
mod plans;

pub use hold::Hold;
pub use metered::Metered;
pub use plans::Plans;
