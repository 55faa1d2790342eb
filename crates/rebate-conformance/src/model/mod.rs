//! The reference model: it keeps everything that was ever done and recomputes each answer from that,
//! with numbers without bounds.
//!
//! Written from DESIGN.md; it shares no code with core's algorithms, only its types of data. Slow and
//! plain on purpose: that it is right must be seen by reading.

mod bucket;
mod calendar;
mod charge;
mod entries;
mod kind;
mod life;
mod ratio;
mod refund;
mod settle;
mod sliding;
#[cfg(test)]
mod tests;
mod windows;

use std::collections::HashMap;

use num_bigint::BigInt;
use rebate_core::{Algorithm, PartRenewal, Policy, Timestamp};

use crate::answer::{Answer, Failure, ShownLease, ShownPart, ShownReceipt, ShownStatus, Who};
use life::{Deed, Life};

/// What a store of unlimited memory and patience would answer.
#[derive(Clone, Debug, Default)]
pub struct Model {
    now: u64,
    lives: u64,
    /// Of each count the last life: older ones are out of reach.
    counts: HashMap<Place, Life>,
    notes: HashMap<(Who, Vec<u8>), Note>,
    top_ups: HashMap<Place, TopUps>,
    /// In the order of the charges.
    reservations: Vec<Reservation>,
    /// What each limit's name stands for: the policies of a limit and its variants.
    entered: HashMap<String, Vec<Policy>>,
}

/// One limit, key and cost of a charge.
#[derive(Clone, Debug)]
pub struct Line {
    /// The limit's name.
    pub name: String,
    /// What the caller means by that name.
    pub policy: Policy,
    /// Who is charged.
    pub who: Who,
    /// How many units.
    pub cost: u64,
}

/// An idempotency key.
#[derive(Clone, Debug)]
pub struct Once {
    /// Its bytes.
    pub key: Vec<u8>,
    /// The item in whose key it is unique.
    pub scope: usize,
    /// For how many microseconds it is remembered.
    pub lifetime: u64,
}

/// A receipt of the model.
#[derive(Clone, Debug)]
pub struct Proof {
    portions: Vec<Portion>,
    charged_at: u64,
    once: Option<(Who, Vec<u8>)>,
    replay: bool,
}

/// A part of it.
#[derive(Clone, Debug)]
struct Portion {
    place: Place,
    /// What the receipt takes its limit to be.
    policy: Policy,
    cost: u64,
    life: u64,
    charge: usize,
    given_back: u64,
    tops_up: Option<u16>,
}

/// A limit's name and who is charged: what identifies a count.
type Place = (String, Who);

/// A charge that bears an idempotency key.
#[derive(Clone, Debug)]
struct Note {
    expires_at: u64,
    charged_at: u64,
    portions: Vec<Portion>,
    /// When the charge is given back unless it is settled before.
    reserved_until: Option<u64>,
}

/// A charge that is given back at its end unless it is settled before.
#[derive(Clone, Debug)]
struct Reservation {
    ends_at: u64,
    portion: Portion,
}

/// The receipts of one count that settlements topped up.
#[derive(Clone, Debug, Default)]
struct TopUps {
    remembered: Vec<ToppedUp>,
    floor: Option<u64>,
}

#[derive(Clone, Debug)]
struct ToppedUp {
    /// The life and charge of its first part.
    receipt: (u64, usize),
    charged_at: u64,
    portions: Vec<Portion>,
}

impl Model {
    /// A model of an empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// What the clock shows from here on.
    pub fn set_clock(&mut self, now: Timestamp) {
        self.now = now.as_micros();
    }

    /// A limit's name stands for the first of `policies` from here on, and for its variants, the others.
    pub fn enter(&mut self, name: &str, policies: &[Policy]) {
        self.entered.insert(name.to_owned(), policies.to_vec());
    }

    /// The status of each line; the costs do not matter.
    pub fn peek(&mut self, lines: &[Line]) -> Answer {
        if lines.is_empty() {
            return Answer::Failed(Failure::Invalid);
        }
        for line in lines {
            self.look(&(line.name.clone(), line.who.clone()));
        }
        let status = |(item, line): (usize, &Line)| {
            let place = (line.name.clone(), line.who.clone());
            ShownStatus { item, ..self.status(&place, &line.policy) }
        };
        Answer::Peeked(lines.iter().enumerate().map(status).collect())
    }

    /// Moves the ends of leases.
    pub fn renew(&mut self, proof: &Proof) -> Answer {
        Answer::Renewed(proof.portions.iter().map(|portion| self.renew_portion(portion)).collect())
    }

    /// Forgets a count.
    pub fn reset(&mut self, name: &str, who: &Who) -> Answer {
        let now = self.time();
        self.look(&(name.to_owned(), who.clone()));
        let count = self.counts.get_mut(&(name.to_owned(), who.clone()));
        let was_there = count.as_ref().is_some_and(|life| life.exists(now));
        if let Some(life) = count {
            life.closed = true;
        }
        Answer::Reset(was_there)
    }

    /// The keys that have a count under a limit's name.
    pub fn list(&mut self, name: &str, policy: &Policy) -> Answer {
        let places: Vec<Place> = self.counts.keys().filter(|place| place.0 == name).cloned().collect();
        places.iter().for_each(|place| self.look(place));
        let there = |(place, life): &(&Place, &Life)| place.0 == name && life.exists(self.time());
        let counts = self.counts.iter().filter(there);
        let mut keys: Vec<_> = counts.map(|(place, _)| (place.1.clone(), self.status(place, policy))).collect();
        keys.sort_by(|one, other| one.0.cmp(&other.0));
        Answer::Listed(keys)
    }

    /// The leases of a key, in the order of their ends, and what proves them.
    pub fn leases(&mut self, name: &str, policy: &Policy, who: &Who) -> (Answer, Vec<Proof>) {
        let Algorithm::Concurrency(_) = policy.algorithm() else {
            return (Answer::Failed(Failure::Invalid), Vec::new());
        };
        let place = (name.to_owned(), who.clone());
        self.look(&place);
        let mut leases: Vec<(u64, Proof)> = Vec::new();
        if let Some(life) = self.counts.get(&place)
            && let Algorithm::Concurrency(limit) = life.policy.algorithm()
        {
            for (charge, charged) in life.charged().iter().enumerate() {
                let portion = Portion {
                    place: place.clone(),
                    policy: policy.clone(),
                    cost: charged.cost,
                    life: life.id,
                    charge,
                    given_back: charged.given_back,
                    tops_up: None,
                };
                if charged.counts() > BigInt::ZERO && self.reach(&portion).is_some() {
                    let begun = charged.renewed as u64;
                    let proof = Proof { portions: vec![portion], charged_at: begun, once: None, replay: false };
                    leases.push((begun + limit.span, proof));
                }
            }
        }
        leases.sort_by_key(|(until, _)| *until);
        let shown = leases.iter().map(|(until, proof)| ShownLease {
            receipt: proof.shown(Vec::new()),
            units: proof.portions[0].cost - proof.portions[0].given_back,
            until: Timestamp::from_micros(*until),
        });
        (Answer::Leased(shown.collect()), leases.into_iter().map(|(_, proof)| proof).collect())
    }

    /// Whoever looks at a count finds given back what was reserved only until now: each at its own end.
    fn look(&mut self, place: &Place) {
        let now = self.now;
        let is_due = |reservation: &Reservation| reservation.portion.place == *place && reservation.ends_at <= now;
        let (mut due, left): (Vec<_>, Vec<_>) = self.reservations.drain(..).partition(is_due);
        self.reservations = left;
        due.sort_by_key(|reservation| reservation.ends_at);
        for Reservation { ends_at, portion } in due {
            self.now = ends_at;
            self.give_back(&portion, portion.cost);
        }
        self.now = now;
    }

    /// A copy as another process reads it from a token.
    pub fn copy(&self, proof: &Proof) -> Proof {
        let mut copy = proof.clone();
        for portion in &mut copy.portions {
            portion.policy = self.named(portion).clone();
        }
        copy
    }

    /// What the limit of a portion is called by: the variant that was charged while its name stands for it, else the
    /// limit that the name was made to stand for.
    fn named<'a>(&'a self, portion: &'a Portion) -> &'a Policy {
        match self.entered.get(&portion.place.0) {
            Some(policies) if !policies.contains(&portion.policy) => &policies[0],
            _ => &portion.policy,
        }
    }

    fn renew_portion(&mut self, portion: &Portion) -> PartRenewal {
        if !matches!(portion.policy.algorithm(), Algorithm::Concurrency(_)) {
            return PartRenewal::NotALease;
        }
        self.look(&portion.place);
        let Some(time) = self.reach(portion) else { return PartRenewal::Expired };
        let life = self.life(portion);
        if life.charged()[portion.charge].counts() == BigInt::ZERO {
            return PartRenewal::Expired;
        }
        life.deeds.push(Deed::Renewal { time, charge: portion.charge });
        let Algorithm::Concurrency(entries) = life.policy.algorithm() else {
            return PartRenewal::Expired;
        };
        PartRenewal::Until(Timestamp::from_micros(time as u64 + entries.span))
    }

    /// The time of the count whose charge the portion proves, while that charge can still be reached.
    fn reach(&self, portion: &Portion) -> Option<i128> {
        let life = self.counts.get(&portion.place).filter(|life| life.id == portion.life)?;
        let time = life.time(self.time())?;
        if life.forgotten()[portion.charge] {
            return None;
        }
        let charged = &life.charged()[portion.charge];
        let there = match life.policy.algorithm() {
            Algorithm::Sliding(limit) => {
                let window = i128::from(limit.window);
                sliding::bucket(time, window) - sliding::bucket(charged.time, window) <= window
            }
            Algorithm::Log(limit) | Algorithm::Concurrency(limit) => charged.renewed + i128::from(limit.span) > time,
            _ => true,
        };
        there.then_some(time)
    }

    fn life(&mut self, portion: &Portion) -> &mut Life {
        self.counts.get_mut(&portion.place).expect("a portion in reach has a count")
    }

    fn status(&self, place: &Place, policy: &Policy) -> ShownStatus {
        kind::status(self.counts.get(place), policy, self.time())
    }

    /// The status that a refund tells: under the limit the count was last charged under; when it is
    /// gone, under the one that the receipt names.
    fn status_after(&self, item: usize, portion: &Portion) -> ShownStatus {
        let live = self.counts.get(&portion.place).filter(|life| life.time(self.time()).is_some());
        let policy = live.map_or(&portion.policy, |life| &life.policy);
        ShownStatus { item, ..self.status(&portion.place, policy) }
    }

    fn time(&self) -> i128 {
        self.now.into()
    }

    /// A number that was not given before.
    fn next_life(&mut self) -> u64 {
        self.lives += 1;
        self.lives
    }
}

impl Proof {
    /// How many parts it has.
    pub fn parts(&self) -> usize {
        self.portions.len()
    }

    /// How many of them were charged at first.
    pub fn first_parts(&self) -> usize {
        self.portions.iter().filter(|portion| portion.tops_up.is_none()).count()
    }

    fn shown(&self, statuses: Vec<ShownStatus>) -> ShownReceipt {
        let part = |portion: &Portion| ShownPart {
            limit: portion.place.0.clone(),
            key: portion.place.1.clone(),
            cost: portion.cost,
            refunded: portion.given_back,
            tops_up: portion.tops_up,
        };
        ShownReceipt {
            parts: self.portions.iter().map(part).collect(),
            charged_at: Timestamp::from_micros(self.charged_at),
            replay: self.replay,
            idempotent: self.once.is_some(),
            statuses,
        }
    }
}
