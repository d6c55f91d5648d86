//! What sockets cost: memory of idle ones, and time of calls. Times are printed, by
//! `cargo test --release --test cost -- --ignored --nocapture`.
#![cfg(target_os = "linux")]
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::missing_docs_in_private_items,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may fail, and its names say what it does"
)]

mod common;

use common::client::{Socket, socket, text};
use common::vm::{CALLS, Vm, config};
use futures_util::SinkExt;
use serde_json::json;
use std::time::Instant;
use tokio_tungstenite::tungstenite::Message;

/// How many KiB of memory a process has.
fn memory(pid: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// How long a process has worked, in hundredths of a second.
fn work(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<_> = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[tokio::test]
async fn an_idle_socket_costs_little() {
    for is_busy_first in [false, true] {
        let each = memory_of_each(400, is_busy_first).await;
        println!("{each:.1} KiB each, busy first: {is_busy_first}");
        assert!(each < 8.0, "{each} KiB");
    }
}

/// What each of so many sockets costs in KiB, when all of them are idle, having been busy before or not.
async fn memory_of_each(count: usize, is_busy_first: bool) -> f64 {
    let mut config = config();
    config["tokens"][0]["connections"] = json!(count + 1);
    let mut vm = Vm::start(&config).await;
    // What the first one costs is the gateway's.
    let mut sockets = vec![busy(&mut vm).await];
    let before = memory(vm.pid());
    for _ in 0..count {
        sockets.push(if is_busy_first {
            busy(&mut vm).await
        } else {
            socket(vm.port()).await
        });
    }
    vm.assert_alive().await;
    (memory(vm.pid()) - before) as f64 / count as f64
}

/// A socket that was busy: with a long call, a long answer, and short ones.
async fn busy(vm: &mut Vm) -> Socket {
    let mut socket = socket(vm.port()).await;
    let (channel, _) = vm.socket().await;
    let long = json!({"id": 1, "payload": "x".repeat(200_000)}).to_string();
    socket.send(Message::text(long.clone())).await.unwrap();
    vm.calls().await;
    vm.message(channel, true, 1, long.as_bytes());
    assert_eq!(text(&mut socket).await.len(), long.len());
    for _ in 0..3 {
        socket.send(Message::text("{\"id\":1}")).await.unwrap();
        vm.calls().await;
        vm.message(channel, true, 1, b"{}");
        text(&mut socket).await;
    }
    socket
}

/// Calls per second through one socket, with so many under way, in messages of so many.
async fn calls_per_second(window: usize, together: usize) {
    const CALLS_IN_ALL: usize = 400_000;
    let call = |id: usize| {
        format!(
            "{{\"id\":{id},\"op\":\"append\",\"context\":\"bank\",\"entity\":\"user/{id}\",\"event\":{{\"type\":\"Credited\",\
             \"payload\":{{\"amount\":{id},\"currency\":\"EUR\",\"note\":\"a payment for something\"}}}}}}"
        )
    };
    let mut vm = Vm::start(&config()).await;
    let mut socket = socket(vm.port()).await;
    let (channel, _) = vm.socket().await;
    let pid = vm.pid();
    let (since, worked) = (Instant::now(), work(pid));
    // The VM's end answers each frame with one message.
    let vm = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async move {
            let (mut seen, mut frames) = (0, 0);
            while seen < CALLS_IN_ALL {
                let frame = vm.next_of(CALLS).await;
                let count = u32::from_be_bytes(frame.body[2..6].try_into().unwrap());
                seen += count as usize;
                frames += 1;
                let answers = vec![r#"{"id":123456,"ok":{"seq":123456}}"#; count as usize];
                let answer = format!("[{}]", answers.join(","));
                vm.message(
                    channel,
                    true,
                    u16::try_from(count).unwrap(),
                    answer.as_bytes(),
                );
            }
            // It ends with what is given back.
            (frames, vm)
        })
    });
    let (mut sent, mut answered) = (0, 0);
    while answered < CALLS_IN_ALL {
        while sent < CALLS_IN_ALL && sent - answered + together <= window {
            let calls: Vec<_> = (sent..sent + together).map(call).collect();
            let message = if together == 1 {
                calls.concat()
            } else {
                format!("[{}]", calls.join(","))
            };
            socket.feed(Message::text(message)).await.unwrap();
            sent += together;
        }
        socket.flush().await.unwrap();
        let answers = text(&mut socket).await;
        answered += answers.matches("\"ok\"").count();
    }
    let time = since.elapsed().as_secs_f64();
    let worked = (work(pid) - worked) as f64 / 100.0;
    let (frames, _vm) = vm.join().unwrap();
    println!(
        "window {window}, {together} in a message: {:.0} calls/s, {:.2} µs of the gateway's time each, {} in a frame",
        CALLS_IN_ALL as f64 / time,
        worked * 1e6 / CALLS_IN_ALL as f64,
        CALLS_IN_ALL / frames,
    );
}

#[tokio::test]
#[ignore = "it measures, and fails only when nothing works"]
async fn calls_of_one_socket_per_second() {
    calls_per_second(64, 1).await;
    calls_per_second(512, 1).await;
    calls_per_second(960, 16).await;
}
