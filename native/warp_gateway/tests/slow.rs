//! Clients that are slow: each has its time, and then it is left.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::missing_docs_in_private_items,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may fail, and its names say what it does"
)]

mod common;

use common::client::{connect, get, http1, http2_over, raw, read_all, request2};
use common::vm::{CLOSED, PATIENCE, TAKEN, TOKEN, Vm};
use serde_json::json;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;

/// Sends bytes one by one, and gives what comes and how long it took.
async fn trickle(port: u16, begin: &str, then: &str) -> (String, Duration) {
    let mut stream = connect(port).await;
    let since = Instant::now();
    stream.write_all(begin.as_bytes()).await.unwrap();
    let (mut reader, mut writer) = stream.into_split();
    let then = then.to_owned();
    let writing = tokio::spawn(async move {
        for byte in then.bytes() {
            tokio::time::sleep(Duration::from_millis(50)).await;
            if writer.write_all(&[byte]).await.is_err() {
                return;
            }
        }
        // Half of a connection that is given up would end it.
        std::future::pending::<()>().await;
    });
    let mut answer = Vec::new();
    let reading = tokio::io::AsyncReadExt::read_to_end(&mut reader, &mut answer);
    let _ = tokio::time::timeout(PATIENCE, reading)
        .await
        .expect("the connection was not ended");
    writing.abort();
    (
        String::from_utf8_lossy(&answer).into_owned(),
        since.elapsed(),
    )
}

#[tokio::test]
async fn a_slow_head_ends_the_connection() {
    let vm = Vm::with_limits(json!({"head_ms": 600})).await;
    let slow = trickle(vm.port(), "GET / HTTP/1.1\r\nx: ", &"x".repeat(400)).await;
    let silent = trickle(vm.port(), "", "").await;
    for (answer, time) in [slow, silent] {
        assert_eq!(answer, "");
        assert!(
            time > Duration::from_millis(500) && time < Duration::from_secs(10),
            "{time:?}"
        );
    }
}

#[tokio::test]
async fn a_second_head_has_its_time_too_and_an_idle_connection_more() {
    let mut vm = Vm::with_limits(json!({"head_ms": 600, "idle_ms": 2000})).await;
    let head =
        format!("GET / HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {TOKEN}\r\n\r\n");
    for (second, least, most) in [("GET / HT", 500, 1900), ("", 1900, 10_000)] {
        let mut stream = connect(vm.port()).await;
        stream.write_all(head.as_bytes()).await.unwrap();
        let (channel, _) = vm.request().await;
        // An answer may take as long as it wants.
        tokio::time::sleep(Duration::from_millis(1000)).await;
        vm.answer(channel, 200, b"here");
        vm.wait_for(channel, CLOSED).await;
        let since = Instant::now();
        stream.write_all(second.as_bytes()).await.unwrap();
        let answer = read_all(&mut stream).await;
        assert!(answer.ends_with("here"), "{answer}");
        let time = since.elapsed().as_millis();
        assert!(time > least && time < most, "{time} ms");
    }
}

#[tokio::test]
async fn a_slow_body_is_refused() {
    let vm = Vm::with_limits(json!({"body_ms": 600})).await;
    let head = format!(
        "POST / HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {TOKEN}\r\ncontent-type: application/json\r\n\
         content-length: 1000\r\n\r\n"
    );
    let (answer, time) = trickle(vm.port(), &head, &" ".repeat(400)).await;
    assert!(
        answer.starts_with("HTTP/1.1 408") && answer.contains("request_timeout"),
        "{answer}"
    );
    assert!(
        time > Duration::from_millis(500) && time < Duration::from_secs(10),
        "{time:?}"
    );
}

/// Sends a body of 100 MiB at most, and gives how many pieces were sent until the channel was closed.
async fn flood(vm: &mut Vm, channel: u64) -> usize {
    let piece = vec![b'x'; 64 * 1024];
    let (mut sent, mut taken) = (0, 0);
    vm.head(channel, 200, false, &[], b"");
    loop {
        while sent < 1600 && sent * piece.len() < taken + 256 * 1024 {
            vm.data(channel, false, &piece);
            sent += 1;
        }
        let frame = vm.next().await;
        match (frame.kind, frame.channel) {
            (TAKEN, from) if from == channel => {
                taken += u32::from_be_bytes(frame.body.try_into().unwrap()) as usize
            }
            (CLOSED, from) if from == channel => return sent,
            _ => {}
        }
    }
}

#[tokio::test]
async fn a_client_that_takes_no_bytes_is_left() {
    let mut vm = Vm::with_limits(json!({"send_ms": 600})).await;
    let mut stream = connect(vm.port()).await;
    let head =
        format!("GET / HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {TOKEN}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let (channel, _) = vm.request().await;
    assert!(
        flood(&mut vm, channel).await < 1600,
        "the client took everything"
    );

    // A stream that is not read beside one that is.
    let mut sender = http2_over(connect(vm.port()).await).await;
    let unread = sender.send_request(request2("GET", "/", ""));
    let unread = tokio::spawn(unread);
    let (channel, _) = vm.request().await;
    let flooded = flood(&mut vm, channel).await;
    assert!(flooded < 1600, "the client took everything");
    let _kept = unread.await.unwrap().unwrap();
    let other = tokio::spawn(sender.send_request(request2("GET", "/", "")));
    let (channel, _) = vm.request().await;
    vm.answer(channel, 200, b"");
    assert_eq!(other.await.unwrap().unwrap().status(), 200);
}

#[tokio::test]
async fn slow_clients_are_in_nobodys_way() {
    let mut vm = Vm::with_limits(json!({"head_ms": 1500})).await;
    let port = vm.port();
    let slow: Vec<_> = (0..200)
        .map(|_| tokio::spawn(async move { raw(port, b"GET / HTTP/1.1\r\nx").await }))
        .collect();
    for _ in 0..20 {
        let answer = tokio::spawn(http1(port, get("/")));
        let (channel, _) = vm.request().await;
        vm.answer(channel, 200, b"");
        assert_eq!(answer.await.unwrap().unwrap().status, 200);
    }
    for slow in slow {
        assert_eq!(slow.await.unwrap(), "");
    }
}
