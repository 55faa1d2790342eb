//! Charges by criterion, for watching Rebate change: `cargo bench --bench charge`.
//!
//! Sides run one after the other here; the comparison that counts is `table`, which interleaves them.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput};
use rebate_benches::measure::Contender;
use rebate_benches::scale::Scale;
use rebate_benches::sides::{Outcome, Role, candidates};
use rebate_benches::workload::{self, Workload};

fn main() {
    let scale = Scale::from_environment();
    let mut criterion = Criterion::default()
        .configure_from_args()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(700));
    let workloads = [
        (1, workload::hot(scale.small_lap)),
        (1000, workload::thousand(scale.small_lap)),
        (scale.keys, workload::uniform(scale.keys, scale.large_lap)),
        (scale.keys, workload::isolated(scale.keys, scale.large_lap)),
        (scale.keys, workload::zipf(scale.keys, scale.large_lap)),
    ];
    for outcome in [Outcome::Allowed, Outcome::Denied] {
        for candidate in candidates(scale.all) {
            if !scale.all && candidate.role == Role::Other {
                continue;
            }
            let mut filled = 0;
            let mut side = (candidate.make)(outcome);
            for (keys, workload) in &workloads {
                // A table of its own for each number of keys.
                if *keys != filled {
                    side = (candidate.make)(outcome);
                    side.fill(&workload::keys(*keys));
                    filled = *keys;
                }
                let mut group = criterion.benchmark_group(format!("{}/{}", workload.name, outcome.name()));
                group.throughput(Throughput::Elements(1));
                group.bench_function(BenchmarkId::from_parameter(candidate.name), |bencher| {
                    let mut next = 0;
                    bencher.iter_custom(|charges| laps(side.as_ref(), workload, &mut next, charges));
                });
                group.finish();
            }
        }
    }
    criterion.final_summary();
}

/// As many charges, going on where the last ones ended.
fn laps(side: &dyn Contender, workload: &Workload, next: &mut usize, charges: u64) -> Duration {
    let mut left = charges as usize;
    let mut elapsed = Duration::ZERO;
    while left > 0 {
        let end = workload.order.len().min(*next + left);
        elapsed += black_box(side.lap(workload, *next..end)).elapsed;
        left -= end - *next;
        *next = end % workload.order.len();
    }
    elapsed
}
