//! Makes the faults of a schedule, one after the other, while the tasks are at work.

use std::ops::Deref;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rebate_servers::{Proxy, Replica, Server};

use crate::support::random::Random;
use crate::world::World;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fault {
    Drop,
    Delay,
    DelayReplies,
    Truncate,
    LoseReplies,
    LoseNextReply,
    Refuse,
    Hole,
    /// SIGSTOP, and later SIGCONT: what queued up meanwhile is done late.
    Freeze,
    /// SIGKILL, and a start: with its data or without.
    Restart,
    /// FLUSHALL.
    Flush,
    /// SIGKILL, and a replica takes over that lacks what was written last.
    FailOver,
}

enum Master {
    First(Server),
    Promoted(Replica),
}

impl Deref for Master {
    type Target = Server;

    fn deref(&self) -> &Server {
        match self {
            Master::First(server) => server,
            Master::Promoted(replica) => replica,
        }
    }
}

pub(crate) struct Controller {
    master: Master,
    /// The tasks' way to the master, faulty.
    pub(crate) network: Proxy,
    /// The test's own way to it, sound.
    pub(crate) past: Proxy,
}

impl Controller {
    pub(crate) fn new(server: Server) -> Self {
        let (network, past) = (Proxy::start(server.address()), Proxy::start(server.address()));
        Controller { master: Master::First(server), network, past }
    }

    pub(crate) fn server(&self) -> &Server {
        &self.master
    }

    /// Makes the faults with some sound time between them. Afterwards all is well.
    pub(crate) fn run(&mut self, world: &World, schedule: &[Fault], random: &mut Random) {
        for &fault in schedule {
            world.tell(format!("{fault:?} after {} operations", world.operations.load(Ordering::SeqCst)));
            self.make(fault, world, random);
            go_on(world, 20 + random.below(40) as u64, Duration::from_secs(2));
        }
    }

    fn make(&mut self, fault: Fault, world: &World, random: &mut Random) {
        let some = 5 + random.below(30) as u64;
        // In a fault that lets nothing through the tasks stand still.
        let hold = || go_on(world, some, Duration::from_millis(300));
        match fault {
            Fault::Drop => self.network.drop_connections(),
            // Some below the call timeout, some above.
            Fault::Delay => self.network.delay(Duration::from_millis(random.below(250) as u64)),
            Fault::DelayReplies => self.network.delay_replies(Duration::from_millis(random.below(250) as u64)),
            Fault::Truncate => self.network.truncate_replies(1 + random.below(3000) as u64),
            Fault::LoseReplies => self.network.lose_replies(),
            Fault::LoseNextReply => self.network.lose_next_reply(),
            Fault::Refuse => {
                self.network.refuse();
                self.network.drop_connections();
            }
            Fault::Hole => self.network.hole(),
            Fault::Freeze => {
                self.master.freeze();
                hold();
                self.master.thaw();
            }
            Fault::Restart => {
                world.era.fetch_add(1, Ordering::SeqCst);
                self.master.kill();
                hold();
                self.master.restart();
                world.era.fetch_add(1, Ordering::SeqCst);
            }
            Fault::Flush => {
                world.era.fetch_add(1, Ordering::SeqCst);
                self.master.command(&["FLUSHALL"]);
                world.era.fetch_add(1, Ordering::SeqCst);
            }
            Fault::FailOver => {
                let replica = self.master.replica();
                // From here on it hears nothing of what its master does.
                world.era.fetch_add(1, Ordering::SeqCst);
                replica.promote();
                hold();
                self.master.kill();
                self.network.redirect(replica.address());
                self.past.redirect(replica.address());
                self.master = Master::Promoted(replica);
                world.era.fetch_add(1, Ordering::SeqCst);
            }
        }
        if self.network.is_faulty() {
            hold();
        }
        self.network.pass();
    }
}

/// Waits until the tasks have done so many operations more, or for so long.
fn go_on(world: &World, operations: u64, longest: Duration) {
    let (begun, before) = (Instant::now(), world.operations.load(Ordering::SeqCst));
    while world.operations.load(Ordering::SeqCst) < before + operations
        && begun.elapsed() < longest
        && !world.ended.load(Ordering::SeqCst)
    {
        std::thread::sleep(Duration::from_millis(2));
    }
}
