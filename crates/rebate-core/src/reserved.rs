//! Reservations: charges that are given back by themselves unless they are settled in time.

use crate::marks::Units;

/// A charge that is given back at a moment unless it is settled before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// When it is given back, in microseconds since the epoch.
    pub ends_at: u64,
    /// The window instance that was charged.
    pub instance: u64,
    /// The units charged.
    pub units: Units,
}

/// The reservations of one count, in the order of their ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reservations(Vec<Reservation>);

impl Reservations {
    /// Whether there is none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// In the order of their ends; of those that end at the same moment the one charged first comes first.
    pub fn iter(&self) -> impl Iterator<Item = &Reservation> {
        self.0.iter()
    }

    /// Whether one of them has ended at `now`.
    pub fn is_due(&self, now: u64) -> bool {
        self.0.first().is_some_and(|first| first.ends_at <= now)
    }

    /// Takes out those that have ended at `now`.
    pub fn take_due(&mut self, now: u64) -> Vec<Reservation> {
        let due = self.0.partition_point(|reservation| reservation.ends_at <= now);
        self.0.drain(..due).collect()
    }

    /// Enters one.
    pub fn insert(&mut self, reservation: Reservation) {
        let at = self.0.partition_point(|other| other.ends_at <= reservation.ends_at);
        self.0.insert(at, reservation);
    }

    /// Ends that of a charge: what it took stands.
    pub fn settle(&mut self, instance: u64, units: Units) {
        self.0.retain(|reservation| (reservation.instance, reservation.units) != (instance, units));
    }

    /// Keeps those of instances that `is_there` says to be there.
    pub(crate) fn keep(&mut self, is_there: impl Fn(u64) -> bool) {
        self.0.retain(|reservation| is_there(reservation.instance));
    }

    /// Bytes held on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.0.capacity() * size_of::<Reservation>()
    }

    /// The most by which one more may grow it, with the marks of its end.
    pub(crate) fn growth(reservations: Option<&Reservations>) -> usize {
        let held = reservations.map_or(4, |Reservations(held)| held.capacity().max(4));
        held * size_of::<Reservation>() + 4 * size_of::<crate::marks::Run>()
    }
}
