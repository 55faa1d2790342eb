//! Whether those who charge notice that `rebate status` lists a million keys beside them. Not for every day: it needs a
//! machine of which nobody else asks much, and `scripts/nightly.sh` runs it.
//!
//! ```sh
//! cargo test --release -p rebate-cli --test beside_charges -- --ignored --nocapture --test-threads=1
//! ```
//!
//! `REBATE_PACE` is another pace than the default, `REBATE_RATE` another number of charges a second, and 0 of them is as
//! many as there can be.

mod support {
    pub(crate) mod program;
}

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rebate::{Decision, Limit, Limiter, RedisStore};
use rebate_servers::Server;
use support::program::program;
use tokio::runtime::Runtime;
use tokio::sync::Mutex;

/// By how much the listing may slow the slowest hundredth of the charges.
const MOST: f64 = 1.2;
/// Charges under way at once where there can be as many as may be.
const AT_ONCE: u64 = 8;

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |text| text.parse().expect("a number"))
}

struct Charges {
    runtime: Runtime,
    limiter: Limiter<RedisStore>,
    limit: Limit,
    server: Server,
    keys: u64,
    /// A second.
    rate: u64,
}

impl Charges {
    /// A server with so many counts.
    fn new() -> Self {
        let (server, keys) = (Server::start(), number("REBATE_KEYS", 1_000_000));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let limiter = Limiter::new(RedisStore::builder(server.url()).prefix("p").build().expect("valid settings"));
        let limit = limiter.limit("l", "1000000/30d from first").expect("a valid limit");
        let first = runtime.block_on(async {
            let decision = limiter.charge(&limit, "0").await.expect("the server answers");
            while limiter.store().limits().await.expect("the server answers").is_empty() {}
            decision
        });
        assert!(first.may_proceed());
        // Made by the server itself from the one that was charged.
        let fill = "local state = redis.call('GET', 'p:{k0}:c:l')
            for key = ARGV[1], ARGV[2] do
                redis.call('SET', string.format('p:{k%d}:c:l', key), state, 'PX', 86400000)
            end";
        for chunk in 0..100 {
            let [from, to] = [chunk * (keys / 100) + 1, (chunk + 1) * (keys / 100)].map(|key| key.to_string());
            server.command(&["EVAL", fill, "0", &from, &to]);
        }
        Charges { runtime, limiter, limit, server, keys, rate: number("REBATE_RATE", 4000) }
    }

    /// How long each charge took, for as long as `goes_on`, in nanoseconds.
    fn measure(&self, goes_on: impl FnMut() -> bool) -> Vec<u64> {
        self.runtime.block_on(async {
            if self.rate == 0 { self.as_many_as_may_be(goes_on).await } else { self.at_rate(goes_on).await }
        })
    }

    async fn at_rate(&self, mut goes_on: impl FnMut() -> bool) -> Vec<u64> {
        let latencies = Arc::new(Mutex::new(Vec::new()));
        let mut ticks = tokio::time::interval(Duration::from_millis(1));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let (begun, mut sent) = (Instant::now(), 0);
        while goes_on() {
            ticks.tick().await;
            // No more than a few ticks' worth is made up for.
            let due = (begun.elapsed().as_secs_f64() * self.rate as f64) as u64;
            let few = self.rate.div_ceil(200);
            for _ in 0..(due - sent).min(few) {
                let (limiter, limit, latencies) = (self.limiter.clone(), self.limit.clone(), Arc::clone(&latencies));
                let key = key(due + sent, self.keys);
                tokio::spawn(async move {
                    let took = charge(&limiter, &limit, &key).await;
                    latencies.lock().await.push(took);
                });
                sent += 1;
            }
            sent = due;
        }
        std::mem::take(&mut *latencies.lock().await)
    }

    async fn as_many_as_may_be(&self, mut goes_on: impl FnMut() -> bool) -> Vec<u64> {
        let (mut tasks, stop) = (tokio::task::JoinSet::new(), Arc::new(std::sync::atomic::AtomicBool::new(false)));
        for task in 0..AT_ONCE {
            let (limiter, limit, stop) = (self.limiter.clone(), self.limit.clone(), Arc::clone(&stop));
            let keys = self.keys;
            tasks.spawn(async move {
                let mut latencies = Vec::new();
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    latencies.push(charge(&limiter, &limit, &key(task + latencies.len() as u64 * AT_ONCE, keys)).await);
                }
                latencies
            });
        }
        while goes_on() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        tasks.join_all().await.concat()
    }

    fn list(&self) -> Child {
        let url = self.server.url();
        let mut line = vec!["status".to_owned(), "--json".into(), "--prefix=p".into(), "--store".into(), url];
        if let Ok(pace) = std::env::var("REBATE_PACE") {
            line.extend(["--pace".into(), pace]);
        }
        program(&line).stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("the program starts")
    }
}

/// One of so many, none twice in a while.
fn key(number: u64, keys: u64) -> String {
    (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % keys).to_string()
}

async fn charge(limiter: &Limiter<RedisStore>, limit: &Limit, key: &str) -> u64 {
    let begun = Instant::now();
    let decision = limiter.charge(limit, key).await.expect("the server answers");
    let took = begun.elapsed().as_nanos() as u64;
    assert!(matches!(decision, Decision::Allowed(_)));
    took
}

fn microseconds(sorted: &[u64], share: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * share) as usize] as f64 / 1000.0
}

/// Tells the latencies, and answers the 99th of a hundred.
fn tell(what: &str, mut latencies: Vec<u64>, seconds: f64) -> f64 {
    latencies.sort_unstable();
    let [p50, p90, p99, p999] = [0.5, 0.9, 0.99, 0.999].map(|share| microseconds(&latencies, share));
    println!(
        "{what}: {:.0} charges a second; p50 {p50:.0} us, p90 {p90:.0} us, p99 {p99:.0} us, p99.9 {p999:.0} us",
        latencies.len() as f64 / seconds
    );
    p99
}

/// The 99th of a hundred of each slice, and of these the one in the middle: what else the machine does now and then spoils some
/// slices, and not the answer.
fn middle(slices: &mut [Vec<u64>]) -> f64 {
    slices.iter_mut().for_each(|slice| slice.sort_unstable());
    let mut slowest: Vec<f64> = slices.iter().map(|slice| microseconds(slice, 0.99)).collect();
    slowest.sort_unstable_by(f64::total_cmp);
    slowest[slowest.len() / 2]
}

#[test]
#[ignore = "half a minute of a machine's whole attention; scripts/nightly.sh runs it"]
fn a_listing_beside_charges_is_not_noticed() {
    let charges = Charges::new();
    let slice = Duration::from_millis(500);
    let for_a_slice = || {
        let begun = Instant::now();
        charges.measure(move || begun.elapsed() < slice)
    };
    drop(for_a_slice());
    let mut listing = charges.list();
    let (mut without, mut with) = (Vec::new(), Vec::new());
    // In turns, so that both meet the same moods of the machine.
    for _ in 0..number("REBATE_ROUNDS", 40) {
        signal("STOP", &listing);
        without.push(for_a_slice());
        signal("CONT", &listing);
        with.push(for_a_slice());
    }
    assert!(listing.try_wait().expect("the program can be waited for").is_none(), "the listing is still under way");
    listing.kill().and_then(|()| listing.wait()).expect("the program can be ended");
    let seconds = without.len() as f64 * slice.as_secs_f64();
    tell("without", without.concat(), seconds);
    tell("with", with.concat(), seconds);
    let (without, with) = (middle(&mut without), middle(&mut with));
    println!("p99 of the middle slice: {without:.0} us without, {with:.0} us with: {:.2} times that", with / without);
    assert!(with <= without * MOST);
}

fn signal(name: &str, child: &Child) {
    let status = Command::new("kill").args(["-s", name, &child.id().to_string()]).status().expect("kill starts");
    assert!(status.success());
}

#[test]
#[ignore = "some minutes; scripts/nightly.sh runs it"]
fn a_whole_listing_beside_charges() {
    let charges = Charges::new();
    let begun = Instant::now();
    let before = charges.measure(move || begun.elapsed() < Duration::from_secs(10));
    let begun = Instant::now();
    let mut listing = charges.list();
    let mut status = None;
    let during = charges.measure(|| {
        status = listing.try_wait().expect("the program can be waited for");
        status.is_none()
    });
    let took = begun.elapsed().as_secs_f64();
    assert!(status.is_some_and(|status| status.success()));
    let (before, during) = (tell("before", before, 10.0), tell("during", during, took));
    println!("the listing of {} keys took {took:.1} s; p99 was {:.2} times that before", charges.keys, during / before);
}
