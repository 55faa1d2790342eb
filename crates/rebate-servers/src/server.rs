//! One server.

use crate::certificates;
use crate::home::Home;
use crate::ports;
use crate::process::{self, Process};
use crate::wait::{DEADLINE, until};
use redis::{RedisResult, Value};
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// The user by which this crate administers its servers, whatever a test does to the others.
pub(crate) const ADMINISTRATOR: &str = "rebate-servers";

/// How long one command may take: tests freeze servers, and none of them should hang on one.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a server is started with.
#[derive(Clone, Debug, Default)]
pub struct Builder {
    pub(crate) lines: Vec<String>,
    pub(crate) persistent: bool,
    pub(crate) sentinel: bool,
    /// The administrator's password, which is also by what a server is known for one of ours: ports are free
    /// to all. Servers that speak to one another share it.
    pub(crate) secret: Option<String>,
    unix_socket: bool,
    tls: bool,
}

impl Builder {
    /// A line of the server's configuration, such as `("maxmemory", "3mb")`. Of a setting given twice the
    /// latter counts, also over this crate's own.
    pub fn argument(mut self, name: &str, value: &str) -> Self {
        let value = if value.is_empty() { "\"\"" } else { value };
        self.lines.push(format!("{name} {value}"));
        self
    }

    /// Whether what was acknowledged survives [`Server::kill`] and [`Server::restart`]: an append-only file,
    /// written at every command. Without it a restarted server is empty.
    pub fn persistent(mut self, persistent: bool) -> Self {
        self.persistent = persistent;
        self
    }

    /// Also listens on a Unix socket: [`Server::unix_url`].
    pub fn unix_socket(mut self) -> Self {
        self.unix_socket = true;
        self
    }

    /// Also listens for TLS, with a certificate for 127.0.0.1 and localhost, made for this server alone:
    /// [`Server::tls_url`]. Clients need none, unless `argument("tls-auth-clients", "yes")` demands it.
    pub fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// A user of the server's access lists, with rules such as `~* &* +@all`. The user `default` stays as it
    /// is, unless it is the one that is named: `user("default", "secret", "~* &* +@all")` demands a password
    /// and `argument("user", "default off")` shuts it out.
    pub fn user(self, name: &str, password: &str, rules: &str) -> Self {
        // Without `reset` the user `default` would keep its `nopass`.
        self.argument("user", &format!("{name} reset on >{password} {rules}"))
    }

    /// Starts it, and returns when it answers.
    ///
    /// # Panics
    ///
    /// When the program is missing, with the line that installs it, or when it does not start, with what it said.
    pub fn start(self) -> Server {
        Server::start_as(self)
    }
}

/// A server of its own on 127.0.0.1, ended in Drop.
#[derive(Debug)]
pub struct Server {
    pub(crate) builder: Builder,
    pub(crate) secret: String,
    port: u16,
    tls_port: u16,
    // Before its home: a directory is removed once nobody writes to it.
    process: Mutex<Option<Process>>,
    home: Home,
}

impl Server {
    /// An empty server that keeps nothing.
    pub fn start() -> Self {
        Self::builder().start()
    }

    /// A server with settings of its own.
    pub fn builder() -> Builder {
        Builder::default()
    }

    fn start_as(builder: Builder) -> Self {
        let home = Home::new();
        let secret = builder.secret.clone().unwrap_or_else(|| secret(&home));
        let mut server = Self { builder, secret, port: 0, tls_port: 0, process: Mutex::new(None), home };
        if server.builder.tls {
            certificates::write(server.home.path());
        }
        for _ in 0..20 {
            server.port = ports::free();
            if server.builder.tls {
                server.tls_port = ports::free();
            }
            let words = server.configuration();
            std::fs::write(process::configuration(&server.home), words).expect("the configuration is written");
            match server.run() {
                Ok(process) => {
                    server.process = Mutex::new(Some(process));
                    return server;
                }
                // Another process was faster.
                Err(words) if words.contains("Address already in use") => {}
                Err(words) => panic!("{} did not start:\n{words}", process::program()),
            }
        }
        panic!("twenty free ports were each taken by others");
    }

    fn configuration(&self) -> String {
        let mut text = String::new();
        let mut line = |line: &str| writeln!(text, "{line}").expect("text takes text");
        line("bind 127.0.0.1");
        line(&format!("port {}", self.port));
        line(&format!("dir {}", self.home.path().display()));
        line(&format!("user {ADMINISTRATOR} on >{} ~* &* +@all", self.secret));
        if !self.builder.sentinel {
            line(&format!("masteruser {ADMINISTRATOR}"));
            line(&format!("masterauth {}", self.secret));
            // Replicas wait for one another for five seconds otherwise.
            line("repl-diskless-sync-delay 0");
            line("save \"\"");
            line(if self.builder.persistent { "appendonly yes" } else { "appendonly no" });
            line("appendfsync always");
        }
        if self.builder.unix_socket {
            line(&format!("unixsocket {}", self.socket().display()));
            line("unixsocketperm 700");
        }
        if self.builder.tls {
            line(&format!("tls-port {}", self.tls_port));
            line(&format!("tls-ca-cert-file {}", self.certificate_authority().display()));
            line(&format!("tls-cert-file {}", self.certificate().display()));
            line(&format!("tls-key-file {}", self.private_key().display()));
            line("tls-auth-clients no");
        }
        for given in &self.builder.lines {
            line(given);
        }
        text
    }

    /// Starts the process and waits until it answers; what it said when it ended instead.
    fn run(&self) -> Result<Process, String> {
        let mut process = Process::start(&self.home, self.builder.sentinel);
        let begun = Instant::now();
        let answered = until("the server answers PING", || {
            if let Some(status) = process.ended() {
                return Some(Err(format!("{status}\n{}", process::last_words(&self.home))));
            }
            // While it loads its data it answers an error.
            if self.try_command(&["PING"]).is_ok() {
                return Some(Ok(()));
            }
            (begun.elapsed() > DEADLINE / 2).then(|| Err(process::last_words(&self.home)))
        });
        match answered {
            Ok(()) => Ok(process),
            Err(words) => {
                process.kill(&self.home);
                Err(words)
            }
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// `redis://127.0.0.1:…`, for the user `default`.
    pub fn url(&self) -> String {
        format!("redis://{}", self.address())
    }

    /// `redis://name:password@127.0.0.1:…`, for a user that [`Builder::user`] made. Neither is escaped.
    pub fn url_of(&self, name: &str, password: &str) -> String {
        format!("redis://{name}:{password}@{}", self.address())
    }

    /// `redis+unix:///…`, with [`Builder::unix_socket`].
    pub fn unix_url(&self) -> String {
        assert!(self.builder.unix_socket, "the server was started without unix_socket()");
        format!("redis+unix://{}", self.socket().display())
    }

    /// Where it listens for TLS, with [`Builder::tls`].
    pub fn tls_address(&self) -> SocketAddr {
        assert!(self.builder.tls, "the server was started without tls()");
        (Ipv4Addr::LOCALHOST, self.tls_port).into()
    }

    /// `rediss://127.0.0.1:…`, with [`Builder::tls`].
    pub fn tls_url(&self) -> String {
        format!("rediss://{}", self.tls_address())
    }

    /// The file (PEM) with the certificate that signed the server's, for clients to trust. No other server's
    /// is of use here.
    pub fn certificate_authority(&self) -> PathBuf {
        self.home.path().join(certificates::AUTHORITY)
    }

    /// The file (PEM) with the server's certificate. It is good for a client too.
    pub fn certificate(&self) -> PathBuf {
        self.home.path().join(certificates::CERTIFICATE)
    }

    /// The file (PEM) with the private key of [`Server::certificate`].
    pub fn private_key(&self) -> PathBuf {
        self.home.path().join(certificates::PRIVATE_KEY)
    }

    fn socket(&self) -> PathBuf {
        self.home.path().join("socket")
    }

    /// A client of [`Server::url`].
    pub fn client(&self) -> redis::Client {
        redis::Client::open(self.url()).expect("the URL is sound")
    }

    /// The process, where it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process().as_ref().map(Process::pid)
    }

    /// Whether it was not killed, and did not end by itself. A frozen one runs.
    pub fn is_running(&self) -> bool {
        self.process().as_mut().is_some_and(|process| process.ended().is_none())
    }

    /// SIGKILL, and the wait for its end. Connections are reset, new ones are refused.
    pub fn kill(&self) {
        let process = self.process().take();
        if let Some(process) = process {
            process.kill(&self.home);
        }
    }

    /// SIGSTOP: it holds its connections, accepts new ones (the kernel does) and answers none.
    pub fn freeze(&self) {
        self.process().as_ref().expect("the server runs").freeze();
    }

    /// SIGCONT: it answers what has queued up meanwhile.
    pub fn thaw(&self) {
        self.process().as_ref().expect("the server runs").thaw();
    }

    /// Starts it again on its port, killed before where it still runs: empty, or with its data where it is
    /// [persistent](Builder::persistent).
    pub fn restart(&self) {
        self.kill();
        let mut slot = self.process();
        if !self.builder.persistent {
            // What a replica got from its master.
            let _ = std::fs::remove_file(self.home.path().join("dump.rdb"));
        }
        let process = until("the server has its port again", || match self.run() {
            Ok(process) => Some(process),
            Err(words) if words.contains("Address already in use") => None,
            Err(words) => panic!("{} did not start again:\n{words}", process::program()),
        });
        *slot = Some(process);
    }

    /// Sends one command as an administrator who may do anything, on a connection of its own.
    ///
    /// # Panics
    ///
    /// When the server answers an error, or not within ten seconds.
    #[track_caller]
    pub fn command(&self, words: &[&str]) -> Value {
        self.try_command(words).unwrap_or_else(|error| panic!("{} at {}: {error}", words.join(" "), self.address()))
    }

    /// The same where an error is an answer.
    pub fn try_command(&self, words: &[&str]) -> RedisResult<Value> {
        let mut command = redis::Cmd::new();
        for word in words {
            command.arg(word);
        }
        self.query(&command)
    }

    /// The same for words that are not text.
    pub fn query(&self, command: &redis::Cmd) -> RedisResult<Value> {
        let url = self.url_of(ADMINISTRATOR, &self.secret);
        let mut connection = redis::Client::open(url)?.get_connection_with_timeout(PATIENCE)?;
        connection.set_read_timeout(Some(PATIENCE))?;
        connection.set_write_timeout(Some(PATIENCE))?;
        command.query(&mut connection)
    }

    /// The same as text: a status, a string, or a number.
    #[track_caller]
    pub fn ask(&self, words: &[&str]) -> String {
        redis::from_redis_value(self.command(words)).expect("the answer is text")
    }

    /// One line of INFO, such as `information("connected_slaves")`, where there is one.
    #[track_caller]
    pub fn information(&self, name: &str) -> Option<String> {
        let text = self.ask(&["INFO", "everything"]);
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::to_owned))
    }

    /// What the server said last, for the message of a test that fails.
    pub fn log(&self) -> String {
        process::last_words(&self.home)
    }

    fn process(&self) -> MutexGuard<'_, Option<Process>> {
        // A panic of one test thread must not keep another from ending its server.
        self.process.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// Not secret from anybody, but never that of another server.
fn secret(home: &Home) -> String {
    let nanoseconds = std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(0, |elapsed| elapsed.as_nanos());
    let name = home.path().file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    format!("{name}-{nanoseconds:x}")
}
