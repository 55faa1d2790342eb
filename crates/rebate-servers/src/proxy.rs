//! A network that a test makes faulty while it is in use.

use crate::ports;
use crate::wait::until;
use std::collections::HashMap;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

mod pipe;

/// Stands between clients and a server, forwards bytes both ways, and does wrong what it is told to. Whatever
/// is set holds from the moment the method returns, for connections that are open and for new ones, until
/// something else is set; a byte meets what holds when the proxy reads it. Faults do not add up.
#[derive(Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Fault {
    #[default]
    Nothing,
    Refuse,
    Delay {
        requests: Duration,
        replies: Duration,
    },
    Hole,
    Truncate(u64),
    LoseReplies,
    LoseNextReply,
}

#[derive(Debug)]
struct Shared {
    address: SocketAddr,
    state: Mutex<State>,
    /// Any part of the state.
    changed: Condvar,
    connections: AtomicU64,
    request_bytes: AtomicU64,
    reply_bytes: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    /// None only before it has begun.
    upstream: Option<SocketAddr>,
    fault: Fault,
    /// Counts the settings, so that a connection knows for which one it counted bytes.
    setting: u64,
    listening: bool,
    ended: bool,
    /// Threads that have not ended.
    threads: usize,
    open: HashMap<u64, Arc<Connection>>,
}

/// One client's connection and the one to the server made for it.
#[derive(Debug)]
struct Connection {
    client: TcpStream,
    server: TcpStream,
    closed: AtomicBool,
    /// Bytes of it went into a hole: it can never again be of use.
    lost: AtomicBool,
}

impl Connection {
    fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        let _ = self.client.shutdown(Shutdown::Both);
        let _ = self.server.shutdown(Shutdown::Both);
    }
}

impl Proxy {
    /// Listens on a free port, and forwards to the server at `upstream`, which need not run yet.
    pub fn start(upstream: SocketAddr) -> Self {
        let listener = until("a port for the proxy", || TcpListener::bind((Ipv4Addr::LOCALHOST, ports::free())).ok());
        let address = listener.local_addr().expect("a listener has an address");
        let shared = Arc::new(Shared {
            address,
            state: Mutex::new(State { upstream: Some(upstream), listening: true, threads: 1, ..State::default() }),
            changed: Condvar::new(),
            connections: AtomicU64::new(0),
            request_bytes: AtomicU64::new(0),
            reply_bytes: AtomicU64::new(0),
        });
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || accepting.accept(listener));
        Self { shared }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.shared.address
    }

    /// `redis://127.0.0.1:…`
    pub fn url(&self) -> String {
        format!("redis://{}", self.shared.address)
    }

    /// A client of [`Proxy::url`].
    pub fn client(&self) -> redis::Client {
        redis::Client::open(self.url()).expect("the URL is sound")
    }

    /// Nothing is wrong any more.
    pub fn pass(&self) {
        self.set(Fault::Nothing);
    }

    /// Nobody listens: new connections are refused. Those that are open go on; see [`Proxy::drop_connections`].
    pub fn refuse(&self) {
        self.set(Fault::Refuse);
    }

    /// Closes every open connection, once. What was under way is lost, each way.
    pub fn drop_connections(&self) {
        let state = self.shared.lock();
        state.open.values().for_each(|connection| connection.close());
        self.shared.changed.notify_all();
    }

    /// Leads to another server from now on, as an address that moves in a failover does. Closes every open connection.
    pub fn redirect(&self, upstream: SocketAddr) {
        self.shared.lock().upstream = Some(upstream);
        self.drop_connections();
    }

    /// Each request reaches the server so much later. It does so also when its client has gone away meanwhile,
    /// but not after [`Proxy::drop_connections`]. Replies come back at once: a round trip takes this much longer.
    pub fn delay(&self, delay: Duration) {
        self.set(Fault::Delay { requests: delay, replies: Duration::ZERO });
    }

    /// Requests reach the server at once, replies the client so much later.
    pub fn delay_replies(&self, delay: Duration) {
        self.set(Fault::Delay { requests: Duration::ZERO, replies: delay });
    }

    /// Connections are accepted and read from, and nothing comes out at either end. What goes in is lost: when
    /// something else is set, the connections it was lost from are closed.
    pub fn hole(&self) {
        self.set(Fault::Hole);
    }

    /// Each connection passes so many more bytes of replies on and is then closed: in the middle of a reply,
    /// when the number is chosen so. New connections count from their first byte, the replies to whatever
    /// their client says first included.
    pub fn truncate_replies(&self, after_bytes: u64) {
        self.set(Fault::Truncate(after_bytes));
    }

    /// The server gets each request and acts on it; the connection is closed instead of passing the reply on.
    /// New connections meet the same, with whatever their client says first.
    pub fn lose_replies(&self) {
        self.set(Fault::LoseReplies);
    }

    /// As [`Proxy::lose_replies`], for the one reply that comes next; from then on nothing is wrong. A client
    /// that sends a request again of its own accord is caught by this one: it would succeed, twice.
    pub fn lose_next_reply(&self) {
        self.set(Fault::LoseNextReply);
    }

    /// Whether something is set that is not over.
    pub fn is_faulty(&self) -> bool {
        self.shared.lock().fault != Fault::Nothing
    }

    /// How many connections were accepted so far.
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// How many connections are open now.
    pub fn open_connections(&self) -> usize {
        self.shared.lock().open.len()
    }

    /// How many bytes clients sent so far, forwarded or not.
    pub fn request_bytes(&self) -> u64 {
        self.shared.request_bytes.load(Ordering::SeqCst)
    }

    /// How many bytes the server answered so far, passed on or not.
    pub fn reply_bytes(&self) -> u64 {
        self.shared.reply_bytes.load(Ordering::SeqCst)
    }

    fn set(&self, fault: Fault) {
        let mut state = self.shared.lock();
        if state.fault == Fault::Hole && fault != Fault::Hole {
            let lost = |connection: &&Arc<Connection>| connection.lost.load(Ordering::SeqCst);
            state.open.values().filter(lost).for_each(|connection| connection.close());
        }
        state.fault = fault;
        state.setting += 1;
        let setting = state.setting;
        self.shared.changed.notify_all();
        let listens = fault != Fault::Refuse;
        if state.listening && !listens {
            drop(state);
            self.shared.wake();
            state = self.shared.lock();
        }
        // Until another thread sets something else.
        while state.setting == setting && state.listening != listens {
            state = self.shared.wait(state);
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.ended = true;
        state.open.values().for_each(|connection| connection.close());
        self.shared.changed.notify_all();
        drop(state);
        self.shared.wake();
        let mut state = self.shared.lock();
        while state.threads > 0 {
            state = self.shared.wait(state);
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait(state).unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Lets the accepting thread, which hears nothing else, see what changed.
    fn wake(&self) {
        let _ = TcpStream::connect(self.address);
    }

    fn accept(self: Arc<Self>, first: TcpListener) {
        let mut listener = Some(first);
        loop {
            let accepted = listener.as_ref().map(TcpListener::accept);
            let mut state = self.lock();
            if state.ended {
                state.threads -= 1;
                self.changed.notify_all();
                return;
            }
            if state.fault == Fault::Refuse {
                // Closed before it is told, with all that wait in it.
                listener = None;
                state.listening = false;
                self.changed.notify_all();
                while state.fault == Fault::Refuse && !state.ended {
                    state = self.wait(state);
                }
                continue;
            }
            match accepted {
                None => {
                    drop(state);
                    listener = Some(until("the proxy's port is free again", || TcpListener::bind(self.address).ok()));
                    self.lock().listening = true;
                    self.changed.notify_all();
                }
                Some(Ok((client, _))) => {
                    drop(state);
                    self.connect(client);
                }
                // The client went away before it was accepted.
                Some(Err(_)) => {}
            }
        }
    }

    fn connect(self: &Arc<Self>, client: TcpStream) {
        let number = self.connections.fetch_add(1, Ordering::SeqCst);
        // Where the server cannot be reached the client's connection is closed.
        let Some(upstream) = self.lock().upstream else { return };
        let Ok(server) = TcpStream::connect_timeout(&upstream, Duration::from_secs(5)) else { return };
        // A client that is gone already says so when it is read from.
        let _ = client.set_nodelay(true);
        let _ = server.set_nodelay(true);
        let connection =
            Arc::new(Connection { client, server, closed: AtomicBool::new(false), lost: AtomicBool::new(false) });
        let mut state = self.lock();
        if state.ended || state.upstream != Some(upstream) {
            return;
        }
        state.open.insert(number, Arc::clone(&connection));
        drop(state);
        pipe::start(self, number, &connection);
    }

    /// Sleeps until the moment is there or the connection closed.
    fn sleep(&self, connection: &Connection, until: Instant) {
        let mut state = self.lock();
        while !connection.closed.load(Ordering::SeqCst) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(|poisoned| poisoned.into_inner()).0;
        }
    }
}
