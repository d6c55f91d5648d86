//! Rows of a stopped shard that were damaged: every answer is right or `Corrupt`. Never does a
//! damaged row make its entity look new, restart its seqs or let an id be stored twice.

use std::path::PathBuf;

use rusqlite::Connection;

use crate::engine::testing::{self, KIND, Opened, open};
use crate::error::{Error, Result};
use crate::event::{GivenId, Packed};
use crate::hash::hash64;
use crate::index::ids::Stop;
use crate::log::rows;
use crate::reader::Direction;
use crate::reader::open_entities::open_entities;
use crate::reader::view::with_reader;
use crate::sqlite::{BUSY, Sums, empty_wal};
use crate::writer::command::{Answer, Command};

const ENTITIES: [&str; 3] = ["alice", "bob", "$warp/saga/s"];
const EVENTS: u64 = 12;
const ERASED: &str = "carol";

/// The one event of a row.
fn event(entity: &str, n: u64) -> String {
    format!("{{\"type\":\"T\",\"id\":\"id-{n}\",\"payload\":{{\"s\":\"of {entity}, {n}\"}}}}")
}

fn append(open: &mut Opened, entity: &str, n: u64, base: u64) -> Result<Answer> {
    let event = event(entity, n);
    let hash = hash64(format!("id-{n}").as_bytes());
    let packed = Packed::new(
        "A".into(),
        format!("[{event}]"),
        1,
        vec![(0, GivenId::Hash(hash))],
    );
    let answer = open.commit(testing::append(entity, base, packed))?;
    Ok(answer.expect("an append is answered"))
}

/// A stopped shard, and its bytes as they were.
struct Stopped {
    _dir: tempfile::TempDir,
    path: PathBuf,
    bytes: Vec<u8>,
}

impl Stopped {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("s.db");
        let mut opened = open(&path).expect("opens");
        for n in 1..=EVENTS {
            for entity in ENTITIES.into_iter().chain([ERASED]) {
                let answer = append(&mut opened, entity, n, n - 1).expect("commits");
                assert!(matches!(answer, Answer::Stored { .. }), "{answer:?}");
            }
        }
        let erase = Command::Erase {
            entity: ERASED.into(),
            from: None,
        };
        opened.commit(erase).expect("commits");
        opened.erase_all().expect("erases");
        opened.close().expect("closes");
        let bytes = std::fs::read(&path).expect("reads");
        let stopped = Self {
            _dir: dir,
            path,
            bytes,
        };
        assert!(!stopped.check("undamaged"), "undamaged, and still corrupt");
        stopped
    }

    fn restore(&self, bytes: &[u8]) {
        let dir = self.path.parent().expect("in a folder");
        for file in std::fs::read_dir(dir).expect("lists") {
            let _ = std::fs::remove_file(file.expect("entry").path());
        }
        std::fs::write(&self.path, bytes).expect("writes");
        // As if the pages had been written so: what is tested is what looks at rows.
        Sums::build(&self.path).expect("makes sums");
    }

    fn with_sql(&self, sql: &str) {
        self.restore(&self.bytes);
        let connection = Connection::open(&self.path).expect("opens");
        connection.execute_batch(sql).expect("damages");
        empty_wal(&connection, BUSY).expect("empties the WAL");
        drop(connection);
        Sums::build(&self.path).expect("makes sums");
    }

    /// Asks everything of every entity. Whether anything was found to be corrupt.
    fn check(&self, damage: &str) -> bool {
        let mut opened = match open(&self.path) {
            Ok(opened) => opened,
            Err(Error::Corrupt(_)) => return true,
            Err(error) => panic!("{damage}: {error:?}"),
        };
        let shared = std::sync::Arc::clone(&opened.shared);
        let mut corrupt = false;
        let mut found = |is_right: Result<bool>, what: &str| match is_right {
            Ok(is_right) => assert!(is_right, "{damage}: wrong {what}"),
            Err(Error::Corrupt(message)) => {
                corrupt = true;
                assert!(!message.text().is_empty());
            }
            Err(error) => panic!("{damage}: {what}: {error:?}"),
        };
        for entity in ENTITIES {
            let head = with_reader(&shared, |reader| reader.head(entity));
            found(
                head.map(|head| head.is_some_and(|head| head.seq == EVENTS)),
                "head",
            );
            for direction in [Direction::Forward, Direction::Backward] {
                let page = with_reader(&shared, |reader| {
                    reader.page(entity, 0, None, 99, direction)
                });
                found(page.map(|page| is_whole(entity, page.rows)), "page");
            }
            let stopped = |answer| {
                matches!(
                    answer,
                    Answer::Stopped {
                        why: Stop::Duplicates(_),
                        ..
                    }
                )
            };
            for n in [1, EVENTS / 2, EVENTS] {
                let answer = append(&mut opened, entity, n, EVENTS);
                found(answer.map(stopped), "append with a known id");
            }
            let anew = append(&mut opened, entity, 99, 0);
            let wrong_base = |answer| matches!(answer, Answer::WrongBase(EVENTS));
            found(anew.map(wrong_base), "append as if it were new");
        }
        let open = open_entities(&shared, KIND);
        found(
            open.map(|open| {
                open.ids == [ENTITIES[2]] || open.ids.is_empty() && open.broken.len() == 1
            }),
            "open entities",
        );
        let gone = with_reader(&shared, |reader| reader.head(ERASED));
        found(gone.map(|head| head.is_none()), "head of an erased entity");
        let (mut rows, mut live) = (0, 0);
        let followed = with_reader(&shared, |reader| {
            rows::each_after(reader.connection(), 0, |_, row, _| {
                rows += 1;
                live += u64::from(row?.is_some());
                Ok(true)
            })
        });
        // A row that is missing is not missed here: what was compacted away leaves gaps.
        let all = ENTITIES.len() as u64 * EVENTS;
        let is_whole = live == all || rows < all + EVENTS;
        found(followed.map(|()| is_whole), "following");
        corrupt
    }
}

fn is_whole(entity: &str, mut rows: Vec<rows::Row>) -> bool {
    rows.sort_by_key(|row| row.seq);
    let data = rows.into_iter().map(|row| row.data);
    data.eq((1..=EVENTS).map(|n| format!("[{}]", event(entity, n))))
}

/// Where the cell of that event's row is in the file, about.
fn place(bytes: &[u8], entity: &str, n: u64) -> std::ops::Range<usize> {
    let text = event(entity, n);
    let at = bytes
        .windows(text.len())
        .position(|window| window == text.as_bytes())
        .expect("is there");
    // In front of the data: sizes, position, types, names, numbers, checksum.
    at - 75..at + text.len() + 2
}

#[test]
fn no_bit_of_a_row_can_be_flipped_unnoticed() {
    let stopped = Stopped::new();
    let every = if std::env::var_os("WARP_LONG").is_some() {
        1
    } else {
        7
    };
    let mut noticed = 0;
    let mut nth = 0;
    for (entity, n) in [
        ("alice", 1),
        ("bob", 6),
        ("alice", EVENTS),
        (ENTITIES[2], EVENTS),
    ] {
        for at in place(&stopped.bytes, entity, n) {
            for bit in 0..8 {
                nth += 1;
                if nth % every != 0 {
                    continue;
                }
                let mut bytes = stopped.bytes.clone();
                *bytes.get_mut(at).expect("in the file") ^= 1 << bit;
                stopped.restore(&bytes);
                noticed += u32::from(stopped.check(&format!("{entity} {n}: bit {bit} of {at}")));
            }
        }
    }
    assert!(noticed > 500 / every, "only {noticed} were noticed");
}

#[test]
fn no_column_can_be_of_another_type_unnoticed() {
    let stopped = Stopped::new();
    let last = 4 * EVENTS;
    for position in [1, 2, 3, 21, 22, last - 3, last - 2, last - 1] {
        for column in [
            "entity",
            "aggregate",
            "seq",
            "count",
            "recorded_at",
            "prev",
            "checksum",
            "data",
        ] {
            for value in [
                format!("CAST({column} AS BLOB)"),
                format!("CAST({column} AS TEXT) || 'x'"),
                format!("zeroblob(octet_length({column}))"),
                format!("CAST({column} AS INTEGER) + 1"),
                "1.5".into(),
            ] {
                let sql = format!("UPDATE log SET {column} = {value} WHERE position = {position}");
                stopped.with_sql(&sql);
                assert!(stopped.check(&sql), "unnoticed: {sql}");
            }
        }
        let sql = format!(
            "UPDATE log SET entity = zeroblob(octet_length(entity)), checksum = 1 << 62 \
             WHERE position = {position}"
        );
        stopped.with_sql(&sql);
        assert!(stopped.check(&sql), "taken for erased: {sql}");
    }
}

#[test]
fn no_row_can_be_missing_unnoticed() {
    let stopped = Stopped::new();
    let last = 4 * EVENTS;
    for position in [1, 2, 22, last - 3, last - 2, last - 1] {
        let sql = format!("DELETE FROM log WHERE position = {position}");
        stopped.with_sql(&sql);
        assert!(stopped.check(&sql), "unnoticed: {sql}");
    }
    stopped.with_sql(&format!("DELETE FROM log WHERE position > {}", last - 8));
    assert!(matches!(open(&stopped.path), Err(Error::Corrupt(_))));
}

/// Rows of one entity in the place of others: each is sound by itself.
#[test]
fn an_index_that_leads_to_another_row_is_noticed() {
    let stopped = Stopped::new();
    for sql in [
        "UPDATE entities SET head = head - 4",
        "UPDATE entities SET head = head - 1",
        "UPDATE entities SET seq = seq - 1",
        "UPDATE ids SET position = position + 1",
    ] {
        stopped.with_sql(sql);
        assert!(stopped.check(sql), "unnoticed: {sql}");
    }
}

#[test]
fn compacting_deletes_only_what_was_erased() {
    let stopped = Stopped::new();
    stopped.with_sql(
        "UPDATE log SET entity = zeroblob(octet_length(entity)), checksum = 1 << 62
         WHERE position = 21;
         UPDATE meta SET value = 1 << 40 WHERE name = 'erased_bytes'",
    );
    assert!(stopped.check("an entity turned blob, and compacted"));
    let connection = Connection::open(&stopped.path).expect("opens");
    let left: i64 = connection
        .query_row("SELECT count(*) FROM log", [], |row| row.get(0))
        .expect("counts");
    let erased = i64::try_from(EVENTS).expect("few");
    // The last row stays, erased as it is.
    assert_eq!(left, 4 * erased - erased + 1);
}
