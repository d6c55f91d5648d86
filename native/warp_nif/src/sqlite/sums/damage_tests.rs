//! Files that were damaged: every query gives the right answer or an error, and nothing else.

use std::path::Path;

use rusqlite::types::Value;

use super::checks::Part;
use super::table::PAGE;
use super::testing::{
    self, Files, QUERIES, READS, Random, change, check, create, expected, rows, sums_of, wal_of,
};
use super::{Sums, open_with_sums};
use crate::error::{Error, Result};

const CHANGES: i64 = 60;

/// A database that was stopped, and what it was at some time before.
struct Stopped {
    dir: tempfile::TempDir,
    older: Files,
    files: Files,
    answers: Vec<Vec<Vec<Value>>>,
}

impl Stopped {
    /// With the last changes in the WAL, if asked for.
    fn new(with_wal: bool) -> Self {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("shard-0000.db");
        let (connection, _sums) = create(&path).expect("created");
        let mut older = None;
        for n in 1..=CHANGES {
            change(&connection, n).expect("changes");
            let last_in_wal = with_wal && n > CHANGES - 10;
            if n % 7 == 0 && !last_in_wal {
                rows(&connection, "PRAGMA wal_checkpoint(TRUNCATE)").expect("moved");
                older.get_or_insert_with(|| Files::of(&path));
            }
        }
        if !with_wal {
            rows(&connection, "PRAGMA wal_checkpoint(TRUNCATE)").expect("moved");
        }
        let files = Files::of(&path);
        drop(connection);
        Self {
            dir: tempfile::tempdir().expect("temp dir"),
            older: older.expect("moved"),
            files,
            answers: expected(CHANGES),
        }
    }

    /// Asks everything of damaged files, each time with nothing in memory. How many answers were errors.
    fn ask(&self, files: &Files, what: &str) -> usize {
        let path = self.dir.path().join("shard-0000.db");
        let mut errors = 0;
        files.put(&path);
        for (query, answer) in QUERIES.iter().zip(&self.answers) {
            match answer_of(&path, query) {
                Ok(found) => assert!(found == *answer, "{what}: a wrong answer to {query}"),
                Err(error) => {
                    assert!(is_damage(&error), "{what}: {error:?}");
                    errors += 1;
                }
            }
        }
        errors
    }
}

fn answer_of(path: &Path, query: &str) -> Result<Vec<Vec<Value>>> {
    let sums = Sums::open(path)?;
    let connection = open_with_sums(path, READS, &sums)?;
    rows(&connection, query)
}

fn is_damage(error: &Error) -> bool {
    matches!(error, Error::Corrupt(_))
}

/// One thing that a disk may do to a file.
fn damage(bytes: &mut Vec<u8>, older: &[u8], random: &mut Random) -> String {
    let pages = bytes.len() / PAGE;
    let (page, other) = (random.below(pages), random.below(pages));
    let at = |page: usize| page * PAGE..(page + 1) * PAGE;
    match random.below(9) {
        0 | 1 => {
            let (byte, bit) = (random.below(bytes.len()), random.below(8));
            bytes[byte] ^= 1 << bit;
            format!("bit {bit} of byte {byte} flipped")
        }
        2 => {
            let (byte, value) = (random.below(bytes.len()), random.below(256));
            bytes[byte] = value as u8;
            format!("byte {byte} set to {value}")
        }
        3 => {
            bytes[at(page)].fill(0);
            format!("page {} zeroed", page + 1)
        }
        4 => {
            let (from, length) = (random.below(bytes.len()), random.below(600));
            for byte in bytes.iter_mut().skip(from).take(length) {
                *byte = random.below(256) as u8;
            }
            format!("{length} bytes from {from} on overwritten")
        }
        5 => {
            let kept = bytes[at(page)].to_vec();
            bytes.copy_within(at(other), at(page).start);
            bytes[at(other)].copy_from_slice(&kept);
            format!("pages {} and {} swapped", page + 1, other + 1)
        }
        6 => {
            let page = random.below(older.len() / PAGE);
            bytes[at(page)].copy_from_slice(&older[at(page)]);
            format!("page {} as it was before", page + 1)
        }
        7 => {
            bytes.copy_within(at(page), at(other).start);
            format!("page {} written to {} as well", page + 1, other + 1)
        }
        _ => {
            let length = random.below(bytes.len());
            bytes.truncate(length);
            format!("cut to {length} bytes")
        }
    }
}

fn damage_many(with_wal: bool, seed: u64, places: usize) {
    let stopped = Stopped::new(with_wal);
    assert_eq!(!stopped.files.wal.is_empty(), with_wal);
    assert_eq!(stopped.ask(&stopped.files, "not damaged"), 0);
    let mut random = Random(seed);
    let mut found = 0;
    for place in 0..places {
        let mut files = stopped.files.clone();
        let what = if place % 3 == 0 {
            format!(
                "sums: {}",
                damage(&mut files.sums, &stopped.older.sums, &mut random)
            )
        } else {
            format!(
                "database: {}",
                damage(&mut files.database, &stopped.older.database, &mut random)
            )
        };
        found += usize::from(stopped.ask(&files, &what) > 0);
    }
    // Not every damage is met: a page may be as it was, or stand in the WAL.
    assert!(found > places / 4, "{found} of {places} found");
}

fn places() -> usize {
    if std::env::var_os("WARP_LONG").is_some() {
        5000
    } else {
        400
    }
}

#[test]
fn no_damage_of_a_stopped_database_gives_a_wrong_answer() {
    damage_many(false, 1, places());
}

#[test]
fn no_damage_gives_a_wrong_answer_while_the_wal_holds_changes() {
    damage_many(true, 2, places());
}

#[test]
fn every_page_of_the_database_is_covered() {
    let stopped = Stopped::new(false);
    let mut unmet = 0;
    for page in 0..stopped.files.database.len() / PAGE {
        let mut files = stopped.files.clone();
        files.database[page * PAGE + 2000] ^= 4;
        let path = stopped.dir.path().join("shard-0000.db");
        files.put(&path);
        let sums = Sums::open(&path).expect("opens");
        let mut bytes = vec![0; PAGE];
        bytes.copy_from_slice(&files.database[page * PAGE..(page + 1) * PAGE]);
        assert!(
            sums.check(Part::Database, (page * PAGE) as u64, &bytes)
                .is_err_and(|words| {
                    words.contains(&format!("page {} of shard-0000.db", page + 1))
                })
        );
        unmet += usize::from(stopped.ask(&files, "one page") == 0);
    }
    // Those in the list of free pages.
    assert!(unmet < 20, "{unmet} pages were not met");
}

#[test]
fn the_error_names_the_file_and_the_page() {
    let stopped = Stopped::new(false);
    let mut files = stopped.files.clone();
    // Page 2 is the root of the table meta.
    files.database[PAGE + 4000] ^= 1;
    let path = stopped.dir.path().join("shard-0000.db");
    files.put(&path);
    let error = answer_of(&path, "SELECT * FROM meta").expect_err("damaged");
    let Error::Corrupt(reason) = error else {
        panic!("{error:?}");
    };
    assert!(
        reason
            .text()
            .starts_with("page 2 of shard-0000.db (bytes 4096 to 8191) does not fit")
    );
    assert!(answer_of(&path, "SELECT * FROM snapshots").is_ok());

    // SQLite would read past the check a file that it maps into memory.
    let sums = Sums::open(&path).expect("opens");
    let connection = open_with_sums(&path, READS, &sums).expect("opens");
    rows(&connection, "PRAGMA mmap_size = 100000000").expect("set");
    assert!(rows(&connection, "SELECT * FROM meta").is_err_and(|error| is_damage(&error)));

    // The schema is read when a statement is prepared.
    let mut files = stopped.files.clone();
    files.database[4000] ^= 1;
    files.put(&path);
    let error = answer_of(&path, "SELECT * FROM meta").expect_err("damaged");
    assert!(
        error.to_string().contains("page 1 of shard-0000.db"),
        "{error}"
    );
}

#[test]
fn a_transaction_that_meets_a_damaged_page_goes_on_without_the_statement() {
    let stopped = Stopped::new(false);
    let mut files = stopped.files.clone();
    files.database[PAGE + 4000] ^= 1;
    let path = stopped.dir.path().join("shard-0000.db");
    files.put(&path);
    let (connection, _sums) = testing::open(&path).expect("opens");
    connection
        .execute_batch("BEGIN IMMEDIATE; INSERT INTO snapshots VALUES (77, x'00')")
        .expect("inserted");
    assert!(testing::done(&connection).is_err_and(|error| is_damage(&error)));
    assert!(!connection.is_autocommit());
    connection.execute_batch("COMMIT").expect("commits");
    assert_eq!(
        rows(&connection, "SELECT count(*) FROM snapshots").expect("read"),
        [[Value::Integer(11)]]
    );
}

#[test]
fn sums_that_are_older_another_files_or_not_there_are_found() {
    let stopped = Stopped::new(false);
    let other = Stopped::new(false);
    let mut files = stopped.files.clone();
    files.sums.clone_from(&stopped.older.sums);
    assert!(stopped.ask(&files, "older sums") > 0);
    // The id of another file, and sums that would fit.
    files.sums.clone_from(&stopped.files.sums);
    files.sums[..32].copy_from_slice(&other.files.sums[..32]);
    assert_eq!(stopped.ask(&files, "sums of another file"), QUERIES.len());

    let path = stopped.dir.path().join("shard-0000.db");
    stopped.files.put(&path);
    std::fs::remove_file(sums_of(&path)).expect("removed");
    assert!(Sums::find(&path).expect("looked").is_none());
    let error = Sums::open(&path).err().expect("refused");
    assert!(
        is_damage(&error)
            && error
                .to_string()
                .contains("shard-0000.sums: this file is missing")
    );
    assert!(!sums_of(&path).exists());
}

#[test]
fn a_database_as_it_was_before_is_found() {
    let stopped = Stopped::new(false);
    let mut files = stopped.files.clone();
    files.database.clone_from(&stopped.older.database);
    assert!(stopped.ask(&files, "older database") > 0);
}

#[test]
fn sums_are_made_for_a_copy_and_for_a_database_without() {
    let stopped = Stopped::new(true);
    let path = stopped.dir.path().join("shard-0000.db");
    stopped.files.put(&path);
    std::fs::remove_file(sums_of(&path)).expect("removed");
    // Something stands in the WAL.
    let refused = Sums::build(&path).err().expect("refused");
    assert!(is_damage(&refused), "{refused:?}");
    assert!(!sums_of(&path).exists());

    let plain = rusqlite::Connection::open(&path).expect("opens");
    let copy = stopped.dir.path().join("shard-0001.db");
    plain
        .execute("VACUUM INTO ?1", [copy.to_str()])
        .expect("copied");
    rows(&plain, "PRAGMA wal_checkpoint(TRUNCATE)").expect("moved");
    drop(plain);
    drop(Sums::build(&path).expect("made"));
    let _ = std::fs::remove_file(wal_of(&path));
    for path in [path, copy] {
        let (connection, _sums) = testing::open(&path).expect("opens");
        for (query, answer) in QUERIES.iter().zip(&stopped.answers) {
            assert!(rows(&connection, query).expect("answers") == *answer);
        }
        change(&connection, CHANGES + 1).expect("changes");
        check(&connection).expect("checks");
        drop(connection);
        assert!(sums_of(&path).exists());
        let (connection, _sums) = testing::open(&path).expect("opens");
        check(&connection).expect("checks");
    }
}

#[test]
fn no_damage_of_the_wal_gives_a_wrong_answer_while_it_is_open() {
    let dir = tempfile::tempdir().expect("temp dir");
    let path = dir.path().join("shard-0000.db");
    let (connection, sums) = create(&path).expect("created");
    for n in 1..=CHANGES {
        change(&connection, n).expect("changes");
        if n == CHANGES - 10 {
            rows(&connection, "PRAGMA wal_checkpoint(TRUNCATE)").expect("moved");
        }
    }
    let answers = expected(CHANGES);
    let wal = std::fs::read(wal_of(&path)).expect("read");
    let mut random = Random(3);
    let mut found = 0;
    for place in 0..places() / 2 {
        let mut damaged = wal.clone();
        let frame = |n: usize| 32 + n * (24 + PAGE) + 24;
        let page = random.below((wal.len() - 32) / (24 + PAGE));
        match place % 4 {
            0 => damaged[frame(page) + random.below(PAGE)] ^= 1 << random.below(8),
            1 => damaged[frame(page)..frame(page) + PAGE].fill(0),
            2 => damaged.copy_within(frame(0)..frame(0) + PAGE, frame(page)),
            _ => damaged.truncate(frame(page)),
        }
        // As a disk does it: the file stays the one that is open.
        write_over(&wal_of(&path), &damaged);
        let mut errors = 0;
        for (query, answer) in QUERIES.iter().zip(&answers) {
            let reader = open_with_sums(&path, READS, &sums).expect("opens");
            match rows(&reader, query) {
                Ok(found) => assert!(found == *answer, "{place}: a wrong answer to {query}"),
                Err(error) => {
                    assert!(is_damage(&error), "{place}: {error:?}");
                    errors += 1;
                }
            }
        }
        found += usize::from(errors > 0);
        if errors > 0 {
            // Nor does it get into the database.
            let moved = rows(&connection, "PRAGMA wal_checkpoint(PASSIVE)");
            assert!(moved.is_err_and(|error| is_damage(&error)), "{place}");
        }
        write_over(&wal_of(&path), &wal);
    }
    assert!(found > places() / 20, "{found} found");
    rows(&connection, "PRAGMA wal_checkpoint(TRUNCATE)").expect("moved");
    for (query, answer) in QUERIES.iter().zip(&answers) {
        assert!(rows(&connection, query).expect("answers") == *answer);
    }
    change(&connection, CHANGES + 1).expect("changes");
    check(&connection).expect("checks");
}

fn write_over(path: &Path, bytes: &[u8]) {
    use std::os::unix::fs::FileExt;
    let file = std::fs::OpenOptions::new()
        .write(true)
        .open(path)
        .expect("opens");
    file.set_len(bytes.len() as u64).expect("cut");
    file.write_all_at(bytes, 0).expect("written");
}
