//! Laps: charging the keys of a workload, timed as a whole.

use std::hint::black_box;
use std::ops::Range;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use crate::fence::{fence, ticks};
use crate::sides::Side;
use crate::workload::Workload;

/// What a lap took, and how many of its charges were admitted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lap {
    /// From the first charge to the last.
    pub elapsed: Duration,
    /// For a check that each side did the work it was meant to.
    pub admitted: u64,
}

/// A side behind a pointer: one call for a whole lap, in which the charges are statically
/// dispatched.
pub trait Contender: Sync {
    /// Charges every key once, from first to last.
    fn fill(&self, keys: &[String]);

    /// Charges `part` of the workload's order, as the workload says.
    fn lap(&self, workload: &Workload, part: Range<usize>) -> Lap;

    /// Charges every key once and notes the ticks of each charge.
    fn arrive(&self, keys: &[String], ticks: &mut [u64]);
}

impl<S: Side> Contender for S {
    fn fill(&self, keys: &[String]) {
        keys.iter().for_each(|key| {
            black_box(self.charge(key));
        });
    }

    #[inline(never)]
    fn lap(&self, workload: &Workload, part: Range<usize>) -> Lap {
        let (keys, order) = (&workload.keys[..], &workload.order[part]);
        let mut admitted = 0;
        let start = Instant::now();
        if workload.isolated {
            for &place in order {
                let key = &keys[place as usize];
                black_box(key.as_bytes()[0]);
                fence();
                admitted += u64::from(self.charge(key));
                fence();
            }
        } else {
            for &place in order {
                admitted += u64::from(self.charge(&keys[place as usize]));
            }
        }
        Lap { elapsed: start.elapsed(), admitted }
    }

    #[inline(never)]
    fn arrive(&self, keys: &[String], noted: &mut [u64]) {
        let mut last = ticks();
        for (key, noted) in keys.iter().zip(noted) {
            black_box(self.charge(key));
            let now = ticks();
            *noted = now.saturating_sub(last);
            last = now;
        }
    }
}

/// Nanoseconds per charge of lap number `round`, `charges` in all, dealt out among `threads` threads at
/// once; and how many were admitted. Even laps walk the first half of the workload's order, odd ones
/// the second.
///
/// # Panics
/// When a thread panics.
pub fn lap(contender: &dyn Contender, workload: &Workload, round: usize, charges: usize, threads: usize) -> (f64, u64) {
    let each = charges / threads;
    let half = workload.order.len() / 2;
    let (here, there) = if round.is_multiple_of(2) { (0, half) } else { (half, 0) };
    // Bring code and small tables back into the caches that the other sides have used since.
    contender.lap(workload, there..there + each.min(2000));
    let part = move |thread: usize| {
        let start = here + thread * (half / threads);
        start..start + each
    };
    if threads == 1 {
        let lap = contender.lap(workload, part(0));
        return (per_charge(lap.elapsed, each), lap.admitted);
    }
    let barrier = Barrier::new(threads);
    let laps: Vec<Lap> = std::thread::scope(|scope| {
        let run = |thread: usize| {
            let barrier = &barrier;
            scope.spawn(move || {
                barrier.wait();
                contender.lap(workload, part(thread))
            })
        };
        let running: Vec<_> = (0..threads).map(run).collect();
        running.into_iter().map(|thread| thread.join().expect("a side does not panic")).collect()
    });
    let elapsed: Duration = laps.iter().map(|lap| lap.elapsed).sum();
    (per_charge(elapsed, each * threads), laps.iter().map(|lap| lap.admitted).sum())
}

fn per_charge(elapsed: Duration, charges: usize) -> f64 {
    elapsed.as_nanos() as f64 / charges.max(1) as f64
}

/// The middle one, or the mean of the middle two.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_unstable_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => values[count / 2],
        count => f64::midpoint(values[count / 2 - 1], values[count / 2]),
    }
}
