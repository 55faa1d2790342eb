//! A service that charges a real server: what the program finds there comes from here, a process of its own.

use std::process::Output;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use rebate::{Decision, Item, KeyRef, Limit, Limiter, Receipt, RedisStore, RedisStoreBuilder};
use rebate_servers::{Server, until};
use tokio::runtime::Runtime;

/// One server for all tests of a program; each service has keys of its own.
pub(crate) fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(Server::start)
}

/// Several threads, so that it also does what nobody waits for.
pub(crate) fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Runtime::new().expect("a runtime"))
}

pub(crate) struct Service {
    pub(crate) limiter: Limiter<RedisStore>,
    url: String,
    prefix: String,
}

impl Service {
    pub(crate) fn new() -> Self {
        Self::with(server().url(), RedisStore::builder(server().url()), Limiter::new)
    }

    /// A service whose operators reach the store at `url`.
    pub(crate) fn with(
        url: String,
        builder: RedisStoreBuilder,
        limiter: impl FnOnce(RedisStore) -> Limiter<RedisStore>,
    ) -> Self {
        static SERVICES: AtomicU64 = AtomicU64::new(0);
        let prefix = format!("t{}", SERVICES.fetch_add(1, Ordering::Relaxed));
        let store = builder.prefix(&prefix).build().expect("valid settings");
        Service { limiter: limiter(store), url, prefix }
    }

    pub(crate) fn limit(&self, name: &str, policy: &str) -> Limit {
        self.limiter.limit(name, policy).expect("a valid limit")
    }

    pub(crate) fn charge<'a>(&self, limit: &'a Limit, key: impl Into<KeyRef<'a>>, cost: u64) -> Receipt {
        self.charge_all(&[Item::new(limit, key).cost(cost)]).receipt().expect("there is room")
    }

    pub(crate) fn charge_all(&self, items: &[Item<'_>]) -> Decision {
        runtime().block_on(self.limiter.charge_all(items)).expect("the server answers")
    }

    /// Nobody waits for limits to be written down, but the program reads them.
    pub(crate) fn await_written_down(&self, limits: usize) {
        until("the limits are written down", || {
            let written = runtime().block_on(self.limiter.store().limits()).expect("the server answers");
            (written.len() == limits).then_some(())
        });
    }

    /// A command line for the service's store.
    pub(crate) fn line<'a>(&'a self, command: &'a str, more: &[&'a str]) -> Vec<&'a str> {
        [&[command, "--store", &self.url, "--prefix", &self.prefix], more].concat()
    }

    pub(crate) fn run(&self, command: &str, more: &[&str]) -> Output {
        super::run::run(&self.line(command, more), b"")
    }

    /// What the program says when it is content.
    pub(crate) fn told(&self, command: &str, more: &[&str]) -> String {
        let output = self.run(command, more);
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    }

    pub(crate) fn json(&self, command: &str, more: &[&str]) -> serde_json::Value {
        serde_json::from_str(&self.told(command, &[more, &["--json"]].concat())).expect("one JSON object")
    }
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The exit status and what standard error says, which never is a panic.
pub(crate) fn failure(output: &Output) -> (Option<i32>, String) {
    let errors = text(&output.stderr);
    assert!(output.stdout.is_empty() && !errors.contains("panicked"), "{errors}");
    (output.status.code(), errors)
}
