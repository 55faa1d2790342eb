//! Servers over TLS.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn with_the_authority_s_certificate() {
    let server = Server::builder().tls().start();
    let trusting = || {
        let settings = patient(Settings::url(server.tls_url())).root_certificates_file(server.certificate_authority());
        let read = |path| std::fs::read(path).unwrap();
        settings.client_certificate(read(server.certificate()), read(server.private_key()))
    };
    assert_eq!(counted(&link(trusting()), "key").await, 1);
    let pem = std::fs::read(server.certificate_authority()).unwrap();
    assert_eq!(counted(&link(trusting().root_certificates(pem)), "key").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_authority_is_refused_unless_insecure() {
    let server = Server::builder().tls().start();
    let identity = |settings: Settings| {
        let read = |path| std::fs::read(path).unwrap();
        settings.client_certificate(read(server.certificate()), read(server.private_key()))
    };
    let error = link(identity(patient(Settings::url(server.tls_url())))).ping().await.unwrap_err();
    assert!(error.is_unavailable() && !error.may_have_happened() && error.source().is_some(), "{error}");
    link(identity(patient(Settings::url(format!("{}#insecure", server.tls_url()))))).ping().await.unwrap();
}

#[test]
fn certificates_that_are_none_are_said_at_once() {
    let settings = Settings::url("rediss://host").client_certificate("nonsense", "nonsense");
    assert!(Link::new(settings, library()).is_err_and(|error| error.is_invalid()));
}
