//! The size of the WAL beside readers, and what the writer says of readers that never end.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::engine::testing::{self, Opened, open};
use crate::error::{Error, Result};
use crate::event::Packed;
use crate::files::beside;
use crate::reader::Direction;
use crate::reader::view::with_reader;
use crate::writer::command::Answer;

const MEGABYTE: usize = 1 << 20;

fn wal_bytes(path: &Path) -> usize {
    std::fs::metadata(beside(path, "-wal"))
        .map_or(0, |file| usize::try_from(file.len()).expect("fits"))
}

/// Appends one event of a megabyte and tends the WAL, as the writer does.
fn write(open: &mut Opened, base: u64) -> Result<()> {
    let text = "x".repeat(MEGABYTE);
    let data = format!("[{{\"type\":\"T\",\"payload\":{{\"s\":\"{text}\"}}}}]");
    let packed = Packed::new("A".into(), data, 1, Vec::new());
    let answer = open.commit(testing::append("large", base, packed))?;
    assert!(matches!(answer, Some(Answer::Stored { .. })));
    open.apply()?;
    open.store.tend_wal(&open.shared, false)
}

#[test]
fn the_wal_stays_small_though_there_is_always_a_read_under_way() {
    let dir = tempfile::tempdir().expect("temp dir");
    let path = dir.path().join("s.db");
    let mut opened = open(&path).expect("opens");
    let shared = std::sync::Arc::clone(&opened.shared);
    write(&mut opened, 0).expect("writes");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                while !stop.load(Ordering::SeqCst) {
                    let read = with_reader(&shared, |reader| {
                        let page = reader.page("large", 0, Some(1), 1, Direction::Forward)?;
                        std::thread::sleep(Duration::from_millis(20));
                        Ok(page.rows.len())
                    });
                    assert_eq!(read.expect("reads"), 1);
                }
            });
        }
        let mut largest = 0;
        let written = (1..100).try_for_each(|base| {
            write(&mut opened, base)?;
            let bytes = wal_bytes(&path);
            largest = largest.max(bytes);
            // The reads under way need their time to end, also on a machine that is busy.
            if bytes > 20 * MEGABYTE {
                std::thread::sleep(Duration::from_millis(20));
            }
            Ok::<(), Error>(())
        });
        // Before anything can fail: the readers would go on.
        stop.store(true, Ordering::SeqCst);
        written.expect("writes");
        assert!(largest < 48 * MEGABYTE, "{largest}");
    });
}

/// Such a reader makes it grow. That is said, nobody waits for it, and it ends with the reader.
#[test]
fn a_reader_that_does_not_end_is_an_error_but_holds_nobody_up() {
    let dir = tempfile::tempdir().expect("temp dir");
    let path = dir.path().join("s.db");
    let mut opened = open(&path).expect("opens");
    let shared = std::sync::Arc::clone(&opened.shared);
    let other = rusqlite::Connection::open(&path).expect("opens");
    other
        .execute_batch("BEGIN; SELECT count(*) FROM log")
        .expect("reads");
    let mut errors = 0;
    for base in 0..80 {
        let started = Instant::now();
        match write(&mut opened, base) {
            Ok(()) => {}
            Err(Error::Io(what)) => {
                assert!(what.text().contains("another program"), "{what}");
                errors += 1;
            }
            Err(error) => panic!("{error:?}"),
        }
        assert!(
            started.elapsed() < Duration::from_secs(2),
            "waited for the reader"
        );
        with_reader(&shared, |reader| reader.head("large")).expect("reads are not held back");
    }
    assert!(errors > 0 && wal_bytes(&path) > 64 * MEGABYTE);
    other.execute_batch("COMMIT").expect("ends");
    for base in 80..90 {
        write(&mut opened, base).expect("writes");
    }
    let grown = wal_bytes(&path);
    for base in 90..130 {
        write(&mut opened, base).expect("writes");
    }
    assert_eq!(wal_bytes(&path), grown, "it does not begin anew");
}

/// Tends as an idle writer does, for at most three seconds. Whether nothing is left to be tried again.
fn rests(opened: &mut Opened) -> bool {
    let until = Instant::now() + Duration::from_secs(3);
    while Instant::now() < until {
        let Some(pause) = opened.store.wal().look_again() else {
            return true;
        };
        std::thread::sleep(pause);
        // Its error shows in `has_failed`.
        let _ = opened.store.tend_wal(&opened.shared, false);
    }
    false
}

#[test]
fn only_what_failed_is_tried_again_by_an_idle_writer() {
    let dir = tempfile::tempdir().expect("temp dir");
    let path = dir.path().join("s.db");
    let mut opened = open(&path).expect("opens");
    write(&mut opened, 0).expect("writes");
    assert!(rests(&mut opened));
    let other = rusqlite::Connection::open(&path).expect("opens");
    let reads = "BEGIN; SELECT count(*) FROM log";
    other.execute_batch(reads).expect("reads");
    (1..20).for_each(|base| write(&mut opened, base).expect("writes"));
    assert!(wal_bytes(&path) > 16 * MEGABYTE && !opened.store.wal().has_failed());
    assert!(rests(&mut opened), "the writer never sleeps");

    let failed = (20..80).any(|base| write(&mut opened, base).is_err());
    assert!(failed && opened.store.wal().has_failed());
    assert!(!rests(&mut opened) && opened.store.wal().has_failed());
    other.execute_batch("COMMIT").expect("ends");
    assert!(rests(&mut opened) && !opened.store.wal().has_failed());
}
