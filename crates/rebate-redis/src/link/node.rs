//! One server: its connection, its breaker, its functions.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use redis::aio::{MultiplexedConnection, SendError};
use redis::{AsyncConnectionConfig, Client, Cmd, ErrorKind, PushInfo, RedisError, Value};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::Common;
use super::breaker::Breaker;
use super::cluster::{host_of, text};
use super::sentinel::Sentinel;
use super::single::Single;
use super::trouble::{Failure, Trouble};

/// Requests waiting for the connection's task to write them. Above what is usually in flight, so that none has to
/// wait for room.
const WAITING: usize = 1024;

pub(super) struct Node {
    common: Arc<Common>,
    /// For texts: host and port, or the socket's path.
    name: String,
    way: Way,
    wire: RwLock<Option<Arc<Wire>>>,
    /// The one attempt to connect that all who need it wait for.
    connecting: Single<Result<(), Failure>>,
    breaker: Breaker,
    loading: tokio::sync::Mutex<()>,
    loads: AtomicU64,
}

pub(super) enum Way {
    Fixed(Box<Client>, Option<Box<Alias>>),
    Sentinel(Box<Sentinel>),
    Brought(MultiplexedConnection),
}

/// Another address at which a node of a cluster may be reached, if the one there bears its identity.
pub(super) struct Alias {
    pub(super) client: Client,
    pub(super) id: String,
}

/// One connection.
pub(super) struct Wire {
    connection: MultiplexedConnection,
    /// Set when the connection's task is gone: what is then not yet sent never will be.
    ended: Arc<AtomicBool>,
    /// A call had no answer in time, and it is being found out why.
    suspect: AtomicBool,
    /// Its end has been counted as a failure: once, however many calls it took along.
    mourned: AtomicBool,
    made: Instant,
    server: String,
}

/// Held by the connection's task, so dropped with it: when the connection ends, and also when its runtime does.
struct End(Arc<AtomicBool>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

impl Wire {
    pub(super) async fn open(client: &Client) -> Result<Wire, RedisError> {
        let ended = Arc::new(AtomicBool::new(false));
        let end = End(Arc::clone(&ended));
        let config = AsyncConnectionConfig::new()
            // Timeouts are ours: one per call, not two.
            .set_connection_timeout(None)
            .set_response_timeout(None)
            .set_pipeline_buffer_size(WAITING)
            .set_push_sender(move |_: PushInfo| {
                let _held = &end;
                Ok::<(), SendError>(())
            });
        let connection = client.get_multiplexed_async_connection_with_config(&config).await?;
        Ok(Wire::new(connection, ended, client.get_connection_info().addr().to_string()))
    }

    fn new(connection: MultiplexedConnection, ended: Arc<AtomicBool>, server: String) -> Wire {
        let (suspect, mourned) = (AtomicBool::new(false), AtomicBool::new(false));
        Wire { connection, ended, suspect, mourned, made: Instant::now(), server }
    }

    fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Sends a command, after an ASKING if asked to.
    pub(super) async fn send(&self, command: &Cmd, asking: bool) -> Result<Value, RedisError> {
        let mut connection = self.connection.clone();
        if !asking {
            return connection.send_packed_command(command).await;
        }
        // In one piece, as another call's command must not come between.
        let mut pipeline = redis::pipe();
        pipeline.cmd("ASKING").add_command(command.clone());
        let answers = connection.send_packed_commands(&pipeline, 0, 2).await?;
        answers.into_iter().nth(1).ok_or_else(|| RedisError::from((ErrorKind::Parse, "an answer is missing")))
    }
}

impl Alias {
    /// A connection, if it is the very node: that another one is there would be no wonder.
    async fn open(&self) -> Option<Wire> {
        let wire = Wire::open(&self.client).await.ok()?;
        let mut command = redis::cmd("CLUSTER");
        command.arg("MYID");
        let answer = wire.send(&command, false).await.ok()?;
        (text(&answer) == Some(self.id.as_str())).then_some(wire)
    }
}

impl Node {
    pub(super) fn new(common: Arc<Common>, way: Way, name: String) -> Arc<Node> {
        let wire = match &way {
            Way::Brought(connection) => {
                Some(Arc::new(Wire::new(connection.clone(), Arc::new(AtomicBool::new(false)), name.clone())))
            }
            _ => None,
        };
        Arc::new(Node {
            breaker: Breaker::new(common.open_after),
            common,
            name,
            way,
            wire: RwLock::new(wire),
            connecting: Single::new(),
            loading: tokio::sync::Mutex::new(()),
            loads: AtomicU64::new(0),
        })
    }

    /// The server's name for texts.
    pub(super) fn server(&self) -> String {
        let wire = self.wire.read().unwrap_or_else(PoisonError::into_inner);
        wire.as_ref().map_or_else(|| self.name.clone(), |wire| wire.server.clone())
    }

    /// The host alone, as others are reached at it too.
    pub(super) fn host(&self) -> String {
        match &self.way {
            Way::Fixed(client, _) => host_of(client.get_connection_info().addr()),
            _ => self.name.clone(),
        }
    }

    pub(super) fn is_at(&self, host: &str, port: u16) -> bool {
        self.name.rsplit_once(':').is_some_and(|(name, number)| name == host && number.parse() == Ok(port))
    }

    /// Whether nothing is known to be wrong with it.
    pub(super) fn is_connected(&self) -> bool {
        self.breaker.is_closed() && self.present().is_some()
    }

    /// Sends a command over the connection that there is, and waits for its answer.
    #[inline]
    pub(super) async fn send(self: &Arc<Self>, command: &Cmd) -> Result<Value, Trouble> {
        if !self.breaker.is_closed() {
            return Err(self.refuse());
        }
        match self.present() {
            Some(wire) => self.send_over(&wire, command, false, self.common.call_timeout).await,
            None => Err(Trouble::NoWire),
        }
    }

    /// As [`send`](Self::send), but makes a connection where there is none, and all until a deadline.
    pub(super) async fn send_until(
        self: &Arc<Self>,
        command: &Cmd,
        asking: bool,
        deadline: Instant,
    ) -> Result<Value, Trouble> {
        if !self.breaker.is_closed() {
            return Err(self.refuse());
        }
        let wire = self.connected(deadline).await?;
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Trouble::NoWire);
        }
        self.send_over(&wire, command, asking, left.min(self.common.call_timeout)).await
    }

    async fn send_over(
        self: &Arc<Self>,
        wire: &Arc<Wire>,
        command: &Cmd,
        asking: bool,
        limit: Duration,
    ) -> Result<Value, Trouble> {
        match timeout(limit, wire.send(command, asking)).await {
            Ok(Ok(Value::ServerError(error))) => {
                self.breaker.succeeded();
                Err(Trouble::Said(error))
            }
            Ok(Ok(value)) => {
                self.breaker.succeeded();
                Ok(value)
            }
            // A connection brought along has a timeout of its own.
            Ok(Err(error)) if error.is_timeout() => Err(self.slow(wire, limit)),
            Ok(Err(error)) => Err(self.lost(wire, error)),
            Err(_) => Err(self.slow(wire, limit)),
        }
    }

    /// The connection, unless it has ended.
    #[inline]
    fn present(&self) -> Option<Arc<Wire>> {
        let wire = self.wire.read().unwrap_or_else(PoisonError::into_inner);
        wire.as_ref().filter(|wire| !wire.has_ended()).cloned()
    }

    /// The connection, made if need be. However many ask for it, one is made.
    async fn connected(self: &Arc<Self>, deadline: Instant) -> Result<Arc<Wire>, Trouble> {
        let limit = deadline.min(Instant::now() + self.common.connect_timeout + Duration::from_millis(100));
        // A server may take connections only to close them.
        for _ in 0..3 {
            if let Some(wire) = self.present() {
                return Ok(wire);
            }
            if let Way::Brought(_) = self.way {
                let text = "the connection given by the application has closed: give a new one, or the server's URL";
                return Err(Trouble::Unconnected(Failure::new(text, None)));
            }
            match self.connecting.run(limit, || Arc::clone(self).connect()).await {
                Some(Ok(())) => {}
                Some(Err(failure)) => return Err(Trouble::Unconnected(failure)),
                None => break,
            }
        }
        Err(Trouble::NoWire)
    }

    async fn connect(self: Arc<Self>) -> Result<(), Failure> {
        match self.open().await {
            Ok(wire) => {
                *self.wire.write().unwrap_or_else(PoisonError::into_inner) = Some(wire);
                Ok(())
            }
            Err(failure) => {
                self.failed();
                Err(failure)
            }
        }
    }

    async fn open(&self) -> Result<Arc<Wire>, Failure> {
        let limit = self.common.connect_timeout;
        let opening = async {
            match &self.way {
                Way::Fixed(client, None) => Wire::open(client).await.map_err(Failure::of),
                Way::Fixed(client, Some(alias)) => match timeout(limit / 2, Wire::open(client)).await {
                    Ok(Ok(wire)) => Ok(wire),
                    Ok(Err(error)) => alias.open().await.ok_or_else(|| Failure::of(error)),
                    Err(_) => alias.open().await.ok_or_else(|| Failure::slow(limit / 2)),
                },
                Way::Sentinel(sentinel) => sentinel.open().await,
                Way::Brought(_) => Err(Failure::new("a connection given by the application is not made anew", None)),
            }
        };
        match timeout(limit, opening).await {
            Ok(outcome) => outcome.map(Arc::new),
            Err(_) => Err(Failure::slow(limit)),
        }
    }

    /// Lets go of the present connection, so that the next call makes another: perhaps to another server. One made
    /// just now is kept: of many that are told the same at once each would undo what another has mended.
    pub(super) fn reconnect(&self) {
        let mut present = self.wire.write().unwrap_or_else(PoisonError::into_inner);
        let is_old = present.as_ref().is_some_and(|wire| wire.made.elapsed() > Duration::from_millis(10));
        if is_old && !matches!(self.way, Way::Brought(_)) {
            *present = None;
        }
    }

    /// Lets go of this connection. The calls that wait on it go on waiting: an answer may still come.
    fn discard(&self, wire: &Arc<Wire>) {
        let mut present = self.wire.write().unwrap_or_else(PoisonError::into_inner);
        if !matches!(self.way, Way::Brought(_)) && present.as_ref().is_some_and(|present| Arc::ptr_eq(present, wire)) {
            *present = None;
        }
    }

    #[cold]
    fn lost(self: &Arc<Self>, wire: &Arc<Wire>, error: RedisError) -> Trouble {
        // Each of its calls comes here; the task's own word may be a moment late.
        wire.ended.store(true, Ordering::Release);
        if !wire.mourned.swap(true, Ordering::AcqRel) {
            self.failed();
        }
        Trouble::Lost(error)
    }

    /// A call had no answer in time. If a PING has none either, the connection is given up and the breaker opened,
    /// so that not every caller to come has to find out by waiting.
    #[cold]
    fn slow(self: &Arc<Self>, wire: &Arc<Wire>, limit: Duration) -> Trouble {
        self.failed();
        if !wire.suspect.swap(true, Ordering::AcqRel) {
            let (node, wire) = (Arc::clone(self), Arc::clone(wire));
            tokio::spawn(async move {
                let answer = timeout(node.common.call_timeout / 2, wire.send(&redis::cmd("PING"), false)).await;
                wire.suspect.store(false, Ordering::Release);
                if !matches!(answer, Ok(Ok(_))) {
                    node.discard(&wire);
                    if node.breaker.trip() {
                        node.keep_probing();
                    }
                }
            });
        }
        Trouble::Slow(limit)
    }

    /// The way failed once more.
    fn failed(self: &Arc<Self>) {
        if self.breaker.failed() {
            self.keep_probing();
        }
    }

    /// The breaker is open. Should whoever was to probe be gone with its runtime, this takes it over.
    #[cold]
    fn refuse(self: &Arc<Self>) -> Trouble {
        if self.breaker.claim_overdue(self.lease()) {
            let node = Arc::clone(self);
            tokio::spawn(async move {
                if !node.probe().await {
                    node.keep_probing();
                }
            });
        }
        Trouble::Refused
    }

    /// Probes in the background until the server answers: nobody waits for it.
    fn keep_probing(self: &Arc<Self>) {
        let node = Arc::downgrade(self);
        tokio::spawn(async move {
            loop {
                let Some(due) = node.upgrade().and_then(|node| node.breaker.due()) else { return };
                sleep(due.wait).await;
                let Some(node) = node.upgrade() else { return };
                // Else another is at it.
                if !node.breaker.claim(due, node.lease()) || node.probe().await {
                    return;
                }
            }
        });
    }

    /// The one probe: whether the server answers anything at all.
    async fn probe(self: &Arc<Self>) -> bool {
        let answers = match self.connected(Instant::now() + self.common.connect_timeout).await {
            Ok(wire) => {
                let answer = timeout(self.common.call_timeout, wire.send(&redis::cmd("PING"), false)).await;
                if !matches!(answer, Ok(Ok(_))) {
                    self.discard(&wire);
                }
                matches!(answer, Ok(Ok(_)))
            }
            Err(_) => false,
        };
        if answers {
            self.breaker.close();
        } else {
            self.breaker.stay_open();
        }
        answers
    }

    /// Above what a probe can take.
    fn lease(&self) -> Duration {
        self.common.connect_timeout + self.common.call_timeout + Duration::from_secs(1)
    }

    /// Loads the library. Of many that find it missing at once, one does.
    pub(super) async fn load(self: &Arc<Self>, deadline: Instant) -> Result<(), Trouble> {
        let loads = self.loads.load(Ordering::Acquire);
        let Ok(_one) = timeout_at(deadline, self.loading.lock()).await else { return Err(Trouble::NoWire) };
        if self.loads.load(Ordering::Acquire) != loads {
            return Ok(());
        }
        let mut command = redis::cmd("FUNCTION");
        command.arg("LOAD").arg(self.common.library.source.as_bytes());
        match self.send_until(&command, false, deadline).await {
            Ok(_) => {}
            Err(Trouble::Said(error)) if error.details().is_some_and(|detail| detail.contains("already exists")) => {}
            Err(trouble) => return Err(trouble),
        }
        self.loads.fetch_add(1, Ordering::AcqRel);
        Ok(())
    }
}
