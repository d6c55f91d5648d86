//! Empty shards in place of ones that were lost, also by processes that end while they make one.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::handoff_tests::{A, B, Nodes, copy, note, read, work};
use super::testing::{Opened, identity_in, node};
use crate::error::{Error, Result};
use crate::files::Access;
use crate::handoff::{self, names};
use crate::log::kinds::Kinds;
use crate::reader::Followed;
use crate::reader::view::with_reader;
use crate::sqlite::sums::steps;
use crate::verify::{Folder, Part};

const CHILD: &str = "WARP_TEST_CREATE_CHILD";

/// What is wrong with a folder that nobody has open.
fn damage(dir: &Path) -> Vec<String> {
    let mut folder = Folder::open(dir, Kinds::default(), Some(vec![0])).expect("opened");
    let mut found = Vec::new();
    if let Some(mut checker) = folder.shard(0).expect("a shard") {
        while checker.part() != Part::Done {
            checker.step().expect("reads");
        }
        found.extend_from_slice(checker.findings().listed());
    }
    folder.records().expect("read");
    found.extend_from_slice(folder.findings().listed());
    found
}

/// The positions of the rows behind one, and where the log ends.
fn follow(opened: &Opened, after: i64) -> (Vec<i64>, i64) {
    let seen = with_reader(&opened.shared, |reader| {
        reader.follow(after, 1_000_000, &Followed::All)
    });
    let seen = seen.expect("followed");
    assert!(seen.at_end);
    (
        seen.rows.iter().map(|row| row.position).collect(),
        seen.last,
    )
}

#[test]
fn an_empty_shard_goes_on_behind_its_position() {
    for position in [0, 1, 300] {
        let nodes = Nodes::new();
        let path = nodes.path(A);
        let mut a = nodes.node(A);
        for _ in 0..2 {
            a.create(&path, position).expect("made");
        }
        assert!(!names::new(&path).exists());
        // A crash before it is opened.
        drop(a);
        assert_eq!(damage(nodes.dir(A)), Vec::<String>::new());
        let mut opened = nodes.open(nodes.node(A), A);
        assert_eq!(read(&mut opened), []);
        let sql = "SELECT count(*), coalesce(max(position), 0) FROM log
                   WHERE (entity, aggregate, data, checksum) = (x'', x'', x'', 1 << 62)";
        let log = opened.store.connection();
        let last = log.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)));
        assert_eq!(last.expect("read"), (position.min(1), position));
        for after in [0, position] {
            assert_eq!(follow(&opened, after), (vec![], position));
        }
        note(&mut opened, "alice", "first");
        assert_eq!(
            follow(&opened, position),
            (vec![position + 1], position + 1)
        );
        // Another one, before the file has it. Who is not sure makes the shard again.
        drop(opened);
        let mut again = nodes.node(A);
        again.create(&path, position).expect("is there already");
        let mut opened = nodes.open(again, A);
        assert_eq!(follow(&opened, 0), (vec![position + 1], position + 1));
        work(&mut opened, 1);
        let expected = read(&mut opened);
        assert!(expected.iter().all(|(at, ..)| *at > position));
        let mut a = opened.close_shard().expect("closed");
        assert!(matches!(a.create(&path, position), Err(Error::Io(_))));
        drop(a);
        assert_eq!(damage(nodes.dir(A)), Vec::<String>::new());
        assert!(read(&mut nodes.open(nodes.node(A), A)) == expected);
    }
}

/// With what a crash has left of the shard that was lost here.
#[test]
fn an_empty_shard_is_given_away_and_takes_the_place_of_a_lost_one() {
    let nodes = Nodes::new();
    let mut opened = nodes.open(nodes.node(A), A);
    work(&mut opened, 1);
    opened.apply().expect("applied");
    let wal = fs::read(nodes.path(A).with_extension("db-wal")).expect("read");
    assert!(wal.len() > 9000);
    let a = opened.close_shard().expect("closed");
    let known = a.journal.segments().known(0).expect("known");
    drop(a);
    handoff::discard(&nodes.path(A)).expect("discarded");
    fs::write(nodes.path(A).with_extension("db-wal"), wal).expect("written");
    // Positions that this journal has seen are not given again.
    let mut a = nodes.node(A);
    let older = a.create(&nodes.path(A), known - 1);
    assert!(matches!(older, Err(Error::Corrupt(_))));
    a.create(&nodes.path(A), known + 5).expect("made");
    let mut opened = nodes.open(a, A);
    assert_eq!(read(&mut opened), []);
    drop(opened.close_shard().expect("closed"));
    copy(&nodes.path(A), &nodes.path(B)).expect("copied");
    let mut b = nodes.node(B);
    b.adopt(&nodes.path(B)).expect("adopted");
    let mut opened = nodes.open(b, B);
    note(&mut opened, "alice", "first");
    assert_eq!(follow(&opened, 0), (vec![known + 6], known + 6));
}

#[test]
fn no_shard_and_no_copy_gives_way_to_an_empty_shard() {
    let nodes = Nodes::new();
    let (path, identity) = (nodes.path(A), identity_in(A));
    let never = |_| -> Result<()> { panic!("the journal was told") };
    let create = |position| handoff::create(&path, &identity, (position, Access::Owner), never);
    let files = || fs::read_dir(nodes.dir(A)).expect("listed").count();

    // A journal that cannot begin a segment.
    let full = handoff::create(&path, &identity, (7, Access::Owner), |_| {
        Err(Error::DiskFull)
    });
    assert!(matches!(full, Err(Error::DiskFull)));
    assert_eq!(files(), 0);

    fs::write(names::staged(&path), "a copy").expect("written");
    assert!(matches!(create(7), Err(Error::Io(_))));
    assert_eq!(
        fs::read(names::staged(&path)).expect("read"),
        b"a copy",
        "{}",
        files()
    );
    fs::remove_file(names::staged(&path)).expect("removed");

    fs::write(&path, "").expect("written");
    assert!(matches!(create(7), Err(Error::Corrupt(_))));
    fs::remove_file(&path).expect("removed");

    drop(nodes.open(nodes.node(A), A));
    for position in [1, 7] {
        assert!(matches!(create(position), Err(Error::Io(_))));
    }
    create(0).expect("is empty");
    for changed in [
        identity_in(B),
        crate::open::file::Identity {
            shard: 1,
            ..identity.clone()
        },
    ] {
        assert!(handoff::create(&path, &changed, (0, Access::Owner), never).is_err());
    }
    // One row that nobody has erased.
    let mut opened = nodes.open(nodes.node(A), A);
    note(&mut opened, "alice", "first");
    drop(opened.close_shard().expect("closed"));
    for position in [0, 1] {
        assert!(matches!(create(position), Err(Error::Io(_))));
    }
    for open in [path.clone(), names::staged(&path)] {
        let _claim = crate::sqlite::Claim::take(&open).expect("free");
        assert!(matches!(create(0), Err(Error::Claimed)));
    }
}

/// Run by the test below in a process of its own, which ends at some point between two steps.
#[test]
fn child() {
    let Some(task) = std::env::var_os(CHILD) else {
        return;
    };
    let task = task.into_string().expect("a text");
    let (points, dir) = task.split_once(' ').expect("two words");
    let dir = Path::new(dir);
    let mut node = node(dir, A).expect("opened");
    steps::abort_after(points.parse().expect("a number"));
    node.create(&dir.join("shard-0000.db"), 300).expect("made");
}

#[test]
fn a_creation_that_ends_at_any_point_is_done_again() {
    let mut ends = 0;
    for points in 1.. {
        let nodes = Nodes::new();
        let child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "engine::create_tests::child", "--nocapture"])
            .env(CHILD, format!("{points} {}", nodes.dir(A).display()))
            .output()
            .expect("runs");
        let is_there = nodes.path(A).exists();
        let mut a = nodes.node(A);
        // What has its name is complete, and the journal knows of it.
        if is_there {
            assert_eq!(a.journal.segments().known(0), Some(300), "{points}");
            assert_eq!(damage(nodes.dir(A)), Vec::<String>::new());
        }
        if points % 2 == 0 {
            a.journal.segments().forget(0);
        }
        a.create(&nodes.path(A), 300)
            .unwrap_or_else(|error| panic!("{points}: {error}"));
        // Another crash, before it is opened.
        drop(a);
        let mut opened = nodes.open(nodes.node(A), A);
        assert_eq!(read(&mut opened), [], "{points}");
        note(&mut opened, "alice", "first");
        assert_eq!(follow(&opened, 0), (vec![301], 301), "{points}");
        if child.status.success() {
            break;
        }
        assert!(
            child.status.code().is_none(),
            "{}",
            String::from_utf8_lossy(&child.stderr)
        );
        ends += 1;
    }
    assert!(ends >= 5, "{ends}");
}
