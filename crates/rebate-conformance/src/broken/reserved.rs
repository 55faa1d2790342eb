//! The faults of reservations and of who holds what.

use std::time::Duration;

use rebate_core::count::Count;
use rebate_core::engine::{self, OwnedPlace, Place};
use rebate_core::{
    Algorithm, ChargeRequest, Decision, Held, Item, KeyRef, Lease, Limit, Receipt, Reservation, Reservations,
};

use super::Fault;
use super::book::Open;
use super::store::{BrokenStore, instance_now};

impl BrokenStore {
    /// The time for which this store reserves where a caller asks for `within`.
    pub(super) fn reserved(&self, within: Option<Duration>) -> Option<Duration> {
        const MICROSECOND: Duration = Duration::from_micros(1);
        match self.fault() {
            Some(Fault::LapsesEarly) => within.map(|within| within.saturating_sub(MICROSECOND)),
            Some(Fault::LapsesLate) => within.map(|within| within.saturating_add(MICROSECOND)),
            _ => within,
        }
    }

    /// The reservations of the items' counts.
    pub(super) fn reservations(&self, open: &mut Open<'_>, items: &[Item<'_>]) -> Vec<(OwnedPlace, Reservations)> {
        let name = |item: &Item<'_>| self.identity.index_of(item.limit).name;
        let places = items.iter().map(|item| Place { name: name(item), key: item.key });
        places.filter_map(|place| open.reservations(place)).collect()
    }

    /// Those of the counts of a receipt.
    pub(super) fn reservations_of(&self, open: &mut Open<'_>, receipt: &Receipt) -> Vec<(OwnedPlace, Reservations)> {
        let places = receipt.parts().iter().filter_map(|part| self.place_of(part));
        places.filter_map(|(_, place)| open.reservations(place)).collect()
    }

    /// Carries what was reserved before a charge over into the windows that are there after it.
    pub(super) fn carry_reservations(&self, open: &mut Open<'_>, before: Vec<(OwnedPlace, Reservations)>) {
        if !self.is(Fault::LapsesIntoAnyWindow) {
            return;
        }
        for (place, reservations) in before {
            let Some(held) = open.book.counts.get_mut(&place) else { continue };
            let instance = instance_now(held);
            for &reservation in reservations.iter().filter(|reservation| reservation.instance != instance) {
                held.reserved.insert(Reservation { instance, ..reservation });
            }
        }
    }

    /// Begins the reservations of a replay anew.
    pub(super) fn prolong(&self, open: &mut Open<'_>, request: &ChargeRequest<'_>, decision: &Decision) {
        let (Decision::Allowed(receipt), Some(within)) = (decision, request.reserved) else { return };
        if !receipt.is_replay() || !self.is(Fault::ProlongsWithReplays) {
            return;
        }
        let ends_at = open.now.saturating_add(within).as_micros();
        for (place, mut reservations) in self.reservations_of(open, receipt) {
            let mut prolonged = Reservations::default();
            for reservation in reservations.take_due(u64::MAX) {
                prolonged.insert(Reservation { ends_at, ..reservation });
            }
            open.put_reservations(vec![(place, prolonged)]);
        }
    }

    /// Ends the reservations of a receipt's counts.
    pub(super) fn end_reservations(&self, open: &mut Open<'_>, receipt: &Receipt) {
        let ended = self.reservations_of(open, receipt).into_iter().map(|(place, _)| (place, Reservations::default()));
        open.put_reservations(ended.collect());
    }

    /// The leases that were not released, and those that were, until their ends.
    pub(super) fn leases_released_or_not(&self, open: &mut Open<'_>, limit: &Limit, key: KeyRef<'_>) -> Vec<Lease> {
        let index = self.identity.index_of(limit);
        let place = open.place(Place { name: index.name, key });
        let Some(Held { count: Count::Entries(roll), .. }) = open.book.counts.get(&place) else { return Vec::new() };
        let Algorithm::Concurrency(limit) = limit.policy().algorithm() else { return Vec::new() };
        let there = roll.entries.iter().filter(|entry| entry.end > open.now.as_micros());
        let lease = |entry| engine::lease(&self.identity, index.limit, key, roll.identity, entry, limit.span);
        there.copied().map(lease).collect()
    }
}

impl Open<'_> {
    fn reservations(&self, place: Place<'_>) -> Option<(OwnedPlace, Reservations)> {
        let place = self.place(place);
        let reserved = self.book.counts.get(&place)?.reserved.clone();
        Some((place, reserved))
    }

    pub(super) fn put_reservations(&mut self, reservations: Vec<(OwnedPlace, Reservations)>) {
        for (place, reserved) in reservations {
            if let Some(held) = self.book.counts.get_mut(&place) {
                held.reserved = reserved;
            }
        }
    }
}
