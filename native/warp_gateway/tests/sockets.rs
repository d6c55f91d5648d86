//! WebSockets: calls, answers, limits, and every way in which a socket ends.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::missing_docs_in_private_items,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may fail, and its names say what it does"
)]

mod common;

use common::client::{
    connect, ending, get, handshake, http1, read_all, refused_socket, socket, text,
};
use common::term::Term;
use common::vm::{CALLS, CLOSED, TAKEN, TOKEN, Vm, config, token};
use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::tungstenite::Message;

fn ids(calls: &[Term]) -> Vec<i128> {
    let id = |call: &Term| match call.get("id") {
        Some(Term::Integer(id)) => *id,
        other => panic!("{other:?}"),
    };
    calls.iter().map(id).collect()
}

#[tokio::test]
async fn calls_go_in_and_answers_come_out() {
    let mut vm = Vm::start(&config()).await;
    let mut socket = socket(vm.port()).await;
    let (channel, term) = vm.socket().await;
    assert_eq!(term.get("token"), Some(&Term::text("web")));
    assert!(
        term.get("peer")
            .unwrap()
            .as_text()
            .starts_with("127.0.0.1:")
    );
    socket
        .send(Message::text(
            r#"{"id":1,"op":"append","event":{"type":"A","payload": {"b" : 1.0}}}"#,
        ))
        .await
        .unwrap();
    let calls = vm.calls().await;
    assert_eq!(
        calls[0].get("event").unwrap().get("payload"),
        Some(&Term::text("{\"b\" : 1.0}"))
    );
    vm.message(channel, true, 1, br#"{"id":1,"ok":{"seq":1}}"#);
    assert_eq!(text(&mut socket).await, r#"{"id":1,"ok":{"seq":1}}"#);
    assert_eq!(vm.wait_for(channel, TAKEN).await, 23_u32.to_be_bytes());
    // What was answered can be told without a message.
    vm.message(channel, true, 1, b"");
    vm.message(channel, true, 0, b"next");
    assert_eq!(text(&mut socket).await, "next");
    socket.close(None).await.unwrap();
    vm.wait_for(channel, CLOSED).await;
}

#[tokio::test]
async fn calls_that_come_together_go_in_one_frame() {
    let mut vm = Vm::start(&config()).await;
    let mut socket = socket(vm.port()).await;
    for id in 1..=100 {
        socket
            .feed(Message::text(format!(
                "[{{\"id\":{id}}},{{\"id\":{}}}]",
                id + 1000
            )))
            .await
            .unwrap();
    }
    socket.flush().await.unwrap();
    let mut seen = Vec::new();
    let mut frames = 0;
    while seen.len() < 200 {
        seen.extend(ids(&vm.calls().await));
        frames += 1;
    }
    assert!(frames <= 3, "{frames} frames");
    assert_eq!(
        seen,
        (1..=100).flat_map(|id| [id, id + 1000]).collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn a_long_answer_is_one_message_and_flow_is_controlled() {
    let mut vm = Vm::start(&config()).await;
    let mut socket = socket(vm.port()).await;
    let (channel, _) = vm.socket().await;
    let piece = vec![b'x'; 64 * 1024];
    let reading = tokio::spawn(async move { text(&mut socket).await.len() });
    let (mut sent, mut taken) = (0, 0);
    while taken < 64 * piece.len() {
        while sent < 64 && sent * piece.len() < taken + 256 * 1024 {
            vm.message(channel, sent == 63, 0, &piece);
            sent += 1;
        }
        taken += u32::from_be_bytes(vm.wait_for(channel, TAKEN).await.try_into().unwrap()) as usize;
    }
    assert_eq!(taken, 64 * piece.len());
    assert_eq!(reading.await.unwrap(), taken);
}

#[tokio::test]
async fn long_messages_and_messages_in_fragments_are_calls() {
    let mut vm = Vm::start(&config()).await;
    let mut socket = socket(vm.port()).await;
    let long = "ä".repeat(1_000_000);
    socket
        .send(Message::text(
            json!({"id": 1, "payload": long, "b": "c"}).to_string(),
        ))
        .await
        .unwrap();
    let calls = vm.calls().await;
    assert_eq!(calls[0].get("payload").unwrap().as_text().len(), 2_000_002);
    assert_eq!(calls[0].get("b"), Some(&Term::text("c")));
    socket
        .send(Message::Ping("are you there".into()))
        .await
        .unwrap();
    assert_eq!(
        socket.next().await.unwrap().unwrap(),
        Message::Pong("are you there".into())
    );
}

#[tokio::test]
async fn a_socket_at_its_limit_is_not_read_until_calls_are_answered() {
    let mut config = config();
    config["tokens"][0]["in_flight"] = json!(10);
    let mut vm = Vm::start(&config).await;
    let mut socket = socket(vm.port()).await;
    let (channel, _) = vm.socket().await;
    for id in 1..=25 {
        socket
            .feed(Message::text(format!("{{\"id\":{id}}}")))
            .await
            .unwrap();
    }
    socket.flush().await.unwrap();
    let mut seen = Vec::new();
    while seen.len() < 10 {
        seen.extend(ids(&vm.calls().await));
    }
    assert_eq!(seen, (1..=10).collect::<Vec<_>>());
    assert!(vm.next_within(Duration::from_millis(600)).await.is_none());
    // HTTP has no room either.
    assert_eq!(
        http1(vm.port(), get("/")).await.unwrap().code(),
        "too_many_requests"
    );
    vm.message(channel, true, 3, b"x");
    let next = vm.calls().await;
    assert_eq!(ids(&next), [11, 12, 13]);
    for expected in [14..=23, 24..=25] {
        vm.message(channel, true, 10, b"x");
        let mut seen = Vec::new();
        while seen.last() != Some(expected.end()) {
            seen.extend(ids(&vm.calls().await));
        }
        assert_eq!(seen, expected.collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn what_a_socket_had_in_flight_is_given_back_when_it_ends() {
    let mut config = config();
    config["tokens"][0]["in_flight"] = json!(2);
    config["tokens"][0]["connections"] = json!(1);
    let mut vm = Vm::start(&config).await;
    for _ in 0..3 {
        let mut socket = socket(vm.port()).await;
        let (channel, _) = vm.socket().await;
        let request = handshake(&format!("warp.v1, warp.bearer.{TOKEN}"));
        assert_eq!(refused_socket(vm.port(), request).await.status, 429);
        socket
            .send(Message::text("[{\"id\":1},{\"id\":2}]"))
            .await
            .unwrap();
        assert_eq!(vm.calls().await.len(), 2);
        drop(socket);
        vm.wait_for(channel, CLOSED).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let answer = tokio::spawn(http1(vm.port(), get("/")));
    let (channel, _) = vm.request().await;
    vm.answer(channel, 200, b"");
    assert_eq!(answer.await.unwrap().unwrap().status, 200);
}

#[tokio::test]
async fn handshakes_that_are_wrong_are_refused() {
    let mut vm = Vm::start(&config()).await;
    let bearer = format!("warp.bearer.{TOKEN}");
    let changed = |change: &dyn Fn(&mut http::HeaderMap)| {
        let mut request = handshake(&format!("warp.v1, {bearer}"));
        change(request.headers_mut());
        request
    };
    for (request, status) in [
        (handshake("warp.v1"), 401),
        (handshake("warp.v1, warp.bearer.warp_wrong"), 401),
        (handshake(&bearer), 400),
        (handshake(&format!("warp.v2, {bearer}")), 400),
        (
            changed(&|headers| {
                headers.insert("host", "evil.example".parse().unwrap());
            }),
            421,
        ),
        (
            changed(&|headers| {
                headers.insert("origin", "https://evil.example".parse().unwrap());
            }),
            403,
        ),
    ] {
        let what = format!("{request:?}");
        assert_eq!(
            refused_socket(vm.port(), request).await.status,
            status,
            "{what}"
        );
    }
    // Of an upgrade elsewhere nobody takes notice.
    let mut request = handshake("warp.v1");
    *request.uri_mut() = "ws://127.0.0.1:9090/v1/other".parse().unwrap();
    request
        .headers_mut()
        .insert("authorization", format!("Bearer {TOKEN}").parse().unwrap());
    let port = vm.port();
    let answer = tokio::spawn(async move { refused_socket(port, request).await });
    let (channel, _) = vm.request().await;
    vm.answer(channel, 404, b"{}");
    assert_eq!(answer.await.unwrap().status, 404);
    assert_eq!(
        http1(vm.port(), get("/v1/socket")).await.unwrap().code(),
        "bad_request"
    );
    // A page of a listed origin may open a socket, by header or by protocol.
    let mut request = handshake("warp.v1");
    request
        .headers_mut()
        .insert("origin", "https://app.example.com".parse().unwrap());
    request
        .headers_mut()
        .insert("authorization", format!("Bearer {TOKEN}").parse().unwrap());
    assert!(
        tokio_tungstenite::client_async(request, connect(port).await)
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn messages_that_are_wrong_close_the_socket() {
    let mut config = config();
    config["tokens"][0]["in_flight"] = json!(5);
    config["limits"] = json!({"message": 1000});
    let mut vm = Vm::start(&config).await;
    for (message, code) in [
        (Message::binary(vec![1]), 1003),
        (Message::text("{"), 1007),
        (Message::text("{\"id\":1,\"id\":2}"), 1007),
        (Message::text("[1]"), 4400),
        (Message::text("\"x\""), 4400),
        (Message::text("[{},{},{},{},{},{}]"), 4429),
        (Message::text("x".repeat(1001)), 1009),
    ] {
        let mut socket = socket(vm.port()).await;
        let (channel, _) = vm.socket().await;
        socket.send(Message::text("{\"id\":7}")).await.unwrap();
        socket.send(message).await.unwrap();
        // What came before is a call all the same.
        assert_eq!(ids(&vm.calls().await), [7]);
        let (found, reason) = ending(&mut socket).await;
        assert_eq!(found, code, "{reason}");
        assert!(!reason.is_empty());
        vm.wait_for(channel, CLOSED).await;
    }
}

#[tokio::test]
async fn the_vm_closes_a_socket_after_what_it_has_sent() {
    let mut vm = Vm::start(&config()).await;
    let mut socket = socket(vm.port()).await;
    let (channel, _) = vm.socket().await;
    vm.message(channel, true, 0, b"last");
    vm.close(channel, 4400, "no such thing");
    assert_eq!(text(&mut socket).await, "last");
    assert_eq!(
        ending(&mut socket).await,
        (4400, "no such thing".to_owned())
    );
    vm.wait_for(channel, CLOSED).await;

    let mut socket = common::client::socket(vm.port()).await;
    let (channel, _) = vm.socket().await;
    vm.abort(channel);
    vm.wait_for(channel, CLOSED).await;
    assert!(socket.next().await.is_none_or(|message| message.is_err()));
}

#[tokio::test]
async fn a_token_that_expires_or_is_revoked_closes_its_sockets() {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let mut config = config();
    config["tokens"][0]["expires"] = json!(now + 2);
    config["tokens"]
        .as_array_mut()
        .unwrap()
        .push(token("other", "warp_other"));
    let mut vm = Vm::start(&config).await;
    let mut expiring = socket(vm.port()).await;
    let request = handshake("warp.v1, warp.bearer.warp_other");
    let mut other = tokio_tungstenite::client_async(request, connect(vm.port()).await)
        .await
        .unwrap()
        .0;
    let (code, _) = ending(&mut expiring).await;
    assert_eq!(code, 4401);
    other.send(Message::text("{\"id\":1}")).await.unwrap();
    vm.calls().await;
    config["tokens"].as_array_mut().unwrap().pop();
    assert_eq!(vm.reconfigure(&config).await, "");
    assert_eq!(ending(&mut other).await.0, 4401);
}

#[tokio::test]
async fn a_silent_client_is_asked_and_then_left() {
    let mut vm = Vm::with_limits(json!({"socket_ping_ms": 400})).await;
    let mut alive = socket(vm.port()).await;
    let (alive_channel, _) = vm.socket().await;
    let _silent = socket(vm.port()).await;
    let (silent_channel, _) = vm.socket().await;
    let reading = tokio::spawn(async move {
        let mut pings = 0;
        while pings < 3 {
            match alive.next().await {
                Some(Ok(Message::Ping(_))) => pings += 1,
                other => panic!("{other:?}"),
            }
        }
        alive
    });
    vm.wait_for(silent_channel, CLOSED).await;
    let mut alive = reading.await.unwrap();
    vm.message(alive_channel, true, 0, b"still there");
    assert_eq!(text(&mut alive).await, "still there");
}

#[tokio::test]
async fn a_client_that_takes_no_answers_or_sends_too_slowly_is_left() {
    let mut vm = Vm::with_limits(json!({"send_ms": 500, "body_ms": 700})).await;
    let _deaf = socket(vm.port()).await;
    let (deaf, _) = vm.socket().await;
    let mut taken = 0;
    let piece = vec![b'x'; 64 * 1024];
    let mut sent = 0;
    let closed = loop {
        while sent < 1000 && sent * piece.len() < taken + 256 * 1024 {
            vm.message(deaf, true, 0, &piece);
            sent += 1;
        }
        let frame = vm.next().await;
        match frame.kind {
            TAKEN => taken += u32::from_be_bytes(frame.body.try_into().unwrap()) as usize,
            CLOSED => break frame.channel,
            other => panic!("{other}"),
        }
    };
    assert_eq!(closed, deaf);
    assert!(sent < 1000, "the client took everything");

    let mut slow = connect(vm.port()).await;
    let head = format!(
        "GET /v1/socket HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {TOKEN}\r\nconnection: Upgrade\r\n\
         upgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: MDEyMzQ1Njc4OTAxMjM0NQ==\r\n\
         sec-websocket-protocol: warp.v1\r\n\r\n"
    );
    slow.write_all(head.as_bytes()).await.unwrap();
    slow.write_all(&[0x81, 0x85, 0, 0, 0, 0, b'{'])
        .await
        .unwrap();
    let end = read_all(&mut slow).await;
    assert!(end.contains("too slowly"), "{end}");
}

#[tokio::test]
async fn calls_without_an_id_pass_but_not_without_bound() {
    let mut config = config();
    config["tokens"][0]["in_flight"] = json!(3);
    let mut vm = Vm::start(&config).await;
    let mut socket = socket(vm.port()).await;
    vm.socket().await;
    for _ in 0..12_000 {
        socket
            .feed(Message::text("{\"op\":\"ack\"}"))
            .await
            .unwrap();
    }
    socket.flush().await.unwrap();
    let mut seen = 0;
    while seen < 12_000 {
        let frame = vm.next_of(CALLS).await;
        seen += Term::read(&frame.body).elements().len();
    }
    assert_eq!(seen, 12_000);
}
