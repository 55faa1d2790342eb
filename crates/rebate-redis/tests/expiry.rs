//! Every key that the store makes expires, and when ARCHITECTURE.md says so: after random operations of every kind each key is
//! looked at, and what it holds.
//!
//! `REBATE_SEED` repeats what failed.

#[path = "expiry/keys.rs"]
mod keys;
#[path = "support"]
mod support {
    pub(crate) mod random;
    pub(crate) mod seed;
}

use std::time::Duration;

use rebate_core::{
    CalendarUnit, ChargeRequest, Decision, Error, Idempotency, Item, KeyRef, Limit, Limiter, Policy, Receipt, Shortfall,
};
use rebate_redis::{RedisStore, Settings};
use rebate_servers::Server;

use keys::{Moved, Watch};
use support::random::Random;
use support::seed::seed;

const DAY: Duration = Duration::from_secs(86_400);
const SECOND: Duration = Duration::from_secs(1);
const QUOTA: u64 = 6;
/// More than stands in a name: its digest does, and itself beside the count.
const LONG: [u8; 200] = [b'x'; 200];

/// Each limit's two policies: another window or rate, or another algorithm altogether.
fn limits(window: Duration) -> Vec<[Limit; 2]> {
    let other = window * 7 / 10;
    let policies = [
        ("aligned", [Policy::fixed(QUOTA, window), Policy::fixed(QUOTA, other)]),
        (
            "calendar",
            [
                Policy::calendar(QUOTA, CalendarUnit::Day, "Europe/Berlin"),
                Policy::calendar(QUOTA, CalendarUnit::Month, "UTC"),
            ],
        ),
        ("first", [Policy::from_first(QUOTA, window), Policy::sliding_log(QUOTA, window)]),
        ("sliding", [Policy::sliding(QUOTA, window), Policy::sliding(QUOTA, other)]),
        ("bucket", [Policy::bucket(QUOTA, window, QUOTA), Policy::bucket(QUOTA + 1, window, QUOTA - 1)]),
        ("log", [Policy::sliding_log(QUOTA, window), Policy::concurrency(QUOTA, other)]),
        ("leases", [Policy::concurrency(QUOTA, window), Policy::fixed(QUOTA, window)]),
    ];
    let limit =
        |name: &str, policy: Result<Policy, Error>| Limit::of(name, policy.expect("in bounds")).expect("a name");
    policies.into_iter().map(|(name, both)| both.map(|policy| limit(name, policy))).collect()
}

struct Scene {
    limiter: Limiter<RedisStore>,
    limits: Vec<[Limit; 2]>,
    /// Which of the two each is at present.
    current: Vec<usize>,
    watch: Watch,
    random: Random,
    receipts: Vec<Receipt>,
    /// What was last charged under an idempotency key.
    once: Option<(Vec<Billed>, &'static str, Duration)>,
    /// A lease that is renewed for so many steps more.
    lease: Option<(Receipt, usize)>,
    replays: usize,
}

/// A limit's place, a key's, and the cost.
type Billed = (usize, usize, u64);

fn key(place: usize) -> KeyRef<'static> {
    match place {
        0 => KeyRef::new(b"ada"),
        1 => KeyRef::new(&LONG),
        2 => KeyRef::in_group("team", "bob"),
        _ => KeyRef::in_group("team", &LONG),
    }
}

fn request<'a>(items: &'a [Item<'a>], reserved: Option<Duration>) -> ChargeRequest<'a> {
    ChargeRequest { reserved, ..ChargeRequest::new(items) }
}

impl Scene {
    fn new(server: &Server, prefix: &'static str, clock: Option<Moved>, limits: Vec<[Limit; 2]>, seed: u64) -> Self {
        // These tests share their processors with others.
        let settings = Settings::url(server.url()).connect_timeout(60 * SECOND).call_timeout(600 * SECOND);
        let builder = RedisStore::builder(settings).prefix(prefix);
        let builder = match &clock {
            Some(clock) => builder.clock(clock.clone()),
            None => builder,
        };
        let mut watch = Watch::new(server, prefix, clock);
        limits.iter().flatten().for_each(|limit| watch.expect_limit(limit.policy()));
        Scene {
            limiter: Limiter::new(builder.build().expect("sound settings")),
            current: vec![0; limits.len()],
            limits,
            watch,
            random: Random::new(seed),
            receipts: Vec::new(),
            once: None,
            lease: None,
            replays: 0,
        }
    }

    async fn run(&mut self, operations: usize, seed: u64) {
        for number in 0..operations {
            let place = format!("REBATE_SEED={seed}, operation {number}");
            let (before, choice) = (self.watch.now(), self.random.below(100));
            let did = match choice {
                _ if self.lease.is_some() => self.hold_on().await,
                0..30 => self.charge(1).await,
                30..40 => {
                    let count = 2 + self.random.below(3);
                    self.charge(count).await
                }
                40..53 => self.charge_once().await,
                53..73 => self.refund().await,
                73..82 => self.settle().await,
                82..86 => self.renew().await,
                86..88 => self.copy(),
                88..90 => self.reset().await,
                90..92 => self.look_only().await,
                92..94 => self.replace(),
                94 if self.random.below(6) == 0 => self.charge_and_refund_many(&place).await,
                95 if self.watch.has_clock() => self.take_a_lease().await,
                _ if self.watch.has_clock() => self.move_clock(),
                _ => "nothing".into(),
            };
            self.watch.look(before, &format!("{place}: {did}"));
        }
    }

    fn items(&self, billed: &[Billed]) -> Vec<Item<'_>> {
        let item = |&(limit, of, cost): &Billed| Item::new(self.limit(limit), key(of)).cost(cost);
        billed.iter().map(item).collect()
    }

    fn limit(&self, place: usize) -> &Limit {
        &self.limits[place][self.current[place]]
    }

    fn billed(&mut self, count: usize) -> Vec<Billed> {
        // Few keys in all, so that operations meet.
        let of = self.random.below(4);
        (0..count).map(|_| (self.random.below(self.limits.len()), of, 1 + self.random.below(4) as u64)).collect()
    }

    fn keep(&mut self, decision: Decision) {
        if let Decision::Allowed(receipt) = decision {
            self.receipts.push(receipt);
            if self.receipts.len() > 30 {
                drop(self.receipts.remove(0));
            }
        }
    }

    /// For how long a charge is reserved, if it is.
    fn within(&mut self) -> Option<Duration> {
        *self.random.of(&[None, None, None, Some(Duration::from_micros(1)), Some(5 * SECOND), Some(60 * DAY)])
    }

    fn receipt(&mut self) -> Option<usize> {
        // Mostly a late one: it has not expired.
        let count = self.receipts.len();
        (count > 0).then(|| count - 1 - self.random.below(count).min(self.random.below(count)))
    }

    async fn charge(&mut self, count: usize) -> String {
        let (billed, within) = (self.billed(count), self.within());
        let items = self.items(&billed);
        let decision = self.limiter.charge_with(&request(&items, within)).await.expect("an answer");
        let said = format!("charge {billed:?}, reserved: {within:?}, admitted: {}", decision.may_proceed());
        self.keep(decision);
        said
    }

    async fn charge_once(&mut self) -> String {
        let again = self.once.take().filter(|_| self.random.below(2) == 0);
        let (billed, text, lifetime) = match again {
            Some(again) => again,
            None => {
                let count = 1 + self.random.below(3);
                let lifetimes = [Duration::from_micros(1), 5 * SECOND, DAY, 400 * DAY];
                (self.billed(count), *self.random.of(&["one", "two", "three"]), *self.random.of(&lifetimes))
            }
        };
        let idempotency = Idempotency::new(text).lifetime(lifetime);
        let said = format!("charge {billed:?} once as {text} for {lifetime:?}");
        let within = self.within();
        let items = self.items(&billed);
        match self.limiter.charge_with(&request(&items, within).once(idempotency)).await {
            Ok(decision) => {
                self.replays += usize::from(matches!(&decision, Decision::Allowed(receipt) if receipt.is_replay()));
                self.keep(decision);
            }
            // The key has billed another charge.
            Err(error) => assert!(error.is_conflict(), "{error}"),
        }
        self.once = Some((billed, text, lifetime));
        said
    }

    async fn refund(&mut self) -> String {
        let Some(at) = self.receipt() else { return "nothing to refund".into() };
        let total = *self.random.of(&[0, 1, 2, u64::MAX, u64::MAX, u64::MAX]);
        let refund = self.limiter.refund_up_to(&mut self.receipts[at], total).await.expect("an answer");
        format!("refund {total} of {:?}: {refund:?}", self.receipts[at])
    }

    async fn settle(&mut self) -> String {
        let Some(at) = self.receipt() else { return "nothing to settle".into() };
        let cost = self.random.below(8) as u64;
        let shortfall = *self.random.of(&[Shortfall::Refuse, Shortfall::TakeWhatIsThere]);
        let settlement = self.limiter.settle(&mut self.receipts[at], cost, shortfall).await.expect("an answer");
        format!("settle {:?} at {cost}: {settlement:?}", self.receipts[at])
    }

    async fn renew(&mut self) -> String {
        let Some(at) = self.receipt() else { return "nothing to renew".into() };
        let renewal = self.limiter.renew(&self.receipts[at]).await.expect("an answer");
        format!("renew {:?}: {renewal:?}", self.receipts[at])
    }

    async fn take_a_lease(&mut self) -> String {
        let (of, leases) = (self.random.below(4), self.limits.len() - 1);
        let decision = self.limiter.charge_all(&self.items(&[(leases, of, 3)])).await.expect("an answer");
        let Decision::Allowed(mut receipt) = decision else { return "no room for leases".into() };
        // A part is released before.
        let released = self.random.below(2) as u64;
        self.limiter.refund_up_to(&mut receipt, released).await.expect("an answer");
        self.lease = Some((receipt, 8));
        format!("leases of {of}, {released} released")
    }

    /// Lets most of a lease pass and renews it, in turns: what is kept for more than one lease is to be kept longer then.
    async fn hold_on(&mut self) -> String {
        let Some((receipt, left)) = self.lease.take() else { return "no lease".into() };
        let did = if left % 2 == 0 {
            self.watch.move_clock(6000);
            "most of the lease passes".into()
        } else {
            format!("renew {receipt:?}: {:?}", self.limiter.renew(&receipt).await.expect("an answer"))
        };
        self.lease = (left > 1).then(|| (receipt, left - 1));
        did
    }

    fn copy(&mut self) -> String {
        if let Some(at) = self.receipt() {
            let token = self.limiter.token(&self.receipts[at]).expect("every receipt has a token");
            self.receipts.push(self.limiter.receipt(&token).expect("a token of this store"));
        }
        "copy".into()
    }

    async fn reset(&mut self) -> String {
        let (limit, of) = (self.random.below(self.limits.len()), self.random.below(4));
        self.limiter.reset(self.limit(limit), key(of)).await.expect("an answer");
        format!("reset {limit} of {of}")
    }

    async fn look_only(&mut self) -> String {
        let billed = self.billed(3);
        self.limiter.peek_all(&self.items(&billed)).await.expect("an answer");
        format!("peek {billed:?}")
    }

    fn replace(&mut self) -> String {
        let place = self.random.below(self.limits.len());
        self.current[place] = 1 - self.current[place];
        self.limiter.replace(self.limit(place));
        format!("replace {place}")
    }

    /// More than a count remembers. Looked at in between: a refund may end sooner what the charge before it has moved.
    async fn charge_and_refund_many(&mut self, place: &str) -> String {
        let (limit, of, _) = self.billed(1)[0];
        let said = format!("charge and refund {limit} of {of}, over and over");
        for _ in 0..150 {
            let before = self.watch.now();
            let decision = self.limiter.charge_all(&self.items(&[(limit, of, 1)])).await.expect("an answer");
            self.watch.look(before, &format!("{place}: {said}"));
            let Decision::Allowed(mut receipt) = decision else { break };
            self.limiter.refund(&mut receipt).await.expect("an answer");
        }
        said
    }

    fn move_clock(&mut self) -> String {
        let some = 1 + self.random.below(2000) as i64;
        let millis = match self.random.below(12) {
            0..5 => some,
            5..8 => 3000 + some,
            8 => 10_000,
            9 => DAY.as_millis() as i64,
            10 => -some,
            _ => -15_000,
        };
        self.watch.move_clock(millis);
        format!("the clock goes on by {millis} ms")
    }

    /// Else some kind was not looked at.
    fn assert_met_all(&self) {
        let missing: String = "ADFSBLCepfktilr".chars().filter(|kind| !self.watch.met.contains(kind)).collect();
        assert!(missing.is_empty(), "no key of {missing:?} was met");
        assert!(self.replays > 0, "no charge was replayed");
    }
}

/// Windows of seconds, in all of which the clock comes to their ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_expire_an_hour_behind_what_they_tell_by_a_clock_of_the_callers() {
    let (server, seed) = (Server::start(), seed());
    println!("REBATE_SEED={seed}");
    let mut scene = Scene::new(&server, "own", Some(Moved::new()), limits(10 * SECOND), seed);
    scene.run(1500, seed).await;
    scene.assert_met_all();
}

/// Windows of which no test sees the end, unless it is midnight.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_expire_a_second_behind_what_they_tell_by_the_servers_clock() {
    let (server, seed) = (Server::start(), seed());
    println!("REBATE_SEED={seed}");
    let mut scene = Scene::new(&server, "servers", None, limits(30 * DAY), seed);
    scene.run(1500, seed).await;
    scene.assert_met_all();
}
