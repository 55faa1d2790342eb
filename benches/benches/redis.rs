//! Rebate over Redis beside bare scripts and limitador's storage: one table of server time, rates, latency and targets.
//!
//! Every side has its turn in every round. An argument measures only what has it in its name.

use std::time::Instant;

use rebate_benches::measure::median;
use rebate_benches::server::floors::{Bare, FLOORS, Floor, Terms, floor};
use rebate_benches::server::ours::{Ours, Refunds};
use rebate_benches::server::report::{self, Laps, Targets};
use rebate_benches::server::{Contender, Lap, Machine};

/// How much is measured.
struct Scale {
    charges: usize,
    rounds: usize,
    alone: usize,
    smoke: bool,
    /// Part of a name.
    only: Option<String>,
}

impl Scale {
    fn from_environment() -> Self {
        let only = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
        if !std::env::args().any(|argument| argument == "--bench") {
            return Scale { charges: 512, rounds: 1, alone: 10, smoke: true, only };
        }
        let rounds = match std::env::var("REBATE_BENCH").as_deref() {
            Ok("quick") => 3,
            _ => 5,
        };
        Scale { charges: 40_000, rounds, alone: 4000, smoke: false, only }
    }

    fn wants(&self, name: &str) -> bool {
        self.only.as_ref().is_none_or(|only| name.contains(only))
    }
}

/// What a lap of a contender must answer.
#[derive(Clone, Copy, PartialEq)]
enum Meant {
    Admitted,
    Denied,
}

/// A contender with its name.
struct Entry {
    name: String,
    contender: Box<dyn Contender>,
    meant: Meant,
    in_flight: usize,
}

/// An algorithm under a load: ours, and the floor that it is compared with.
struct Case {
    name: &'static str,
    policy: &'static str,
    floor: &'static str,
    quota: u64,
    micros: u64,
    keys: usize,
    meant: Meant,
}

const DAYS: u64 = 20_000 * 86_400_000_000;
const MANY: u64 = 1_000_000_000;

const fn case(name: &'static str, policy: &'static str, floor: &'static str, terms: (u64, u64), meant: Meant) -> Case {
    Case { name, policy, floor, quota: terms.0, micros: terms.1, keys: 1, meant }
}

/// Quotas that are never reached, or were reached before. A steady log's entries end as fast as others come.
const CASES: [Case; 13] = [
    case("fixed, admitted", "1000000000/20000d", "fixed", (MANY, DAYS), Meant::Admitted),
    Case { keys: 10_000, ..case("fixed, 10,000 keys", "1000000000/20000d", "fixed", (MANY, DAYS), Meant::Admitted) },
    case("fixed, denied", "1/20000d", "fixed", (1, DAYS), Meant::Denied),
    case("sliding, admitted", "1000000000/20000d sliding", "sliding", (MANY, DAYS), Meant::Admitted),
    case("sliding, denied", "1/20000d sliding", "sliding", (1, DAYS), Meant::Denied),
    case("bucket, admitted", "1000000000/20000d burst 1000000000", "GCRA", (MANY, DAYS), Meant::Admitted),
    Case {
        keys: 10_000,
        ..case("bucket, 10,000 keys", "1000000000/20000d burst 1000000000", "GCRA", (MANY, DAYS), Meant::Admitted)
    },
    case("bucket, idle", "1000000/s burst 1000000", "GCRA", (1_000_000, 1_000_000), Meant::Admitted),
    case("bucket, denied", "1/20000d burst 1", "GCRA", (1, DAYS), Meant::Denied),
    case("log, admitted", "1000000000/10ms sliding log", "log", (MANY, 10_000), Meant::Admitted),
    case("log, denied", "100/20000d sliding log", "log", (100, DAYS), Meant::Denied),
    case("leases, admitted", "1000000000 at once for 10ms", "log", (MANY, 10_000), Meant::Admitted),
    case("leases, denied", "100 at once for 20000d", "log", (100, DAYS), Meant::Denied),
];

fn main() {
    // Asked for the names of tests: there are none.
    if std::env::args().any(|argument| argument == "--list") {
        return;
    }
    let start = Instant::now();
    let scale = Scale::from_environment();
    let machine = Machine::start();
    let entry = |name: &str, contender: Box<dyn Contender>, meant, in_flight| Entry {
        name: name.to_owned(),
        contender,
        meant,
        in_flight,
    };
    let bare = |floor: Floor, tag, terms| Box::new(Bare::new(&machine, floor, tag, terms)) as Box<dyn Contender>;

    let mut entries = Vec::new();
    let floors: Vec<Floor> =
        FLOORS.into_iter().filter(|floor| scale.wants("floors") || floor.name == "return 1").collect();
    for (at, &floor) in floors.iter().enumerate() {
        let tag = ["f0", "f1", "f2", "f3", "f4", "f5", "f6", "f7", "f8", "f9", "fa", "fb", "fc"][at];
        let micros = if floor.name == "log" { 10_000 } else { DAYS };
        entries.push(entry(
            floor.name,
            bare(floor, tag, Terms { quota: MANY, window: micros, keys: 1 }),
            Meant::Admitted,
            256,
        ));
    }
    let cases: Vec<&Case> = CASES.iter().filter(|case| scale.wants(case.name)).collect();
    for case in &cases {
        let terms = Terms { quota: case.quota, window: case.micros, keys: case.keys };
        entries.push(entry(case.name, bare(floor(case.floor), case.name, terms), case.meant, 256));
        let tag = case.name.replace([' ', ','], "");
        entries.push(entry(case.name, Box::new(Ours::new(&machine, &tag, &[case.policy], case.keys)), case.meant, 256));
    }
    let (hour, day, year) = ("1000000000/20000d", "1000000000/10000d", "1000000000/5000d");
    let several: [(&str, &[&str], Meant); 4] = [
        ("two limits, admitted", &[hour, day], Meant::Admitted),
        ("two limits, denied", &[hour, "1/20000d"], Meant::Denied),
        ("three limits, admitted", &[hour, day, year], Meant::Admitted),
        ("three limits, denied", &[hour, day, "1/20000d"], Meant::Denied),
    ];
    let several: Vec<_> = several.into_iter().filter(|(name, ..)| scale.wants(name)).collect();
    for (name, policies, meant) in &several {
        let tag = name.replace([' ', ','], "");
        entries.push(entry(name, Box::new(Ours::new(&machine, &tag, policies, 1)), *meant, 256));
    }
    let rates = rates(&machine, &scale);
    let rate_names: Vec<String> = rates.iter().map(|entry| entry.name.clone()).collect();
    entries.extend(rates);

    let mut laps = measure(&machine, &scale, &entries).into_iter();
    let floors: Vec<(Floor, Laps)> = floors.into_iter().zip(laps.by_ref()).collect();
    let pairs: Vec<(Laps, Laps)> = cases.iter().filter_map(|_| laps.next().zip(laps.next())).collect();
    let several: Vec<Laps> = laps.by_ref().take(several.len()).collect();
    let rates: Vec<Laps> = laps.by_ref().take(rate_names.len()).collect();
    let refunds = refunds(&machine, &scale);
    let alone = if scale.wants("alone") { Some(alone(&machine, &scale)) } else { None };

    println!(
        "\n==== Rebate over Redis: medians of {} rounds, server and client sharing the machine ====",
        scale.rounds
    );
    print!("{}{}", report::floors(&floors), report::pairs(&pairs));
    print!("{}", report::others("Several limits of one key, all or nothing, 256 in flight", &several));
    print!("{}", report::others("Refunds of one unit, 256 in flight", &refunds));
    print!("{}", report::others("Beside limitador's storage, 1,000 keys, so many in flight", &rates));
    if let Some(Alone { ours, floor, nothing }) = alone {
        println!(
            "\nA lone charge: {ours:.1} µs; a bare EVALSHA of its shape {floor:.1} µs, of `return 1` {nothing:.1} µs"
        );
    }
    if !scale.smoke {
        print!("{}", targets(&pairs, &rates, alone).report());
    }
    println!("took {} s", start.elapsed().as_secs());
}

/// Rounds of laps, everybody in turn.
fn measure(machine: &Machine, scale: &Scale, entries: &[Entry]) -> Vec<Laps> {
    let mut laps: Vec<Laps> = entries.iter().map(|entry| Laps { name: entry.name.clone(), laps: Vec::new() }).collect();
    for round in 0..=scale.rounds {
        eprintln!("round {round} of {}", scale.rounds);
        for (entry, laps) in entries.iter().zip(&mut laps) {
            // The first round fills what is to be full, and is not counted.
            let charges = if round == 0 { scale.charges.min(11_000) } else { scale.charges };
            let lap = entry.contender.lap(machine, charges, entry.in_flight);
            if round > 0 {
                check(entry, lap, charges);
                laps.laps.push(lap);
            }
        }
    }
    laps
}

/// Whether a side did what it was meant to.
fn check(entry: &Entry, lap: Lap, charges: usize) {
    let meant = if entry.meant == Meant::Admitted { charges / entry.in_flight * entry.in_flight } else { 0 };
    assert_eq!(lap.admitted, meant, "{} admitted others than it was meant to", entry.name);
}

/// Ours and limitador's, one limit and two, of a thousand keys.
fn rates(machine: &Machine, scale: &Scale) -> Vec<Entry> {
    let mut entries = Vec::new();
    if !scale.wants("rates") {
        return entries;
    }
    for (in_flight, limits) in [(256, 1), (256, 2), (64, 1), (64, 2)] {
        let what = format!("{limits} limit{}, {in_flight}", if limits == 1 { "" } else { "s" });
        let policies = &["1000000000/20000d", "1000000000/10000d"][..limits];
        let mut add = |name: &str, contender: Box<dyn Contender>| {
            entries.push(Entry { name: format!("{name}, {what}"), contender, meant: Meant::Admitted, in_flight });
        };
        add("rebate", Box::new(Ours::new(machine, &format!("rate{in_flight}{limits}"), policies, 1000)));
        #[cfg(feature = "limitador-redis")]
        add("limitador", Box::new(rebate_benches::server::peer::Limitador::new(machine, limits, 1000)));
    }
    // What a script can make at all that knows no refunds.
    for (in_flight, tag) in [(256, "rate256f"), (64, "rate64f")] {
        let terms = Terms { quota: MANY, window: DAYS, keys: 1000 };
        let contender = Box::new(Bare::new(machine, floor("fixed"), tag, terms));
        let name = format!("bare script, 1 limit, {in_flight}");
        entries.push(Entry { name, contender, meant: Meant::Admitted, in_flight });
    }
    entries
}

/// Refunds of a receipt's one unit, the oldest first.
fn refunds(machine: &Machine, scale: &Scale) -> Vec<Laps> {
    let policies = [
        ("refund, fixed", "1000000000/20000d"),
        ("refund, sliding", "1000000000/20000d sliding"),
        ("refund, bucket", "1000000000/20000d burst 1000000000"),
        ("refund, log", "1000000000/20000d sliding log"),
        ("refund, leases", "1000000000 at once for 20000d"),
    ];
    let mut all = Vec::new();
    for (name, policy) in policies.into_iter().filter(|(name, _)| scale.wants(name)) {
        let tag = name.replace([' ', ','], "");
        let refunds = Refunds::new(Ours::new(machine, &tag, &[policy], 1));
        let mut laps = Vec::new();
        for _ in 0..scale.rounds.min(3) {
            let charges = scale.charges.min(10_240);
            // A lap begins with four for each in flight.
            refunds.fill(machine, charges + 4 * 256);
            laps.push(refunds.lap(machine, charges, 256));
        }
        all.push(Laps { name: name.to_owned(), laps });
    }
    all
}

/// Medians of the latency of a lone charge, in microseconds, in turn.
#[derive(Clone, Copy)]
struct Alone {
    ours: f64,
    /// A bare script of the same shape.
    floor: f64,
    /// A bare script that does nothing.
    nothing: f64,
}

fn alone(machine: &Machine, scale: &Scale) -> Alone {
    let terms = Terms { quota: MANY, window: DAYS, keys: 1 };
    let sides: [Box<dyn Contender>; 3] = [
        Box::new(Ours::new(machine, "alone", &["1000000000/20000d"], 1)),
        Box::new(Bare::new(machine, floor("fixed"), "alone", terms)),
        Box::new(Bare::new(machine, floor("return 1"), "alone", terms)),
    ];
    let mut times = [const { Vec::new() }; 3];
    for number in 0..scale.alone {
        for (side, times) in sides.iter().zip(&mut times) {
            times.push(side.alone(machine, number).as_secs_f64() * 1e6);
        }
    }
    let [ours, floor, nothing] = times.map(median);
    Alone { ours, floor, nothing }
}

fn targets(pairs: &[(Laps, Laps)], rates: &[Laps], alone: Option<Alone>) -> Targets {
    let mut targets = Targets::default();
    for (floor, ours) in pairs {
        let ratio = ours.server_over(floor);
        let what =
            format!("{}: {ratio:.2} times its floor's server time, wanted at most {}", ours.name, report::SERVER_TIME);
        targets.line(ratio <= report::SERVER_TIME, &what);
    }
    let (beside, bare) = rates.split_at(rates.len().saturating_sub(2));
    let peers = beside.chunks_exact(2).filter(|_| cfg!(feature = "limitador-redis"));
    for pair in peers.clone() {
        let ratio = pair[0].rate_over(&pair[1]);
        let what =
            format!("{} in flight: {ratio:.2} times limitador's rate, wanted at least {}", pair[0].name, report::RATE);
        targets.line(ratio >= report::RATE, &what);
    }
    for (bare, limitador) in
        bare.iter().zip(beside.iter().skip(1).step_by(4)).filter(|_| cfg!(feature = "limitador-redis"))
    {
        targets.unknown(&format!("{} in flight: {:.2} times limitador's rate", bare.name, bare.rate_over(limitador)));
    }
    if peers.count() == 0 {
        targets.unknown("limitador's rate: measured only with --features limitador-redis");
    }
    if let Some(Alone { ours, floor, nothing }) = alone {
        for (what, bare) in [("of its shape", floor), ("of `return 1`", nothing)] {
            let ratio = ours / bare;
            let what = format!(
                "a lone charge: {ratio:.2} times the latency of a bare EVALSHA {what}, wanted at most {}",
                report::LATENCY
            );
            targets.line(ratio <= report::LATENCY, &what);
        }
    }
    targets
}
