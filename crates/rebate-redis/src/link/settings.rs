//! Where the servers are and how long to wait for them.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use rebate_core::Error;
use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion};

use super::tls;

/// A connection that the application has made itself, with the `redis` crate.
///
/// It follows that crate's version: the conversion is from the `MultiplexedConnection` of `redis` 1.x, and another
/// major version of `redis` will be another of ours. Nothing else of this crate's interface bears the `redis` crate's
/// types.
///
/// A connection brought along cannot be made anew: once it has closed, everything answers that it is unavailable. Its
/// own response timeout holds besides the store's.
#[derive(Clone)]
pub struct Connection(pub(super) MultiplexedConnection);

impl From<MultiplexedConnection> for Connection {
    fn from(connection: MultiplexedConnection) -> Self {
        Connection(connection)
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connection")
    }
}

/// Where the servers are, who is asking, and how long to wait.
///
/// | URL | servers |
/// | --- | --- |
/// | `redis://user:password@host:6379/0` | one server; `valkey://` is the same |
/// | `rediss://host:6380` | one server over TLS (feature `tls`); `#insecure` trusts any certificate |
/// | `redis+unix:///run/redis.sock?db=0&user=name&pass=word` | one server's socket |
/// | `redis+cluster://user:password@one:7000,two:7000` | a cluster, found from any of these nodes |
/// | `redis+sentinel://user:password@one:26379,two:26379/service/0` | the master that these sentinels know by the service's name; user and password are the master's |
///
/// `rediss+cluster://` and `rediss+sentinel://` are the same over TLS.
///
/// A user of the server needs exactly these rules, `~` with the prefix of the store's keys:
///
/// ```text
/// ACL SETUSER name on >password ~prefix* +fcall +fcall_ro +function|load +ping   and what the functions call:
///     +del +get +hdel +hget +hlen +hset +pexpire +pttl +set +setrange +time +zadd +zcard +zrange
///     +zrangebyscore +zrem +zremrangebyrank +zremrangebyscore +zrevrange +zrevrangebyscore +zscore
/// on a cluster besides   +cluster|slots +asking   (+cluster|myid where its nodes' own names cannot be reached)
/// behind sentinels       +role            (may be missing) and of the sentinels  +sentinel|get-master-addr-by-name
/// to list keys           +scan +get +hgetall   for another database than 0   +select
/// ```
#[derive(Clone)]
pub struct Settings {
    servers: Servers,
    user: Option<String>,
    password: Option<String>,
    database: Option<i64>,
    connect_timeout: Duration,
    call_timeout: Duration,
    open_after: u32,
    certificates: Certificates,
    roots_file: Option<PathBuf>,
}

#[derive(Clone)]
enum Servers {
    Url(String),
    Cluster(Vec<String>),
    Sentinel { service: String, urls: Vec<String> },
    Brought(Connection),
}

/// What TLS uses, all in PEM form.
#[derive(Clone, Default)]
pub(super) struct Certificates {
    pub(super) roots: Option<Vec<u8>>,
    /// Certificate and key.
    pub(super) identity: Option<(Vec<u8>, Vec<u8>)>,
}

impl Settings {
    /// Servers by one URL, of any form in the [table above](Settings). A URL that is wrong is said when the store is
    /// made.
    pub fn url(url: impl Into<String>) -> Self {
        Self::of(Servers::Url(url.into()))
    }

    /// A cluster, by the URLs (`redis://` or `rediss://`) of some of its nodes; the others are learnt from them.
    /// User, password and TLS are those of the first.
    pub fn cluster<U: Into<String>>(urls: impl IntoIterator<Item = U>) -> Self {
        Self::of(Servers::Cluster(urls.into_iter().map(Into::into).collect()))
    }

    /// The master that sentinels know by the name `service`. The URLs (`redis://` or `rediss://`) are the sentinels',
    /// with the sentinels' own user and password; the master's are given by [`credentials`](Self::credentials). It is
    /// reached over TLS if the first sentinel is.
    pub fn sentinel<U: Into<String>>(service: impl Into<String>, urls: impl IntoIterator<Item = U>) -> Self {
        let urls = urls.into_iter().map(Into::into).collect();
        Self::of(Servers::Sentinel { service: service.into(), urls })
    }

    /// The server at the other end of a connection that the application has made.
    pub fn connection(connection: impl Into<Connection>) -> Self {
        Self::of(Servers::Brought(connection.into()))
    }

    fn of(servers: Servers) -> Self {
        Settings {
            servers,
            user: None,
            password: None,
            database: None,
            connect_timeout: Duration::from_secs(1),
            call_timeout: Duration::from_millis(500),
            open_after: 5,
            certificates: Certificates::default(),
            roots_file: None,
        }
    }

    /// User and password, instead of those in the URL. Without a user it is the server's `default` one.
    #[must_use]
    pub fn credentials(mut self, user: Option<&str>, password: &str) -> Self {
        self.user = user.map(Into::into);
        self.password = Some(password.into());
        self
    }

    /// The number of the database, instead of the URL's. A cluster has only 0.
    #[must_use]
    pub fn database(mut self, database: u32) -> Self {
        self.database = Some(database.into());
        self
    }

    /// How long making a connection may take, with its greeting: 1 s unless said.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long one sending of a request waits for its answer: 500 ms unless said. That is well above what a server
    /// of sound health needs even at its slowest moments (a fork, a long script), and short enough for a request
    /// that waits on its limiter. Whatever is sent again, an answer comes within twice this and the
    /// [connect timeout](Self::connect_timeout).
    #[must_use]
    pub fn call_timeout(mut self, timeout: Duration) -> Self {
        self.call_timeout = timeout;
        self
    }

    /// After how many failures in a row (of connecting, of waiting, of a connection) requests are refused at once
    /// until the server answers again: 5 unless said. The server is asked after 100 to 200 ms, then less and less
    /// often, up to every 5 s, by one probe at a time.
    #[must_use]
    pub fn open_after(mut self, failures: u32) -> Self {
        self.open_after = failures;
        self
    }

    /// The certificates to trust over TLS, in PEM form, instead of the well-known ones.
    #[must_use]
    pub fn root_certificates(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.certificates.roots = Some(pem.into());
        self
    }

    /// The file of the certificates to trust over TLS, in PEM form, instead of the well-known ones. It is read when
    /// the store is made.
    #[must_use]
    pub fn root_certificates_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.roots_file = Some(path.into());
        self
    }

    /// The certificate and key to show over TLS, in PEM form.
    #[must_use]
    pub fn client_certificate(mut self, certificate: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        self.certificates.identity = Some((certificate.into(), key.into()));
        self
    }

    /// Reads it all, without any I/O but of the file of certificates.
    pub(super) fn read(mut self) -> Result<Plan, Error> {
        for (name, timeout) in [("connect_timeout", self.connect_timeout), ("call_timeout", self.call_timeout)] {
            if timeout.is_zero() || timeout > Duration::from_secs(3600) {
                return Err(Error::invalid(format!("{name} is {timeout:?}; it lies between 1 ns and an hour")));
            }
        }
        if self.open_after == 0 {
            return Err(Error::invalid("open_after is 0; it is the number of failures in a row, at least 1"));
        }
        if let Some(path) = &self.roots_file {
            let pem = std::fs::read(path).map_err(|error| {
                Error::invalid(format!("the file of root certificates {} cannot be read", path.display()))
                    .with_source(error)
            })?;
            self.certificates.roots = Some(pem);
        }
        let servers = match &self.servers {
            Servers::Brought(connection) => Place::Brought(connection.clone()),
            Servers::Url(url) => self.place(url)?,
            Servers::Cluster(urls) => {
                let seeds = urls.iter().map(|url| self.information(url)).collect::<Result<_, _>>()?;
                Place::Cluster(seeds)
            }
            Servers::Sentinel { service, urls } => {
                let sentinels: Vec<_> = urls.iter().map(|url| read_url(url)).collect::<Result<_, _>>()?;
                let master = sentinels.first().map(|first| self.apply(without_credentials(first)));
                match master {
                    Some(master) => Place::Sentinel { service: service.clone(), sentinels, master },
                    None => return Err(Error::invalid("no sentinel is named: at least one URL is needed")),
                }
            }
        };
        match &servers {
            Place::Cluster(seeds) if seeds.is_empty() => {
                return Err(Error::invalid("no node of the cluster is named: at least one URL is needed"));
            }
            Place::Cluster(seeds) if seeds.iter().any(|seed| seed.redis_settings().db() != 0) => {
                return Err(Error::invalid("a cluster has only database 0: leave the number out"));
            }
            Place::Cluster(seeds) if seeds.iter().any(|seed| matches!(seed.addr(), ConnectionAddr::Unix(_))) => {
                return Err(Error::invalid("a node of a cluster is named by host and port, not by a socket"));
            }
            Place::Sentinel { service, .. } if service.is_empty() => {
                return Err(Error::invalid(
                    "the service's name is missing: redis+sentinel://host:26379/service, as in `sentinel monitor`",
                ));
            }
            _ => {}
        }
        Ok(Plan {
            servers,
            certificates: self.certificates,
            connect_timeout: self.connect_timeout,
            call_timeout: self.call_timeout,
            open_after: self.open_after,
        })
    }

    fn place(&self, url: &str) -> Result<Place, Error> {
        let Some((scheme, rest)) = url.split_once("://") else {
            return Err(Error::invalid("the URL of a Redis server begins with a scheme: redis://host:port"));
        };
        let Some((base, kind @ ("cluster" | "sentinel"))) = scheme.split_once('+') else {
            return Ok(Place::One(self.information(url)?));
        };
        let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let (user, hosts) = match authority.rsplit_once('@') {
            Some((user, hosts)) => (format!("{user}@"), hosts),
            None => (String::new(), authority),
        };
        let tail = path.find(['?', '#']).map_or("", |at| &path[at..]);
        let path = &path[..path.len() - tail.len()];
        let path = path.trim_matches('/');
        if kind == "cluster" {
            let urls = hosts.split(',').map(|host| format!("{base}://{user}{host}/{path}{tail}"));
            return Ok(Place::Cluster(urls.map(|url| self.information(&url)).collect::<Result<_, _>>()?));
        }
        let (service, database) = path.split_once('/').unwrap_or((path, ""));
        let mut sentinels = Vec::new();
        for host in hosts.split(',') {
            // Unlike a server's, a sentinel's port is 26379.
            let named = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
            let port = if named { "" } else { ":26379" };
            sentinels.push(read_url(&format!("{base}://{host}{port}{tail}"))?);
        }
        let master = self.information(&format!("{base}://{user}master/{database}{tail}"))?;
        Ok(Place::Sentinel { service: service.into(), sentinels, master })
    }

    fn information(&self, url: &str) -> Result<ConnectionInfo, Error> {
        Ok(self.apply(read_url(url)?))
    }

    fn apply(&self, information: ConnectionInfo) -> ConnectionInfo {
        let mut redis = information.redis_settings().clone();
        if let Some(user) = &self.user {
            redis = redis.set_username(user);
        }
        if let Some(password) = &self.password {
            redis = redis.set_password(password);
        }
        if let Some(database) = self.database {
            redis = redis.set_db(database);
        }
        information.set_redis_settings(redis)
    }
}

/// Debug shows neither addresses nor credentials.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("connect_timeout", &self.connect_timeout)
            .field("call_timeout", &self.call_timeout)
            .field("open_after", &self.open_after)
            .finish_non_exhaustive()
    }
}

/// Settings that have been read.
pub(super) struct Plan {
    pub(super) servers: Place,
    pub(super) certificates: Certificates,
    pub(super) connect_timeout: Duration,
    pub(super) call_timeout: Duration,
    pub(super) open_after: u32,
}

pub(super) enum Place {
    One(ConnectionInfo),
    Cluster(Vec<ConnectionInfo>),
    /// `master` lacks only its address.
    Sentinel {
        service: String,
        sentinels: Vec<ConnectionInfo>,
        master: ConnectionInfo,
    },
    Brought(Connection),
}

/// The error never shows the URL: it may hold a password.
fn read_url(url: &str) -> Result<ConnectionInfo, Error> {
    let scheme = url.split_once("://").map_or("", |(scheme, _)| scheme);
    if matches!(scheme, "rediss" | "valkeys") && !tls::IS_COMPILED {
        return Err(Error::invalid(format!("{scheme}:// needs the feature `tls` of rebate-redis")));
    }
    let information = url.into_connection_info().map_err(|error| {
        let fault = error.to_string();
        let fault = fault.split(" - ").next().unwrap_or_default();
        Error::invalid(format!(
            "the URL of a Redis server cannot be read ({fault}): it would be redis://user:password@host:6379/0, \
             rediss://, redis+unix:///path, redis+cluster://host:port,host:port or \
             redis+sentinel://host:port,host:port/service, with special characters of a password as %XX"
        ))
    })?;
    // RESP3, because only then the redis crate tells when a connection has ended.
    let redis = information.redis_settings().clone();
    let redis = redis.set_protocol(ProtocolVersion::RESP3).set_lib_name("rebate", env!("CARGO_PKG_VERSION"));
    Ok(information.set_redis_settings(redis).set_tcp_settings(TcpSettings::default().set_nodelay(true)))
}

fn without_credentials(information: &ConnectionInfo) -> ConnectionInfo {
    let fresh = redis::RedisConnectionInfo::default();
    let fresh = fresh.set_protocol(ProtocolVersion::RESP3).set_lib_name("rebate", env!("CARGO_PKG_VERSION"));
    information.clone().set_redis_settings(fresh)
}

/// The same server settings at another host and port.
pub(super) fn at(information: &ConnectionInfo, host: String, port: u16) -> ConnectionInfo {
    let address = match information.addr() {
        ConnectionAddr::TcpTls { insecure, tls_params, .. } => {
            ConnectionAddr::TcpTls { host, port, insecure: *insecure, tls_params: tls_params.clone() }
        }
        _ => ConnectionAddr::Tcp(host, port),
    };
    information.clone().set_addr(address)
}
