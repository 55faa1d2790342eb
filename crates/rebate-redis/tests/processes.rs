//! Two processes of the operating system over one server: what each takes and gives back, also of the other's, is exact.
//!
//! `REBATE_SECONDS` makes it last so long (scripts/nightly.sh: 10); without it it is a number of operations.

/// What other programs of tests use too.
mod support {
    pub(crate) mod random;
    pub(crate) mod scene;
    pub(crate) mod steps;
}

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rebate_core::{Decision, Fallback, Item, Limit, Limiter};
use rebate_redis::RedisStore;
use rebate_servers::Server;
use redis::aio::MultiplexedConnection;
use tokio::task::JoinSet;

use support::random::Random;
use support::scene::{every_key_expires, limiter, limits, patient, used};
use support::steps::{charged, until};

const QUOTA: u64 = 30;
/// Never reached.
const ENOUGH: u64 = 1000;
const PROCESSES: usize = 2;
const TASKS: usize = 4;
/// Of each task.
const OPERATIONS: usize = 300;
const KEY: &str = "shared";
const ROLE: &str = "REBATE_TEST_PROCESS";

/// The test's program is started again for each of the processes, which then find their role in the environment.
#[test]
fn two_processes_take_and_give_back_exactly() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    match std::env::var(ROLE) {
        Ok(role) => runtime.block_on(process(&role)),
        Err(_) => runtime.block_on(parent()),
    }
}

/// A process that dies between sending a charge and hearing its answer loses what it was about to take, and no more.
#[test]
fn a_process_that_is_killed_loses_what_was_on_its_way() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    match std::env::var(ROLE) {
        Ok(role) => runtime.block_on(doomed(&role)),
        Err(_) => runtime.block_on(survivor()),
    }
}

fn start(test: &str, number: usize, counts: &Server, post: &Server) -> Child {
    Command::new(std::env::current_exe().expect("this program has a path"))
        .args(["--exact", test, "--nocapture"])
        .env(ROLE, format!("{number} {} {}", counts.url(), post.url()))
        .stdout(Stdio::null())
        .spawn()
        .expect("this program starts again")
}

async fn survivor() {
    let (counts, post) = (Server::start(), Server::start());
    let limits = limits(ENOUGH, Fallback::Error);
    let told = |what: &str, limit: &Limit| -> u64 {
        redis::from_redis_value::<Option<u64>>(post.command(&["GET", &format!("{what}:{}", limit.name())]))
            .expect("a number")
            .unwrap_or_default()
    };
    let mut child = start("a_process_that_is_killed_loses_what_was_on_its_way", 0, &counts, &post);
    until("the process is at work", async || limits.iter().all(|limit| told("admitted", limit) > 50)).await;
    child.kill().expect("the process is killed");
    child.wait().expect("the process can be waited for");
    let limiter = limiter(patient(counts.url()));
    // What the server had read by then it may do a moment later; nothing comes after that.
    let used = used(&limiter, &limits, KEY).await;
    let (mut lost, mut under_way) = (0, 0);
    for (limit, used) in limits.iter().zip(used) {
        let (began, admitted) = (told("began", limit), told("admitted", limit));
        assert!(
            (admitted..=began).contains(&used),
            "{}: {used} in use, {admitted} heard of, {began} sent",
            limit.name()
        );
        (lost, under_way) = (lost + used - admitted, under_way + began - admitted);
    }
    assert!(lost <= under_way && under_way <= 3 * TASKS as u64, "{lost} of {under_way} lost");
    every_key_expires(&counts);
}

/// Says what it is about to take, takes it, and says that it has.
async fn doomed(role: &str) {
    let words: Vec<&str> = role.split(' ').collect();
    let post = redis::Client::open(words[2]).expect("a URL");
    let limiter = limiter(patient(words[1]));
    let tasks: JoinSet<()> = (0..TASKS)
        .map(|task| {
            let (limiter, post) = (limiter.clone(), post.clone());
            async move {
                let post = post.get_multiplexed_async_connection().await.expect("a server");
                let (mut worker, mut random) = (Worker { number: 0, post }, Random::new(task as u64 + 1));
                let limits = limits(ENOUGH, Fallback::Error);
                loop {
                    let (limit, cost) = (random.of(&limits), 1 + random.below(3) as u64);
                    worker.add("began", limit.name(), cost as i64).await;
                    let _receipt = charged(&limiter, &[Item::new(limit, KEY).cost(cost)]).await;
                    worker.add("admitted", limit.name(), cost as i64).await;
                }
            }
        })
        .collect();
    tasks.join_all().await;
}

async fn parent() {
    let (counts, post) = (Server::start(), Server::start());
    let mut children: Vec<Child> = (0..PROCESSES)
        .map(|number| start("two_processes_take_and_give_back_exactly", number, &counts, &post))
        .collect();
    for child in &mut children {
        let status = child.wait().expect("the process can be waited for");
        assert!(status.success(), "a process failed; it said why above");
    }

    let limits = limits(QUOTA, Fallback::Error);
    let used = used(&limiter(patient(counts.url())), &limits, KEY).await;
    for (limit, used) in limits.iter().zip(used) {
        let told = |what: &str| -> i64 {
            redis::from_redis_value::<Option<i64>>(post.command(&["GET", &format!("{what}:{}", limit.name())]))
                .expect("a number")
                .unwrap_or_default()
        };
        let (admitted, given_back) = (told("admitted"), told("given back"));
        assert_eq!(admitted - given_back, used as i64, "{}: {admitted} taken, {given_back} given back", limit.name());
        // Else nothing was shared.
        assert!(told("denied") > 0, "{}: the quota was never reached", limit.name());
        assert!(told("of the other's") > 0, "{}: nothing of the other's was given back", limit.name());
        assert!(told("given back before") > 0, "{}: no copy was refunded twice", limit.name());
        assert!(told("most held") <= QUOTA as i64, "{}: {} held at once", limit.name(), told("most held"));
    }
    let given: Vec<(String, u64)> =
        redis::from_redis_value(post.command(&["HGETALL", "given back of"])).expect("numbers by receipt");
    for (receipt, given_back) in given {
        // `limit cost token`
        let cost: u64 = receipt.split(' ').nth(1).and_then(|cost| cost.parse().ok()).expect("a cost");
        assert!(given_back <= cost, "{given_back} units of a receipt of {cost} were given back: {receipt}");
    }
    every_key_expires(&counts);
}

/// One of the processes.
async fn process(role: &str) {
    let mut words = role.split(' ');
    let mut word = || words.next().expect("number and two URLs").to_owned();
    let (number, counts, post) = (word().parse::<usize>().expect("a number"), word(), word());
    let post = redis::Client::open(post).expect("a URL");
    let seconds: Option<u64> = std::env::var("REBATE_SECONDS").ok().and_then(|text| text.parse().ok());
    let end = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let limiter = limiter(patient(counts));
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let (limiter, post) = (limiter.clone(), post.clone());
            tokio::spawn(async move {
                let post = post.get_multiplexed_async_connection().await.expect("a server");
                let limits = limits(QUOTA, Fallback::Error);
                let mut random = Random::new((number * TASKS + task) as u64 + 1);
                let mut worker = Worker { number, post };
                let mut done = 0;
                while end.map_or(done < OPERATIONS, |end| Instant::now() < end) {
                    done += 1;
                    if random.below(5) < 2 {
                        worker.take(&limiter, random.of(&limits), 1 + random.below(4) as u64).await;
                    } else {
                        worker.give_back(&limiter, &limits, &mut random).await;
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no task fails");
    }
}

struct Worker {
    number: usize,
    /// Another server, over which the processes tell one another what they took, and this test's program what they did.
    post: MultiplexedConnection,
}

impl Worker {
    async fn take(&mut self, limiter: &Limiter<RedisStore>, limit: &Limit, cost: u64) {
        let name = limit.name();
        match limiter.charge_all(&[Item::new(limit, KEY).cost(cost)]).await.expect("the server answers") {
            Decision::Allowed(receipt) => {
                self.add("admitted", name, cost as i64).await;
                // What is held at least: added to after a charge, taken from before a refund.
                let held = self.add("held", name, cost as i64).await;
                self.at_least("most held", name, held).await;
                let token = limiter.token(&receipt).expect("every receipt has a token");
                let text = format!("{name} {cost} {} {token}", self.number);
                for process in 0..PROCESSES {
                    self.ask::<i64>(redis::cmd("LPUSH").arg(format!("receipts of {process}")).arg(&text)).await;
                }
            }
            Decision::Denied(denial) => {
                assert!(denial.trouble().is_none());
                self.add("denied", name, 1).await;
            }
            Decision::Unchecked(_) => panic!("no limit lets pass what was not counted"),
        }
    }

    /// Refunds a copy of a receipt, whoever was given it: first a part, then, mostly, the whole.
    async fn give_back(&mut self, limiter: &Limiter<RedisStore>, limits: &[Limit], random: &mut Random) {
        let list = format!("receipts of {}", self.number);
        let Some(text) = self.ask::<Option<String>>(redis::cmd("RPOP").arg(list)).await else { return };
        let words: Vec<&str> = text.split(' ').collect();
        let &[name, cost, taker, token] = words.as_slice() else { panic!("a receipt: {text}") };
        let cost: u64 = cost.parse().expect("a number");
        assert!(limits.iter().any(|limit| limit.name() == name));
        let totals = [1 + random.below(cost as usize) as u64, cost];
        let mut known = 0;
        for total in totals {
            let mut receipt = limiter.receipt(token).expect("a token of this store");
            self.add("held", name, -((total - known.min(total)) as i64)).await;
            let refund = limiter.refund_up_to(&mut receipt, total).await.expect("the server answers");
            let part = &refund.parts[0];
            self.add("held", name, (total - known.min(total)) as i64 - part.given_back as i64).await;
            known = total;
            if part.given_back > 0 {
                self.add("given back", name, part.given_back as i64).await;
                let receipt = format!("{name} {cost} {token}");
                self.ask::<i64>(redis::cmd("HINCRBY").arg("given back of").arg(receipt).arg(part.given_back)).await;
                if taker != self.number.to_string() {
                    self.add("of the other's", name, 1).await;
                }
            } else if !part.expired {
                self.add("given back before", name, 1).await;
            }
        }
    }

    async fn add(&mut self, what: &str, limit: &str, number: i64) -> i64 {
        self.ask(redis::cmd("INCRBY").arg(format!("{what}:{limit}")).arg(number)).await
    }

    async fn at_least(&mut self, what: &str, limit: &str, number: i64) {
        const RAISE: &str =
            "if ARGV[1] - (redis.call('GET', KEYS[1]) or 0) > 0 then redis.call('SET', KEYS[1], ARGV[1]) end";
        self.ask::<()>(redis::cmd("EVAL").arg(RAISE).arg(1).arg(format!("{what}:{limit}")).arg(number)).await;
    }

    async fn ask<T: redis::FromRedisValue>(&mut self, command: &mut redis::Cmd) -> T {
        command.query_async(&mut self.post).await.expect("the post's server answers")
    }
}
