//! Charges: all lines or none.

use num_bigint::BigInt;
use rebate_core::{Algorithm, Policy, Retry};

use super::life::{Deed, Life};
use super::ratio::to_u64;
use super::{Line, Model, Note, Once, Place, Portion, Proof, Reservation, bucket, kind, windows};
use crate::answer::{Answer, Failure, ShownStatus, Who};

/// The lines of one count, summed in the place of the first.
pub(super) struct Sum {
    pub(super) item: usize,
    pub(super) place: Place,
    pub(super) policy: Policy,
    pub(super) cost: BigInt,
}

impl Model {
    /// Takes every line or none; the proof is there when it was admitted.
    pub fn charge(&mut self, lines: &[Line], once: Option<&Once>, reserved: Option<u64>) -> (Answer, Option<Proof>) {
        let sums = match sum(lines, once) {
            Ok(sums) => sums,
            Err(failure) => return (Answer::Failed(failure), None),
        };
        if reserved == Some(0) {
            return (Answer::Failed(Failure::Invalid), None);
        }
        let reserved_until = reserved.map(|within| self.now + within);
        let note = once.map(|once| (lines[once.scope].who.clone(), once.key.clone()));
        if let Some(key) = &note {
            // A note whose time is over is struck out when its key is used again.
            if self.notes.get(key).is_some_and(|note| !note.is_in_force(self.now)) {
                self.notes.remove(key);
            }
            if let Some(note) = self.notes.get(key).cloned() {
                return self.replay(&note, &sums, key.clone());
            }
        }
        sums.iter().for_each(|sum| self.look(&sum.place));
        let portions = match self.take(&sums) {
            Ok(portions) => portions,
            Err(denial) => return (denial, None),
        };
        let statuses = self.statuses(&sums);
        let proof = Proof { portions, charged_at: self.now, once: note.clone(), replay: false };
        if let (Some(key), Some(once)) = (note, once) {
            let expires_at = self.now.saturating_add(once.lifetime);
            let portions = proof.portions.clone();
            self.notes.insert(key, Note { expires_at, charged_at: self.now, portions, reserved_until });
        }
        if let Some(ends_at) = reserved_until {
            // Leases end by themselves.
            let reserved = |portion: &&Portion| !matches!(portion.policy.algorithm(), Algorithm::Concurrency(_));
            let reservation = |portion: &Portion| Reservation { ends_at, portion: portion.clone() };
            self.reservations.extend(proof.portions.iter().filter(reserved).map(reservation));
        }
        (Answer::Allowed(proof.shown(statuses)), Some(proof))
    }

    fn replay(&mut self, note: &Note, sums: &[Sum], key: (Who, Vec<u8>)) -> (Answer, Option<Proof>) {
        let same = |sum: &Sum| {
            note.portions.iter().any(|portion| portion.place == sum.place && BigInt::from(portion.cost) == sum.cost)
        };
        if note.portions.len() != sums.len() || !sums.iter().all(same) {
            return (Answer::Failed(Failure::Conflict), None);
        }
        sums.iter().for_each(|sum| self.look(&sum.place));
        // It names the limits that it was asked for with.
        let named = |portion: &Portion| match sums.iter().find(|sum| sum.place == portion.place) {
            Some(sum) => Portion { policy: sum.policy.clone(), ..portion.clone() },
            None => portion.clone(),
        };
        let portions = note.portions.iter().map(named).collect();
        let proof = Proof { portions, charged_at: note.charged_at, once: Some(key), replay: true };
        (Answer::Allowed(proof.shown(self.statuses(sums))), Some(proof))
    }

    fn statuses(&self, sums: &[Sum]) -> Vec<ShownStatus> {
        sums.iter().map(|sum| ShownStatus { item: sum.item, ..self.status(&sum.place, &sum.policy) }).collect()
    }

    /// Takes every sum or none.
    ///
    /// # Errors
    /// The denial.
    pub(super) fn take(&mut self, sums: &[Sum]) -> Result<Vec<Portion>, Answer> {
        let denied = |sum: &Sum| kind::denied(self.counts.get(&sum.place), &sum.policy, &sum.cost, self.time());
        let denied: Vec<Option<Retry>> = sums.iter().map(denied).collect();
        if let Some(retry) = longest(&denied) {
            let mut statuses = self.statuses(sums);
            statuses.iter_mut().zip(denied).for_each(|(status, denied)| status.denied = denied);
            return Err(Answer::Denied { statuses, retry });
        }
        Ok(sums.iter().map(|sum| self.enter_charge(sum)).collect())
    }

    fn enter_charge(&mut self, sum: &Sum) -> Portion {
        let cost = to_u64(&sum.cost);
        let id = self.next_life();
        let now = self.time();
        let old = self.counts.remove(&sum.place);
        let live = kind::going_on(old.as_ref(), &sum.policy, now).map(|(life, time)| (life.clone(), time));
        let (mut life, time) = match live {
            None => (open(id, &sum.policy, now), now),
            Some((life, time)) => match (life.policy.algorithm(), sum.policy.algorithm()) {
                (Algorithm::Bucket(old), Algorithm::Bucket(new)) if bucket::unit(old) != bucket::unit(new) => {
                    let carried = Some(bucket::carried(&life, old, new, time));
                    (Life { carried, ..open(id, &sum.policy, now) }, time)
                }
                _ => (Life { policy: sum.policy.clone(), ..life }, time),
            },
        };
        let charge = life.charged().len();
        life.deeds.push(Deed::Charge { time, cost });
        let portion = Portion {
            place: sum.place.clone(),
            policy: sum.policy.clone(),
            cost,
            life: life.id,
            charge,
            given_back: 0,
            tops_up: None,
        };
        self.counts.insert(sum.place.clone(), life);
        portion
    }
}

fn open(id: u64, policy: &Policy, now: i128) -> Life {
    let window = match policy.algorithm() {
        Algorithm::Fixed(fixed) => windows::open(fixed, now),
        _ => (now, now),
    };
    Life { id, policy: policy.clone(), window, carried: None, deeds: Vec::new(), closed: false }
}

/// The longest wait, if there is any.
fn longest(waits: &[Option<Retry>]) -> Option<Retry> {
    let micros = |retry: &Retry| match retry {
        Retry::AfterMicros(micros) => *micros,
        Retry::Never => u64::MAX,
    };
    waits.iter().flatten().copied().max_by_key(micros)
}

fn sum(lines: &[Line], once: Option<&Once>) -> Result<Vec<Sum>, Failure> {
    if lines.is_empty() || lines.iter().any(|line| line.cost == 0) {
        return Err(Failure::Invalid);
    }
    let mut sums: Vec<Sum> = Vec::new();
    for (item, line) in lines.iter().enumerate() {
        if sums.iter().any(|sum| sum.place.0 == line.name && sum.policy != line.policy) {
            return Err(Failure::Conflict);
        }
        let place = (line.name.clone(), line.who.clone());
        match sums.iter_mut().find(|sum| sum.place == place) {
            Some(sum) => sum.cost += line.cost,
            None => sums.push(Sum { item, place, policy: line.policy.clone(), cost: line.cost.into() }),
        }
    }
    let fits = |once: &Once| (1..=255).contains(&once.key.len()) && once.scope < lines.len() && once.lifetime > 0;
    if once.is_some_and(|once| !fits(once)) {
        return Err(Failure::Invalid);
    }
    Ok(sums)
}
