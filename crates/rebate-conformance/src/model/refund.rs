//! Refunds: up to an absolute total of each part.

use num_traits::Zero;
use rebate_core::Algorithm;
use rebate_core::algorithm::fixed::Layout;

use super::life::Deed;
use super::{Model, Note, Portion, Proof, windows};
use crate::answer::{Answer, Failure, ShownRefund};

/// What became of the refund of one portion.
pub(super) struct Returned {
    pub(super) given_back: u64,
    /// As far as the count and the receipt know.
    pub(super) in_all: u64,
    pub(super) expired: bool,
}

impl Model {
    /// Gives back up to a total of each part.
    pub fn refund(&mut self, proof: &mut Proof, totals: &[u64]) -> Answer {
        if totals.len() != proof.portions.len() {
            return Answer::Failed(Failure::Invalid);
        }
        let pairs = proof.portions.iter().zip(totals);
        let refund = |(portion, &total): (&Portion, &u64)| {
            self.look(&portion.place);
            self.give_back(portion, total)
        };
        let returned: Vec<Returned> = pairs.map(refund).collect();
        let shown = |(at, returned): (usize, &Returned)| ShownRefund {
            given_back: returned.given_back,
            in_all: returned.in_all,
            expired: returned.expired,
            status: Some(self.status_after(at, &proof.portions[at])),
        };
        let shown = returned.iter().enumerate().map(shown).collect();
        for (portion, returned) in proof.portions.iter_mut().zip(&returned) {
            portion.given_back = returned.in_all;
        }
        self.note_refunds(proof, &returned, false);
        Answer::Refunded(shown)
    }

    pub(super) fn give_back(&mut self, portion: &Portion, total: u64) -> Returned {
        let Some(time) = self.reach(portion) else {
            return Returned { given_back: 0, in_all: portion.given_back, expired: true };
        };
        let now = self.time();
        let life = self.life(portion);
        let already = life.charged()[portion.charge].given_back;
        let units = total.min(portion.cost).saturating_sub(already);
        if units > 0 {
            life.deeds.push(Deed::Refund { time, charge: portion.charge, units });
            let from_first = matches!(life.policy.algorithm(), Algorithm::Fixed(fixed) if matches!(fixed.layout, Layout::FromFirst(_)));
            let bucket = matches!(life.policy.algorithm(), Algorithm::Bucket(_));
            life.closed = (from_first && windows::used(life).is_zero()) || (bucket && life.time(now).is_none());
        }
        Returned { given_back: units, in_all: (already + units).max(portion.given_back), expired: false }
    }

    /// What a receipt knows of its refunds is noted with its idempotency key, which is free once every
    /// first part was given back whole, but for leases found to have ended beside them.
    /// A settlement ends the charge's reservation, unless that is over.
    pub(super) fn note_refunds(&mut self, proof: &Proof, returned: &[Returned], settled: bool) {
        let now = self.now;
        let Some(key) = &proof.once else { return };
        let Some(note) = self.notes.get_mut(key) else { return };
        let identity = |portions: &[Portion]| portions.first().map(|first| (first.life, first.charge));
        if identity(&note.portions) != identity(&proof.portions) {
            return;
        }
        for (noted, portion) in note.portions.iter_mut().zip(&proof.portions) {
            noted.given_back = noted.given_back.max(portion.given_back);
        }
        if settled && note.is_in_force(now) {
            note.reserved_until = None;
        }
        let is_whole = |noted: &Portion| noted.given_back == noted.cost;
        let has_ended = |at: usize, noted: &Portion| {
            matches!(noted.policy.algorithm(), Algorithm::Concurrency(_))
                && returned.get(at).is_some_and(|it| it.expired)
        };
        let mut noted = note.portions.iter().enumerate();
        if note.portions.iter().any(is_whole) && noted.all(|(at, noted)| is_whole(noted) || has_ended(at, noted)) {
            self.notes.remove(key);
        }
    }
}

impl Note {
    /// Whether its key still stands for its charge.
    pub(super) fn is_in_force(&self, now: u64) -> bool {
        now < self.expires_at && self.reserved_until.is_none_or(|end| now < end)
    }
}
