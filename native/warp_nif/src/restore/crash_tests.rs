//! Processes that end in the middle of a restore, again and again, until one gets through.

use std::path::Path;
use std::process::Command;

use rusqlite::{Connection, OpenFlags};

use super::testing::{Saved, Saver};
use crate::open::file::roll_back;
use crate::sqlite::sums::steps;
use crate::sqlite::{Sums, open_with_sums};

const CHILD: &str = "WARP_TEST_RESTORE_CHILD";
const SHARDS: u32 = 3;
/// What two restores of one backup have in common: all but the numbers of the journal and of the aggregates.
const QUERIES: [&str; 8] = [
    "SELECT * FROM log ORDER BY position",
    "SELECT hash, incarnation, seq, head, rows,
            (SELECT group_concat(name) FROM
              (SELECT name FROM aggregates AS known WHERE entities.aggregates >> number & 1 ORDER BY name))
     FROM entities ORDER BY hash, incarnation",
    "SELECT * FROM marks ORDER BY incarnation, seq",
    "SELECT * FROM ids ORDER BY incarnation, hash, position",
    "SELECT * FROM open_sagas ORDER BY incarnation",
    "SELECT * FROM closed_sagas ORDER BY incarnation",
    "SELECT * FROM keys ORDER BY position",
    "SELECT * FROM meta WHERE name <> 'journal' ORDER BY name",
];

fn restores() -> u64 {
    if std::env::var_os("WARP_LONG").is_some() {
        60
    } else {
        5
    }
}

/// Entities with many rows and with few, and sagas that are closed long after they were begun, which frees pages.
pub fn saved() -> Saved {
    let mut saver = Saver::new(SHARDS);
    for n in 0..9000u64 {
        let data = |kind: &str, more: &str| {
            let pad = "x".repeat((n % 97) as usize);
            format!(r#"[{{"type":"{kind}","payload":{{"n":{n},"pad":"{pad}"}}{more}}}]"#)
        };
        let id = format!(r#","id":"order {n}","aggregate":"Other""#);
        saver.row((&format!("order-{}", n % 700), "Order"), data("Paid", &id));
        if n < 4000 {
            saver.row((&format!("saga-{n}"), "Plan"), data("Begun", ""));
        } else if n < 8000 {
            let name = format!("saga-{}", n - 4000);
            saver.row((&name, "End"), data("Ended", ""));
        }
        if n % 400 == 0 {
            saver.row(("large", "Large"), data(&"long ".repeat(4000), ""));
            saver.cut();
        }
    }
    saver.end()
}

/// Run by the test below in a process of its own, which ends at some point between two changes of the files.
#[test]
fn child() {
    let Some(task) = std::env::var_os(CHILD) else {
        return;
    };
    let task = task.into_string().expect("a text");
    let (points, dir) = task.split_once(' ').expect("two words");
    let saved = saved();
    steps::abort_after(points.parse().expect("a number"));
    let restoring = saved.restoring(Path::new(dir));
    saved.restore(&restoring).expect("restored");
    restoring.finish().expect("finished");
}

#[test]
fn a_restore_that_ends_at_any_point_goes_on_with_the_same_result() {
    let saved = saved();
    let whole = tempfile::tempdir().expect("temp dir");
    let restoring = saved.restoring(whole.path());
    saved.restore(&restoring).expect("restored");
    restoring.finish().expect("finished");
    let expected = tables(whole.path());
    let rows = saved.rows.len();
    assert_eq!(expected.iter().map(|of| of[0].len()).sum::<usize>(), rows);
    let (mut kills, mut resumed) = (0, 0);
    for round in 0..restores() {
        let dir = tempfile::tempdir().expect("temp dir");
        for attempt in 1.. {
            // An odd number that grows, so that the ends differ and one gets through.
            let points = (round * 37 + attempt * attempt * 11) % 400 + attempt * 23;
            if ends(dir.path(), points) {
                break;
            }
            kills += 1;
            resumed += i64::from(sound(dir.path()) > 0);
        }
        assert!(
            tables(dir.path()) == expected,
            "round {round}: another result"
        );
        let mut left: Vec<_> = std::fs::read_dir(dir.path())
            .expect("read")
            .map(|entry| entry.expect("an entry").file_name())
            .filter(|name| !name.to_string_lossy().ends_with(".db"))
            .filter(|name| !name.to_string_lossy().ends_with(".sums"))
            .collect();
        left.sort();
        assert_eq!(left, [""; 0]);
    }
    println!("{kills} kills, {resumed} of them with something to go on with");
    assert!(
        kills > 10 && resumed > 3,
        "{kills} kills, {resumed} resumed"
    );
}

/// Whether a process gets through that ends after so many points.
fn ends(dir: &Path, points: u64) -> bool {
    let child = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "restore::crash_tests::child", "--nocapture"])
        .env(CHILD, format!("{points} {}", dir.display()))
        .output()
        .expect("runs");
    let said = String::from_utf8_lossy(&child.stderr);
    assert!(
        child.status.success() || child.status.code().is_none(),
        "{said}"
    );
    child.status.success()
}

/// Every page fits, and each shard has all rows up to where it says that it was brought. The sum of these positions.
fn sound(dir: &Path) -> i64 {
    let mut all = 0;
    for shard in 0..SHARDS {
        let path = dir.join(format!("shard-{shard:04}.db"));
        roll_back(&path).expect("undone");
        if std::fs::metadata(&path).map_or(0, |found| found.len()) == 0 {
            continue;
        }
        let file = open(&path);
        let one = |sql: &str| -> i64 { file.query_row(sql, [], |row| row.get(0)).expect(sql) };
        let to = one("SELECT value FROM meta WHERE name = 'flushed'");
        assert_eq!(one("SELECT coalesce(max(position), 0) FROM log"), to);
        assert_eq!(one("SELECT count(*) FROM log"), to);
        assert_eq!(one("SELECT value FROM meta WHERE name = 'keyed'"), to);
        all += to;
    }
    all
}

/// Opens a shard and reads all of its pages but the free ones, which say nothing.
fn open(path: &Path) -> Connection {
    let sums = Sums::find(path).expect("read").expect("is there");
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE;
    let file = open_with_sums(path, flags, &sums).expect("opened");
    let check: String = file
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .expect("checked");
    assert_eq!(check, "ok");
    file
}

/// All that the shards of a folder have, by query; and every page fits, also free ones.
pub fn tables(dir: &Path) -> Vec<Vec<Vec<String>>> {
    let of_shard = |shard: u32| {
        let file = open(&dir.join(format!("shard-{shard:04}.db")));
        let mode: String = file
            .query_row("PRAGMA journal_mode", [], |row| row.get(0))
            .expect("a mode");
        assert_eq!(mode, "wal");
        let pages = "SELECT count(data) FROM sqlite_dbpage";
        let pages: i64 = file.query_row(pages, [], |row| row.get(0)).expect("fit");
        assert!(pages > 20);
        let table = |query: &&str| {
            let mut statement = file.prepare(query).expect("a query");
            let columns = statement.column_count();
            let rows = statement.query_map([], |row| {
                let values = (0..columns).map(|at| Ok(format!("{:?}", row.get_ref(at)?)));
                values.collect::<rusqlite::Result<Vec<_>>>()
            });
            let rows = rows.expect("rows").map(|row| row.expect("a row").join(","));
            rows.collect()
        };
        QUERIES.iter().map(table).collect()
    };
    (0..SHARDS).map(of_shard).collect()
}
