//! How fast segments are written and read. Not a test: it prints what it measures.
//!
//!   cargo test --release --package warp_nif backup::speed -- --ignored --nocapture

use std::time::{Duration, Instant};

use super::read::Lives;
use super::segment::Segment;
use super::testing::*;
use super::write::Writer;
use crate::log::Row;

/// How many rows a segment gets.
const ROWS: i64 = 50_000;
/// How often each is measured; the best counts.
const ROUNDS: usize = 5;

#[test]
#[ignore = "measures, and takes seconds"]
fn measure() {
    for of_life in [1, 10] {
        let rows: Vec<(i64, Row)> = rows(of_life);
        let bytes: usize = rows.iter().map(|(_, row)| row.data.len()).sum();
        let mut written = None;
        let writing = best(|| {
            let mut writer = Writer::new(head(1, [0; 32]));
            writer.begin(0, 0, 1, false);
            for (incarnation, row) in &rows {
                assert!(
                    writer
                        .row(0, *incarnation, &row.borrow(), None)
                        .expect("sound")
                );
            }
            written = Some(seal(writer));
        });
        let written = written.expect("written");
        let verifying = best(|| {
            let segment = Segment::open(&written.bytes, BACKUP, 1).expect("opens");
            segment.verify().expect("sound");
        });
        let reading = best(|| {
            let segment = written.open();
            let lives = Lives::of(&segment, segment.index(), life_key).expect("begins");
            let read: usize = lives.map(|life| life.expect("a life").rows.len()).sum();
            assert_eq!(read as i64, ROWS);
        });
        println!(
            "{of_life} rows of {} bytes per life, {:.2} bytes of segment for a byte of data",
            bytes / rows.len(),
            written.bytes.len() as f64 / bytes as f64
        );
        for (what, time) in [("write", writing), ("verify", verifying), ("read", reading)] {
            let seconds = time.as_secs_f64();
            println!(
                "  {what:7} {:8.0} events/s {:7.1} MB/s",
                ROWS as f64 / seconds,
                bytes as f64 / 1e6 / seconds
            );
        }
    }
}

/// Rows of one event each, with 200 bytes of data; those of a life do not stand side by side.
fn rows(of_life: i64) -> Vec<(i64, Row)> {
    let lives = ROWS / of_life;
    let row = |position: i64| {
        let (turn, life) = ((position - 1) / lives, (position - 1) % lives);
        let prev = if turn > 0 { position - lives } else { 0 };
        let mut row = row(position, &format!("account/{life}"), turn as u64 + 1, prev);
        let noise = key(life as u8).mac(&[&position.to_le_bytes()]);
        let noise: String = noise.iter().map(|byte| format!("{byte:02x}")).collect();
        let data = format!(
            r#"[{{"type":"Credited","metadata":{{"by":"user-{life}","from":"web"}},"payload":{{"amount":{position},"#
        );
        let data = format!(r#"{data}"currency":"EUR","reference":"{noise}","#);
        row.data = format!("{data:-<197}}}}}]");
        (life + 1, row)
    };
    (1..=ROWS).map(row).collect()
}

fn best(mut what: impl FnMut()) -> Duration {
    let round = |_| {
        let begun = Instant::now();
        what();
        begun.elapsed()
    };
    (0..ROUNDS).map(round).min().unwrap_or_default()
}
