//! The slot behind a handle.

mod held;
mod loan;

use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::{Context, Poll};

use http::HeaderMap;
use parking_lot::Mutex;
use rebate_core::{Error, Receipt, Refund, Settlement, Shortfall, Status, Store};
use smallvec::SmallVec;

use super::{AnySlot, BoxFuture};
use crate::layer::Shared;
use crate::observe::{self, Cause};
use held::Held;
pub(crate) use held::Place;
use loan::Loan;

/// Quota, remaining and reset of each limit.
pub(crate) type Statuses = SmallVec<[Status; 3]>;

/// By what a request is charged, without borrowing the rules.
pub(crate) struct Terms {
    /// The places of its rules.
    pub(crate) rules: SmallVec<[u32; 1]>,
    /// The place of each item's limit.
    pub(crate) limits: SmallVec<[u32; 4]>,
}

/// What one request was charged, and who decides about it.
pub(crate) struct Slot<S: Store> {
    pub(crate) shared: Arc<Shared<S>>,
    pub(crate) terms: Terms,
    /// Whether the charge was made before, by another request.
    pub(crate) replay: bool,
    /// Held for moments only, never while a store is awaited: whoever finds it locked waits, and then reads in it what
    /// the others are about. A receipt that a store is asked about is out on loan meanwhile.
    held: Mutex<Held>,
}

impl<S: Store> Slot<S> {
    #[inline(always)]
    pub(crate) fn new(shared: Arc<Shared<S>>, terms: Terms, place: Place) -> Self {
        let replay = matches!(&place, Place::Here(receipt) if receipt.is_replay());
        Slot { shared, terms, replay, held: Mutex::new(Held::new(place)) }
    }

    /// The request is answered: refunds if there is a cause, and then writes the headers. The future, if there is
    /// one, has to be awaited for the statuses to write; dropped, it hands the charge back.
    pub(crate) fn conclude(
        self: &mut Arc<Self>,
        cause: Option<Cause>,
        headers: Option<&mut HeaderMap>,
    ) -> Option<BoxFuture<Statuses>> {
        let awaited = if let Some(slot) = Arc::get_mut(self) {
            // The handler's handles are gone, as they most often are by then: no lock.
            let Slot { shared, terms, held, .. } = slot;
            held.get_mut().conclude(shared, terms, cause, headers)
        } else {
            self.held.lock().conclude(&self.shared, &self.terms, cause, headers)
        };
        let (cause, receipt) = awaited?;
        let mut loan = Loan::new(Arc::clone(self), receipt);
        loan.begins(cause);
        Some(Box::pin(async move {
            // What came of it is logged.
            let _told = loan.refund(cause, u64::MAX).await;
            let slot = Arc::clone(&loan.slot);
            loan.bring_back().await;
            slot.statuses()
        }))
    }

    /// The request will not be answered: gives back what is there, without waiting, if there is a cause or it was asked
    /// for by hand.
    pub(crate) fn give_up(&self, cause: Option<Cause>) {
        self.held.lock().give_up(&self.shared, &self.terms, cause);
    }

    pub(crate) fn write(&self, statuses: &[Status], headers: &mut HeaderMap) {
        self.shared.write(&self.terms, statuses, headers);
    }

    /// The receipt, as soon as nobody else has it out. `None` when there is none.
    fn lend(self: Arc<Self>) -> impl Future<Output = Option<Loan<S>>> + Send {
        let poll = move |context: &mut Context<'_>| {
            let mut held = self.held.lock();
            if let Place::Out { waiting, .. } = &mut held.place {
                if !waiting.iter().any(|waker| waker.will_wake(context.waker())) {
                    waiting.push(context.waker().clone());
                }
                return Poll::Pending;
            }
            let receipt = held.lend();
            drop(held);
            Poll::Ready(receipt.map(|receipt| Loan::new(Arc::clone(&self), receipt)))
        };
        poll_fn(poll)
    }
}

impl<S: Store> AnySlot for Slot<S> {
    fn refund(self: Arc<Self>, total: u64) -> BoxFuture<Result<Option<Refund>, Error>> {
        Box::pin(async move {
            let Some(mut loan) = Arc::clone(&self).lend().await else {
                if !self.held.lock().was_handed_back() {
                    observe::nothing_charged(Some(self.terms.rule(&self.shared)));
                }
                return Ok(None);
            };
            let answer = loan.refund(Cause::Handler, total).await;
            loan.bring_back().await;
            answer.map(Some)
        })
    }

    fn refund_by_trailers(mut self: Arc<Self>, status: u32) -> Option<BoxFuture<()>> {
        let cause = self.shared.refund_by_grpc(&self.terms.rules, status)?;
        let refund = self.conclude(Some(cause), None)?;
        Some(Box::pin(async move { drop(refund.await) }))
    }

    fn settle(self: Arc<Self>, cost: u64, shortfall: Shortfall) -> BoxFuture<Result<Option<Settlement>, Error>> {
        Box::pin(async move {
            let Some(mut loan) = self.lend().await else { return Ok(None) };
            let answer = loan.settle(cost, shortfall).await;
            loan.bring_back().await;
            answer.map(Some)
        })
    }

    fn token(&self) -> Option<Result<String, Error>> {
        self.held.lock().receipt().map(|receipt| self.shared.limiter.token(receipt))
    }

    fn take(&self) -> Option<Receipt> {
        self.held.lock().take()
    }

    fn keep(&self) {
        self.held.lock().keep();
    }

    fn is_charged(&self) -> bool {
        self.held.lock().is_charged()
    }

    fn is_replay(&self) -> bool {
        self.replay
    }

    fn statuses(&self) -> Statuses {
        self.held.lock().statuses().iter().copied().collect()
    }
}
