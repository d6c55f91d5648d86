//! How fast a context is restored. Not a test: it prints what it measures.
//!
//!   cargo test --release --package warp_nif restore::speed -- --ignored --nocapture

use std::time::Instant;

use super::testing::{Saved, Saver};
use crate::backup::testing::key;

/// How many events are restored.
const EVENTS: u64 = 600_000;

#[test]
#[ignore = "measures, and takes seconds"]
fn measure() {
    for (entities, shards) in [(EVENTS / 10, 4), (1, 4)] {
        let saved = saved(entities, shards);
        let dir = tempfile::tempdir().expect("temp dir");
        println!(
            "{EVENTS} events of {entities} entities, {} segments",
            saved.segments.len()
        );
        let restoring = saved.restoring(dir.path());
        measured("open", || {
            for (number, segment) in (1..).zip(&saved.segments) {
                let opened = restoring.open(number, &segment.bytes);
                opened.expect("opened");
            }
        });
        measured("restore", || saved.restore(&restoring).expect("restored"));
        measured("finish", || restoring.finish().expect("finished"));
        let restoring = saved.restoring(&dir.path().join("none"));
        measured("check", || {
            for (number, segment) in (1..).zip(&saved.segments) {
                restoring.check(number, &segment.bytes).expect("sound");
            }
        });
    }
}

fn saved(entities: u64, shards: u32) -> Saved {
    let mut saver = Saver::new(shards);
    for n in 0..EVENTS {
        let noise = key(n as u8).mac(&[&n.to_le_bytes()]);
        let noise: String = noise.iter().map(|byte| format!("{byte:02x}")).collect();
        let data = format!(
            r#"[{{"type":"Changed","payload":{{"order":{n},"state":"packed","by":"operator-17","note":"{noise}"#
        );
        saver.row(
            (&format!("order-{}", n % entities), "Order"),
            format!("{data:-<196}\"}}}}]"),
        );
    }
    saver.end()
}

/// Times by the clock and of the processors, for each event.
fn measured(what: &str, work: impl FnOnce()) {
    let (begun, before) = (Instant::now(), cpu_micros());
    work();
    let (took, used) = (begun.elapsed(), cpu_micros() - before);
    println!(
        "  {what:10} {:6.2} us by the clock, {:6.2} us of CPU, for each event: {:7.0} events/s",
        took.as_micros() as f64 / EVENTS as f64,
        used as f64 / EVENTS as f64,
        EVENTS as f64 / took.as_secs_f64()
    );
}

/// User and system time of this process.
fn cpu_micros() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("read");
    let fields: Vec<&str> = stat
        .rsplit(") ")
        .next()
        .unwrap_or_default()
        .split(' ')
        .collect();
    let ticks = |at: usize| fields[at].parse::<u64>().expect("a number");
    10_000 * (ticks(11) + ticks(12))
}
