//! The way to the server.
//!
//! Nothing is ever sent twice unless it certainly did not happen, or says itself that it may be repeated. So neither
//! the `redis` crate's cluster client nor its connection manager is used, which send again what was lost on the way;
//! only its plain connections are.

mod breaker;
mod cluster;
mod node;
mod sentinel;
mod settings;
mod single;
mod slots;
#[cfg_attr(not(feature = "tls"), path = "link/plain.rs")]
mod tls;
mod trouble;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use rebate_core::Error;
use redis::{Cmd, Value};
use smallvec::SmallVec;
use tokio::time::{Instant, sleep};

use crate::library::Library;
use cluster::Cluster;
use node::{Node, Way};
use sentinel::Sentinel;
use settings::{Certificates, Place};
pub use settings::{Connection, Settings};
pub(crate) use slots::slot;
use trouble::{Circumstances, Said, Trouble, understand};

/// A call of one of the library's functions.
#[derive(Clone)]
pub(crate) struct Call {
    /// The function's name without the library's suffix.
    pub(crate) function: &'static str,
    /// All of one hash slot.
    pub(crate) keys: SmallVec<[Vec<u8>; 1]>,
    pub(crate) arguments: SmallVec<[Vec<u8>; 2]>,
    /// It changes nothing, so that it never may have happened.
    pub(crate) reads_only: bool,
    /// It may be sent again after it may have happened: it bears an idempotency key.
    pub(crate) repeatable: bool,
}

/// The way to the servers. Cloning it is cheap; all clones share the connections, which are made when first needed.
#[derive(Clone)]
pub(crate) struct Link(Arc<Inner>);

/// What all nodes share.
struct Common {
    library: Arc<Library>,
    certificates: Certificates,
    connect_timeout: Duration,
    call_timeout: Duration,
    open_after: u32,
}

struct Inner {
    common: Arc<Common>,
    servers: Servers,
}

enum Servers {
    One(Arc<Node>),
    Cluster(Arc<Cluster>),
}

/// What is sent, and how often it may be.
struct Request {
    command: Cmd,
    /// On a cluster, the slot of its keys.
    slot: Option<u16>,
    reads_only: bool,
    repeatable: bool,
}

/// Sendings of a repeatable call besides the first.
const REPEATS: u32 = 2;
/// Sendings in all besides the first: also after answers that it did not happen but may at once (a missing library, a
/// moved slot). With the pauses between them some five seconds, if the deadline allows: while a master is replaced on busy
/// machines, nodes may name each other for longer than one.
const DETOURS: u32 = 10;

impl Link {
    /// Makes no connection as yet.
    ///
    /// # Errors
    ///
    /// The settings are wrong.
    pub(crate) fn new(settings: Settings, library: Arc<Library>) -> Result<Link, Error> {
        let plan = settings.read()?;
        let common = Arc::new(Common {
            library,
            certificates: plan.certificates,
            connect_timeout: plan.connect_timeout,
            call_timeout: plan.call_timeout,
            open_after: plan.open_after,
        });
        let node = |way, name| Servers::One(Node::new(Arc::clone(&common), way, name));
        let servers = match plan.servers {
            Place::One(information) => {
                let name = information.addr().to_string();
                node(Way::Fixed(Box::new(tls::client(information, &common.certificates)?), None), name)
            }
            Place::Brought(connection) => node(Way::Brought(connection.0), "the application's connection".into()),
            Place::Sentinel { service, sentinels, master } => {
                let name = format!("the master of {service:?}");
                let sentinel = Sentinel::new(Arc::clone(&common), service, sentinels, master)?;
                node(Way::Sentinel(Box::new(sentinel)), name)
            }
            Place::Cluster(seeds) => Servers::Cluster(Cluster::new(Arc::clone(&common), seeds)?),
        };
        Ok(Link(Arc::new(Inner { common, servers })))
    }

    /// Whether the settings name a cluster.
    pub(crate) fn is_cluster(&self) -> bool {
        matches!(self.0.servers, Servers::Cluster(_))
    }

    /// Calls a function. The future may be dropped at any time; the call may then have happened.
    pub(crate) fn call(&self, call: Call) -> impl Future<Output = Result<Value, Error>> + Send + 'static {
        let inner = Arc::clone(&self.0);
        async move {
            let request = inner.request(call);
            inner.answer(request).await
        }
    }

    /// Sends a plain command to the node of a key's slot, or to any.
    pub(crate) fn command(
        &self,
        key: Option<&[u8]>,
        command: Cmd,
        reads_only: bool,
    ) -> impl Future<Output = Result<Value, Error>> + Send + 'static {
        let inner = Arc::clone(&self.0);
        let slot = inner.slot(key);
        async move { inner.answer(Request { command, slot, reads_only, repeatable: false }).await }
    }

    /// How many masters there are. Their order is stable while the cluster's layout is.
    ///
    /// # Errors
    ///
    /// No node of the cluster tells its layout.
    pub(crate) async fn nodes(&self) -> Result<usize, Error> {
        in_runtime()?;
        // Asked anew: by what was so a while ago a node would be left out.
        if let Servers::Cluster(cluster) = &self.0.servers {
            self.0.refreshed(cluster, self.0.deadline()).await?;
        }
        Ok(self.0.masters().await?.len())
    }

    /// One step of a scan of a node's keys.
    ///
    /// # Errors
    ///
    /// The node does not answer, or is no longer one of as many as there were.
    pub(crate) async fn scan(
        &self,
        node: usize,
        cursor: u64,
        pattern: &[u8],
        count: usize,
    ) -> Result<(u64, Vec<Vec<u8>>), Error> {
        let masters = self.0.masters().await?;
        let Some(node) = masters.get(node) else {
            return Err(Error::unavailable("the Redis cluster has fewer masters than before: begin again", false));
        };
        let mut command = redis::cmd("SCAN");
        // Somebody else's key of another type under such a name is none of ours.
        command.arg(cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(count).arg("TYPE").arg("string");
        let answer = self.0.read_of(node, &command).await?;
        redis::from_redis_value(answer)
            .map_err(|error| Error::unavailable("the answer to SCAN cannot be read", false).with_source(error))
    }

    /// Whether the server (of a cluster: every master) answers.
    ///
    /// # Errors
    ///
    /// One does not.
    pub(crate) async fn ping(&self) -> Result<(), Error> {
        for node in self.0.masters().await? {
            self.0.read_of(&node, &redis::cmd("PING")).await?;
        }
        Ok(())
    }
}

impl Inner {
    fn request(&self, call: Call) -> Request {
        let suffix = self.common.library.suffix.as_str();
        let name = if call.reads_only { "FCALL_RO" } else { "FCALL" };
        let bytes = call.keys.iter().chain(&call.arguments).map(Vec::len).sum::<usize>();
        let count = 3 + call.keys.len() + call.arguments.len();
        // The command's buffers with room for all at once: 2 for the number of keys.
        let mut command = Cmd::with_capacity(count, name.len() + call.function.len() + suffix.len() + 2 + bytes);
        command.arg(name);
        let mut function = SmallVec::<[u8; 64]>::from_slice(call.function.as_bytes());
        function.extend_from_slice(suffix.as_bytes());
        command.arg(&function[..]).arg(call.keys.len());
        for part in call.keys.iter().chain(&call.arguments) {
            command.arg(part.as_slice());
        }
        let slot = self.slot(call.keys.first().map(Vec::as_slice));
        Request { command, slot, reads_only: call.reads_only, repeatable: call.repeatable }
    }

    fn slot(&self, key: Option<&[u8]>) -> Option<u16> {
        match self.servers {
            Servers::One(_) => None,
            Servers::Cluster(_) => key.map(slot),
        }
    }

    fn cluster(&self) -> Option<&Arc<Cluster>> {
        match &self.servers {
            Servers::One(_) => None,
            Servers::Cluster(cluster) => Some(cluster),
        }
    }

    /// The last moment at which something is sent again. The first sending has taken at most one call timeout.
    fn deadline(&self) -> Instant {
        Instant::now() + self.common.connect_timeout + self.common.call_timeout
    }

    /// The node that has the slot, once that is known.
    async fn find(&self, slot: Option<u16>, deadline: Instant) -> Result<Arc<Node>, Error> {
        let cluster = match &self.servers {
            Servers::One(node) => return Ok(Arc::clone(node)),
            Servers::Cluster(cluster) => cluster,
        };
        if let Some(node) = cluster.node(slot) {
            return Ok(node);
        }
        self.refreshed(cluster, deadline).await?;
        cluster.node(slot).ok_or_else(|| {
            let slot = slot.unwrap_or_default();
            Error::unavailable(format!("slot {slot} of the Redis cluster is served by no node just now"), false)
        })
    }

    async fn masters(&self) -> Result<Vec<Arc<Node>>, Error> {
        in_runtime()?;
        match &self.servers {
            Servers::One(node) => Ok(vec![Arc::clone(node)]),
            Servers::Cluster(cluster) => {
                if cluster.masters().is_empty() {
                    self.refreshed(cluster, self.deadline()).await?;
                }
                Ok(cluster.masters())
            }
        }
    }

    async fn refreshed(&self, cluster: &Arc<Cluster>, deadline: Instant) -> Result<(), Error> {
        let about = Circumstances { server: "a cluster".into(), cluster: true, reads_only: true, ambiguous: false };
        cluster.refresh(deadline).await.map_err(|failure| Trouble::Unconnected(failure).into_error(about))
    }

    /// A command that changes nothing, to one node.
    async fn read_of(&self, node: &Arc<Node>, command: &Cmd) -> Result<Value, Error> {
        let answer = node.send_until(command, false, self.deadline()).await;
        answer.map_err(|trouble| {
            trouble.into_error(Circumstances {
                server: node.server(),
                cluster: true,
                reads_only: true,
                ambiguous: false,
            })
        })
    }

    async fn answer(&self, request: Request) -> Result<Value, Error> {
        in_runtime()?;
        let node = match &self.servers {
            Servers::One(node) => Some(Arc::clone(node)),
            Servers::Cluster(cluster) => cluster.node(request.slot),
        };
        // Boxed: what is rare shall not make the usual future large.
        let node = match node {
            Some(node) => node,
            None => Box::pin(self.find(request.slot, self.deadline())).await?,
        };
        match node.send(&request.command).await {
            Ok(value) => Ok(value),
            Err(trouble) => Box::pin(self.again(node, &request, trouble)).await,
        }
    }

    /// The rest of a call whose first sending had no plain answer.
    async fn again(&self, mut node: Arc<Node>, request: &Request, mut trouble: Trouble) -> Result<Value, Error> {
        let deadline = self.deadline();
        let (mut repeats, mut detours) = (0, 0);
        let (mut ambiguous, mut asking) = (false, false);
        loop {
            let mut pause = Duration::ZERO;
            match (&trouble, self.cluster()) {
                _ if detours == DETOURS => break,
                (Trouble::NoWire, _) if detours == 0 => {}
                (Trouble::Lost(_) | Trouble::Slow(_), cluster) => {
                    if let Some(cluster) = cluster {
                        cluster.refresh_soon();
                    }
                    if !request.repeatable || repeats == REPEATS {
                        break;
                    }
                    ambiguous |= !request.reads_only;
                    repeats += 1;
                    asking = false;
                }
                // A dead node's slots may have another master by now. The breaker never keeps its callers, though.
                (Trouble::Refused, Some(cluster)) => {
                    cluster.refresh_soon();
                    break;
                }
                (Trouble::Unconnected(_), Some(cluster)) => {
                    let found = cluster.refresh(deadline).await.ok().and_then(|()| cluster.node(request.slot));
                    match found {
                        Some(found) if !Arc::ptr_eq(&found, &node) => node = found,
                        _ => break,
                    }
                    asking = false;
                }
                (Trouble::Said(said), cluster) => match (understand(said), cluster) {
                    (Said::NoFunction, _) => {
                        if let Err(fault) = node.load(deadline).await {
                            // Loading is no part of the call, which has not happened.
                            let about = Circumstances {
                                server: node.server(),
                                cluster: self.cluster().is_some(),
                                reads_only: true,
                                ambiguous,
                            };
                            return Err(fault.into_error(about));
                        }
                    }
                    (Said::Moved { slot, host, port }, Some(cluster)) => {
                        let next = cluster.moved(Some(slot), &host, port, &node.host())?;
                        if Arc::ptr_eq(&next, &node) {
                            // It is not who it was taken for, or the cluster is not at one.
                            node.reconnect();
                            pause = Duration::from_millis(10 << detours);
                        } else if detours >= 2 {
                            // While a master is replaced, two nodes may name each other.
                            pause = Duration::from_millis(5 << detours);
                        }
                        cluster.refresh_soon();
                        (node, asking) = (next, false);
                    }
                    (Said::Ask { host, port }, Some(cluster)) => {
                        node = cluster.moved(None, &host, port, &node.host())?;
                        asking = true;
                    }
                    (Said::TryAgain, Some(cluster)) => {
                        pause = Duration::from_millis(5 << detours);
                        (node, asking) = (cluster.node(request.slot).unwrap_or(node), false);
                    }
                    (Said::ReadOnly, None) if detours < 4 => {
                        // By its name, or by its sentinels, another may be found.
                        node.reconnect();
                        pause = Duration::from_millis(20 << detours);
                    }
                    (Said::ReadOnly | Said::ClusterDown, Some(cluster)) if detours < 4 => {
                        sleep(Duration::from_millis(20 << detours)).await;
                        // What cannot be refreshed is asked once more as it is.
                        let _ = cluster.refresh(deadline).await;
                        (node, asking) = (cluster.node(request.slot).unwrap_or(node), false);
                    }
                    _ => break,
                },
                _ => break,
            }
            detours += 1;
            if Instant::now() + pause >= deadline {
                break;
            }
            if !pause.is_zero() {
                sleep(pause).await;
            }
            match node.send_until(&request.command, asking, deadline).await {
                Ok(value) => return Ok(value),
                Err(next) => trouble = next,
            }
        }
        let cluster = self.cluster().is_some();
        let about = Circumstances { server: node.server(), cluster, reads_only: request.reads_only, ambiguous };
        Err(trouble.into_error(about))
    }
}

/// Connections, timeouts and probes all need one.
fn in_runtime() -> Result<(), Error> {
    match tokio::runtime::Handle::try_current() {
        Ok(_) => Ok(()),
        Err(_) => Err(Error::invalid("the Redis store must be used from within a Tokio runtime")),
    }
}
