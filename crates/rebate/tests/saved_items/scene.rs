//! The service, served on a port of its own, and a client.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rebate::{AnyStore, Limiter, ManualClock, MemoryStore, RedisStore, Timestamp};
use rebate_servers::Server;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use ureq::http::{HeaderMap, Request};

use crate::database::Database;
use crate::plans::Plans;
use crate::service::{Service, Trouble};
use crate::worker::Worker;

/// Noon of 14 November 2023, UTC.
const NOON: Timestamp = Timestamp::from_secs(1_699_963_200);
pub(crate) const LEASE: Duration = Duration::from_secs(600);
/// Far more than any answer takes.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Scene {
    pub(crate) clock: ManualClock,
    pub(crate) service: Arc<Service>,
    /// Where counts are, unless they are in memory.
    pub(crate) server: Option<Server>,
    address: SocketAddr,
    runtime: Runtime,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: HeaderMap,
    pub(crate) body: Value,
}

/// Every case in memory and over Redis.
macro_rules! over_both_stores {
    ($($name:ident),+ $(,)?) => {
        mod memory { $(#[test] fn $name() { super::$name(&$crate::scene::Scene::in_memory()); })+ }
        mod redis { $(#[test] fn $name() { super::$name(&$crate::scene::Scene::over_redis()); })+ }
    };
}
pub(crate) use over_both_stores;

impl Scene {
    pub(crate) fn in_memory() -> Self {
        Self::new(None, "50/day")
    }

    pub(crate) fn over_redis() -> Self {
        Self::new(Some(Server::builder().persistent(true).start()), "50/day")
    }

    /// With this policy for those on no plan.
    pub(crate) fn new(server: Option<Server>, free: &str) -> Self {
        let clock = ManualClock::at(NOON);
        let store = match &server {
            None => AnyStore::new(MemoryStore::builder().clock(clock.clone()).build().unwrap()),
            Some(server) => AnyStore::new(RedisStore::builder(server.url()).clock(clock.clone()).build().unwrap()),
        };
        let limiter = Limiter::new(store);
        let named = [("free", free), ("pro", "500/day")].map(|(name, policy)| (name.to_owned(), policy.to_owned()));
        let plans = Plans::new(&limiter, &named, 3, LEASE).unwrap();
        let database = Database::open(":memory:").unwrap();
        let service = Arc::new(Service { limiter, plans, database });
        let runtime = Runtime::new().unwrap();
        let router = crate::api::router(Arc::clone(&service));
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(async { axum::serve(listener, router).await });
        Scene { clock, service, server, address, runtime }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Asks for an item to be saved.
    #[track_caller]
    pub(crate) fn save(&self, user: &str, key: &str) -> Answer {
        self.save_url(user, key, "https://example.org/")
    }

    #[track_caller]
    pub(crate) fn save_url(&self, user: &str, key: &str, url: &str) -> Answer {
        send(self.address, "POST", "/api/items", user, key, Some(json!({"url": url})))
    }

    #[track_caller]
    pub(crate) fn get(&self, user: &str, path: &str) -> Answer {
        send(self.address, "GET", path, user, "", None)
    }

    /// What a user has used of the day, and how many places are taken.
    #[track_caller]
    pub(crate) fn used(&self, user: &str) -> (String, u64) {
        let answer = self.get(user, "/api/quota");
        assert_eq!(answer.status, 200, "{answer:?}");
        (answer.text("shown").to_owned(), answer.body["at_once"]["used"].as_u64().expect("a number"))
    }

    #[track_caller]
    pub(crate) fn change_plan(&self, user: &str, plan: &str) -> Answer {
        send(self.address, "PUT", "/api/plan", user, "", Some(json!({"plan": plan})))
    }

    /// Does what the worker or the keeper of places does.
    #[track_caller]
    pub(crate) fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Service) -> Result<T, Trouble> + Send + 'static,
    ) -> Result<T, Trouble> {
        self.runtime.block_on(self.service.run(work))
    }

    /// A worker to whom enriching takes no time.
    pub(crate) fn worker(&self) -> Worker {
        Worker::new(Arc::clone(&self.service), Duration::ZERO)
    }

    pub(crate) fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// Enriches the oldest item that waits, from its beginning to its end.
    #[track_caller]
    pub(crate) fn enrich(&self) {
        let finished = self.run(|service| {
            let item = service.start_next()?.expect("an item waits");
            service.finish(&item)
        });
        assert!(finished.unwrap());
    }

    /// Whatever a number of the database is.
    #[track_caller]
    pub(crate) fn number(&self, select: &'static str) -> i64 {
        self.service.database.transaction(|transaction| transaction.query_row(select, [], |row| row.get(0))).unwrap()
    }

    /// Changes the database.
    #[track_caller]
    pub(crate) fn execute(&self, statements: &str) {
        self.service.database.transaction(|transaction| transaction.execute_batch(statements)).unwrap();
    }
}

impl Answer {
    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        Some(self.headers.get(name)?.to_str().expect("ASCII"))
    }

    #[track_caller]
    pub(crate) fn text(&self, member: &str) -> &str {
        self.body[member].as_str().unwrap_or_else(|| panic!("no {member}: {:?}", self.body))
    }

    /// Limit, used, remaining and reset of `X-AI-Quota-*`.
    #[track_caller]
    pub(crate) fn quota(&self) -> [u64; 4] {
        ["limit", "used", "remaining", "reset"].map(|name| {
            let text = self.header(&format!("x-ai-quota-{name}")).unwrap_or_else(|| panic!("no {name}: {self:?}"));
            text.parse().expect("a number")
        })
    }

    /// The code and the seconds to wait of a denial, which has the form that every one has.
    #[track_caller]
    pub(crate) fn denied(&self) -> (&str, u64) {
        assert_eq!((self.status, self.header("content-type")), (429, Some("application/problem+json")), "{self:?}");
        let wait: u64 = self.header("retry-after").expect("when to come again").parse().expect("seconds");
        assert_eq!((&self.body["status"], &self.body["retry_after"]), (&429.into(), &wait.into()));
        assert!(!self.text("detail").is_empty() && !self.text("title").is_empty());
        (self.text("code"), wait)
    }
}

/// A request and its answer; `key` may be none.
#[track_caller]
pub(crate) fn send(
    address: SocketAddr,
    method: &str,
    path: &str,
    user: &str,
    key: &str,
    body: Option<Value>,
) -> Answer {
    let agent: ureq::Agent =
        ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(PATIENCE)).build().into();
    let mut request = Request::builder().method(method).uri(format!("http://{address}{path}"));
    if !user.is_empty() {
        request = request.header("authorization", format!("Bearer {user}"));
    }
    if !key.is_empty() {
        request = request.header("idempotency-key", key);
    }
    let answer = match body {
        Some(body) => agent.run(request.header("content-type", "application/json").body(body.to_string()).unwrap()),
        None => agent.run(request.body(()).unwrap()),
    };
    let mut response = answer.expect("an answer");
    let body = response.body_mut().read_to_string().expect("text");
    let body = serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}"));
    Answer { status: response.status().as_u16(), headers: response.headers().clone(), body }
}
