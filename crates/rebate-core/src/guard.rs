//! Refund unless I say done.

use std::fmt;

use crate::limiter::Limiter;
use crate::receipt::Receipt;
use crate::store::Store;

/// Refunds its receipt whole when it is dropped, unless [`keep`](Guard::keep) is called before: on an
/// early return, a panic, or a future that is cancelled. On memory the refund has happened when the
/// drop returns.
///
/// A [replay](Receipt::is_replay) is left alone: only the request that was billed may lead to its refund.
#[must_use = "a guard that is dropped at once refunds at once"]
pub struct Guard<S: Store> {
    limiter: Limiter<S>,
    receipt: Option<Receipt>,
}

impl<S: Store> Guard<S> {
    pub(crate) fn new(limiter: Limiter<S>, receipt: Receipt) -> Self {
        Guard { limiter, receipt: Some(receipt) }
    }

    /// The work is done: keeps the charge and returns its receipt.
    pub fn keep(mut self) -> Receipt {
        match self.receipt.take() {
            Some(receipt) => receipt,
            // The receipt leaves only by `keep`, which consumes the guard, and by the drop.
            None => unreachable!("a guard holds its receipt until it is consumed"),
        }
    }

    /// The receipt, to settle or renew while the work goes on.
    pub fn receipt_mut(&mut self) -> &mut Receipt {
        match &mut self.receipt {
            Some(receipt) => receipt,
            None => unreachable!("a guard holds its receipt until it is consumed"),
        }
    }
}

impl<S: Store> Drop for Guard<S> {
    fn drop(&mut self) {
        if let Some(receipt) = self.receipt.take().filter(|receipt| !receipt.is_replay()) {
            self.limiter.store().hand_back(receipt);
        }
    }
}

impl<S: Store> fmt::Debug for Guard<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").field("receipt", &self.receipt).finish_non_exhaustive()
    }
}
