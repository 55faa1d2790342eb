//! Over a real server: places held, handed over and released by several processes, and estimates settled when their stream breaks.

mod common;

use std::future::pending;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{MINUTE, SECOND, charged, used};
use rebate_core::{Item, Limit, Limiter, ManualClock, Timestamp};
use rebate_redis::{RedisStore, Settings};
use rebate_servers::Server;
use rebate_tokio::{Hold, Metered};

const NOON: Timestamp = Timestamp::from_secs(1_699_963_200);
const ROLE: &str = "REBATE_TEST_PROCESS";

/// A client of its own, whose clock stands still at so long after noon.
fn client(url: &str, after_noon: Duration) -> Limiter<RedisStore> {
    let patient = Settings::url(url).connect_timeout(20 * SECOND).call_timeout(20 * SECOND);
    let clock = ManualClock::at(NOON);
    clock.advance(after_noon);
    Limiter::new(RedisStore::builder(patient).clock(clock).build().unwrap())
}

/// A place for ten minutes, and one of the day.
fn limits(limiter: &Limiter<RedisStore>) -> (Limit, Limit) {
    (limiter.limit("places", "3 at once for 10m").unwrap(), limiter.limit("day", "50/day").unwrap())
}

async fn in_use(url: &str, after_noon: Duration) -> (u64, u64) {
    let limiter = client(url, after_noon);
    let (places, day) = limits(&limiter);
    (used(&limiter, &places).await, used(&limiter, &day).await)
}

/// Asks again, for a minute at most, until it holds.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < MINUTE, "waited a minute in vain for: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Starts this program again, which then finds its role.
fn start(test: &str, role: &[&str]) -> Worker {
    let worker = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(ROLE, role.join(" "))
        .stdout(Stdio::null())
        .spawn();
    Worker(worker.unwrap())
}

/// Ended with its test, also one that fails.
struct Worker(Child);

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn a_place_is_held_by_another_process_that_has_its_token_until_that_dies() {
    if let Ok(role) = std::env::var(ROLE) {
        return worker(&role).await;
    }
    let server = Server::start();
    let url = server.url();
    let limiter = client(&url, Duration::ZERO);
    let (places, day) = limits(&limiter);
    let hold = Hold::new(&limiter, charged(&limiter, &[Item::new(&places, "k"), Item::new(&day, "k")]).await).unwrap();
    let token = limiter.token(&hold.into_receipt()).unwrap();
    assert_eq!(in_use(&url, 11 * MINUTE).await, (0, 1), "the lease of the charge ends after ten minutes");
    let test = "a_place_is_held_by_another_process_that_has_its_token_until_that_dies";
    let worker = start(test, &[&url, &token, "holds"]);
    until("the other process renews", async || in_use(&url, 11 * MINUTE).await == (1, 1)).await;
    drop(worker);
    assert_eq!(in_use(&url, 19 * MINUTE - SECOND).await, (1, 1), "renewed nine minutes after noon");
    assert_eq!(in_use(&url, 19 * MINUTE).await, (0, 1), "its renewer died");
}

#[tokio::test]
async fn a_place_is_released_by_another_process_that_knows_no_limit() {
    if let Ok(role) = std::env::var(ROLE) {
        return worker(&role).await;
    }
    let server = Server::start();
    let url = server.url();
    let limiter = client(&url, Duration::ZERO);
    let (places, day) = limits(&limiter);
    let both = [Item::new(&places, "k"), Item::new(&day, "k")];
    let (receipt, _other) = (charged(&limiter, &both).await, charged(&limiter, &both).await);
    let token = limiter.token(&receipt).unwrap();
    let test = "a_place_is_released_by_another_process_that_knows_no_limit";
    let mut worker = start(test, &[&url, &token, "releases"]);
    assert!(worker.0.wait().unwrap().success());
    assert_eq!(in_use(&url, MINUTE).await, (1, 2));
}

/// The other process, nine minutes after noon.
async fn worker(role: &str) {
    let [url, token, does] = role.split(' ').collect::<Vec<_>>()[..] else { panic!("no role: {role}") };
    let limiter = client(url, 9 * MINUTE);
    let mut receipt = limiter.receipt(token).unwrap();
    if does == "releases" {
        let error = Hold::new(&limiter, limiter.receipt(token).unwrap()).unwrap_err();
        assert!(error.is_invalid() && error.to_string().contains("`places`"), "{error}");
        let released = limiter.release(&mut receipt).await.unwrap();
        assert_eq!(released.parts.iter().map(|part| part.given_back).collect::<Vec<_>>(), [1, 0]);
        return;
    }
    let _limits = limits(&limiter);
    let _hold = Hold::new(&limiter, receipt).unwrap();
    pending().await
}

#[tokio::test]
async fn three_at_once_and_fifty_a_day_are_both_or_neither_and_a_drop_leaves_the_day() {
    let server = Server::start();
    let url = server.url();
    let limiter = client(&url, Duration::ZERO);
    let (places, day) = limits(&limiter);
    let both = [Item::new(&places, "k"), Item::new(&day, "k")];
    let mut holds = Vec::new();
    for _ in 0..3 {
        holds.push(Hold::new(&limiter, charged(&limiter, &both).await).unwrap());
    }
    assert!(limiter.charge_all(&both).await.unwrap().denial().is_some());
    assert_eq!(in_use(&url, Duration::ZERO).await, (3, 3));
    assert_eq!(holds.remove(0).release().await.unwrap().given_back(), 1);
    // The others on a thread without a runtime, and by a task that is cancelled.
    let (dropped, held) = (holds.remove(0), holds.remove(0));
    std::thread::spawn(move || drop(dropped)).join().unwrap();
    let cancelled = tokio::spawn(async move {
        let _held = held;
        pending::<()>().await;
    });
    cancelled.abort();
    until("all are released", async || in_use(&url, Duration::ZERO).await == (0, 3)).await;
}

#[tokio::test]
async fn a_place_that_another_client_released_is_lost() {
    let server = Server::start();
    let url = server.url();
    let limiter = client(&url, Duration::ZERO);
    let (places, _) = limits(&limiter);
    let token = limiter.token(&charged(&limiter, &[Item::new(&places, "k")]).await).unwrap();
    let other = client(&url, MINUTE);
    assert_eq!(other.release(&mut other.receipt(&token).unwrap()).await.unwrap().given_back(), 1);
    // Read from a token, it is renewed at once.
    let hold = Hold::new(&limiter, limiter.receipt(&token).unwrap()).unwrap();
    hold.lost().await;
    assert!(hold.is_lost());
}

#[tokio::test]
async fn an_estimate_is_settled_once_at_what_was_used_whatever_becomes_of_its_stream() {
    let server = Server::start();
    let limiter = client(&server.url(), Duration::ZERO);
    let tokens = limiter.limit("tokens", "10000/day").unwrap();
    let estimate = [Item::new(&tokens, "k").cost(4000)];
    let metered = async || Metered::new(&limiter, charged(&limiter, &estimate).await).unwrap();

    let mut ends = metered().await;
    ends.used(5000);
    assert_eq!(ends.settle().await.unwrap().settled().unwrap().parts[0].topped_up, 1000);
    assert_eq!(used(&limiter, &tokens).await, 5000);

    let mut breaks = metered().await;
    breaks.used(700);
    let client_left = tokio::spawn(async move {
        let _breaks = breaks;
        pending::<()>().await;
    });
    client_left.abort();
    until("it is settled", async || used(&limiter, &tokens).await == 5700).await;
}
