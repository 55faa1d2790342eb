//! Clients of servers reached over TLS, by rustls with *ring*. `plain.rs` stands in for this file without the feature `tls`.

use rebate_core::Error;
use redis::{Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo, TlsCertificates};

use super::settings::Certificates;

pub(super) const IS_COMPILED: bool = true;

/// A client of the server that `information` names.
pub(super) fn client(information: ConnectionInfo, certificates: &Certificates) -> Result<Client, Error> {
    // The redis crate wants one for the whole process, and panics when it is left to choose between several. The
    // application's own stays, if it has installed one by now.
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
    let given = certificates.roots.is_some() || certificates.identity.is_some();
    let opened = if given && matches!(information.addr(), ConnectionAddr::TcpTls { .. }) {
        let client_tls =
            certificates.identity.clone().map(|(client_cert, client_key)| ClientTlsConfig { client_cert, client_key });
        Client::build_with_tls(information, TlsCertificates { client_tls, root_cert: certificates.roots.clone() })
    } else {
        Client::open(information)
    };
    opened.map_err(|error| {
        Error::invalid(
            "the certificates given for TLS cannot be used: they must be of PEM form, a key with its certificate",
        )
        .with_source(error)
    })
}
