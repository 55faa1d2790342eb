//! Settlements: the true cost of a charge made on an estimate.

use num_bigint::BigInt;
use rebate_core::{REMEMBERED, Shortfall};

use super::charge::Sum;
use super::{Model, Place, Portion, Proof, TopUps, ToppedUp};
use crate::answer::{Answer, Failure, ShownSettled};

/// 24 hours.
const SETTLE_WITHIN: u64 = 24 * 60 * 60 * 1_000_000;

impl Model {
    /// Makes each first part hold its true cost.
    pub fn settle(&mut self, proof: &mut Proof, costs: &[u64], shortfall: Shortfall) -> Answer {
        let (mut firsts, own): (Vec<Portion>, Vec<Portion>) =
            proof.portions.iter().cloned().partition(|portion| portion.tops_up.is_none());
        if firsts.len() != costs.len() {
            return Answer::Failed(Failure::Invalid);
        }
        firsts.iter().for_each(|first| self.look(&first.place));
        let home = firsts[0].place.clone();
        let receipt = (firsts[0].life, firsts[0].charge);
        self.forget_old(&home);
        let known = self.top_ups(&home).remembered.iter().position(|known| known.receipt == receipt);
        let mut added = known.map_or(own, |known| self.top_ups(&home).remembered[known].portions.clone());
        let holds: Vec<u64> = (0..firsts.len())
            .map(|at| {
                let of_this = added.iter().filter(|portion| portion.tops_up == Some(at as u16)).cloned();
                let parts: Vec<Portion> = of_this.chain([firsts[at].clone()]).collect();
                parts.iter().map(|portion| self.held(portion)).sum()
            })
            .collect();

        let charged: Vec<u64> = (0..firsts.len())
            .map(|at| {
                let of_this = added.iter().filter(|portion| portion.tops_up == Some(at as u16));
                firsts[at].cost + of_this.map(|portion| portion.cost).sum::<u64>()
            })
            .collect();
        let floor = self.top_ups(&home).floor;
        let old = self.now >= proof.charged_at + SETTLE_WITHIN;
        let may_top_up = !old && (known.is_some() || floor.is_none_or(|floor| proof.charged_at > floor));
        let mut settled: Vec<ShownSettled> = Vec::new();
        let mut sums: Vec<Sum> = Vec::new();
        for (at, first) in firsts.iter().enumerate() {
            let missing = costs[at].saturating_sub(charged[at]);
            let policy = self.named(first).clone();
            let there = self.status(&first.place, &policy).remaining;
            let topped_up = match shortfall {
                _ if !may_top_up => 0,
                Shortfall::Refuse => missing,
                Shortfall::TakeWhatIsThere => missing.min(there),
            };
            if topped_up > 0 {
                let cost = BigInt::from(topped_up);
                sums.push(Sum { item: at, place: first.place.clone(), policy, cost });
            }
            settled.push(ShownSettled {
                topped_up,
                given_back: 0,
                shortfall: costs[at].saturating_sub(holds[at]) - topped_up,
                expired: missing > 0 && !may_top_up,
                status: None,
            });
        }
        match self.take(&sums) {
            Err(denial) => return denial,
            Ok(portions) => {
                let tops_up = sums.iter().map(|sum| Some(sum.item as u16));
                added
                    .extend(portions.into_iter().zip(tops_up).map(|(portion, tops_up)| Portion { tops_up, ..portion }));
            }
        }
        for (at, settled) in settled.iter_mut().enumerate() {
            let mut excess = holds[at].saturating_sub(costs[at]);
            let of_this = added.iter_mut().rev().filter(|portion| portion.tops_up == Some(at as u16));
            for portion in of_this.chain([&mut firsts[at]]) {
                let held = self.held(portion);
                let units = held.min(excess);
                let total = if units > 0 { portion.cost - held + units } else { 0 };
                let returned = self.give_back(portion, total);
                portion.given_back = returned.in_all;
                settled.given_back += returned.given_back;
                settled.expired |= units > 0 && returned.expired;
                excess -= units;
            }
            settled.status = Some(self.status_after(at, &firsts[at]));
        }
        self.remember(&home, known, may_top_up, receipt, proof.charged_at, &added);
        let identity = |portion: &Portion| (portion.life, portion.charge);
        self.reservations
            .retain(|reservation| firsts.iter().all(|first| identity(first) != identity(&reservation.portion)));
        proof.portions = firsts.into_iter().chain(added).collect();
        self.note_refunds(proof, &[], true);
        Answer::Settled(settled, proof.shown(Vec::new()))
    }

    /// Units of a portion not given back, as far as the count and the receipt know.
    fn held(&mut self, portion: &Portion) -> u64 {
        portion.cost - self.give_back(portion, 0).in_all
    }

    fn top_ups(&mut self, home: &Place) -> &mut TopUps {
        self.top_ups.entry(home.clone()).or_default()
    }

    fn forget_old(&mut self, home: &Place) {
        let now = self.now;
        let young = |charged_at: u64| charged_at + SETTLE_WITHIN > now;
        let top_ups = self.top_ups(home);
        top_ups.remembered.retain(|known| young(known.charged_at));
        top_ups.floor = top_ups.floor.filter(|&floor| young(floor));
    }

    fn remember(
        &mut self,
        home: &Place,
        known: Option<usize>,
        may_top_up: bool,
        receipt: (u64, usize),
        charged_at: u64,
        added: &[Portion],
    ) {
        let top_ups = self.top_ups(home);
        match known {
            Some(known) => top_ups.remembered[known].portions = added.to_vec(),
            None if added.is_empty() || !may_top_up => {}
            None => top_ups.remembered.push(ToppedUp { receipt, charged_at, portions: added.to_vec() }),
        }
        if top_ups.remembered.len() > REMEMBERED {
            let oldest = top_ups.remembered.iter().map(|known| known.charged_at).min().expect("more than none");
            let at = top_ups.remembered.iter().position(|known| known.charged_at == oldest).expect("it is there");
            top_ups.remembered.remove(at);
            top_ups.floor = top_ups.floor.max(Some(oldest));
        }
    }
}
