//! Which units of a count were given back: an interval set over unit numbers.
//!
//! A count numbers its units from 1 within one window instance; a charge of `c` owns the units
//! `(last − c, last]`. A refund marks the top of that range, so a total of `r` is the range
//! `(last − r, last]` however often it is repeated. Touching runs merge, so what must be remembered is
//! the number of gaps. Past [`REMEMBERED`] runs the lowest is dropped and every receipt at or below
//! it expires.

use smallvec::SmallVec;

/// How many separate runs of refunded units a count remembers, and how many topped-up receipts:
/// the one bound of law 4. Past it the oldest receipts expire first.
pub const REMEMBERED: usize = 128;

/// The highest number of a unit in one window instance, 2^53: what a double tells apart. A charge beyond
/// it begins a new instance with what is in use; the receipts of the old one expire.
pub const MAX_UNIT: u64 = 1 << 53;

/// Time given back to a bucket: whole microseconds and a fraction of the bucket's own denominator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Credit {
    /// Whole microseconds.
    pub micros: u64,
    /// Further parts of a microsecond, each one `denominator`-th.
    pub fraction: u64,
}

/// One run of refunded units, `(low, high]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The unit before the first one of the run.
    pub low: u64,
    /// The last unit of the run.
    pub high: u64,
    /// For a bucket, the time given back for these units.
    pub credit: Credit,
    /// Whether the receipt that owns unit `high` has been refunded whole. Only then may the run
    /// merge with one above: a later refund of that receipt must still tell the credit above it.
    pub complete: bool,
}

/// The refunded units of one window instance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// In order of units, apart from each other (but see [`Run::complete`]).
    runs: SmallVec<[Run; 1]>,
    /// Receipts that end at or below this unit are no longer remembered.
    floor: u64,
}

/// A receipt's part as its count sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Units {
    /// How many units were charged.
    pub cost: u64,
    /// The number of the last one.
    pub last: u64,
}

impl Units {
    /// Whether a count that has given out the units up to `gross` can have issued these.
    pub fn issued_by(self, gross: u64) -> bool {
        self.cost >= 1 && self.cost <= self.last && self.last <= gross
    }
}

impl Marks {
    /// Marks that hold one run and have forgotten nothing: their form in a packed table entry.
    #[inline]
    pub fn of_run(run: Option<Run>) -> Self {
        Marks { runs: run.into_iter().collect(), floor: 0 }
    }

    /// The only run, when there is at most one and nothing was forgotten.
    #[inline]
    pub fn single(&self) -> Option<Option<Run>> {
        match self.runs.as_slice() {
            [] if self.floor == 0 => Some(None),
            [run] if self.floor == 0 => Some(Some(*run)),
            _ => None,
        }
    }

    /// Whether a receipt that ends at unit `last` was forgotten to make room.
    pub fn forgot(&self, last: u64) -> bool {
        last <= self.floor
    }

    /// How many units of `units` have been given back.
    pub fn given_back(&self, units: Units) -> u64 {
        self.runs[self.position(units.last)..]
            .first()
            .filter(|run| run.low < units.last)
            .map_or(0, |run| (units.last - run.low).min(units.cost))
    }

    /// The time credited to units above `last`.
    pub fn credit_above(&self, last: u64, denominator: u64) -> Credit {
        let mut sum = Credit::default();
        for run in self.runs.iter().rev().take_while(|run| run.low >= last) {
            sum = sum.plus(run.credit, denominator);
        }
        sum
    }

    /// Marks the top `total` of `units` as given back, with `credit` for those newly marked, and
    /// returns how many those are. `denominator` is the credit's.
    pub fn mark(&mut self, units: Units, total: u64, credit: Credit, denominator: u64) -> u64 {
        let total = total.min(units.cost);
        let already = self.given_back(units);
        if total <= already {
            return 0;
        }
        let complete = total == units.cost;
        // Refunds one after the other, each of the whole charge: the run grows in place, where an insertion
        // before the merge would take it to the heap.
        if let [run] = self.runs.as_mut_slice()
            && run.complete
            && run.high < units.last
            && run.high >= units.last - total
        {
            let newly = units.last - run.high;
            *run = Run { low: run.low, high: units.last, credit: run.credit.plus(credit, denominator), complete };
            return newly;
        }
        let at = self.position(units.last);
        let mut low = units.last - total;
        if at > 0 {
            low = low.max(self.runs[at - 1].high);
        }
        let newly;
        if already > 0 {
            let run = &mut self.runs[at];
            newly = run.low - low;
            run.low = low;
            run.credit = run.credit.plus(credit, denominator);
            run.complete |= run.high == units.last && complete;
        } else {
            newly = units.last - low;
            self.runs.insert(at, Run { low, high: units.last, credit, complete });
        }
        self.merge(at, denominator);
        if at > 0 {
            self.merge(at - 1, denominator);
        }
        if self.runs.len() > REMEMBERED {
            self.floor = self.runs.remove(0).high;
        }
        newly
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        if self.runs.spilled() { self.runs.capacity() * size_of::<Run>() } else { 0 }
    }

    /// The first run that ends at or above `last`.
    fn position(&self, last: u64) -> usize {
        match self.runs.as_slice() {
            [] => 0,
            [run] => usize::from(run.high < last),
            runs => runs.partition_point(|run| run.high < last),
        }
    }

    /// Merges the run at `at` with the one above, where they touch and nothing can ask for the
    /// credit between them any more.
    fn merge(&mut self, at: usize, denominator: u64) {
        let (Some(&below), Some(&above)) = (self.runs.get(at), self.runs.get(at + 1)) else {
            return;
        };
        if below.high != above.low || !below.complete {
            return;
        }
        self.runs[at + 1] = Run { low: below.low, credit: below.credit.plus(above.credit, denominator), ..above };
        self.runs.remove(at);
    }
}

impl Credit {
    /// The sum, with the fraction carried at `denominator`.
    #[inline(always)]
    pub fn plus(self, other: Credit, denominator: u64) -> Credit {
        let mut micros = self.micros + other.micros;
        let mut fraction = self.fraction + other.fraction;
        if fraction >= denominator {
            fraction -= denominator;
            micros += 1;
        }
        Credit { micros, fraction }
    }

    /// The difference, or zero where `other` is the larger.
    #[inline(always)]
    pub fn minus(self, other: Credit, denominator: u64) -> Credit {
        if self <= other {
            return Credit::default();
        }
        let (micros, fraction) = if self.fraction >= other.fraction {
            (self.micros - other.micros, self.fraction - other.fraction)
        } else {
            (self.micros - other.micros - 1, self.fraction + denominator - other.fraction)
        };
        Credit { micros, fraction }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// A count that numbers its units and remembers every one given back.
    #[derive(Default)]
    struct Naive {
        receipts: Vec<Units>,
        given_back: BTreeSet<u64>,
        /// What was credited to each receipt, in fractions.
        credits: Vec<u64>,
    }

    const DENOMINATOR: u64 = 7;

    impl Naive {
        fn charge(&mut self, cost: u64) {
            let last = self.receipts.last().map_or(0, |units| units.last) + cost;
            self.receipts.push(Units { cost, last });
            self.credits.push(0);
        }

        fn mark(&mut self, at: usize, total: u64, credit: u64) -> u64 {
            let Units { cost, last } = self.receipts[at];
            let newly = (last - total.min(cost) + 1..=last).filter(|&unit| self.given_back.insert(unit)).count();
            self.credits[at] += if newly > 0 { credit } else { 0 };
            newly as u64
        }

        fn of(&self, units: Units) -> u64 {
            (units.last - units.cost + 1..=units.last).filter(|unit| self.given_back.contains(unit)).count() as u64
        }

        fn credit_above(&self, last: u64) -> u64 {
            let above = |(units, credit): (&Units, &u64)| if units.last > last { *credit } else { 0 };
            self.receipts.iter().zip(&self.credits).map(above).sum()
        }
    }

    fn credit(parts: u64) -> Credit {
        Credit { micros: parts / DENOMINATOR, fraction: parts % DENOMINATOR }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn marks_are_a_set_of_units(
            costs in prop::collection::vec(1..=5u64, 1..40),
            refunds in prop::collection::vec((any::<prop::sample::Index>(), 0..=6u64, 0..30u64), 0..80),
        ) {
            let (mut naive, mut marks) = (Naive::default(), Marks::default());
            costs.iter().for_each(|&cost| naive.charge(cost));
            for (at, total, parts) in refunds {
                let at = at.index(naive.receipts.len());
                let units = naive.receipts[at];
                let newly = naive.mark(at, total, parts);
                prop_assert_eq!(marks.mark(units, total, credit(parts), DENOMINATOR), newly);
                for &units in &naive.receipts {
                    let given_back = naive.of(units);
                    prop_assert_eq!(marks.given_back(units), given_back);
                    prop_assert!(!marks.forgot(units.last));
                    // A receipt refunded whole never asks for the credit above it again.
                    if given_back < units.cost {
                        let above = credit(naive.credit_above(units.last));
                        prop_assert_eq!(marks.credit_above(units.last, DENOMINATOR), above);
                    }
                }
                prop_assert!(marks.runs.windows(2).all(|pair| pair[0].high <= pair[1].low));
                prop_assert!(marks.runs.len() <= REMEMBERED);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn past_the_bound_the_oldest_are_forgotten_first(
            refunds in prop::collection::vec((0..400usize, 1..=3u64), 150..400),
        ) {
            let (mut naive, mut marks) = (Naive::default(), Marks::default());
            (0..400).for_each(|_| naive.charge(3));
            let mut given_back = 0;
            for (at, total) in refunds {
                let units = naive.receipts[at];
                if marks.forgot(units.last) {
                    continue;
                }
                let newly = naive.mark(at, total, 0);
                prop_assert_eq!(marks.mark(units, total, Credit::default(), 1), newly, "what is remembered is exact");
                given_back += newly;
                // At least the bound, in runs, is remembered.
                let runs = naive.receipts.iter().filter(|units| naive.of(**units) > 0 && !marks.forgot(units.last));
                prop_assert!(marks.floor == 0 || runs.count() >= REMEMBERED - 1);
                prop_assert!(marks.runs.len() <= REMEMBERED);
            }
            prop_assert_eq!(given_back, naive.given_back.len() as u64, "no unit twice");
        }

        #[test]
        fn credits_add_and_subtract_exactly(a in 0..1000u64, b in 0..1000u64) {
            prop_assert_eq!(credit(a).plus(credit(b), DENOMINATOR), credit(a + b));
            prop_assert_eq!(credit(a).minus(credit(b), DENOMINATOR), credit(a.saturating_sub(b)));
        }
    }

    #[test]
    fn whole_refunds_side_by_side_are_one_run() {
        let (mut naive, mut marks) = (Naive::default(), Marks::default());
        (0..1000).for_each(|_| naive.charge(2));
        for units in naive.receipts.iter().rev() {
            assert_eq!(marks.mark(*units, 2, Credit::default(), 1), 2);
        }
        assert_eq!(marks.runs.len(), 1);
        assert_eq!(marks.single(), Some(Some(Run { low: 0, high: 2000, credit: Credit::default(), complete: true })));
    }
}
