//! Sentinels.

use crate::server::{ADMINISTRATOR, Builder, Server};
use crate::wait::until;
use std::net::SocketAddr;

/// Sentinels that watch a master and its replicas, and promote one when the master is away for a second and a half.
#[derive(Debug)]
pub struct Sentinels {
    sentinels: Vec<Server>,
}

impl Sentinels {
    /// Starts as many sentinels as make the quorum a majority: one for 1, three for 2. Returns when each
    /// knows the master, its replicas (which therefore are started before) and the other sentinels.
    pub fn start(master: &Server, quorum: usize) -> Self {
        assert!((1..=2).contains(&quorum), "a quorum of 1 or 2");
        let name = Self::SERVICE;
        let address = master.address();
        let mut settings = Builder::default();
        settings.sentinel = true;
        settings.secret = Some(master.secret.clone());
        let settings = settings
            .argument("sentinel", &format!("monitor {name} {} {} {quorum}", address.ip(), address.port()))
            .argument("sentinel", &format!("auth-user {name} {ADMINISTRATOR}"))
            .argument("sentinel", &format!("auth-pass {name} {}", master.secret))
            // Sentinels connect anew once a second only, also to a master they have just made: with less
            // than that they take it for lost at once, and change masters without end.
            .argument("sentinel", &format!("down-after-milliseconds {name} 1500"))
            .argument("sentinel", &format!("failover-timeout {name} 3000"))
            // They speak to one another as the administrator too.
            .argument("sentinel", &format!("sentinel-user {ADMINISTRATOR}"))
            .argument("sentinel", &format!("sentinel-pass {}", master.secret));
        let count = 2 * quorum - 1;
        let replicas = master.information("connected_slaves").expect("a master counts its replicas");
        let sentinels = Self { sentinels: (0..count).map(|_| settings.clone().start()).collect() };
        for sentinel in &sentinels.sentinels {
            until("the sentinel knows whom to watch", || {
                let known = state(sentinel);
                let says = |field: &str, value: &str| known.iter().any(|(name, is)| name == field && is == value);
                let all = says("flags", "master")
                    && says("num-slaves", &replicas)
                    && says("num-other-sentinels", &(count - 1).to_string());
                all.then_some(())
            });
        }
        sentinels
    }

    /// The name under which the master is watched.
    pub const SERVICE: &'static str = "rebate";

    /// The same, for whoever has a value at hand.
    pub fn service(&self) -> &'static str {
        Self::SERVICE
    }

    /// The URLs of all sentinels.
    pub fn urls(&self) -> Vec<String> {
        self.sentinels.iter().map(Server::url).collect()
    }

    /// The sentinels themselves, to be killed or frozen.
    pub fn sentinels(&self) -> &[Server] {
        &self.sentinels
    }

    /// Where the master is, as the first sentinel that runs knows it.
    pub fn master_address(&self) -> SocketAddr {
        let sentinel = self.sentinels.iter().find(|sentinel| sentinel.is_running()).expect("some sentinel runs");
        address(sentinel)
    }

    /// Waits until all sentinels that run know another master than this one: after it was killed or frozen.
    /// Returns where the new one is, when it takes writes.
    pub fn await_successor(&self, master: SocketAddr) -> SocketAddr {
        let successor = until("the sentinels agree on a new master", || {
            let mut known = self.sentinels.iter().filter(|sentinel| sentinel.is_running()).map(address);
            let first = known.next()?;
            (first != master && known.all(|other| other == first)).then_some(first)
        });
        let secret = &self.sentinels[0].secret;
        let client = redis::Client::open(format!("redis://{ADMINISTRATOR}:{secret}@{successor}"));
        let client = client.expect("the URL is sound");
        until("the new master is one", || {
            let mut connection = client.get_connection().ok()?;
            (role(&mut connection)? == "master").then_some(())
        });
        successor
    }

    /// Has them replace a master that is well (SENTINEL FAILOVER). Returns where the new one is.
    pub fn fail_over(&self) -> SocketAddr {
        let master = self.master_address();
        let sentinel = self.sentinels.iter().find(|sentinel| sentinel.is_running()).expect("some sentinel runs");
        // For a moment after the start, or another one, it may know of no replica that is fit.
        until("the sentinel begins", || sentinel.try_command(&["SENTINEL", "FAILOVER", Self::SERVICE]).ok());
        self.await_successor(master)
    }
}

fn role(connection: &mut redis::Connection) -> Option<String> {
    let answer: Vec<redis::Value> = redis::cmd("ROLE").query(connection).ok()?;
    redis::from_redis_value(answer.into_iter().next()?).ok()
}

fn state(sentinel: &Server) -> Vec<(String, String)> {
    redis::from_redis_value(sentinel.command(&["SENTINEL", "MASTER", Sentinels::SERVICE])).expect("fields and values")
}

fn address(sentinel: &Server) -> SocketAddr {
    let answer = sentinel.command(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", Sentinels::SERVICE]);
    let (host, port): (String, u16) = redis::from_redis_value(answer).expect("a host and a port");
    SocketAddr::new(host.parse().expect("an address"), port)
}
