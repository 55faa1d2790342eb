//! Everything at once: tasks that charge, refund, settle and give up, while servers die, freeze, forget and fail over, and
//! the network does what networks do. An audit afterwards asserts what the table in src/trouble.md says
//! of each.
//!
//! `REBATE_SEED` repeats a schedule that failed, as far as threads let it; `REBATE_SECONDS` goes on with further ones for so
//! long (scripts/nightly.sh).

/// What other programs of tests use too.
#[path = "support"]
mod support {
    pub(crate) mod away;
    pub(crate) mod random;
    pub(crate) mod scene;
    pub(crate) mod seed;
}

#[path = "chaos/audit.rs"]
mod audit;
#[path = "chaos/faults.rs"]
mod faults;
#[path = "chaos/load.rs"]
mod load;
#[path = "chaos/world.rs"]
mod world;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rebate_servers::Server;

use faults::{Controller, Fault};
use support::random::Random;
use support::seed::seed;
use world::{Kind, World};

/// Tasks of one round, and the operations of each.
const TASKS: usize = 8;
const OPERATIONS: usize = 130;
/// Within which a round must end, whatever happens. Nothing ever comes near it.
const WATCHDOG: Duration = Duration::from_secs(240);

/// Dropped, delayed, cut and lost on the way.
const OF_THE_WAY: [Fault; 8] = [
    Fault::Drop,
    Fault::Delay,
    Fault::DelayReplies,
    Fault::Truncate,
    Fault::LoseReplies,
    Fault::LoseNextReply,
    Fault::Refuse,
    Fault::Hole,
];

#[test]
fn a_server_that_keeps_its_data_loses_and_invents_nothing() {
    let faults = [&OF_THE_WAY[..], &[Fault::Freeze, Fault::Restart, Fault::Freeze, Fault::Restart]].concat();
    rounds("kept", Kind::Keeps, &faults, &[]);
}

#[test]
fn each_loss_of_everything_admits_one_quota_more_at_most() {
    let faults = [&OF_THE_WAY[..], &[Fault::Freeze]].concat();
    rounds("lost", Kind::LosesAll, &faults, &[Fault::Restart, Fault::Flush, Fault::Restart]);
}

#[test]
fn a_failover_admits_no_more_than_the_writes_it_lost() {
    let faults = [&OF_THE_WAY[..], &[Fault::Freeze]].concat();
    rounds("failed over", Kind::LosesSome, &faults, &[Fault::FailOver, Fault::FailOver]);
}

fn rounds(name: &str, kind: Kind, faults: &[Fault], losses: &[Fault]) {
    let seconds: u64 = std::env::var("REBATE_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut seed = seed();
    loop {
        round(name, kind, faults, losses, seed);
        seed += 1;
        if Instant::now() >= end {
            return;
        }
    }
}

/// One schedule: a few of the faults, the losses among them.
fn round(name: &str, kind: Kind, faults: &[Fault], losses: &[Fault], seed: u64) {
    let mut random = Random::new(seed);
    let mut schedule: Vec<Fault> = (0..8).map(|_| *random.of(faults)).collect();
    for &loss in losses {
        schedule.insert(random.below(schedule.len()), loss);
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().expect("a runtime");
    let server = Server::builder().persistent(kind == Kind::Keeps).start();
    let mut controller = Controller::new(server);
    let world = Arc::new(World::new(format!("{name}: REBATE_SEED={seed}"), kind, &controller));
    let _told = world::Told(Arc::clone(&world));
    runtime.block_on(async {
        support::away::once_answered(async || world.watching.store().ping().await).await;
        let tasks: Vec<_> = (0..TASKS)
            .map(|task| tokio::spawn(load::run(Arc::clone(&world), task, Random::new(seed ^ (task as u64 + 1) << 32))))
            .collect();
        let faulty = Arc::clone(&world);
        let controlling = std::thread::spawn(move || {
            controller.run(&faulty, &schedule, &mut random);
            controller
        });
        let all = async {
            for task in tasks {
                task.await.expect("no task fails");
            }
        };
        tokio::time::timeout(WATCHDOG, all).await.expect("no task hangs");
        world.ended.store(true, Ordering::SeqCst);
        let controller = tokio::task::spawn_blocking(|| controlling.join().expect("the faults are made")).await;
        let controller = controller.expect("the faults are made");
        let auditing = audit::audit(&world, controller.server());
        tokio::time::timeout(WATCHDOG, auditing).await.expect("the audit ends");
    });
}
