//! The worst charge while a table fills.

use std::time::Instant;

use crate::fence::ticks;
use crate::measure::{Contender, median};

/// How long single charges took while the keys arrived, in milliseconds; medians over the fills.
#[derive(Clone, Copy, Debug)]
pub struct Stalls {
    /// The worst charge of a fill.
    pub worst: f64,
    /// The worst charge of the calmest fill: what the machine's own interruptions cannot explain.
    pub calmest: f64,
    /// The charge that one in ten thousand exceeds.
    pub one_in_ten_thousand: f64,
}

/// Lets `keys` arrive at fresh sides, `fills` times.
pub fn stalls(fresh: impl Fn() -> Box<dyn Contender>, keys: &[String], fills: usize) -> Stalls {
    let rate = ticks_per_millisecond();
    // Written once beforehand: its own page faults are not the side's.
    let mut noted = vec![1; keys.len()];
    let mut worst = Vec::new();
    let mut tail = Vec::new();
    for _ in 0..fills {
        fresh().arrive(keys, &mut noted);
        noted.sort_unstable();
        worst.push(noted[keys.len() - 1] as f64 / rate);
        tail.push(noted[keys.len() - 1 - keys.len() / 10_000] as f64 / rate);
    }
    Stalls {
        calmest: worst.iter().copied().fold(f64::INFINITY, f64::min),
        worst: median(worst),
        one_in_ten_thousand: median(tail),
    }
}

fn ticks_per_millisecond() -> f64 {
    let (start, from) = (Instant::now(), ticks());
    while start.elapsed().as_millis() < 50 {
        std::hint::spin_loop();
    }
    let passed = ticks().saturating_sub(from) as f64;
    passed / (start.elapsed().as_nanos() as f64 / 1e6)
}
