//! The way to the server.
//!
//! Nothing is ever sent twice unless it certainly did not happen, or says itself that it may be repeated. So neither
//! the `redis` crate's cluster client nor its connection manager is used, which send again what was lost on the way;
//! only its plain connections are.

mod breaker;
mod node;
mod sentinel;
mod settings;
#[cfg_attr(not(feature = "tls"), path = "link/plain.rs")]
mod tls;
mod trouble;

use std::sync::Arc;
use std::time::Duration;

use rebate_core::Error;
use redis::{Cmd, Value};
use smallvec::SmallVec;
use tokio::time::{Instant, sleep};

use crate::library::Library;
use node::{Node, Way};
use sentinel::Sentinel;
use settings::{Certificates, Place};
pub use settings::{Connection, Settings};
use trouble::{Circumstances, Said, Trouble, understand};

/// A call of one of the library's functions.
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
}

/// What is sent, and how often it may be.
struct Request {
    command: Cmd,
    reads_only: bool,
    repeatable: bool,
}

/// Sendings of a repeatable call besides the first.
const REPEATS: u32 = 2;
/// Sendings after answers that it did not happen but may at once (a missing library, a moved slot).
const DETOURS: u32 = 8;

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
                node(Way::Fixed(Box::new(tls::client(information, &common.certificates)?)), name)
            }
            Place::Brought(connection) => node(Way::Brought(connection.0), "the application's connection".into()),
            Place::Sentinel { service, sentinels, master } => {
                let name = format!("the master of {service:?}");
                let sentinel = Sentinel::new(Arc::clone(&common), service, sentinels, master)?;
                node(Way::Sentinel(Box::new(sentinel)), name)
            }
            Place::Cluster(_) => return Err(Error::invalid("clusters are not yet served")),
        };
        Ok(Link(Arc::new(Inner { common, servers })))
    }

    /// Whether the settings name a cluster.
    pub(crate) fn is_cluster(&self) -> bool {
        match self.0.servers {
            Servers::One(_) => false,
        }
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
        _key: Option<&[u8]>,
        command: Cmd,
        reads_only: bool,
    ) -> impl Future<Output = Result<Value, Error>> + Send + 'static {
        let inner = Arc::clone(&self.0);
        async move { inner.answer(Request { command, reads_only, repeatable: false }).await }
    }

    /// How many masters there are. Their order is stable while the cluster's layout is.
    pub(crate) async fn nodes(&self) -> Result<usize, Error> {
        match &self.0.servers {
            Servers::One(_) => Ok(1),
        }
    }

    /// One step of a scan of a node's keys.
    pub(crate) async fn scan(
        &self,
        node: usize,
        cursor: u64,
        pattern: &[u8],
        count: usize,
    ) -> Result<(u64, Vec<Vec<u8>>), Error> {
        let _ = node;
        let mut command = redis::cmd("SCAN");
        command.arg(cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(count);
        let answer = self.0.answer(Request { command, reads_only: true, repeatable: false }).await?;
        redis::from_redis_value(answer)
            .map_err(|error| Error::unavailable("the answer to SCAN cannot be read", false).with_source(error))
    }

    /// Whether the server (of a cluster: every master) answers.
    pub(crate) async fn ping(&self) -> Result<(), Error> {
        let request = Request { command: redis::cmd("PING"), reads_only: true, repeatable: false };
        self.0.answer(request).await.map(drop)
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
        Request { command, reads_only: call.reads_only, repeatable: call.repeatable }
    }

    async fn answer(&self, request: Request) -> Result<Value, Error> {
        let Servers::One(node) = &self.servers;
        match node.send(&request.command).await {
            Ok(value) => Ok(value),
            // Boxed: what is rare shall not make the usual future large.
            Err(trouble) => Box::pin(self.again(Arc::clone(node), &request, trouble)).await,
        }
    }

    /// The rest of a call whose first sending had no plain answer.
    async fn again(&self, node: Arc<Node>, request: &Request, mut trouble: Trouble) -> Result<Value, Error> {
        // Counted from now. A first sending has taken at most one call timeout by then.
        let deadline = Instant::now() + self.common.connect_timeout + self.common.call_timeout;
        let (mut repeats, mut detours) = (0, 0);
        let mut ambiguous = false;
        loop {
            let mut pause = Duration::ZERO;
            match &trouble {
                Trouble::NoWire if detours == 0 => {}
                Trouble::Lost(_) | Trouble::Slow(_) if request.repeatable && repeats < REPEATS => {
                    ambiguous |= !request.reads_only;
                    repeats += 1;
                }
                Trouble::Said(said) if detours < DETOURS => match understand(said) {
                    Said::NoFunction if detours < 3 => {
                        if let Err(fault) = node.load(deadline).await {
                            // Loading is no part of the call, which has not happened.
                            return Err(fault.into_error(Circumstances {
                                server: node.server(),
                                reads_only: true,
                                ambiguous,
                            }));
                        }
                    }
                    Said::ReadOnly if detours < 4 => {
                        node.reconnect();
                        pause = Duration::from_millis(20 << detours);
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
            match node.send_until(&request.command, false, deadline).await {
                Ok(value) => return Ok(value),
                Err(next) => trouble = next,
            }
        }
        Err(trouble.into_error(Circumstances { server: node.server(), reads_only: request.reads_only, ambiguous }))
    }
}
