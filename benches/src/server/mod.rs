//! Redis: Rebate, bare scripts and limitador, all against one server that the bench starts.
//!
//! Client and server share the machine's cores. Server time is the processor time that the server says it used (INFO cpu), so
//! its system calls count; every side is driven the same way, so that each has batches of the same size.

pub mod floors;
pub mod ours;
#[cfg(feature = "limitador-redis")]
pub mod peer;
pub mod report;

use std::time::{Duration, Instant};

use rebate_servers::Server;
use tokio::runtime::Runtime;

/// Something that is charged over a connection to the server.
pub trait Charger: Clone + Send + Sync + 'static {
    /// Makes the charge of this number; answers whether it was admitted.
    fn charge(&self, number: usize) -> impl Future<Output = bool> + Send;
}

/// What a lap took.
#[derive(Clone, Copy, Debug)]
pub struct Lap {
    /// Microseconds of the server's processor per charge.
    pub server: f64,
    /// Charges per second.
    pub rate: f64,
    /// How many were admitted.
    pub admitted: usize,
}

/// A charger behind a pointer.
pub trait Contender {
    /// `charges` charges, so many of them in flight at any time.
    fn lap(&self, machine: &Machine, charges: usize, in_flight: usize) -> Lap;

    /// One charge, and nothing else meanwhile.
    fn alone(&self, machine: &Machine, number: usize) -> Duration;
}

/// The server, and the client's runtime: one thread, as the server has one.
pub struct Machine {
    /// The server.
    pub server: Server,
    /// The client's.
    pub runtime: Runtime,
}

impl Machine {
    /// Starts a server.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        Machine { server: Server::start(), runtime }
    }

    /// A connection such as Rebate's own.
    ///
    /// # Panics
    /// When there is none.
    pub fn connection(&self) -> redis::aio::MultiplexedConnection {
        let config = redis::AsyncConnectionConfig::new().set_response_timeout(None).set_pipeline_buffer_size(1024);
        let client = self.server.client();
        self.runtime.block_on(client.get_multiplexed_async_connection_with_config(&config)).expect("a connection")
    }

    /// Seconds of processor that the server has used.
    fn server_seconds(&self) -> f64 {
        let text = self.server.ask(&["INFO", "cpu"]);
        let seconds = |name: &str| -> f64 {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.and_then(|seconds| seconds.trim().parse().ok()).expect("the server tells it")
        };
        seconds("used_cpu_sys") + seconds("used_cpu_user")
    }
}

impl<C: Charger> Contender for C {
    fn lap(&self, machine: &Machine, charges: usize, in_flight: usize) -> Lap {
        let each = charges / in_flight;
        let run = async |each: usize| {
            let task = |task: usize| {
                let charger = self.clone();
                async move {
                    let mut admitted = 0;
                    for round in 0..each {
                        admitted += usize::from(charger.charge(round * in_flight + task).await);
                    }
                    admitted
                }
            };
            let tasks: Vec<_> = (0..in_flight).map(|number| tokio::spawn(task(number))).collect();
            let mut admitted = 0;
            for task in tasks {
                admitted += task.await.expect("a side does not panic");
            }
            admitted
        };
        // Brings back into the caches what others have used since.
        machine.runtime.block_on(run(4));
        let before = machine.server_seconds();
        let start = Instant::now();
        let admitted = machine.runtime.block_on(run(each));
        let elapsed = start.elapsed().as_secs_f64();
        let server = machine.server_seconds() - before;
        let charges = (each * in_flight) as f64;
        Lap { server: server * 1e6 / charges, rate: charges / elapsed, admitted }
    }

    fn alone(&self, machine: &Machine, number: usize) -> Duration {
        machine.runtime.block_on(async {
            let start = Instant::now();
            self.charge(number).await;
            start.elapsed()
        })
    }
}
