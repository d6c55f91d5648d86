//! Processes that end in the middle of a checkpoint, syncs that fail, and readers beside a checkpoint.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rusqlite::Connection;

use super::table::PAGE;
use super::testing::{
    self, Files, QUERIES, READS, Random, change, check, create, done, expected, rows,
};
use super::{Sums, open_with_sums, steps};
use crate::error::{Error, Result};

const CHILD: &str = "WARP_TEST_SUMS_CHILD";

fn rounds() -> u64 {
    if std::env::var_os("WARP_LONG").is_some() {
        1500
    } else {
        120
    }
}

/// Run by the test below in a process of its own, which ends at some point between two changes of the files.
#[test]
fn child() {
    let Some(task) = std::env::var_os(CHILD) else {
        return;
    };
    let task = task.into_string().expect("a text");
    let mut words = task.splitn(3, ' ');
    let mut number = || {
        words
            .next()
            .and_then(|n| n.parse::<u64>().ok())
            .expect("a number")
    };
    let (seed, points) = (number(), number());
    let path = Path::new(words.next().expect("a path"));
    steps::abort_after(points);
    work(path, seed).expect("works");
}

fn work(path: &Path, seed: u64) -> Result<()> {
    let mut random = Random(seed);
    let is_new = std::fs::metadata(path).is_ok_and(|found| found.len() == 0);
    let (connection, _sums) = if is_new {
        create(path)?
    } else {
        testing::open(path)?
    };
    let mut n = done(&connection)?;
    loop {
        n += 1;
        change(&connection, n)?;
        match random.below(12) {
            0 | 1 => drop(rows(&connection, "PRAGMA wal_checkpoint(PASSIVE)")?),
            2 => drop(rows(&connection, "PRAGMA wal_checkpoint(RESTART)")?),
            3 => drop(rows(&connection, "PRAGMA wal_checkpoint(TRUNCATE)")?),
            4 if n % 3 == 0 => connection.execute_batch("VACUUM")?,
            _ => {}
        }
    }
}

#[test]
fn a_process_that_ends_at_any_point_leaves_files_that_fit() {
    let dir = tempfile::tempdir().expect("temp dir");
    let path = dir.path().join("shard-0000.db");
    let mut random = Random(7);
    let (mut last, mut overwritten) = (0, 0);
    for round in 0..rounds() {
        if round % 40 == 0 {
            // From the beginning: the first rounds end while the database is made.
            for suffix in ["sums", "db-wal", "db-shm", "db-journal"] {
                let _ = std::fs::remove_file(path.with_extension(suffix));
            }
            std::fs::write(&path, "").expect("written");
            last = 0;
        }
        let points = if round % 40 < 12 {
            round % 40 * 2 + 1
        } else {
            random.below(900) as u64 + 1
        };
        let child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "sqlite::sums::crash_tests::child", "--nocapture"])
            .env(CHILD, format!("{round} {points} {}", path.display()))
            .output()
            .expect("runs");
        assert!(
            child.status.code().is_none(),
            "{}",
            String::from_utf8_lossy(&child.stderr)
        );
        finish_creation(&path);
        if std::fs::metadata(&path).expect("is there").len() == 0 {
            continue;
        }
        if round % 2 == 0 {
            overwritten += overwrite_what_the_wal_has(&path, &mut random);
        }
        let (connection, _sums) =
            testing::open(&path).unwrap_or_else(|error| panic!("{round}: {error}"));
        check(&connection).unwrap_or_else(|error| panic!("{round}: {error}"));
        let changes = done(&connection).expect("answers");
        assert!(changes >= last, "{changes} changes, and there were {last}");
        last = changes;
        for (query, answer) in QUERIES.iter().zip(expected(changes)) {
            assert!(
                rows(&connection, query).expect("answers") == answer,
                "{round}: {query}"
            );
        }
        // The next process finds the WAL as this one has left it.
        if round % 3 == 0 {
            let setting = rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
            connection.set_db_config(setting, true).expect("set");
        }
    }
    assert!(overwritten > rounds() as usize * 5, "{overwritten} pages");
}

/// As a shard is opened: a creation that was cut short is rolled back.
fn finish_creation(path: &Path) {
    if path.with_extension("db-journal").exists() {
        let connection = Connection::open(path).expect("opens");
        rows(&connection, "SELECT count(*) FROM sqlite_master").expect("rolls back");
    }
}

/// Makes garbage of every page that stands in the WAL, and of its sum: it was just being written. How many.
fn overwrite_what_the_wal_has(path: &Path, random: &mut Random) -> usize {
    let mut files = Files::of(path);
    let pages = pages_in(&files.wal);
    for page in &pages {
        let from = (page - 1) * PAGE;
        let half = from + random.below(2) * PAGE / 2;
        if let Some(bytes) = files.database.get_mut(half..from + PAGE) {
            bytes.fill(random.below(256) as u8);
        }
        if let Some(sum) = files.sums.get_mut(PAGE + 8 * (page - 1)..PAGE + 8 * page) {
            sum.fill(random.below(256) as u8);
        }
    }
    files.put(path);
    pages.len()
}

/// The pages in the WAL's transactions, as its format says: up to the first frame that does not fit.
fn pages_in(wal: &[u8]) -> BTreeSet<usize> {
    let mut pages = BTreeSet::new();
    if wal.len() < 32 {
        return pages;
    }
    let big_endian = wal[3] & 1 == 1;
    let mut sum = add_to(big_endian, (0, 0), &wal[..24]);
    let mut open = Vec::new();
    for frame in wal[32..].chunks_exact(24 + PAGE) {
        sum = add_to(
            big_endian,
            add_to(big_endian, sum, &frame[..8]),
            &frame[24..],
        );
        if frame[8..16] != wal[16..24] || (word(frame, 16), word(frame, 20)) != sum {
            break;
        }
        open.push(word(frame, 0) as usize);
        if word(frame, 4) > 0 {
            pages.extend(open.drain(..));
        }
    }
    pages
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().expect("4 bytes"))
}

/// SQLite's checksum of a WAL, continued.
fn add_to(big_endian: bool, mut sum: (u32, u32), bytes: &[u8]) -> (u32, u32) {
    let word = |at: usize| match big_endian {
        true => word(bytes, at),
        false => word(bytes, at).swap_bytes(),
    };
    for at in (0..bytes.len()).step_by(8) {
        sum.0 = sum.0.wrapping_add(word(at)).wrapping_add(sum.1);
        sum.1 = sum.1.wrapping_add(word(at + 4)).wrapping_add(sum.0);
    }
    sum
}

#[test]
fn readers_beside_a_checkpoint_find_every_page_fitting() {
    let dir = tempfile::tempdir().expect("temp dir");
    let path = dir.path().join("shard-0000.db");
    let (connection, sums) = create(&path).expect("created");
    change(&connection, 1).expect("changes");
    // Readers that overlap keep some checkpoints from ending, however long those wait.
    connection
        .busy_timeout(Duration::from_millis(500))
        .expect("set");
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    let reader = open_with_sums(&path, READS, &sums).expect("opens");
                    // Nothing stays in memory, so that each read is one of the file.
                    reader.execute_batch("PRAGMA cache_size = 1").expect("set");
                    let mut reads = 0;
                    while !ended.load(Ordering::Relaxed) {
                        let read = reader.unchecked_transaction().expect("begins");
                        let changes = done(&read).expect("answers");
                        let sql = "SELECT count(*) FROM ids NOT INDEXED";
                        let ids = rows(&read, sql).expect("answers");
                        assert_eq!(ids, [[(changes * 8).into()]]);
                        rows(&read, QUERIES[2]).expect("answers");
                        reads += 1;
                    }
                    reads
                })
            })
            .collect();
        for n in 2..=120 {
            change(&connection, n).expect("changes");
            let mode = ["PASSIVE", "FULL", "RESTART", "PASSIVE", "TRUNCATE"][n as usize % 5];
            rows(&connection, &format!("PRAGMA wal_checkpoint({mode})")).expect("moves");
            if n % 50 == 0 {
                connection.execute_batch("VACUUM").expect("rewrites");
            }
        }
        ended.store(true, Ordering::Relaxed);
        for reader in readers {
            assert!(reader.join().expect("ends well") > 10);
        }
    });
    check(&connection).expect("checks");
}

#[test]
fn sums_that_cannot_be_written_fail_the_checkpoint_and_lose_nothing() {
    let dir = tempfile::tempdir().expect("temp dir");
    let path = dir.path().join("shard-0000.db");
    let (connection, sums) = create(&path).expect("created");
    for n in 1..=20 {
        change(&connection, n).expect("changes");
    }
    let kept = sums.exchange_file(std::fs::File::open(sums.path()).expect("opens"));
    let failed = rows(&connection, "PRAGMA wal_checkpoint(TRUNCATE)").expect_err("fails");
    assert!(
        matches!(&failed, Error::Io(reason) if reason.text().contains("shard-0000.sums: ")),
        "{failed:?}"
    );
    let wal = std::fs::metadata(testing::wal_of(&path)).expect("is there");
    assert!(wal.len() > 0);
    check(&connection).expect("checks");
    sums.exchange_file(kept);
    rows(&connection, "PRAGMA wal_checkpoint(TRUNCATE)").expect("moved");
    drop((connection, sums));
    let (connection, _sums) = testing::open(&path).expect("opens");
    check(&connection).expect("checks");
    assert_eq!(done(&connection).expect("answers"), 20);
}

#[test]
fn a_database_that_grows_and_shrinks_keeps_its_sums() {
    let dir = tempfile::tempdir().expect("temp dir");
    let path = dir.path().join("shard-0000.db");
    let (connection, sums) = create(&path).expect("created");
    let length = || std::fs::metadata(sums.path()).expect("is there").len();
    let short = length();
    connection
        .execute_batch(
            "CREATE TABLE big (x); WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n
        WHERE i < 3000) INSERT INTO big SELECT randomblob(3000) FROM n",
        )
        .expect("grows");
    rows(&connection, "PRAGMA wal_checkpoint(TRUNCATE)").expect("moved");
    assert!(length() > short);
    connection
        .execute_batch("DROP TABLE big; VACUUM")
        .expect("shrinks");
    rows(&connection, "PRAGMA wal_checkpoint(TRUNCATE)").expect("moved");
    let files = Files::of(&path);
    let sums_behind = &files.sums[PAGE + files.database.len() / PAGE * 8..];
    assert!(sums_behind.iter().all(|byte| *byte == 0));
    change(&connection, 1).expect("changes");
    drop(connection);
    let (connection, _sums) = testing::open(&path).expect("opens");
    connection
        .execute_batch("CREATE TABLE big (x); INSERT INTO big VALUES (zeroblob(9000000))")
        .expect("grows");
    drop(connection);
    // A file of sums that ends too early, even where a block ends, was cut.
    let mut cut = Files::of(&path);
    let all = std::mem::take(&mut cut.sums);
    cut.sums.extend(&all[..PAGE + 4096]);
    cut.put(&path);
    assert!(Sums::find(&path).is_err_and(|error| matches!(error, Error::Corrupt(_))));
    cut.sums = all;
    cut.put(&path);
    let (connection, _sums) = testing::open(&path).expect("opens");
    check(&connection).expect("checks");
    let bytes =
        rows(&connection, "SELECT length(x), hex(substr(x, -2)) FROM big").expect("answers");
    assert_eq!(bytes, [[9_000_000.into(), "0000".to_owned().into()]]);
}

#[test]
fn pages_of_another_size_are_refused() {
    let dir = tempfile::tempdir().expect("temp dir");
    let path = dir.path().join("shard-0000.db");
    std::fs::write(&path, "").expect("written");
    let sums = Sums::create(&path).expect("made");
    let connection = open_with_sums(&path, testing::WRITES, &sums).expect("opens");
    let made = connection.execute_batch("PRAGMA page_size = 1024; CREATE TABLE t (x)");
    assert!(made.is_err_and(|error| Error::from(error).to_string().contains("another size")));
}
