//! Who may come in: hosts, origins, tokens, and what is told of those who may not.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::missing_docs_in_private_items,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may fail, and its names say what it does"
)]

mod common;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use common::client::{get, http1, request};
use common::term::Term;
use common::vm::{KEY, Vm, config, token};
use ring::hmac;
use serde_json::json;
use std::time::{SystemTime, UNIX_EPOCH};

fn with(name: &'static str, value: &str) -> http::Request<http_body_util::Full<bytes::Bytes>> {
    let mut request = get("/v1/x");
    request.headers_mut().insert(name, value.parse().unwrap());
    request
}

fn without(name: &str) -> http::Request<http_body_util::Full<bytes::Bytes>> {
    let mut request = get("/v1/x");
    request.headers_mut().remove(name);
    request
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

/// A signed token.
fn sign(key: &[u8], server: &str, expires: u64) -> (String, String) {
    let claims =
        json!({"token": "web", "server": server, "expires": expires, "scopes": ["x"]}).to_string();
    let said = format!("warps_{}", URL_SAFE_NO_PAD.encode(&claims));
    let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), said.as_bytes());
    (format!("{said}.{}", URL_SAFE_NO_PAD.encode(mac)), claims)
}

#[tokio::test]
async fn hosts_origins_and_tokens_are_checked() {
    let mut vm = Vm::start(&config()).await;
    for (request, status, code) in [
        (with("host", "evil.example"), 421, "wrong_host"),
        (
            with("host", "localhost.evil.example:9090"),
            421,
            "wrong_host",
        ),
        (with("origin", "https://evil.example"), 403, "wrong_origin"),
        (with("origin", "null"), 403, "wrong_origin"),
        (without("authorization"), 401, "unauthorized"),
        (
            with("authorization", "Bearer warp_wrong"),
            401,
            "unauthorized",
        ),
        (
            with("authorization", "Basic d2FycDp3YXJw"),
            401,
            "unauthorized",
        ),
        (request("OPTIONS", "/v1/x", ""), 403, "wrong_origin"),
    ] {
        let what = format!("{request:?}");
        let answer = http1(vm.port(), request).await.unwrap();
        assert_eq!(
            (answer.status.as_u16(), answer.code().as_str()),
            (status, code),
            "{what}"
        );
        assert_eq!(
            answer.header("www-authenticate"),
            if status == 401 { "Bearer" } else { "" }
        );
        assert_eq!(answer.header("access-control-allow-origin"), "");
    }
    let mut refused = vm.refused().await;
    while refused.iter().map(|(_, count)| count).sum::<i128>() < 8 {
        refused.extend(vm.refused().await);
    }
    let count = |why: &str| {
        refused
            .iter()
            .filter(|(name, _)| name == why)
            .map(|(_, count)| count)
            .sum::<i128>()
    };
    assert_eq!(count("wrong_host"), 2);
    assert_eq!(count("wrong_origin"), 3);
    assert_eq!(count("no_token"), 1);
    assert_eq!(count("unknown_token"), 2);
}

#[tokio::test]
async fn pages_of_listed_origins_may_call() {
    let mut vm = Vm::start(&config()).await;
    let origin = "https://app.example.com";
    let mut preflight = request("OPTIONS", "/v1/x", "");
    preflight.headers_mut().remove("authorization");
    preflight
        .headers_mut()
        .insert("origin", origin.parse().unwrap());
    let answer = http1(vm.port(), preflight).await.unwrap();
    assert_eq!(answer.status, 204);
    assert_eq!(answer.header("access-control-allow-origin"), origin);
    assert_eq!(
        answer.header("access-control-allow-methods"),
        "GET, HEAD, POST, DELETE"
    );
    assert!(
        answer
            .header("access-control-allow-headers")
            .contains("If-None-Match")
    );
    assert_eq!(answer.header("access-control-max-age"), "600");
    assert_eq!(answer.header("vary"), "Origin");

    let answer = tokio::spawn(http1(vm.port(), with("origin", origin)));
    let (channel, _) = vm.request().await;
    vm.answer(channel, 200, b"{}");
    let answer = answer.await.unwrap().unwrap();
    assert_eq!(answer.header("access-control-allow-origin"), origin);
    assert!(
        answer
            .header("access-control-expose-headers")
            .contains("Stream-Cursor")
    );
    assert_eq!(
        answer.header("cross-origin-resource-policy"),
        "cross-origin"
    );
    // A page may read why it was refused.
    let mut wrong = with("origin", origin);
    wrong.headers_mut().remove("authorization");
    let answer = http1(vm.port(), wrong).await.unwrap();
    assert_eq!(
        (
            answer.status.as_u16(),
            answer.header("access-control-allow-origin")
        ),
        (401, origin)
    );
}

#[tokio::test]
async fn public_paths_need_no_token_but_take_no_wrong_one() {
    let mut vm = Vm::start(&config()).await;
    let mut health = get("/health");
    health.headers_mut().remove("authorization");
    let answer = tokio::spawn(http1(vm.port(), health.clone()));
    let (channel, term) = vm.request().await;
    assert_eq!(term.get("token"), Some(&Term::text("")));
    vm.answer(channel, 200, b"{}");
    assert_eq!(answer.await.unwrap().unwrap().status, 200);
    let mut post = health.clone();
    *post.method_mut() = http::Method::POST;
    assert_eq!(http1(vm.port(), post).await.unwrap().status, 401);
    health
        .headers_mut()
        .insert("authorization", "Bearer x".parse().unwrap());
    assert_eq!(http1(vm.port(), health).await.unwrap().status, 401);
}

#[tokio::test]
async fn signed_tokens_are_checked_and_their_claims_told() {
    let mut vm = Vm::start(&config()).await;
    let (good, claims) = sign(&KEY, "test", now() + 60);
    let answer = tokio::spawn(http1(
        vm.port(),
        with("authorization", &format!("Bearer {good}")),
    ));
    let (channel, term) = vm.request().await;
    assert_eq!(term.get("token"), Some(&Term::text("web")));
    assert_eq!(term.get("claims"), Some(&Term::text(&claims)));
    vm.answer(channel, 200, b"{}");
    assert_eq!(answer.await.unwrap().unwrap().status, 200);
    for (wrong, _) in [
        sign(&[8; 32], "test", now() + 60),
        sign(&KEY, "other", now() + 60),
        sign(&KEY, "test", now()),
    ] {
        let answer = http1(vm.port(), with("authorization", &format!("Bearer {wrong}")))
            .await
            .unwrap();
        assert_eq!(answer.code(), "unauthorized");
    }
}

#[tokio::test]
async fn a_new_configuration_counts_at_once_and_a_wrong_one_not_at_all() {
    let mut vm = Vm::start(&config()).await;
    let mut changed = config();
    changed["tokens"] = json!([token("new", "warp_new")]);
    changed["listeners"][0]["port"] = json!(vm.port());
    assert_eq!(vm.reconfigure(&changed).await, "");
    let answer = http1(vm.port(), get("/")).await.unwrap();
    assert_eq!(answer.code(), "unauthorized");
    let answer = tokio::spawn(http1(vm.port(), with("authorization", "Bearer warp_new")));
    let (channel, term) = vm.request().await;
    assert_eq!(term.get("token"), Some(&Term::text("new")));
    vm.answer(channel, 200, b"{}");
    answer.await.unwrap().unwrap();

    let mut wrong = config();
    wrong["tokens"][0]["sha256"] = json!("x");
    assert!(vm.reconfigure(&wrong).await.contains("\"web\""));
    let mut elsewhere = config();
    elsewhere["listeners"][0]["address"] = json!("127.0.0.2");
    assert!(vm.reconfigure(&elsewhere).await.contains("listeners"));
    vm.configure(&json!("nonsense"));
    assert!(
        !String::from_utf8(vm.wait_for(0, common::vm::RELOADED).await)
            .unwrap()
            .is_empty()
    );
    assert_eq!(
        http1(vm.port(), get("/")).await.unwrap().code(),
        "unauthorized"
    );
}
