//! What a request was charged: one slot, shared by the handler and the layer.

mod slot;
mod totals;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use http::Extensions;
use rebate_core::{Error, Receipt, Refund, Settlement, Shortfall, Status};

pub(crate) use slot::{Place, Slot, Statuses, Terms};

/// What became of a request's charge: a handle that the layer puts into the extensions of every request that it
/// charged. Cheap to clone; clones share the charge.
///
/// What is left alone is the layer's: it refunds by the response, as the settings say. A handler may refund, settle,
/// [keep](Charged::keep) or [take](Charged::take) the charge before; the headers of the response say what
/// came of it. The handle may outlive the request: a task that is spawned can still refund.
///
/// ```
/// use rebate_tower::Charged;
///
/// async fn generate<B>(request: http::Request<B>) -> Result<(), rebate_core::Error> {
///     let charged = Charged::of(request.extensions());
///     if !queue_has_room() {
///         charged.refund().await?;
///     }
///     Ok(())
/// }
/// # fn queue_has_room() -> bool { true }
/// ```
#[derive(Clone, Default)]
pub struct Charged {
    slot: Option<Arc<dyn AnySlot>>,
}

/// A future in a box.
pub(crate) type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A slot whose store's type is not known.
pub(crate) trait AnySlot: Send + Sync {
    fn refund(self: Arc<Self>, total: u64) -> BoxFuture<Result<Option<Refund>, Error>>;
    fn refund_by_trailers(self: Arc<Self>, status: u32) -> Option<BoxFuture<()>>;
    fn settle(self: Arc<Self>, cost: u64, shortfall: Shortfall) -> BoxFuture<Result<Option<Settlement>, Error>>;
    fn token(&self) -> Option<Result<String, Error>>;
    fn take(&self) -> Option<Receipt>;
    fn keep(&self);
    fn is_charged(&self) -> bool;
    fn is_replay(&self) -> bool;
    fn statuses(&self) -> Statuses;
}

impl Charged {
    pub(crate) fn new(slot: Arc<dyn AnySlot>) -> Self {
        Charged { slot: Some(slot) }
    }

    /// The handle of the request with these extensions. Of one that no layer charged it is a handle of nothing.
    pub fn of(extensions: &Extensions) -> Self {
        extensions.get::<Charged>().cloned().unwrap_or_default()
    }

    /// Whether there is a charge to decide about: the request was charged, nobody has taken the receipt, and not all was
    /// given back. A request that passed because the store was away was not.
    pub fn is_charged(&self) -> bool {
        self.slot.as_ref().is_some_and(|slot| slot.is_charged())
    }

    /// Whether an idempotency key found the charge already made: another request was billed for it, and nothing gives it
    /// back by itself. What this handle is told to give back is that request's: ask before.
    pub fn is_replay(&self) -> bool {
        self.slot.as_ref().is_some_and(|slot| slot.is_replay())
    }

    /// Quota, remaining and reset of each limit charged, as last heard: after a refund or settlement by this handle,
    /// those after it.
    pub fn statuses(&self) -> Vec<Status> {
        self.slot.as_ref().map_or_else(Vec::new, |slot| slot.statuses().into_vec())
    }

    /// Gives back all that was charged. `None`, and a warning in the log, when nothing was charged or the receipt was
    /// taken; `None` also when the client has gone and the layer handed the charge back to the store. Repeating it
    /// changes nothing; nor does it when the layer refunds too. Dropped half-way it is carried out when the request ends.
    ///
    /// # Errors
    /// See [`Error`]; the charge is as refundable as before.
    pub async fn refund(&self) -> Result<Option<Refund>, Error> {
        self.refund_up_to(u64::MAX).await
    }

    /// Gives back units of every limit until `total` of each have been given back in all; of one that a settlement
    /// topped up, what came last goes first.
    ///
    /// # Errors
    /// As [`Charged::refund`].
    pub async fn refund_up_to(&self, total: u64) -> Result<Option<Refund>, Error> {
        match &self.slot {
            Some(slot) => Arc::clone(slot).refund(total).await,
            None => {
                crate::observe::nothing_charged(None);
                Ok(None)
            }
        }
    }

    /// A gRPC status came with the trailers: gives back if the rules say so. The future, if there is one, is the refund.
    pub(crate) fn refund_by_trailers(self, status: u32) -> Option<BoxFuture<()>> {
        self.slot?.refund_by_trailers(status)
    }

    /// Makes the charge cost `cost` of each limit: gives back what was too much, or charges what is missing. `None`
    /// when nothing was charged or the receipt was taken.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn settle(&self, cost: u64, shortfall: Shortfall) -> Result<Option<Settlement>, Error> {
        match &self.slot {
            Some(slot) => Arc::clone(slot).settle(cost, shortfall).await,
            None => Ok(None),
        }
    }

    /// The receipt as [text](rebate_core::Limiter::token), to store with the work it paid for; another process can
    /// refund it. The layer goes on deciding by the response, unless the charge is [kept](Charged::keep) as well.
    /// `None` when nothing was charged or the receipt was taken, or while another clone refunds or settles.
    ///
    /// # Errors
    /// As [`Limiter::token`](rebate_core::Limiter::token).
    pub fn token(&self) -> Result<Option<String>, Error> {
        self.slot.as_ref().and_then(|slot| slot.token()).transpose()
    }

    /// Takes the receipt out: from here on it is the caller's, and the layer refunds nothing, whatever becomes of the
    /// request. `None` when nothing was charged, or it was taken before, or while another clone refunds or settles.
    pub fn take(&self) -> Option<Receipt> {
        self.slot.as_ref()?.take()
    }

    /// From here on the layer refunds nothing by itself, whatever becomes of the request. The handle goes on
    /// working: only it decides.
    pub fn keep(&self) {
        if let Some(slot) = &self.slot {
            slot.keep();
        }
    }
}

impl fmt::Debug for Charged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Charged").field("is_charged", &self.is_charged()).finish_non_exhaustive()
    }
}
