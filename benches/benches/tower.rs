//! What a layer costs a request, over a bare axum service and beside two peers: criterion's figures for each, then
//! one table whose sides take turns, and whether the promise was kept.
//!
//! For counting instructions: `tower --only NAME --limits N --requests N` answers requests with one side.

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput};
use rebate_benches::http::{Said, sides};
use rebate_benches::measure::median;
use rebate_benches::scale::Scale;

/// At most, times the peer's cost for the same headers.
const PROMISED: f64 = 0.8;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let after = |name: &str| arguments.iter().position(|given| given == name).and_then(|at| arguments.get(at + 1));
    if let Some(name) = after("--only") {
        let number = |name: &str| after(name).and_then(|text| text.parse().ok()).unwrap_or(1);
        let mut side = sides(number("--limits")).into_iter().find(|side| side.name == name).expect("a side's name");
        side.answer(number("--requests"));
        return;
    }
    let scale = Scale::from_environment();
    let mut criterion = Criterion::default()
        .configure_from_args()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(700));
    for limits in [1, 3] {
        let mut group = criterion.benchmark_group(format!("a request, {limits} limits"));
        group.throughput(Throughput::Elements(1));
        for mut side in sides(limits) {
            side.check();
            group.bench_function(BenchmarkId::from_parameter(side.name), |bencher| {
                bencher.iter_custom(|requests| side.answer(requests as usize));
            });
        }
        group.finish();
    }
    criterion.final_summary();
    // Asked for the names of tests, or for some benchmarks only.
    if arguments.iter().skip(1).any(|argument| argument == "--list" || !argument.starts_with("--")) {
        return;
    }
    for limits in [1, 3] {
        take_turns(limits, &scale);
    }
}

/// Every side has its turn in every round, another one first each time.
fn take_turns(limits: usize, scale: &Scale) {
    let mut sides = sides(limits);
    let requests = scale.small_lap / 5;
    let mut nanoseconds = vec![Vec::new(); sides.len()];
    for round in 0..3 * scale.rounds {
        for turn in 0..sides.len() {
            let place = (round + turn) % sides.len();
            sides[place].answer(requests / 20);
            let elapsed = sides[place].answer(requests);
            nanoseconds[place].push(elapsed.as_nanos() as f64 / requests as f64);
        }
    }
    println!("\n==== {limits} limits: nanoseconds a request, medians of {} rounds ====", nanoseconds[0].len());
    // Round by round, so that what disturbs the machine disturbs both.
    let cost = |place: usize| median(nanoseconds[place].iter().zip(&nanoseconds[0]).map(|(side, bare)| side - bare));
    for (place, side) in sides.iter().enumerate() {
        let all = median(nanoseconds[place].iter().copied());
        println!("{:<22} {all:>8.0}   the layer {:>8.0}", side.name, cost(place));
    }
    if scale.smoke {
        return;
    }
    for headers in [Said::Three, Said::Five] {
        let find = |ours| sides.iter().position(|side| side.headers == headers && side.ours == ours).expect("a side");
        let (ours, peer) = (find(true), find(false));
        let ratio = cost(ours) / cost(peer);
        let kept = if ratio <= PROMISED { "pass" } else { "MISS" };
        println!(
            "  {kept} {} costs {ratio:.2} times what {} does, wanted at most {PROMISED}",
            sides[ours].name, sides[peer].name
        );
    }
}
