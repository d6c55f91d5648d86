//! Requests and answers over HTTP/1.1 and HTTP/2.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::missing_docs_in_private_items,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may fail, and its names say what it does"
)]

mod common;

use common::client::{collect, connect, get, http1, http2_over, raw, read_all, request, request2};
use common::term::Term;
use common::vm::{CLOSED, PART, REQUEST, TAKEN, TOKEN, Vm, config};
use http_body_util::BodyExt;
use serde_json::json;
use tokio::io::AsyncWriteExt;

#[tokio::test]
async fn a_request_is_a_term_and_an_answer_goes_back() {
    let mut vm = Vm::start(&config()).await;
    let mut request = request(
        "POST",
        "/v1/a%2Fb/%C3%A4?x=1&y=a+b&x=2",
        r#"{"a":[1,{"payload": [ 1.50 ]}]}"#,
    );
    request
        .headers_mut()
        .insert("if-none-match", "\"e\"".parse().unwrap());
    request
        .headers_mut()
        .insert("x-other", "unseen".parse().unwrap());
    request.headers_mut().append("accept", "a".parse().unwrap());
    request.headers_mut().append("accept", "b".parse().unwrap());
    let answer = tokio::spawn(http1(vm.port(), request));
    let (channel, term) = vm.request().await;
    assert_eq!(term.get("method"), Some(&Term::text("POST")));
    let path: Vec<_> = term
        .get("path")
        .unwrap()
        .elements()
        .iter()
        .map(Term::as_text)
        .collect();
    assert_eq!(path, ["v1", "a/b", "ä"]);
    let pair = |key: &str, value: &str| Term::Tuple(vec![Term::text(key), Term::text(value)]);
    assert_eq!(
        term.get("query").unwrap().elements(),
        [pair("x", "1"), pair("y", "a b"), pair("x", "2")]
    );
    let headers = term.get("headers").unwrap();
    assert_eq!(
        headers.get("content-type"),
        Some(&Term::text("application/json"))
    );
    assert_eq!(headers.get("if-none-match"), Some(&Term::text("\"e\"")));
    assert_eq!(headers.get("accept"), Some(&Term::text("a, b")));
    assert_eq!(headers.get("x-other"), None);
    assert_eq!(headers.get("authorization"), None);
    assert_eq!(term.get("token"), Some(&Term::text("web")));
    assert_eq!(term.get("claims"), None);
    assert_eq!(term.get("tls"), Some(&Term::Atom("false".into())));
    assert!(
        term.get("peer")
            .unwrap()
            .as_text()
            .starts_with("127.0.0.1:")
    );
    let list = term.get("body").unwrap().get("a").unwrap().elements();
    assert_eq!(list[0], Term::Integer(1));
    assert_eq!(list[1].get("payload"), Some(&Term::text("[ 1.50 ]")));
    vm.head(
        channel,
        201,
        true,
        &[("content-type", "application/json"), ("etag", "\"x\"")],
        b"{}",
    );
    let answer = answer.await.unwrap().unwrap();
    assert_eq!(
        (answer.status.as_u16(), &answer.body[..]),
        (201, &b"{}"[..])
    );
    assert_eq!(answer.header("etag"), "\"x\"");
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.header("cross-origin-resource-policy"), "same-origin");
    assert_eq!(answer.header("content-length"), "2");
    vm.wait_for(channel, CLOSED).await;
}

#[tokio::test]
async fn long_bodies_go_in_pieces_both_ways() {
    let mut vm = Vm::start(&config()).await;
    let text = "x".repeat(3_000_000);
    let body = json!({"payload": text, "b": text}).to_string();
    let sent = request("POST", "/", &body);
    let answer = tokio::spawn(http1(vm.port(), sent));
    let first = vm.next().await;
    assert_eq!((first.channel, first.kind), (1, PART));
    let mut term = first.body;
    loop {
        let frame = vm.next().await;
        term.extend_from_slice(&frame.body);
        if frame.kind == REQUEST {
            break;
        }
    }
    let term = Term::read(&term);
    assert_eq!(
        term.get("body")
            .unwrap()
            .get("payload")
            .unwrap()
            .as_text()
            .len(),
        text.len() + 2
    );
    assert!(term.get("body").unwrap().get("b").unwrap().as_text() == text);

    // As much as may be sent and not taken, then as much as was taken.
    let piece = vec![b'y'; 64 * 1024];
    vm.head(1, 200, false, &[], &piece);
    let (mut sent, mut taken) = (1, 0);
    while sent < 100 || taken < 100 * piece.len() {
        while sent < 100 && sent * piece.len() < taken + 256 * 1024 {
            vm.data(1, false, &piece);
            sent += 1;
        }
        let bytes = vm.wait_for(1, TAKEN).await;
        taken += u32::from_be_bytes(bytes.try_into().unwrap()) as usize;
    }
    assert_eq!(
        taken,
        100 * piece.len(),
        "what is due is told when nothing more is there"
    );
    vm.data(1, true, b"");
    let answer = answer.await.unwrap().unwrap();
    assert_eq!(answer.body.len(), 100 * piece.len());
    vm.wait_for(1, CLOSED).await;
}

#[tokio::test]
async fn head_gets_no_body() {
    let mut vm = Vm::start(&config()).await;
    for last in [true, false] {
        let mut stream = connect(vm.port()).await;
        let head = format!(
            "HEAD /x HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {TOKEN}\r\nconnection: close\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let (channel, term) = vm.request().await;
        assert_eq!(term.get("method"), Some(&Term::text("HEAD")));
        vm.head(channel, 200, last, &[("etag", "\"x\"")], b"12345");
        let answer = read_all(&mut stream).await.to_lowercase();
        assert!(
            answer.starts_with("http/1.1 200") && answer.ends_with("\r\n\r\n"),
            "{answer}"
        );
        assert!(answer.contains("etag: \"x\""));
        assert_eq!(answer.contains("content-length: 5"), last, "{answer}");
        vm.wait_for(channel, CLOSED).await;
    }
    let mut sender = http2_over(connect(vm.port()).await).await;
    let answer = tokio::spawn(sender.send_request(request2("HEAD", "/x", "")));
    let (channel, _) = vm.request().await;
    vm.answer(channel, 200, b"12345");
    let answer = collect(answer.await.unwrap().unwrap()).await.unwrap();
    assert_eq!(
        (answer.header("content-length"), answer.body.len()),
        ("5", 0)
    );
}

#[tokio::test]
async fn an_answer_that_cannot_be_finished_resets_the_connection_or_the_stream() {
    let mut vm = Vm::start(&config()).await;
    let answer = tokio::spawn(http1(vm.port(), get("/")));
    let (channel, _) = vm.request().await;
    vm.head(channel, 200, false, &[], b"some");
    vm.abort(channel);
    assert!(answer.await.unwrap().is_err());
    vm.wait_for(channel, CLOSED).await;

    let mut sender = http2_over(connect(vm.port()).await).await;
    let answer = tokio::spawn(sender.send_request(request2("GET", "/", "")));
    let (channel, _) = vm.request().await;
    vm.head(channel, 200, false, &[], b"some");
    let mut body = answer.await.unwrap().unwrap().into_body();
    assert_eq!(
        body.frame().await.unwrap().unwrap().into_data().unwrap(),
        "some"
    );
    vm.abort(channel);
    assert!(body.frame().await.unwrap().is_err());
    vm.wait_for(channel, CLOSED).await;
    // The connection lives.
    let answer = tokio::spawn(sender.send_request(request2("GET", "/", "")));
    let (channel, _) = vm.request().await;
    vm.answer(channel, 200, b"");
    assert_eq!(answer.await.unwrap().unwrap().status(), 200);
}

#[tokio::test]
async fn a_body_ends_with_the_token_that_asked_for_it() {
    let mut vm = Vm::start(&config()).await;
    let mut sender = http2_over(connect(vm.port()).await).await;
    let stream = tokio::spawn(sender.send_request(request2("GET", "/", "")));
    let (streaming, _) = vm.request().await;
    vm.head(streaming, 200, false, &[], b"some");
    let mut body = stream.await.unwrap().unwrap().into_body();
    assert!(body.frame().await.unwrap().is_ok());
    let old = tokio::spawn(http1(vm.port(), get("/")));
    let (old_channel, _) = vm.request().await;
    vm.head(old_channel, 200, false, &[], b"some");
    let short = tokio::spawn(http1(vm.port(), get("/")));
    let (short_channel, _) = vm.request().await;

    let mut changed = config();
    changed["tokens"] = json!([]);
    changed["listeners"][0]["port"] = json!(vm.port());
    assert_eq!(vm.reconfigure(&changed).await, "");
    vm.wait_for(streaming, CLOSED).await;
    assert!(body.frame().await.unwrap().is_err());
    assert!(old.await.unwrap().is_err());
    // What was asked for in time, and is no stream, is answered.
    vm.answer(short_channel, 200, b"{}");
    assert_eq!(short.await.unwrap().unwrap().status, 200);
}

#[tokio::test]
async fn http2_answers_side_by_side() {
    let mut vm = Vm::start(&config()).await;
    let mut sender = http2_over(connect(vm.port()).await).await;
    let answers: Vec<_> = (0..50)
        .map(|at| {
            tokio::spawn(sender.send_request(request2(
                "POST",
                &format!("/{at}"),
                &format!("{{\"at\":{at}}}"),
            )))
        })
        .collect();
    let mut requests = Vec::new();
    for _ in 0..50 {
        requests.push(vm.request().await);
    }
    for (channel, term) in requests.iter().rev() {
        let Some(Term::Integer(at)) = term.get("body").unwrap().get("at") else {
            panic!("{term:?}")
        };
        assert_eq!(
            term.get("path").unwrap().elements()[0].as_text(),
            at.to_string()
        );
        vm.answer(*channel, 200, at.to_string().as_bytes());
    }
    for (at, answer) in answers.into_iter().enumerate() {
        let answer = collect(answer.await.unwrap().unwrap()).await.unwrap();
        assert_eq!(answer.body, at.to_string());
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
    }
}

#[tokio::test]
async fn a_client_that_leaves_is_told() {
    let mut vm = Vm::start(&config()).await;
    let answer = tokio::spawn(http1(vm.port(), get("/")));
    let (channel, _) = vm.request().await;
    answer.abort();
    vm.wait_for(channel, CLOSED).await;
    // What comes for it is dropped.
    vm.head(channel, 200, false, &[], b"late");
    vm.data(channel, true, b"late");
    vm.abort(channel);
    vm.assert_alive().await;

    let mut sender = http2_over(connect(vm.port()).await).await;
    let answer = tokio::spawn(sender.send_request(request2("GET", "/", "")));
    let (channel, _) = vm.request().await;
    answer.abort();
    vm.wait_for(channel, CLOSED).await;
}

#[tokio::test]
async fn bodies_that_are_wrong_are_refused() {
    let vm = Vm::with_limits(json!({"body": 1000})).await;
    let mut text = request("POST", "/", "{}");
    text.headers_mut()
        .insert("content-type", "text/plain".parse().unwrap());
    let mut none = request("POST", "/", "{}");
    none.headers_mut().remove("content-type");
    let long = format!("\"{}\"", "x".repeat(1000));
    for (request, status, code) in [
        (request("POST", "/", "{"), 400, "bad_json"),
        (request("POST", "/", "{\"a\":1,\"a\":2}"), 400, "bad_json"),
        (request("POST", "/", &"[".repeat(500)), 400, "bad_json"),
        (
            request("POST", "/", "[99999999999999999999]"),
            400,
            "number_too_large",
        ),
        (text, 415, "unsupported_media_type"),
        (none, 415, "unsupported_media_type"),
        (request("POST", "/", &long), 413, "body_too_large"),
        (get("/%ff"), 400, "bad_request"),
        (get("/a%00b"), 400, "bad_request"),
        (get("/?a=%zz"), 400, "bad_request"),
    ] {
        let what = format!("{request:?}");
        let answer = http1(vm.port(), request).await.unwrap();
        assert_eq!(
            (answer.status.as_u16(), answer.code().as_str()),
            (status, code),
            "{what}"
        );
    }
    let answer = http1(vm.port(), request("POST", "/", "{\n  \"a\": x}"))
        .await
        .unwrap();
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    assert!(
        text.contains("line 2, column 8") && !text.contains("\"a\\\""),
        "{text}"
    );
    // A body whose length nobody has said is cut off at the limit too.
    let chunks = "100\r\n".to_owned() + &"x".repeat(256) + "\r\n";
    let head = format!(
        "POST / HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {TOKEN}\r\ncontent-type: application/json\r\n\
         transfer-encoding: chunked\r\n\r\n"
    );
    let answer = raw(vm.port(), (head + &chunks.repeat(5)).as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

#[tokio::test]
async fn a_body_may_be_empty_or_come_in_chunks() {
    let mut vm = Vm::start(&config()).await;
    let answer = tokio::spawn(http1(vm.port(), request("POST", "/", "")));
    let (channel, term) = vm.request().await;
    assert_eq!(term.get("body"), None);
    vm.answer(channel, 200, b"");
    answer.await.unwrap().unwrap();

    let mut stream = connect(vm.port()).await;
    let head = format!(
        "POST / HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {TOKEN}\r\nconnection: close\r\n\
         content-type: application/json; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    for piece in [head.as_str(), "3\r\n[1,\r\n", "2\r\n2]\r\n0\r\n\r\n"] {
        stream.write_all(piece.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
    }
    let (channel, term) = vm.request().await;
    assert_eq!(
        term.get("body"),
        Some(&Term::List(vec![Term::Integer(1), Term::Integer(2)]))
    );
    vm.answer(channel, 200, b"done");
    assert!(read_all(&mut stream).await.ends_with("done"));
}

#[tokio::test]
async fn large_heads_are_refused() {
    let vm = Vm::with_limits(json!({"header": 2000, "headers": 10})).await;
    let mut many = get("/");
    for at in 0..10 {
        many.headers_mut().insert(
            http::HeaderName::try_from(format!("x-{at}")).unwrap(),
            "x".parse().unwrap(),
        );
    }
    let mut long = get("/");
    long.headers_mut()
        .insert("x", "x".repeat(2000).parse().unwrap());
    for request in [many, long, get(&format!("/{}", "x".repeat(2000)))] {
        let answer = http1(vm.port(), request).await.unwrap();
        assert_eq!(
            (answer.status.as_u16(), answer.code().as_str()),
            (431, "headers_too_large")
        );
    }
    // Far beyond the limit nobody reads on.
    let endless = format!(
        "GET / HTTP/1.1\r\nhost: localhost\r\nx: {}",
        "x".repeat(100_000)
    );
    let answer = raw(vm.port(), endless.as_bytes()).await;
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 431"),
        "{answer}"
    );
}

#[tokio::test]
async fn too_much_at_once_is_refused() {
    let mut config = config();
    config["tokens"][0]["in_flight"] = json!(1);
    let mut other = common::vm::token("other", "warp_other");
    other["in_flight"] = json!(10);
    config["tokens"].as_array_mut().unwrap().push(other);
    config["limits"] = json!({"in_flight": 2, "bytes_in_flight": 1000});
    let mut vm = Vm::start(&config).await;
    let of_other = || {
        let mut request = get("/");
        request
            .headers_mut()
            .insert("authorization", "Bearer warp_other".parse().unwrap());
        request
    };
    let first = tokio::spawn(http1(vm.port(), get("/")));
    let (first_channel, _) = vm.request().await;
    let answer = http1(vm.port(), get("/")).await.unwrap();
    assert_eq!(
        (answer.status.as_u16(), answer.header("retry-after")),
        (429, "1")
    );
    assert_eq!(answer.code(), "too_many_requests");
    let second = tokio::spawn(http1(vm.port(), of_other()));
    let (second_channel, _) = vm.request().await;
    let answer = http1(vm.port(), of_other()).await.unwrap();
    assert_eq!(
        (answer.status.as_u16(), answer.header("retry-after")),
        (503, "1")
    );
    assert_eq!(answer.code(), "overloaded");
    vm.answer(first_channel, 200, b"");
    vm.answer(second_channel, 200, b"");
    assert_eq!(first.await.unwrap().unwrap().status, 200);
    assert_eq!(second.await.unwrap().unwrap().status, 200);
    // What was in flight is given back, bytes too.
    for _ in 0..5 {
        let answer = tokio::spawn(http1(
            vm.port(),
            request("POST", "/", &format!("\"{}\"", "x".repeat(900))),
        ));
        let (channel, _) = vm.request().await;
        vm.answer(channel, 200, b"");
        assert_eq!(answer.await.unwrap().unwrap().status, 200);
    }
    let answer = http1(
        vm.port(),
        request("POST", "/", &format!("\"{}\"", "x".repeat(1100))),
    )
    .await
    .unwrap();
    assert_eq!(
        (answer.status.as_u16(), answer.code().as_str()),
        (503, "overloaded")
    );
    assert!(vm.refused().await.iter().any(|(why, _)| why == "too_many"));
}

#[tokio::test]
async fn too_many_connections_are_not_served() {
    let mut vm = Vm::with_limits(json!({"connections": 3, "connections_per_address": 2})).await;
    let (one, two) = (connect(vm.port()).await, connect(vm.port()).await);
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert_eq!(read_all(&mut connect(vm.port()).await).await, "");
    assert_eq!(vm.refused().await, [("too_many".to_owned(), 1)]);
    drop((one, two));
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    let answer = tokio::spawn(http1(vm.port(), get("/")));
    let (channel, _) = vm.request().await;
    vm.answer(channel, 200, b"");
    assert_eq!(answer.await.unwrap().unwrap().status, 200);
}
