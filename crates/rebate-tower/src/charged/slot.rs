//! The slot behind a handle.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::HeaderMap;
use rebate_core::{Error, Receipt, Refund, Settlement, Shortfall, Status, Store};
use rebate_rules::OnTrouble;
use smallvec::SmallVec;
use tokio::sync::Mutex;

use super::totals::totals;
use super::{AnySlot, BoxFuture};
use crate::layer::Shared;
use crate::observe::{self, Cause, Stopwatch};

/// Quota, remaining and reset of each limit.
pub(crate) type Statuses = SmallVec<[Status; 3]>;

/// By what a request is charged, without borrowing the rules.
pub(crate) struct Terms {
    /// The places of its rules.
    pub(crate) rules: SmallVec<[u32; 1]>,
    /// The place of each item's limit.
    pub(crate) limits: SmallVec<[u32; 4]>,
    pub(crate) on_unavailable: OnTrouble,
    pub(crate) on_full: OnTrouble,
}

/// What one request was charged, and who decides about it.
pub(crate) struct Slot<S: Store> {
    pub(crate) shared: Arc<Shared<S>>,
    pub(crate) terms: Terms,
    /// Whether the handler said that only it decides.
    kept: AtomicBool,
    /// Held while a refund or settlement is under way, so that one dropped half-way leaves the receipt in place. Its
    /// waiting needs no runtime.
    held: Mutex<Held>,
}

struct Held {
    /// `None` when nothing was charged or it was taken.
    receipt: Option<Receipt>,
    /// What was heard since the charge; empty as long as the receipt says it. In no place of its own, so that a slot
    /// is quick to move.
    latest: Vec<Status>,
}

impl Held {
    fn statuses(&self) -> &[Status] {
        match &self.receipt {
            Some(receipt) if self.latest.is_empty() => receipt.statuses(),
            _ => &self.latest,
        }
    }

    /// The receipt, if there is something that the layer may give back: law 8 leaves replays alone.
    fn refundable(&mut self) -> Option<&mut Receipt> {
        self.receipt.as_mut().filter(|receipt| !receipt.is_replay() && receipt.refunded() < receipt.cost())
    }

    fn heard(&mut self, statuses: impl Iterator<Item = Option<Status>>) {
        if self.latest.is_empty() {
            self.latest = self.statuses().to_vec();
        }
        for (known, heard) in self.latest.iter_mut().zip(statuses) {
            *known = heard.unwrap_or(*known);
        }
    }

    fn note_refund<S: Store>(
        &mut self,
        shared: &Shared<S>,
        terms: &Terms,
        cause: Cause,
        watch: Stopwatch,
        answer: &Result<Refund, Error>,
    ) {
        if let Ok(refund) = answer {
            self.heard(refund.parts.iter().map(|part| part.status));
        }
        if let Some(receipt) = &self.receipt {
            observe::refund(shared, terms.rule(shared), cause, receipt, watch, answer);
        }
    }
}

impl<S: Store> Slot<S> {
    #[inline]
    pub(crate) fn new(shared: Arc<Shared<S>>, terms: Terms, receipt: Option<Receipt>) -> Self {
        let held = Mutex::new(Held { receipt, latest: Vec::new() });
        Slot { shared, terms, kept: AtomicBool::new(false), held }
    }

    /// The request is answered: refunds if there is a cause, and then writes the headers. The future, if there is
    /// one, has to be awaited for the statuses to write.
    pub(crate) fn conclude(
        self: &mut Arc<Self>,
        cause: Option<Cause>,
        headers: Option<&mut HeaderMap>,
    ) -> Option<BoxFuture<Statuses>> {
        let cause = cause.filter(|_| !self.kept.load(Ordering::Acquire));
        let done = if let Some(slot) = Arc::get_mut(self) {
            // The handler's handles are gone, as they most often are by then: no lock.
            let Slot { shared, terms, held, .. } = slot;
            Self::conclude_at_once(shared, terms, held.get_mut(), cause, headers)
        } else {
            let held = self.held.try_lock();
            held.is_ok_and(|mut held| Self::conclude_at_once(&self.shared, &self.terms, &mut held, cause, headers))
        };
        if done {
            return None;
        }
        let slot = Arc::clone(self);
        Some(Box::pin(async move {
            let mut held = slot.held.lock().await;
            if let (Some(cause), Some(receipt)) = (cause, held.refundable()) {
                let watch = Stopwatch::start();
                let answer = slot.shared.limiter.refund(receipt).await;
                held.note_refund(&slot.shared, &slot.terms, cause, watch, &answer);
            }
            held.statuses().iter().copied().collect()
        }))
    }

    /// Does it without waiting; answers whether that was possible.
    fn conclude_at_once(
        shared: &Shared<S>,
        terms: &Terms,
        held: &mut Held,
        cause: Option<Cause>,
        headers: Option<&mut HeaderMap>,
    ) -> bool {
        if let (Some(cause), Some(receipt)) = (cause, held.refundable()) {
            let watch = Stopwatch::start();
            let Some(answer) = shared.limiter.refund_at_once(receipt) else { return false };
            held.note_refund(shared, terms, cause, watch, &answer);
        }
        if let Some(headers) = headers {
            shared.write(terms, held.statuses(), headers);
        }
        true
    }

    /// The request will not be answered: gives back what is there, without waiting.
    pub(crate) fn give_up(&self, cause: Cause) {
        if self.kept.load(Ordering::Acquire) {
            return;
        }
        // Whoever holds it is refunding or settling by hand, in a task that outlives the request.
        let Ok(mut held) = self.held.try_lock() else { return };
        let Some(receipt) = held.refundable() else { return };
        let watch = Stopwatch::start();
        match self.shared.limiter.refund_at_once(receipt) {
            Some(answer) => held.note_refund(&self.shared, &self.terms, cause, watch, &answer),
            None => {
                if let Some(receipt) = held.receipt.take() {
                    observe::handed_back(&self.shared, self.terms.rule(&self.shared), cause, &receipt);
                    self.shared.limiter.store().hand_back(receipt);
                }
            }
        }
    }

    pub(crate) fn write(&self, statuses: &[Status], headers: &mut HeaderMap) {
        self.shared.write(&self.terms, statuses, headers);
    }
}

impl<S: Store> AnySlot for Slot<S> {
    fn refund(self: Arc<Self>, total: u64) -> BoxFuture<Result<Option<Refund>, Error>> {
        Box::pin(async move {
            let mut held = self.held.lock().await;
            let Some(receipt) = &mut held.receipt else {
                observe::nothing_charged(Some(self.terms.rule(&self.shared)));
                return Ok(None);
            };
            let watch = Stopwatch::start();
            let totals = totals(receipt, total);
            let answer = self.shared.limiter.refund_parts(receipt, &totals).await;
            held.note_refund(&self.shared, &self.terms, Cause::Handler, watch, &answer);
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
            let mut held = self.held.lock().await;
            let Some(receipt) = &mut held.receipt else { return Ok(None) };
            let settlement = self.shared.limiter.settle(receipt, cost, shortfall).await?;
            if let Settlement::Settled(settled) = &settlement {
                held.heard(settled.parts.iter().map(|part| part.status));
            }
            Ok(Some(settlement))
        })
    }

    fn token(&self) -> Option<Result<String, Error>> {
        let held = self.held.try_lock().ok()?;
        held.receipt.as_ref().map(|receipt| self.shared.limiter.token(receipt))
    }

    fn take(&self) -> Option<Receipt> {
        let mut held = self.held.try_lock().ok()?;
        if held.latest.is_empty() {
            held.latest = held.statuses().to_vec();
        }
        held.receipt.take()
    }

    fn keep(&self) {
        self.kept.store(true, Ordering::Release);
    }

    fn is_charged(&self) -> bool {
        // Held means that somebody refunds or settles it.
        self.held.try_lock().map_or(true, |held| held.receipt.is_some())
    }

    fn statuses(&self) -> Statuses {
        self.held.try_lock().map_or_else(|_| Statuses::new(), |held| held.statuses().iter().copied().collect())
    }
}
