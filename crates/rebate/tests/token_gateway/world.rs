//! A gateway and its upstream, served.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use rebate::{AnyStore, Limit, Limiter, ManualClock, MemoryStore, RedisStore, Timestamp};
use rebate_servers::{Server, until};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};

use crate::client::Client;
use crate::gateway::{self, Gateway, Terms};
use crate::upstream;

/// The terms of most tests: no window ends during one, whatever the clock.
pub(crate) fn terms() -> Terms {
    Terms {
        minute: "1000/1h from first".into(),
        day: "5000/24h from first".into(),
        settles: true,
        within: Duration::from_secs(600),
        assumed: 200,
    }
}

pub(crate) struct World {
    pub(crate) clock: ManualClock,
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) client: Client,
    limiter: Limiter<AnyStore>,
    limits: [Limit; 2],
    pub(crate) runtime: Runtime,
    /// The upstream's own.
    upstream: Option<Runtime>,
    _server: Option<Server>,
}

impl World {
    /// Counts in memory, by a clock that the test moves.
    pub(crate) fn in_memory(terms: &Terms) -> Self {
        Self::before(upstream::router(), terms)
    }

    /// The same before another upstream.
    pub(crate) fn before(upstream: Router, terms: &Terms) -> Self {
        let clock = ManualClock::at(Timestamp::from_secs(1_700_000_000));
        let store = MemoryStore::builder().clock(clock.clone()).build().expect("a store");
        Self::over(AnyStore::new(store), terms, clock, None, upstream)
    }

    /// Counts in a Redis of its own, by that one's clock.
    pub(crate) fn on_redis(terms: &Terms) -> Self {
        let server = Server::start();
        let store = RedisStore::new(&server.url()).expect("a store");
        Self::over(AnyStore::new(store), terms, ManualClock::default(), Some(server), upstream::router())
    }

    fn over(store: AnyStore, terms: &Terms, clock: ManualClock, server: Option<Server>, upstream: Router) -> Self {
        let runtime = || Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        let (runtime, other) = (runtime(), runtime());
        let limiter = Limiter::new(store);
        let limits = [("tokens-minute", &terms.minute), ("tokens-day", &terms.day)];
        let limits = limits.map(|(name, policy)| limiter.limit(name, policy).expect("a limit"));
        let upstream = other.block_on(serve(upstream));
        let (gateway, address) = runtime.block_on(async {
            let gateway = Gateway::new(limiter.clone(), terms, &format!("http://{upstream}")).expect("a gateway");
            let address = serve(gateway::router(gateway.clone())).await;
            (gateway, address)
        });
        World {
            clock,
            gateway,
            client: Client::new(address),
            limiter,
            limits,
            runtime,
            upstream: Some(other),
            _server: server,
        }
    }

    /// Runs what a client does.
    pub(crate) fn run<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// The upstream is gone, and breaks off what it was saying.
    pub(crate) fn stop_upstream(&mut self) {
        drop(self.upstream.take());
    }

    /// What a user has used of the minute and of the day.
    pub(crate) fn used(&self, user: &str) -> [u64; 2] {
        let key = format!("user:{user}");
        let used = |limit| self.run(self.limiter.peek(limit, key.as_str())).expect("a status").used();
        [used(&self.limits[0]), used(&self.limits[1])]
    }

    /// Waits until a user has used so much of the minute and of the day.
    #[track_caller]
    pub(crate) fn wait_for(&self, user: &str, used: [u64; 2]) {
        until(&format!("{user} has used {used:?}"), || (self.used(user) == used).then_some(()));
    }
}

async fn serve(router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async { axum::serve(listener, router).await });
    address
}
