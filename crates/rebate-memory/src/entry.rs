//! One count in one cache line.
//!
//! An entry holds a key of up to 23 bytes, its limit's number, and the state of a fixed window, a
//! sliding counter or a token bucket with at most one run of refunded units. What does not fit
//! (more than 2^31 units, several runs, a bucket whose fraction needs more than 15 bits) is kept
//! elsewhere; [`Entry::pack`] says so.
//!
//! | words | fixed window | sliding counter | token bucket |
//! | --- | --- | --- | --- |
//! | 0 | instance | identity | identity |
//! | 1 | start | start | tat: 53 bits of µs · 11 of the credit's µs, its upper ones |
//! | 2 | end | current · previous, 32 bits each | units · run's low, 32 bits each |
//! | 3 | units · run's low | run's low · high | run's high · credit's µs, its lower 32 bits |
//! | extra | run's high, complete | whose the run is, complete | tat's fraction · credit's fraction, complete |

use rebate_core::algorithm::bucket::{Bucket, Level};
use rebate_core::algorithm::fixed::Window;
use rebate_core::algorithm::sliding::{Buckets, Tally};
use rebate_core::count::Count;
use rebate_core::{Algorithm, Credit, Limit, Marks, PackedKey, Policy, Run};

const COMPLETE: u32 = 1 << 31;
const LOW_32: u64 = u32::MAX as u64;
/// Units and marks are below this, so that the upper bit of a 32-bit field is free.
pub(crate) const MOST_UNITS: u64 = 1 << 31;
const TAT_BITS: u32 = 53;
const FRACTION_BITS: u32 = 15;
const IN_CURRENT: u32 = 1;
const IN_PREVIOUS: u32 = 2;

/// A slot of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(64))]
pub(crate) struct Entry {
    words: [u64; 4],
    pub(crate) key: PackedKey,
    /// The limit's number plus one; 0 in an empty slot.
    limit: u32,
    extra: u32,
}

/// A state taken out of an entry.
#[derive(Clone, Copy)]
pub(crate) struct Packed<S> {
    pub(crate) state: S,
    pub(crate) run: Option<Run>,
}

impl Entry {
    pub(crate) const EMPTY: Entry = Entry { words: [0; 4], key: [0; 3], limit: 0, extra: 0 };

    #[inline(always)]
    pub(crate) fn is_empty(&self) -> bool {
        self.limit == 0
    }

    /// The number of its limit; meaningless in an empty slot.
    #[inline(always)]
    pub(crate) fn limit(&self) -> u32 {
        self.limit.wrapping_sub(1)
    }

    /// Whether it is of the limit with this number; an empty slot is of none.
    #[inline(always)]
    pub(crate) fn is_of(&self, limit: u32) -> bool {
        self.limit == limit + 1
    }

    /// Whether counts of `policy` can be kept in entries.
    #[inline(always)]
    pub(crate) fn takes(policy: &Policy) -> bool {
        match policy.algorithm() {
            Algorithm::Fixed(_) | Algorithm::Sliding(_) => true,
            Algorithm::Bucket(bucket) => Self::takes_bucket(bucket),
            Algorithm::Log(_) | Algorithm::Concurrency(_) => false,
        }
    }

    #[inline(always)]
    pub(crate) fn takes_bucket(bucket: &Bucket) -> bool {
        bucket.denominator <= 1 << FRACTION_BITS
    }

    /// The count as an entry; `None` when it does not fit one.
    pub(crate) fn pack(key: PackedKey, number: u32, limit: &Limit, count: &Count) -> Option<Entry> {
        if !Self::takes(limit.policy()) {
            return None;
        }
        let mut entry = Entry::new(key, number);
        let fits = match count {
            Count::Window(window, marks) => entry.write_window(*window, marks.single()?),
            Count::Sliding(buckets, current, previous) => {
                let (run, whose) = match (current.single()?, previous.single()?) {
                    (None, None) => (None, 0),
                    (Some(run), None) => (Some(run), IN_CURRENT),
                    (None, Some(run)) => (Some(run), IN_PREVIOUS),
                    (Some(_), Some(_)) => return None,
                };
                entry.write_buckets(*buckets, run, whose)
            }
            Count::Bucket(level, marks) => entry.write_level(*level, marks.single()?),
            Count::Entries(_) => false,
        };
        fits.then_some(entry)
    }

    /// The count that the entry holds, of a limit with `policy`.
    pub(crate) fn unpack(&self, policy: &Policy) -> Count {
        match policy.algorithm() {
            Algorithm::Sliding(_) => {
                let Packed { state, run } = self.buckets();
                let (current, previous) = match self.extra & (IN_CURRENT | IN_PREVIOUS) {
                    IN_PREVIOUS => (None, run),
                    _ => (run, None),
                };
                Count::Sliding(state, Marks::of_run(current), Marks::of_run(previous))
            }
            Algorithm::Bucket(_) => {
                let Packed { state, run } = self.level();
                Count::Bucket(state, Marks::of_run(run))
            }
            _ => {
                let Packed { state, run } = self.window();
                Count::Window(state, Marks::of_run(run))
            }
        }
    }

    /// When the count says nothing any more.
    pub(crate) fn expires_at(&self, policy: &Policy) -> u64 {
        match policy.algorithm() {
            Algorithm::Sliding(sliding) => self.words[1] + 2 * sliding.window,
            Algorithm::Bucket(_) => self.tat().micros + u64::from(self.tat().fraction > 0),
            _ => self.words[2],
        }
    }

    /// An entry for `key` and the limit numbered `number`, its state still to be written.
    #[inline(always)]
    pub(crate) fn new(key: PackedKey, number: u32) -> Entry {
        Entry { key, limit: number + 1, ..Entry::EMPTY }
    }

    /// Writes a state word by word, in place; answers whether it fits. Building an entry elsewhere and
    /// copying it here would wait for its own stores.
    #[inline(always)]
    pub(crate) fn write_window(&mut self, window: Window, run: Option<Run>) -> bool {
        let (low, high, complete) = run.map_or((0, 0, false), |run| (run.low, run.high, run.complete));
        if window.gross >= MOST_UNITS || high - low != window.refunded {
            return false;
        }
        self.words[0] = window.instance;
        self.words[1] = window.start;
        self.words[2] = window.end;
        self.words[3] = window.gross << 32 | low;
        self.extra = high as u32 | if complete { COMPLETE } else { 0 };
        true
    }

    /// Writes the units of the window that the entry holds after more were charged; answers whether they
    /// fit. All else stays.
    #[inline(always)]
    pub(crate) fn write_units_of_window(&mut self, gross: u64) -> bool {
        if gross >= MOST_UNITS {
            return false;
        }
        self.words[3] = gross << 32 | self.words[3] & LOW_32;
        true
    }

    #[inline(always)]
    pub(crate) fn window(&self) -> Packed<Window> {
        let [instance, start, end, units] = self.words;
        let (low, high) = (units & LOW_32, u64::from(self.extra & !COMPLETE));
        let run = Run { low, high, credit: Credit::default(), complete: self.extra & COMPLETE != 0 };
        Packed {
            state: Window { instance, start, end, gross: units >> 32, refunded: high - low },
            run: (high > low).then_some(run),
        }
    }

    #[inline(always)]
    pub(crate) fn write_buckets(&mut self, buckets: Buckets, run: Option<Run>, whose: u32) -> bool {
        let Buckets { identity, start, current, previous } = buckets;
        let (low, high, complete) = run.map_or((0, 0, false), |run| (run.low, run.high, run.complete));
        let expected = |bit: u32| if whose == bit { high - low } else { 0 };
        let fits = current.gross < MOST_UNITS
            && previous.gross < MOST_UNITS
            && current.refunded == expected(IN_CURRENT)
            && previous.refunded == expected(IN_PREVIOUS);
        if fits {
            self.words[0] = identity;
            self.words[1] = start;
            self.words[2] = current.gross << 32 | previous.gross;
            self.words[3] = low << 32 | high;
            self.extra = whose | if complete { COMPLETE } else { 0 };
        }
        fits
    }

    #[inline(always)]
    pub(crate) fn buckets(&self) -> Packed<Buckets> {
        let [identity, start, grosses, marks] = self.words;
        let (low, high) = (marks >> 32, marks & LOW_32);
        let refunded = |bit: u32| if self.extra & bit != 0 { high - low } else { 0 };
        let run = Run { low, high, credit: Credit::default(), complete: self.extra & COMPLETE != 0 };
        Packed {
            state: Buckets {
                identity,
                start,
                current: Tally { gross: grosses >> 32, refunded: refunded(IN_CURRENT) },
                previous: Tally { gross: grosses & LOW_32, refunded: refunded(IN_PREVIOUS) },
            },
            run: (high > low).then_some(run),
        }
    }

    /// Writes buckets that `old`, which this entry holds, went to: the run goes along with its bucket.
    #[inline(always)]
    pub(crate) fn write_moved_buckets(&mut self, old: &Packed<Buckets>, new: Buckets) -> bool {
        let whose = self.extra & (IN_CURRENT | IN_PREVIOUS);
        let (run, whose) = if new.identity != old.state.identity {
            (None, 0)
        } else if new.start == old.state.start {
            (old.run, whose)
        } else if whose == IN_CURRENT {
            (old.run, IN_PREVIOUS)
        } else {
            (None, 0)
        };
        self.write_buckets(new, run, whose)
    }

    #[inline(always)]
    pub(crate) fn write_level(&mut self, level: Level, run: Option<Run>) -> bool {
        let Level { identity, tat, gross } = level;
        let run = run.unwrap_or(Run { low: 0, high: 0, credit: Credit::default(), complete: false });
        let credit = run.credit;
        if gross >= MOST_UNITS || credit.micros >> (64 - TAT_BITS + 32) != 0 || tat.micros >> TAT_BITS != 0 {
            return false;
        }
        let complete = if run.complete { COMPLETE } else { 0 };
        self.words[0] = identity;
        self.words[1] = tat.micros | credit.micros >> 32 << TAT_BITS;
        self.words[2] = gross << 32 | run.low;
        self.words[3] = run.high << 32 | credit.micros & LOW_32;
        self.extra = tat.fraction as u32 | (credit.fraction as u32) << FRACTION_BITS | complete;
        true
    }

    /// Writes what a charge changes of the level that the entry holds; answers whether it fits.
    #[inline(always)]
    pub(crate) fn write_raised_level(&mut self, Level { tat, gross, .. }: Level) -> bool {
        if gross >= MOST_UNITS || tat.micros >> TAT_BITS != 0 {
            return false;
        }
        self.words[1] = self.words[1] >> TAT_BITS << TAT_BITS | tat.micros;
        self.words[2] = gross << 32 | self.words[2] & LOW_32;
        self.extra = self.extra >> FRACTION_BITS << FRACTION_BITS | tat.fraction as u32;
        true
    }

    #[inline(always)]
    pub(crate) fn level(&self) -> Packed<Level> {
        let [identity, tat, units, marks] = self.words;
        let run = Run {
            low: units & LOW_32,
            high: marks >> 32,
            credit: Credit {
                micros: tat >> TAT_BITS << 32 | marks & LOW_32,
                fraction: u64::from(self.extra >> FRACTION_BITS & ((1 << FRACTION_BITS) - 1)),
            },
            complete: self.extra & COMPLETE != 0,
        };
        Packed {
            state: Level { identity, tat: self.tat(), gross: units >> 32 },
            run: (run.high > run.low).then_some(run),
        }
    }

    #[inline(always)]
    fn tat(&self) -> Credit {
        Credit {
            micros: self.words[1] & ((1 << TAT_BITS) - 1),
            fraction: u64::from(self.extra & ((1 << FRACTION_BITS) - 1)),
        }
    }
}
