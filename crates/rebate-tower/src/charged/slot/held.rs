//! What a slot's lock guards: where the receipt is, and what was decided of it.

use std::mem;
use std::task::Waker;

use http::HeaderMap;
use rebate_core::{Error, Receipt, Refund, Status, Store};

use super::Terms;
use crate::layer::Shared;
use crate::observe::{self, Cause, Stopwatch};

pub(super) struct Held {
    pub(super) place: Place,
    /// What was heard since the charge; empty as long as the receipt here says it. In no place of its own, so that a slot
    /// is quick to move.
    latest: Vec<Status>,
    /// Whether the handler said that only it decides.
    kept: bool,
    /// Whether a whole refund by hand was dropped half-way: it may have been done or not, and is made sure of when the
    /// request ends.
    pub(super) asked: bool,
    /// Whether the request has ended, so that whoever brings the receipt back must see to what is decided.
    ended: bool,
}

/// Where the receipt is.
pub(crate) enum Place {
    /// There never was one: nothing was charged.
    Nowhere,
    Here(Receipt),
    /// On loan to a refund or settlement under way, which brings it back however that ends.
    Out {
        /// Why it is to be given back whole when it is brought back, if it is.
        decided: Option<Cause>,
        /// Who wants it next.
        waiting: Vec<Waker>,
    },
    /// The handler took it.
    Taken,
    /// The store was given it to refund.
    HandedBack,
}

impl Held {
    #[inline(always)]
    pub(super) fn new(place: Place) -> Self {
        Held { place, latest: Vec::new(), kept: false, asked: false, ended: false }
    }

    /// The receipt, where nobody has it out.
    pub(super) fn receipt(&self) -> Option<&Receipt> {
        match &self.place {
            Place::Here(receipt) => Some(receipt),
            _ => None,
        }
    }

    pub(super) fn statuses(&self) -> &[Status] {
        match &self.place {
            Place::Here(receipt) if self.latest.is_empty() => receipt.statuses(),
            _ => &self.latest,
        }
    }

    pub(super) fn is_charged(&self) -> bool {
        match &self.place {
            Place::Here(receipt) => receipt.refunded() < receipt.cost(),
            Place::Out { .. } => true,
            Place::Nowhere | Place::Taken | Place::HandedBack => false,
        }
    }

    pub(super) fn was_handed_back(&self) -> bool {
        matches!(self.place, Place::HandedBack)
    }

    pub(super) fn keep(&mut self) {
        self.kept = true;
    }

    pub(super) fn take(&mut self) -> Option<Receipt> {
        let receipt = self.leave(Place::Taken)?;
        self.asked = false;
        Some(receipt)
    }

    /// The receipt goes out on loan.
    pub(super) fn lend(&mut self) -> Option<Receipt> {
        self.leave(Place::Out { decided: None, waiting: Vec::new() })
    }

    /// The receipt goes, and what it told stays.
    fn leave(&mut self, place: Place) -> Option<Receipt> {
        if !matches!(self.place, Place::Here(_)) {
            return None;
        }
        self.remember();
        match mem::replace(&mut self.place, place) {
            Place::Here(receipt) => Some(receipt),
            _ => None,
        }
    }

    fn remember(&mut self) {
        if self.latest.is_empty() {
            self.latest = self.statuses().to_vec();
        }
    }

    pub(super) fn heard(&mut self, statuses: impl Iterator<Item = Option<Status>>) {
        self.remember();
        for (known, heard) in self.latest.iter_mut().zip(statuses) {
            *known = heard.unwrap_or(*known);
        }
    }

    /// Why the charge is given back at the request's end: for this cause, unless the handler keeps the charge, or
    /// because its own refund was dropped half-way.
    fn cause_at_end(&mut self, cause: Option<Cause>) -> Option<Cause> {
        self.ended = true;
        let asked = mem::take(&mut self.asked).then_some(Cause::Handler);
        cause.filter(|_| !self.kept).or(asked)
    }

    /// The request is answered: refunds if there is a cause, and then writes the headers. What cannot be done
    /// without waiting is answered: the receipt is then out.
    ///
    /// A response never waits for others: where one of them has the receipt out, the decision is left there for it, and
    /// the headers say what was heard last.
    pub(super) fn conclude<S: Store>(
        &mut self,
        shared: &Shared<S>,
        terms: &Terms,
        cause: Option<Cause>,
        headers: Option<&mut HeaderMap>,
    ) -> Option<(Cause, Receipt)> {
        if let Some(cause) = self.cause_at_end(cause) {
            if let Place::Out { decided, .. } = &mut self.place {
                decided.get_or_insert(cause);
            } else if !self.refund_at_once(shared, terms, cause) {
                return self.lend().map(|receipt| (cause, receipt));
            }
        }
        if let Some(headers) = headers {
            shared.write(terms, self.statuses(), headers);
        }
        None
    }

    /// The request will not be answered.
    pub(super) fn give_up<S: Store>(&mut self, shared: &Shared<S>, terms: &Terms, cause: Option<Cause>) {
        if let Some(cause) = self.cause_at_end(cause) {
            match &mut self.place {
                Place::Out { decided, .. } => {
                    decided.get_or_insert(cause);
                }
                _ => self.give_back(shared, terms, cause),
            }
        }
    }

    /// A loan is brought back: carries out what was decided meanwhile. Answers who waits for the receipt.
    ///
    /// `cause` is that of a whole refund which was not answered.
    pub(super) fn brought_back<S: Store>(
        &mut self,
        shared: &Shared<S>,
        terms: &Terms,
        receipt: Receipt,
        cause: Option<Cause>,
    ) -> Vec<Waker> {
        let Place::Out { decided, waiting } = mem::replace(&mut self.place, Place::Here(receipt)) else {
            return Vec::new();
        };
        let own = cause.filter(|cause| {
            // The handler may yet do otherwise, as long as the request goes on.
            let later = *cause == Cause::Handler && !self.ended;
            self.asked |= later;
            !later
        });
        if let Some(cause) = decided.or(own) {
            self.give_back(shared, terms, cause);
        }
        waiting
    }

    /// Refunds whole, without waiting: by the store itself where it cannot be done at once.
    fn give_back<S: Store>(&mut self, shared: &Shared<S>, terms: &Terms, cause: Cause) {
        if !self.refund_at_once(shared, terms, cause)
            && let Some(receipt) = self.leave(Place::HandedBack)
        {
            observe::handed_back(shared, terms.rule(shared), cause, &receipt);
            shared.limiter.store().hand_back(receipt);
        }
    }

    /// Refunds what there is to refund; answers whether that was possible without waiting.
    fn refund_at_once<S: Store>(&mut self, shared: &Shared<S>, terms: &Terms, cause: Cause) -> bool {
        let Place::Here(receipt) = &mut self.place else { return true };
        if !refundable(receipt) {
            return true;
        }
        let watch = Stopwatch::start();
        let Some(answer) = shared.limiter.refund_at_once(receipt) else { return false };
        observe::refund(shared, terms.rule(shared), cause, receipt, watch, &answer);
        self.heard_of(&answer);
        true
    }

    pub(super) fn heard_of(&mut self, answer: &Result<Refund, Error>) {
        if let Ok(refund) = answer {
            self.heard(refund.parts.iter().map(|part| part.status));
        }
    }
}

/// Whether there is something that the layer may give back: law 8 leaves replays alone.
pub(super) fn refundable(receipt: &Receipt) -> bool {
    !receipt.is_replay() && receipt.refunded() < receipt.cost()
}
