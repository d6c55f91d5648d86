//! A gateway's life: how it begins, that it answers, and how it ends.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::missing_docs_in_private_items,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may fail, and its names say what it does"
)]

mod common;

use common::client::{connect, ending, get, http1, read_all, socket, text};
use common::vm::{CLOSED, FAILED, TOKEN, Vm, config};
use futures_util::SinkExt;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::tungstenite::Message;

/// Why a gateway does not serve.
async fn failure(config: &Value) -> String {
    let mut vm = Vm::launch();
    vm.configure(config);
    let frame = vm.next().await;
    assert_eq!(frame.kind, FAILED);
    assert_eq!(vm.ended().await, 1);
    String::from_utf8(frame.body).unwrap()
}

#[tokio::test]
async fn a_gateway_that_cannot_serve_says_why_and_ends() {
    let vm = Vm::start(&config()).await;
    let mut taken = config();
    taken["listeners"][0]["port"] = json!(vm.port());
    assert!(
        failure(&taken)
            .await
            .contains(&format!("127.0.0.1:{}", vm.port()))
    );
    let mut certificate = config();
    certificate["listeners"][0]["tls"] =
        json!({"certificate": "/nowhere.pem", "key": "/nowhere.key"});
    assert!(failure(&certificate).await.contains("/nowhere.pem"));
    let mut token = config();
    token["tokens"][0]["sha256"] = json!("short");
    assert!(failure(&token).await.contains("\"web\""));
    assert!(failure(&json!({})).await.contains("listeners"));
    let mut vm = Vm::launch();
    vm.send(0, 2, b"ping before anything");
    assert_eq!(vm.next().await.kind, FAILED);
}

#[tokio::test]
async fn all_listeners_are_told() {
    let mut config = config();
    config["listeners"] = json!([
        {"address": "127.0.0.1", "port": 0, "tls": null},
        {"address": "127.0.0.1", "port": 0, "tls": null},
    ]);
    let mut vm = Vm::start(&config).await;
    assert_eq!(vm.ports.len(), 2);
    for port in vm.ports.clone() {
        let answer = tokio::spawn(http1(port, get("/")));
        let (channel, _) = vm.request().await;
        vm.answer(channel, 200, b"");
        assert_eq!(answer.await.unwrap().unwrap().status, 200);
    }
    vm.assert_alive().await;
}

#[tokio::test]
async fn without_a_vm_a_gateway_ends_at_once() {
    let mut vm = Vm::launch();
    vm.hang_up();
    assert_eq!(vm.ended().await, 0);

    let mut vm = Vm::start(&config()).await;
    let _socket = socket(vm.port()).await;
    let answer = tokio::spawn(http1(vm.port(), get("/")));
    vm.request().await;
    let since = Instant::now();
    vm.hang_up();
    assert_eq!(vm.ended().await, 0);
    assert!(since.elapsed() < Duration::from_secs(5));
    assert!(answer.await.unwrap().is_err());
}

#[tokio::test]
async fn a_vm_that_speaks_another_language_ends_it() {
    let mut vm = Vm::start(&config()).await;
    vm.send(5, 99, b"what is this");
    assert_eq!(vm.ended().await, 1);
}

#[tokio::test]
async fn stopping_finishes_what_is_under_way() {
    let mut vm = Vm::start(&config()).await;
    let mut idle = connect(vm.port()).await;
    let mut stream = connect(vm.port()).await;
    let head =
        format!("GET / HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {TOKEN}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let (request, _) = vm.request().await;
    let mut quiet = socket(vm.port()).await;
    vm.socket().await;
    let mut calling = socket(vm.port()).await;
    let (channel, _) = vm.socket().await;
    calling.send(Message::text("{\"id\":1}")).await.unwrap();
    vm.calls().await;

    vm.stop(30_000);
    assert_eq!(ending(&mut quiet).await.0, 1001);
    assert_eq!(read_all(&mut idle).await, "");
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert!(
        tokio::net::TcpStream::connect(("127.0.0.1", vm.port()))
            .await
            .is_err(),
        "it still listens"
    );
    vm.message(channel, true, 1, b"answered");
    assert_eq!(text(&mut calling).await, "answered");
    assert_eq!(ending(&mut calling).await.0, 1001);
    vm.wait_for(channel, CLOSED).await;
    vm.answer(request, 200, b"finished");
    assert!(read_all(&mut stream).await.ends_with("finished"));
    drop((quiet, calling));
    assert_eq!(vm.ended().await, 0);
}

#[tokio::test]
async fn stopping_takes_no_longer_than_it_may() {
    let mut vm = Vm::start(&config()).await;
    let answer = tokio::spawn(http1(vm.port(), get("/")));
    vm.request().await;
    vm.stop(300);
    let since = Instant::now();
    assert_eq!(vm.ended().await, 0);
    assert!(since.elapsed() < Duration::from_secs(5));
    assert!(answer.await.unwrap().is_err());
}
