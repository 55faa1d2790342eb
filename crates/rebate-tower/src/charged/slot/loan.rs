//! A receipt that is out of its slot while a store is asked about it.

use std::mem;
use std::sync::Arc;

use rebate_core::{Error, Receipt, Refund, Settlement, Shortfall, Store};

use super::Slot;
use super::held::{Place, refundable};
use crate::charged::totals::totals;
use crate::observe::{self, Cause, Stopwatch};

/// A receipt that is out for a refund or settlement. However that ends, answered or dropped half-way, it comes back.
pub(super) struct Loan<S: Store> {
    pub(super) slot: Arc<Slot<S>>,
    /// `None` once it is back.
    receipt: Option<Receipt>,
    /// Why the whole of it is being given back, until that is answered.
    begun: Option<Cause>,
}

const BROUGHT_BACK: &str = "a loan has its receipt until it ends";

impl<S: Store> Loan<S> {
    pub(super) fn new(slot: Arc<Slot<S>>, receipt: Receipt) -> Self {
        Loan { slot, receipt: Some(receipt), begun: None }
    }

    /// From here on a whole refund is decided, and carried out whatever becomes of this loan.
    pub(super) fn begins(&mut self, cause: Cause) {
        self.begun = Some(cause);
    }

    pub(super) async fn refund(&mut self, cause: Cause, total: u64) -> Result<Refund, Error> {
        let Loan { slot, receipt, begun } = self;
        let receipt = receipt.as_mut().expect(BROUGHT_BACK);
        let totals = totals(receipt, total);
        // The store can be handed no part of one: that is left where it is when it is dropped.
        let whole = receipt.parts().iter().zip(&totals).all(|(part, total)| part.cost <= *total);
        *begun = whole.then_some(cause);
        slot.held.lock().asked = false;
        let watch = Stopwatch::start();
        let answer = slot.shared.limiter.refund_parts(receipt, &totals).await;
        *begun = None;
        slot.held.lock().heard_of(&answer);
        observe::refund(&slot.shared, slot.terms.rule(&slot.shared), cause, receipt, watch, &answer);
        answer
    }

    pub(super) async fn settle(&mut self, cost: u64, shortfall: Shortfall) -> Result<Settlement, Error> {
        let receipt = self.receipt.as_mut().expect(BROUGHT_BACK);
        self.slot.held.lock().asked = false;
        let settlement = self.slot.shared.limiter.settle(receipt, cost, shortfall).await?;
        if let Settlement::Settled(settled) = &settlement {
            self.slot.held.lock().heard(settled.parts.iter().map(|part| part.status));
        }
        Ok(settlement)
    }

    /// Puts the receipt back into its slot, when what was decided in the meantime is done.
    pub(super) async fn bring_back(mut self) {
        while let Some(cause) = self.decided() {
            if self.receipt.as_ref().is_some_and(refundable) {
                // What came of it is logged.
                let _told = self.refund(cause, u64::MAX).await;
            }
        }
    }

    /// What was decided while the receipt was out.
    fn decided(&self) -> Option<Cause> {
        match &mut self.slot.held.lock().place {
            Place::Out { decided, .. } => decided.take(),
            _ => None,
        }
    }
}

impl<S: Store> Drop for Loan<S> {
    fn drop(&mut self) {
        let Some(receipt) = mem::take(&mut self.receipt) else { return };
        let Slot { shared, terms, held, .. } = &*self.slot;
        let waiting = held.lock().brought_back(shared, terms, receipt, self.begun);
        for waker in waiting {
            waker.wake();
        }
    }
}
