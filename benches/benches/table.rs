//! Rebate and its peers side by side: one table of nanoseconds, ratios, memory, stalls and targets.
//!
//! Every side has its turn in every round, so that what disturbs the machine disturbs all of them.

use std::time::Instant;

use rebate_benches::arrivals::stalls;
use rebate_benches::live_bytes::{Counting, count};
use rebate_benches::measure::{Contender, lap};
use rebate_benches::scale::Scale;
use rebate_benches::sides::{Algorithm, Candidate, Outcome, Role, candidates, control, several_and_refunds};
use rebate_benches::table::{Column, Filling, Table, filling};
use rebate_benches::targets;
use rebate_benches::workload::{self, Workload};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() {
    // Asked for the names of tests: there are none.
    if std::env::args().any(|argument| argument == "--list") {
        return;
    }
    let start = Instant::now();
    let scale = Scale::from_environment();
    let mut populations = populations(&scale);

    let mut single = Table { title: "One limit", candidates: candidates(scale.all), columns: Vec::new() };
    for outcome in [Outcome::Allowed, Outcome::Denied] {
        measure(&mut single, &scale, &populations, outcome, &[1, 2]);
    }
    let mut more = Table { title: "Several limits, refunds", candidates: several_and_refunds(), columns: Vec::new() };
    populations[2].workloads.truncate(1);
    measure(&mut more, &scale, &populations[1..], Outcome::Allowed, &[1]);
    let fillings = fill(&single.candidates, &scale);

    println!("\n==== Rebate and its peers: medians of {} rounds ====", scale.rounds);
    print!("{}{}", single.nanoseconds(), more.nanoseconds());
    for algorithm in [Algorithm::Fixed, Algorithm::Bucket] {
        print!("{}{}", single.ratios(Role::Ours(algorithm)), more.ratios(Role::Ours(algorithm)));
    }
    print!("{}", filling(&fillings, scale.keys));
    if !scale.smoke {
        print!("{}", targets::report(&single, &fillings));
    }
    println!("took {} s", start.elapsed().as_secs());
}

/// How many keys there are, and what is done with them.
struct Population {
    keys: usize,
    workloads: Vec<Workload>,
}

fn populations(scale: &Scale) -> [Population; 3] {
    let (keys, lap) = (scale.keys, scale.large_lap);
    let large = vec![workload::uniform(keys, lap), workload::isolated(keys, lap), workload::zipf(keys, lap)];
    [
        Population { keys: 1, workloads: vec![workload::hot(scale.small_lap)] },
        Population { keys: 1000, workloads: vec![workload::thousand(scale.small_lap)] },
        Population { keys, workloads: large },
    ]
}

/// Fills a fresh side of each candidate and takes turns.
fn measure(table: &mut Table, scale: &Scale, populations: &[Population], outcome: Outcome, threads: &[usize]) {
    for population in populations {
        eprintln!("{}: {}, {} keys", table.title, outcome.name(), population.keys);
        let keys = workload::keys(population.keys);
        let make = |candidate: &Candidate| {
            let side = (candidate.make)(outcome);
            side.fill(&keys);
            side
        };
        let sides: Vec<Box<dyn Contender>> = table.candidates.iter().map(make).collect();
        for &threads in threads {
            for workload in population.workloads.iter().filter(|workload| threads == 1 || !workload.isolated) {
                let samples = take_turns(&table.candidates, &sides, workload, scale, outcome, threads);
                table.columns.push(Column { outcome, workload: workload.name, threads, samples });
            }
        }
    }
    table.columns.sort_by_key(|column| column.threads);
}

fn take_turns(
    candidates: &[Candidate],
    sides: &[Box<dyn Contender>],
    workload: &Workload,
    scale: &Scale,
    outcome: Outcome,
    threads: usize,
) -> Vec<Vec<f64>> {
    let mut samples = vec![Vec::new(); sides.len()];
    for round in 0..scale.rounds {
        for turn in 0..sides.len() {
            // Another one begins each round.
            let place = (round + turn) % sides.len();
            let charges = workload.order.len() / 2 / candidates[place].shorter / threads * threads;
            let (nanoseconds, admitted) = lap(sides[place].as_ref(), workload, round, charges, threads);
            let meant = if outcome == Outcome::Allowed { charges as u64 } else { 0 };
            assert_eq!(admitted, meant, "{} did other work than {}", candidates[place].name, outcome.name());
            samples[place].push(nanoseconds);
        }
    }
    samples
}

/// Memory and stalls of each side while keys arrive at an empty table.
fn fill(candidates: &[Candidate], scale: &Scale) -> Vec<Filling> {
    eprintln!("Filling: {} keys", scale.keys);
    let keys = workload::keys(scale.keys);
    let one = |candidate: &Candidate| {
        let fresh = || (candidate.make)(Outcome::Allowed);
        let filled = || {
            let side = fresh();
            side.fill(&keys);
            side
        };
        let (side, live, peak) = count(filled);
        drop(side);
        let per_key = |bytes: i64| bytes as f64 / keys.len() as f64;
        let fills = if candidate.shorter > 10 { 1 } else { scale.fills };
        let stalls = stalls(fresh, &keys, fills);
        Filling { name: candidate.name, role: candidate.role, live: per_key(live), peak: per_key(peak), stalls }
    };
    let mut fillings: Vec<Filling> = candidates.iter().map(one).collect();
    let stalls = stalls(control, &keys, scale.fills);
    fillings.push(Filling { name: "(no limiter)", role: Role::Other, live: 0.0, peak: 0.0, stalls });
    fillings
}
