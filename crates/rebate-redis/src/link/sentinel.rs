//! The master of a service, as its sentinels know it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rebate_core::Error;
use redis::{Client, ConnectionInfo, Value};
use tokio::time::timeout;

use super::Common;
use super::node::Wire;
use super::settings::at;
use super::tls;
use super::trouble::Failure;

pub(super) struct Sentinel {
    common: Arc<Common>,
    service: String,
    sentinels: Vec<Client>,
    /// The one that answered last is asked first.
    first: AtomicUsize,
    master: ConnectionInfo,
}

impl Sentinel {
    pub(super) fn new(
        common: Arc<Common>,
        service: String,
        sentinels: Vec<ConnectionInfo>,
        master: ConnectionInfo,
    ) -> Result<Sentinel, Error> {
        let clients = sentinels.into_iter().map(|information| tls::client(information, &common.certificates));
        let sentinels = clients.collect::<Result<_, _>>()?;
        // Said now, not at the first call.
        tls::client(master.clone(), &common.certificates)?;
        Ok(Sentinel { common, service, sentinels, first: AtomicUsize::new(0), master })
    }

    /// A connection to the master of now. A sentinel may name one that has just been demoted or has died, so what
    /// was named is asked for its role, and the other sentinels if it is none. Whoever calls sets the limit of time.
    pub(super) async fn open(&self) -> Result<Wire, Failure> {
        let first = self.first.load(Ordering::Relaxed);
        let mut said = Vec::new();
        // Each gets its share of the time, so that one that is frozen does not use up all of it.
        let share = self.common.connect_timeout / (self.sentinels.len() as u32 + 1);
        for index in 0..self.sentinels.len() {
            let index = (first + index) % self.sentinels.len();
            let sentinel = self.sentinels[index].get_connection_info().addr();
            match timeout(share.max(Duration::from_millis(50)), self.ask(&self.sentinels[index])).await {
                Ok(Ok(wire)) => {
                    self.first.store(index, Ordering::Relaxed);
                    return Ok(wire);
                }
                Ok(Err(fault)) => said.push(format!("{sentinel}: {fault}")),
                Err(_) => said.push(format!("{sentinel}: no answer in time, by it or the master it names")),
            }
        }
        let text =
            format!("no sentinel knows a master of {:?} that can be reached ({})", self.service, said.join("; "));
        Err(Failure::new(text, None))
    }

    async fn ask(&self, sentinel: &Client) -> Result<Wire, String> {
        let wire = Wire::open(sentinel).await.map_err(|error| Failure::of(error).text().to_owned())?;
        let mut command = redis::cmd("SENTINEL");
        command.arg("GET-MASTER-ADDR-BY-NAME").arg(&self.service);
        let answer = wire.send(&command, false).await.map_err(|error| error.to_string())?;
        let (host, port): (String, u16) = match answer {
            Value::Nil => return Err("it does not know the service".into()),
            Value::ServerError(error) => return Err(format!("it answered with the error {}", error.code())),
            answer => redis::from_redis_value(answer).map_err(|_| "its answer cannot be read".to_owned())?,
        };
        let client = tls::client(at(&self.master, host.clone(), port), &self.common.certificates)
            .map_err(|error| error.to_string())?;
        let wire = Wire::open(&client)
            .await
            .map_err(|error| format!("of the master {host}:{port} that it names: {}", Failure::of(error).text()))?;
        match wire.send(&redis::cmd("ROLE"), false).await {
            Ok(Value::Array(parts)) if !is_text(parts.first(), b"master") => {
                Err(format!("{host}:{port}, which it names, is no master any more"))
            }
            // Also where the user may not ask for the role: then a READONLY will tell.
            Ok(_) => Ok(wire),
            Err(error) => Err(format!("{host}:{port}, which it names: {error}")),
        }
    }
}

fn is_text(value: Option<&Value>, text: &[u8]) -> bool {
    match value {
        Some(Value::BulkString(bytes)) => bytes == text,
        Some(Value::SimpleString(string)) => string.as_bytes() == text,
        _ => false,
    }
}
