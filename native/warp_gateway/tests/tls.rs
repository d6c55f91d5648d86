//! TLS: HTTP/1.1, HTTP/2 and sockets through it, and certificates that change.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::missing_docs_in_private_items,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may fail, and its names say what it does"
)]

mod common;

use common::client::{collect, connect, get, handshake, http1_over, http2_over, request2, text};
use common::term::Term;
use common::vm::{TOKEN, Vm, config};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Writes a new certificate and its key, and gives the certificate.
fn certify(folder: &Path) -> CertificateDer<'static> {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(folder.join("x.pem"), cert.pem()).unwrap();
    std::fs::write(folder.join("x.key"), signing_key.serialize_pem()).unwrap();
    cert.der().clone()
}

fn tls_config(folder: &Path) -> Value {
    let mut config = config();
    config["listeners"][0]["tls"] =
        json!({"certificate": folder.join("x.pem"), "key": folder.join("x.key")});
    config
}

/// Connects, if the server shows this certificate.
async fn tls(
    port: u16,
    certificate: &CertificateDer<'static>,
    alpn: &str,
) -> Option<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let mut config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(name, connect(port).await)
        .await
        .ok()
}

#[tokio::test]
async fn http1_http2_and_sockets_go_through_tls() {
    let folder = tempfile::tempdir().unwrap();
    let certificate = certify(folder.path());
    let mut vm = Vm::start(&tls_config(folder.path())).await;
    let stream = tls(vm.port(), &certificate, "http/1.1").await.unwrap();
    let answer = tokio::spawn(http1_over(stream, get("/")));
    let (channel, term) = vm.request().await;
    assert_eq!(term.get("tls"), Some(&Term::Atom("true".into())));
    vm.answer(channel, 200, b"one");
    assert_eq!(answer.await.unwrap().unwrap().body, "one");

    let stream = tls(vm.port(), &certificate, "h2").await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let mut sender = http2_over(stream).await;
    let answer = tokio::spawn(sender.send_request(request2("GET", "/", "")));
    let (channel, _) = vm.request().await;
    vm.answer(channel, 200, b"two");
    assert_eq!(
        collect(answer.await.unwrap().unwrap()).await.unwrap().body,
        "two"
    );

    let stream = tls(vm.port(), &certificate, "http/1.1").await.unwrap();
    let request = handshake(&format!("warp.v1, warp.bearer.{TOKEN}"));
    let mut socket = tokio_tungstenite::client_async(request, stream)
        .await
        .unwrap()
        .0;
    let (channel, _) = vm.socket().await;
    let long = "x".repeat(200_000);
    vm.message(channel, true, 0, long.as_bytes());
    assert!(text(&mut socket).await == long);
}

#[tokio::test]
async fn a_new_certificate_is_shown_and_a_bad_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let first = certify(folder.path());
    let mut config = tls_config(folder.path());
    let mut vm = Vm::start(&config).await;
    assert!(tls(vm.port(), &first, "http/1.1").await.is_some());
    let second = certify(folder.path());
    assert!(tls(vm.port(), &second, "http/1.1").await.is_none());
    assert_eq!(vm.reconfigure(&config).await, "");
    assert!(tls(vm.port(), &second, "http/1.1").await.is_some());
    assert!(tls(vm.port(), &first, "http/1.1").await.is_none());

    // A key of another certificate, then no key at all: the old one stays, with the rest of the configuration.
    let key = std::fs::read(folder.path().join("x.key")).unwrap();
    certify(folder.path());
    std::fs::write(folder.path().join("x.key"), key).unwrap();
    config["tokens"] = json!([]);
    assert!(vm.reconfigure(&config).await.contains("x.key"));
    std::fs::write(folder.path().join("x.key"), "nonsense").unwrap();
    assert!(vm.reconfigure(&config).await.contains("x.key"));
    std::fs::remove_file(folder.path().join("x.pem")).unwrap();
    assert!(vm.reconfigure(&config).await.contains("x.pem"));
    let stream = tls(vm.port(), &second, "http/1.1").await.unwrap();
    let answer = tokio::spawn(http1_over(stream, get("/")));
    let (channel, _) = vm.request().await;
    vm.answer(channel, 200, b"");
    assert_eq!(answer.await.unwrap().unwrap().status, 200);
}
