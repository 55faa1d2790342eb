//! The store that a command works on: where it is, and the limits that are written down there.

mod limits;
mod secret;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use rebate::{RedisSettings, RedisStore};
use tokio::runtime;

use crate::trouble::Trouble;
pub(crate) use limits::{LimitArgument, nothing_written_down, resolve};
pub(crate) use secret::SecretArguments;

/// How long a call waits for the server: longer than services do, for nobody's request waits on this one.
const CALL_TIMEOUT: Duration = Duration::from_secs(2);

/// Where the store is.
#[derive(Args, Debug)]
pub(crate) struct StoreArguments {
    /// Where the counts are: redis://user:password@host:6379/0, rediss:// for TLS, redis+unix:///path,
    /// redis+cluster://host:port,host:port or redis+sentinel://host:port,host:port/service. A password is safer in
    /// the variable than on the command line, which others can see
    #[arg(long, value_name = "URL", env = "REBATE_STORE", hide_env_values = true)]
    pub(crate) store: String,

    /// The store's name, as the services that charge it give it
    #[arg(long, value_name = "STORE", default_value = "redis")]
    pub(crate) name: String,

    /// What the server's keys begin with, as the services that charge it give it
    #[arg(long, default_value = "rebate")]
    pub(crate) prefix: String,

    /// A file of the certificates (PEM) to trust over TLS, instead of the well-known ones
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,
}

impl StoreArguments {
    /// The store. Makes no connection as yet.
    pub(crate) fn open(&self) -> Result<RedisStore, Trouble> {
        if self.store == "memory" || self.store.starts_with("memory:") {
            return Err(Trouble::Usage(
                "a memory store's counts live in the process that charges them, and no other process can reach them: \
                 list and refund them there (`Limiter::list`, `Limiter::refund`), or keep the counts in Redis and give \
                 --store redis://host:port"
                    .into(),
            ));
        }
        let mut settings = RedisSettings::url(&self.store).call_timeout(CALL_TIMEOUT);
        if let Some(path) = &self.ca_file {
            settings = settings.root_certificates_file(path);
        }
        Ok(RedisStore::builder(settings).name(&self.name).prefix(&self.prefix).build()?)
    }
}

/// Runs a command's work to its end.
pub(crate) fn block_on<T>(work: impl Future<Output = Result<T, Trouble>>) -> Result<T, Trouble> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    let cannot_start = |error: io::Error| Trouble::Failed(format!("cannot wait for a server: {error}"));
    runtime.map_err(cannot_start)?.block_on(work)
}
