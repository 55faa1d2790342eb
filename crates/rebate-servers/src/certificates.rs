//! The certificates of a server that speaks TLS.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use std::path::Path;

pub(crate) const AUTHORITY: &str = "authority.pem";
pub(crate) const CERTIFICATE: &str = "certificate.pem";
pub(crate) const PRIVATE_KEY: &str = "private-key.pem";

/// Makes an authority and a certificate signed by it, and writes both and the latter's private key to files.
/// The authority's own key is thrown away.
pub(crate) fn write(directory: &Path) {
    let mut authority = CertificateParams::default();
    authority.distinguished_name.push(DnType::CommonName, "Rebate's tests, authority");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    let authority = CertifiedIssuer::self_signed(authority, key()).expect("the authority is signed");

    // Without named purposes it is good for servers and for clients.
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let mut certificate = CertificateParams::new(names).expect("the names are sound");
    certificate.distinguished_name.push(DnType::CommonName, "Rebate's tests, server");
    certificate.use_authority_key_identifier_extension = true;
    let private_key = key();
    let certificate = certificate.signed_by(&private_key, &authority).expect("the certificate is signed");

    let files =
        [(AUTHORITY, authority.pem()), (CERTIFICATE, certificate.pem()), (PRIVATE_KEY, private_key.serialize_pem())];
    for (name, text) in files {
        std::fs::write(directory.join(name), text).expect("the certificates are written");
    }
}

fn key() -> KeyPair {
    KeyPair::generate().expect("a key pair is made")
}
