//! Bytes that make no sense: the gateway lives, and what makes sense still works. WARP_LONG=1 tries 100,000
//! inputs, beside the 1.5 million of the tests of the parts.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::missing_docs_in_private_items,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may fail, and its names say what it does"
)]

mod common;

use common::client::{connect, get, http1, socket};
use common::vm::{CALLS, REQUEST, TOKEN, Vm, config};
use futures_util::SinkExt;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::json;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::Message;

/// How many inputs are tried.
fn inputs() -> usize {
    if std::env::var_os("WARP_LONG").is_some() {
        100_000
    } else {
        1000
    }
}

/// Inputs that are sent at the same time.
const TOGETHER: usize = 20;

/// Something like a request.
fn any_request() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        Just("GET / HTTP/1.1\r\n".to_owned()),
        Just("POST /v1/%zz?x=%00 HTTP/1.1\r\n".to_owned()),
        Just("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned()),
        Just("GET /v1/socket HTTP/1.1\r\nconnection: upgrade\r\nupgrade: websocket\r\n".to_owned()),
        "[A-Z]{0,8} [/a-z%?&=]{0,20} HTTP/1\\.[019]\r?\n",
    ];
    let header = prop_oneof![
        Just("host: localhost\r\n".to_owned()),
        Just(format!("authorization: Bearer {TOKEN}\r\n")),
        Just("content-type: application/json\r\n".to_owned()),
        Just("transfer-encoding: chunked\r\n".to_owned()),
        "content-length: [0-9]{1,20}\r\n",
        "sec-websocket-(key|version|protocol): [ -~]{0,30}\r\n",
        "[a-z-]{0,10}:? ?\\PC{0,20}\r?\n",
    ];
    let tail = prop_oneof![
        Just(b"\r\n".to_vec()),
        prop::collection::vec(any::<u8>(), 0..100),
        "\r\n[{}\\[\\]\",:0-9a-z]{0,60}".prop_map(String::into_bytes),
    ];
    (line, prop::collection::vec(header, 0..6), tail).prop_map(|(line, headers, tail)| {
        [line.as_bytes(), headers.concat().as_bytes(), &tail].concat()
    })
}

/// Something like frames of HTTP/2 after a right beginning.
fn any_http2() -> impl Strategy<Value = Vec<u8>> {
    let frame = (
        0..12_u8,
        any::<u8>(),
        0..8_u32,
        prop::collection::vec(any::<u8>(), 0..40),
    )
        .prop_map(|(kind, flags, stream, payload)| {
            let length = (payload.len() as u32).to_be_bytes();
            [
                &length[1..],
                &[kind, flags],
                &stream.to_be_bytes(),
                &payload,
            ]
            .concat()
        });
    prop::collection::vec(frame, 0..10).prop_map(|frames| {
        let begin = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
        [&begin[..], &frames.concat()].concat()
    })
}

/// Something like frames of a socket, after its handshake.
fn any_socket() -> impl Strategy<Value = Vec<u8>> {
    let text = prop_oneof![
        "[{}\\[\\]\",:0-9a-z]{0,40}",
        Just("{\"id\":1}".to_owned()),
        Just("[{\"id\":2},{}]".to_owned())
    ];
    let payload = prop_oneof![
        text.prop_map(String::into_bytes),
        prop::collection::vec(any::<u8>(), 0..40)
    ];
    let frame = (
        prop_oneof![Just(0x81_u8), Just(1), Just(0x80), Just(0), any::<u8>()],
        payload,
        any::<bool>(),
    )
        .prop_map(|(first, payload, is_right)| {
            let length = if is_right {
                0x80 | payload.len() as u8
            } else {
                payload.len() as u8
            };
            [&[first, length, 0, 0, 0, 0], &payload[..]].concat()
        });
    prop::collection::vec(frame, 0..10).prop_map(|frames| {
        let head = format!(
            "GET /v1/socket HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {TOKEN}\r\nconnection: Upgrade\r\n\
             upgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: MDEyMzQ1Njc4OTAxMjM0NQ==\r\n\
             sec-websocket-protocol: warp.v1\r\n\r\n"
        );
        [head.as_bytes(), &frames.concat()].concat()
    })
}

/// Sends bytes and reads a little of what comes.
async fn send(port: u16, bytes: Vec<u8>) {
    let mut stream = connect(port).await;
    let _ = stream.write_all(&bytes).await;
    let mut buffer = [0; 4096];
    let _ = tokio::time::timeout(Duration::from_millis(20), stream.read(&mut buffer)).await;
}

#[tokio::test]
async fn whatever_comes_what_makes_sense_still_works() {
    let mut config = config();
    config["limits"] = json!({"head_ms": 1000, "body_ms": 1000});
    let mut vm = Vm::start(&config).await;
    let port = vm.port();
    let inputs_of = prop_oneof![
        any_request(),
        any_http2(),
        any_socket(),
        prop::collection::vec(any::<u8>(), 0..200)
    ];
    let mut runner = TestRunner::deterministic();
    for round in 0..inputs() / TOGETHER {
        let sending: Vec<_> = (0..TOGETHER)
            .map(|_| inputs_of.new_tree(&mut runner).unwrap().current())
            .map(|bytes| tokio::spawn(send(port, bytes)))
            .collect();
        for sent in sending {
            sent.await.unwrap();
        }
        // What made sense was requests and calls, to which nobody answers.
        while let Some(frame) = vm.next_within(Duration::ZERO).await {
            if frame.kind == REQUEST {
                vm.answer(frame.channel, 200, b"{}");
            }
        }
        if round.is_multiple_of(10) {
            check(&mut vm).await;
        }
    }
    check(&mut vm).await;
}

/// A request and a socket work.
async fn check(vm: &mut Vm) {
    vm.assert_alive().await;
    let answer = tokio::spawn(http1(vm.port(), get("/still/there")));
    loop {
        let (channel, term) = vm.request().await;
        let is_ours = term
            .get("path")
            .unwrap()
            .elements()
            .iter()
            .any(|segment| segment.as_text() == "still");
        vm.answer(channel, 200, b"{}");
        if is_ours {
            break;
        }
    }
    assert_eq!(answer.await.unwrap().unwrap().status, 200);
    let mut socket = socket(vm.port()).await;
    socket.send(Message::text("{\"id\":424242}")).await.unwrap();
    loop {
        let frame = vm.next_of(CALLS).await;
        if frame
            .body
            .windows(4)
            .any(|bytes| bytes == 424_242_u32.to_be_bytes())
        {
            return;
        }
    }
}
