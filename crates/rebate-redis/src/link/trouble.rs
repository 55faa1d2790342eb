//! What can go wrong on the way, and what it says about whether the call happened.

use std::sync::Arc;
use std::time::Duration;

use rebate_core::Error;
use redis::{ErrorKind, RedisError, ServerError};

/// Why a call has no answer.
pub(super) enum Trouble {
    /// The breaker is open: nothing was sent.
    Refused,
    /// There is no connection as yet: nothing was sent.
    NoWire,
    /// There can be no connection: nothing was sent.
    Unconnected(Failure),
    /// The server answered with an error.
    Said(ServerError),
    /// The connection ended, or brought garbage, after it was sent.
    Lost(RedisError),
    /// There was no answer in time after it was sent.
    Slow(Duration),
}

/// Why there is no connection; told to all who waited for it.
#[derive(Clone)]
pub(super) struct Failure(Arc<(String, Option<RedisError>)>);

impl Failure {
    pub(super) fn new(text: impl Into<String>, source: Option<RedisError>) -> Failure {
        Failure(Arc::new((text.into(), source)))
    }

    pub(super) fn text(&self) -> &str {
        &self.0.0
    }

    pub(super) fn slow(limit: Duration) -> Failure {
        Failure::new(format!("no connection within {limit:?}: check that the server runs and can be reached"), None)
    }

    /// Of an error while connecting.
    pub(super) fn of(error: RedisError) -> Failure {
        let code = error.code().unwrap_or_default();
        let detail = error.detail().unwrap_or_default();
        if error.kind() == ErrorKind::AuthenticationFailed || matches!(code, "NOAUTH" | "WRONGPASS" | "NOPERM") {
            // The server's own words may name the user.
            return Failure::new("the server refuses the user or the password: check both, and the server's ACL", None);
        }
        if error.kind() == ErrorKind::RESP3NotSupported {
            return Failure::new(TOO_OLD, None);
        }
        if detail.contains("max number of clients") {
            return Failure::new(MANY_CLIENTS, None);
        }
        Failure::new(format!("cannot connect ({error}): check that the server runs and can be reached"), Some(error))
    }
}

const TOO_OLD: &str = "the server knows no functions: Redis 7.0 or Valkey 7.2 or later is needed";
const MANY_CLIENTS: &str =
    "the server has reached its number of clients: raise its maxclients, or have fewer processes";

/// What an error that the server answered asks for.
pub(super) enum Said {
    /// The library is not there: after a restart, say.
    NoFunction,
    /// The slot has another master.
    Moved {
        slot: u16,
        host: String,
        port: u16,
    },
    /// The key is being moved and is at another master already.
    Ask {
        host: String,
        port: u16,
    },
    /// The keys of the call are being moved one after the other.
    TryAgain,
    /// The server is a replica, or has become one.
    ReadOnly,
    /// A part of the cluster has no master just now.
    ClusterDown,
    Other,
}

pub(super) fn understand(error: &ServerError) -> Said {
    let detail = error.details().unwrap_or_default();
    match error.code() {
        "MOVED" => redirect(detail).map_or(Said::Other, |(slot, host, port)| Said::Moved { slot, host, port }),
        "ASK" => redirect(detail).map_or(Said::Other, |(_, host, port)| Said::Ask { host, port }),
        "TRYAGAIN" => Said::TryAgain,
        "READONLY" => Said::ReadOnly,
        "CLUSTERDOWN" | "MASTERDOWN" => Said::ClusterDown,
        "ERR" if detail.starts_with("Function not found") => Said::NoFunction,
        _ => Said::Other,
    }
}

/// `3999 host:port`, the host possibly empty or an IPv6 address, which itself holds colons.
fn redirect(detail: &str) -> Option<(u16, String, u16)> {
    let mut words = detail.split_ascii_whitespace();
    let slot = words.next()?.parse().ok()?;
    let (host, port) = words.next()?.rsplit_once(':')?;
    Some((slot, host.into(), port.parse().ok()?))
}

/// Who was asked, and what is known of the call.
pub(super) struct Circumstances {
    pub(super) server: String,
    /// Whether the settings name a cluster.
    pub(super) cluster: bool,
    pub(super) reads_only: bool,
    /// An earlier sending of the same call may have happened.
    pub(super) ambiguous: bool,
}

impl Trouble {
    /// A few words for a list of what was tried.
    pub(super) fn brief(&self) -> String {
        match self {
            Trouble::Refused => "it has failed again and again".into(),
            Trouble::NoWire => "no connection in time".into(),
            Trouble::Unconnected(failure) => failure.text().into(),
            Trouble::Said(error) => refusal(error),
            Trouble::Lost(_) => "the connection ended".into(),
            Trouble::Slow(_) => "no answer in time".into(),
        }
    }

    /// The error that the caller gets, who will see no more of the call.
    #[cold]
    pub(super) fn into_error(self, about: Circumstances) -> Error {
        let Circumstances { server, cluster, reads_only, ambiguous } = about;
        let certainly_not = |text: String| Error::unavailable(format!("Redis at {server}: {text}"), ambiguous);
        let maybe = |text: String| Error::unavailable(format!("Redis at {server}: {text}"), !reads_only);
        match self {
            Trouble::Refused => certainly_not(
                "refused without asking, because it has failed again and again: it is probed in the background".into(),
            ),
            Trouble::NoWire => certainly_not("no connection was made in time".into()),
            Trouble::Unconnected(failure) => {
                let error = certainly_not(failure.text().into());
                match &failure.0.1 {
                    Some(source) => error.with_source(source.clone()),
                    None => error,
                }
            }
            Trouble::Lost(source) => {
                let text = match source.kind() {
                    ErrorKind::Parse => "the answer could not be read, and the connection was closed",
                    _ => "the connection ended before the answer came",
                };
                maybe(text.into()).with_source(source)
            }
            Trouble::Slow(timeout) => maybe(format!("no answer within {timeout:?} (the call timeout)")),
            Trouble::Said(said) => {
                let code = said.code();
                let detail = said.details().unwrap_or_default();
                let shown = if detail.is_empty() { code.to_owned() } else { format!("{code} {detail}") };
                match code {
                    // Within a function the server checks this before its first write only, so nothing happened.
                    "OOM" if ambiguous => certainly_not("it is at its maxmemory".into()),
                    "OOM" => Error::full(format!("Redis at {server}: it is at its maxmemory: raise that")),
                    "LOADING" => certainly_not("it is still loading its data: try again later".into()),
                    "BUSY" => {
                        certainly_not("it is busy with another client's script: end that by FUNCTION KILL".into())
                    }
                    "READONLY" => certainly_not(
                        "it is a replica (READONLY): name the master, the sentinels or the cluster instead".into(),
                    ),
                    "MASTERDOWN" => certainly_not("it is a replica whose master is down (MASTERDOWN)".into()),
                    "CLUSTERDOWN" => certainly_not(format!("the cluster does not serve this key now ({shown})")),
                    "TRYAGAIN" => {
                        certainly_not("keys are being moved between nodes (TRYAGAIN): try again later".into())
                    }
                    "MOVED" | "ASK" if cluster => {
                        certainly_not("the cluster's nodes keep naming each other for this key: try again later".into())
                    }
                    "MOVED" | "ASK" => certainly_not(
                        "it is a node of a cluster: give its address as redis+cluster://host:port, not redis://".into(),
                    ),
                    "MISCONF" => {
                        certainly_not("it takes no writes because it cannot save to its disk (MISCONF)".into())
                    }
                    "NOREPLICAS" => certainly_not("it takes no writes while it lacks replicas (NOREPLICAS)".into()),
                    "CROSSSLOT" => Error::cross_group("the keys lie in different slots of the Redis cluster"),
                    // The server's own words name the user, which an error text must not.
                    "NOAUTH" | "WRONGPASS" => certainly_not(
                        "it wants a user and password, or refuses those given: see the URL and the server's ACL".into(),
                    ),
                    "NOPERM" => {
                        let what = quoted(detail).map_or_else(|| "a key".to_owned(), |word| format!("'{word}'"));
                        let text = format!(
                            "its ACL refuses {what} to this user: it needs the keys (~prefix*) and +fcall +fcall_ro \
                             +function|load +ping and the commands the functions call, on a cluster +cluster|slots \
                             +asking, to list +scan"
                        );
                        if in_script(detail) { maybe(text) } else { certainly_not(text) }
                    }
                    "ERR" if detail.starts_with("max number of clients") => certainly_not(MANY_CLIENTS.into()),
                    "ERR" if detail.starts_with("Function not found") => certainly_not(
                        "its library of functions is missing even after it was loaded: does something flush functions?"
                            .into(),
                    ),
                    // The words go on with the arguments, and so with keys.
                    "ERR" if detail.starts_with("unknown command") || detail.starts_with("unknown subcommand") => {
                        certainly_not(TOO_OLD.into())
                    }
                    _ => maybe(format!("it answered with the error {shown}")).with_source(RedisError::from(said)),
                }
            }
        }
    }
}

/// A few words on an error that a server answered, without those that may name a user or a key.
pub(super) fn refusal(error: &ServerError) -> String {
    match error.code() {
        "NOPERM" => {
            format!("its ACL refuses {} to this user", quoted(error.details().unwrap_or_default()).unwrap_or("it"))
        }
        "ERR" if error.details().is_some_and(|detail| detail.contains("cluster support disabled")) => {
            "it is no node of a cluster".into()
        }
        code => format!("it answered with the error {code}"),
    }
}

/// Whether the error arose while a function was running, which does not undo what it had written by then.
fn in_script(detail: &str) -> bool {
    detail.contains("script: ")
}

fn quoted(detail: &str) -> Option<&str> {
    detail.split('\'').nth(1).filter(|word| !word.is_empty())
}
