//! Clients of servers reached without TLS: stands in for `tls.rs` without the feature `tls`.

use rebate_core::Error;
use redis::{Client, ConnectionInfo};

use super::settings::Certificates;

pub(super) const IS_COMPILED: bool = false;

/// A client of the server that `information` names.
pub(super) fn client(information: ConnectionInfo, certificates: &Certificates) -> Result<Client, Error> {
    if certificates.roots.is_some() || certificates.identity.is_some() {
        return Err(Error::invalid("certificates were given, but TLS needs the feature `tls` of rebate-redis"));
    }
    Client::open(information)
        .map_err(|error| Error::invalid("the address of the Redis server cannot be used").with_source(error))
}
