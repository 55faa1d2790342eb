//! The Redis store under the whole suite, and every answer against the model's, on a real server.

use std::future::Future;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use rebate_conformance::{Capabilities, Harness, differential, suite};
use rebate_core::ManualClock;
use rebate_redis::RedisStore;
use rebate_servers::Server;
use tokio::runtime::Runtime;

struct Redis;

/// One server for all tests of the program; each store has keys of its own.
fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(Server::start)
}

fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Runtime::new().expect("a runtime"))
}

impl Harness for Redis {
    type Store = RedisStore;

    fn store(&self, clock: &ManualClock) -> Self::Store {
        static STORES: AtomicU64 = AtomicU64::new(0);
        let prefix = format!("t{}", STORES.fetch_add(1, Ordering::Relaxed));
        let builder = RedisStore::builder(server().url()).prefix(&prefix).clock(clock.clone());
        builder.build().expect("valid settings")
    }

    fn capped_store(&self, _clock: &ManualClock, _bytes: usize) -> Option<Self::Store> {
        None
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        runtime().block_on(future)
    }

    fn forgets_expired(&self) -> bool {
        true
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { memory_cap: false, ..Capabilities::default() }
    }
}

suite!(Redis, without memory_cap: "the server's own maxmemory is the cap; tests/trouble.rs fills it");

#[test]
fn every_answer_is_the_models() {
    differential(&Redis, 100);
}
