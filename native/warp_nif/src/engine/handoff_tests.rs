//! Shards that go from one node to another and come back.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::testing::{self, Node, Opened, append, identity_in, node};
use super::verify_tests::check;
use crate::error::{Error, Result};
use crate::event::Packed;
use crate::files::Access;
use crate::handoff::{self, Outline, Stage, names};
use crate::log::SnapshotRow;
use crate::writer::command::{Answer, Command};

/// The numbers of the journals of two nodes.
pub const A: u64 = 7;
pub const B: u64 = 9;

const ENTITIES: [&str; 4] = ["alice", "bob", "carol", "dave"];

/// The folders of two nodes, each with the place of the shard.
pub struct Nodes {
    dirs: [tempfile::TempDir; 2],
}

impl Nodes {
    pub fn new() -> Self {
        Self {
            dirs: [(); 2].map(|()| tempfile::tempdir().expect("temp dir")),
        }
    }

    pub fn path(&self, node: u64) -> PathBuf {
        self.dir(node).join("shard-0000.db")
    }

    pub fn dir(&self, node: u64) -> &Path {
        self.dirs[usize::from(node == B)].path()
    }

    pub fn node(&self, number: u64) -> Node {
        node(self.dir(number), number).expect("opened")
    }

    pub fn open(&self, node: Node, number: u64) -> Opened {
        node.open(&self.path(number)).expect("opened")
    }

    /// Whether a text stands in any file of a node.
    pub fn holds(&self, node: u64, text: &str) -> bool {
        let entries = fs::read_dir(self.dir(node)).expect("listed").flatten();
        let mut files = entries.map(|entry| fs::read(entry.path()).expect("read"));
        files.any(|bytes| {
            bytes
                .windows(text.len())
                .any(|part| part == text.as_bytes())
        })
    }
}

/// How many events an entity has.
fn seq(opened: &Opened, entity: &str) -> u64 {
    let found = crate::reader::view::with_reader(&opened.shared, |reader| reader.head(entity));
    found.expect("read").map_or(0, |head| head.seq)
}

/// Appends an event with a text.
pub fn note(opened: &mut Opened, entity: &str, text: &str) {
    let base = seq(opened, entity);
    let data = format!("[{{\"type\":\"T\",\"payload\":{{\"s\":\"{text}\"}}}}]");
    let packed = Packed::new("A".into(), data, 1, Vec::new());
    let answer = opened
        .commit(append(entity, base, packed))
        .expect("commits");
    assert!(matches!(answer, Some(Answer::Stored { .. })), "{answer:?}");
}

/// Appends, an erasure and a snapshot; some of it is in the file, and some of that in the WAL.
pub fn work(opened: &mut Opened, round: u64) {
    for n in 0..40 {
        let entity = ENTITIES[n as usize % 4];
        let filler = "x".repeat((n * 97 % 900) as usize);
        note(opened, entity, &format!("secret {round} {n} {filler}"));
        if n % 7 == 0 {
            opened.apply().expect("applied");
        }
    }
    let erased = ENTITIES[round as usize % 3];
    let erase = Command::Erase {
        entity: erased.into(),
        from: None,
    };
    opened.commit(erase).expect("erased");
    if round.is_multiple_of(2) {
        opened.erase_all().expect("erased");
    }
    note(opened, erased, &format!("secret {round} again"));
    let snapshot = Command::Snapshot {
        entity: "dave".into(),
        incarnation: 4,
        snapshot: SnapshotRow {
            aggregate: "A".into(),
            version: 1,
            seq: seq(opened, "dave"),
            recorded_at: 0,
            image: vec![round as u8; 3000],
        },
    };
    opened.commit(snapshot).expect("kept");
    note(opened, "dave", &format!("secret {round} last"));
}

/// All that the shard has, and that it is sound.
pub fn read(opened: &mut Opened) -> Vec<(i64, String, i64, String)> {
    opened.apply().expect("applied");
    let (_, damaged) = check(opened);
    assert_eq!(damaged, Vec::<String>::new());
    // Opening a shard may have removed rows that are erased.
    let sql = "SELECT position, entity, seq, data FROM log WHERE typeof(entity) = 'text' ORDER BY position";
    let mut log = opened.store.connection().prepare(sql).expect("prepared");
    let rows = log.query_map([], |row| {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
    });
    rows.expect("read").map(|row| row.expect("a row")).collect()
}

/// One round of a copy, of an open shard: how many pages are missing.
fn copy_some(opened: &Outline, stage: &mut Stage, pages: impl Fn(&[u32]) -> Vec<u8>) -> usize {
    stage.aim(opened.clone()).expect("aimed");
    loop {
        let next = stage.next(50);
        if next.is_empty() {
            return stage.missing();
        }
        let written = stage.write(&next, &pages(&next)).expect("written");
        assert!(written <= next.len());
    }
}

/// Copies a shard that is closed, and seals the copy.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    let outline = Outline::of_closed(from)?;
    let mut stage = Stage::open(to, Access::Owner)?;
    let pages = |pages: &[u32]| handoff::pages_of_closed(from, pages).expect("read");
    assert_eq!(copy_some(&outline, &mut stage, pages), 0);
    stage.seal(&handoff::whole_digest(from, None)?)?;
    assert!(fs::read(from).expect("read") == fs::read(names::staged(to)).expect("read"));
    Ok(())
}

/// Closes the shard of a node and copies it to another one.
fn hand_over(nodes: &Nodes, opened: Opened, from: u64, to: u64) -> Node {
    let node = opened.close_shard().expect("closed");
    copy(&nodes.path(from), &nodes.path(to)).expect("copied");
    handoff::discard(&nodes.path(from)).expect("discarded");
    node
}

/// With the giver's journal as it is, and after a restart.
#[test]
fn a_shard_goes_and_comes_back() {
    for (restarts, blanks) in [(false, true), (false, false), (true, true), (true, false)] {
        let nodes = Nodes::new();
        let mut here = nodes.open(nodes.node(A), A);
        work(&mut here, 1);
        let mut expected = read(&mut here);
        let mut a = hand_over(&nodes, here, A, B);
        if restarts {
            drop(a);
            a = nodes.node(A);
            a.journal.segments().forget(0);
        }
        if blanks {
            a.journal.segments().leave(0).expect("left");
            assert!(!nodes.holds(A, "secret"));
        }
        let mut b = nodes.node(B);
        for round in 2..5 {
            b.adopt(&nodes.path(B)).expect("adopted");
            let mut there = nodes.open(b, B);
            assert!(read(&mut there) == expected);
            work(&mut there, round);
            expected = read(&mut there);
            b = hand_over(&nodes, there, B, A);
            b.journal.segments().leave(0).expect("left");
            assert!(!nodes.holds(B, "secret"));

            a.adopt(&nodes.path(A)).expect("adopted");
            // A crash before anything is written, and one behind it.
            drop(a);
            let mut here = nodes.open(nodes.node(A), A);
            assert!(read(&mut here) == expected);
            work(&mut here, round + 10);
            work(&mut here, round + 20);
            let events = ENTITIES.map(|entity| seq(&here, entity));
            drop(here);
            // Who is not sure adopts it again, although there is more in the journal now.
            let mut again = nodes.node(A);
            again.adopt(&nodes.path(A)).expect("is here already");
            let mut here = nodes.open(again, A);
            assert_eq!(ENTITIES.map(|entity| seq(&here, entity)), events);
            expected = read(&mut here);
            a = hand_over(&nodes, here, A, B);
            if blanks {
                a.journal.segments().leave(0).expect("left");
            } else {
                a.journal.segments().forget(0);
            }
        }
    }
}

#[test]
fn a_shard_is_copied_while_it_is_written() {
    let nodes = Nodes::new();
    let mut opened = nodes.open(nodes.node(A), A);
    work(&mut opened, 0);
    let shared = std::sync::Arc::clone(&opened.shared);
    let mut stage = Stage::open(&nodes.path(B), Access::Owner).expect("opened");
    let rounds = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for round in 1..100 {
                work(&mut opened, round);
                opened.apply().expect("applied");
                opened.store.make_durable().expect("moved");
                rounds.store(round, Ordering::SeqCst);
            }
        });
        while rounds.load(Ordering::SeqCst) < 99 && !writer.is_finished() {
            let outline = Outline::of(&shared.path, &shared.sums).expect("read");
            let pages = |pages: &[u32]| shared.read_pages(pages).expect("read");
            let left = copy_some(&outline, &mut stage, pages);
            assert!(left <= outline.sums.len());
        }
        writer.join().expect("written");
    });
    let expected = read(&mut opened);
    drop(opened.close_shard().expect("closed"));
    assert!(matches!(shared.read_pages(&[1]), Err(Error::Closed)));
    // Most of it is there, and the rest is what came meanwhile.
    let all = Outline::of_closed(&nodes.path(A)).expect("read").sums.len();
    assert!(
        stage
            .aim(Outline::of_closed(&nodes.path(A)).expect("read"))
            .expect("aimed")
            < all
    );
    drop(stage);
    copy(&nodes.path(A), &nodes.path(B)).expect("copied");
    let mut b = nodes.node(B);
    b.adopt(&nodes.path(B)).expect("adopted");
    assert!(read(&mut nodes.open(b, B)) == expected);
}

#[test]
fn what_the_file_lacks_is_not_given() {
    let nodes = Nodes::new();
    let mut opened = nodes.open(nodes.node(A), A);
    note(&mut opened, "alice", "first");
    opened.apply().expect("applied");
    let path = nodes.path(A);
    // The WAL was not moved.
    opened.shared.close();
    let segments = std::sync::Arc::clone(opened.journal.segments());
    assert!(matches!(Outline::of_closed(&path), Err(Error::Io(_))));
    assert!(matches!(
        handoff::pages_of_closed(&path, &[1]),
        Err(Error::Io(_))
    ));
    let node = opened.close_shard().expect("closed");
    let digest = handoff::whole_digest(&path, segments.known(0)).expect("whole");
    assert_eq!(digest, Outline::of_closed(&path).expect("read").digest());
    let lacks = handoff::whole_digest(&path, Some(2));
    assert!(matches!(lacks, Err(Error::Io(what)) if what.text().contains("position 1, ")));
    drop(node);
}

#[test]
fn only_a_whole_copy_of_the_right_shard_is_adopted() {
    let nodes = Nodes::new();
    let mut opened = nodes.open(nodes.node(A), A);
    work(&mut opened, 1);
    opened.apply().expect("applied");
    let wal = fs::read(nodes.path(A).with_extension("db-wal")).expect("read");
    note(&mut opened, "alice", "behind it");
    let expected = read(&mut opened);
    drop(opened.close_shard().expect("closed"));
    let (from, to) = (nodes.path(A), nodes.path(B));
    copy(&from, &to).expect("copied");
    let never = |_| -> Result<()> { panic!("the journal was told") };
    let adopt = |change: &dyn Fn(&mut crate::open::file::Identity)| {
        let mut identity = identity_in(B);
        change(&mut identity);
        handoff::adopt(&to, &identity, never)
    };
    assert!(matches!(
        adopt(&|i| i.shards = 2),
        Err(Error::ShardCount(1, 2))
    ));
    assert!(matches!(
        adopt(&|i| i.shard = 1),
        Err(Error::WrongIdentity(..))
    ));
    assert!(matches!(
        adopt(&|i| i.context.push('x')),
        Err(Error::WrongIdentity(..))
    ));

    let (staged, sums) = (names::staged(&to), names::staged_sums(&to));
    let (file, file_sums) = (
        fs::read(&staged).expect("read"),
        fs::read(&sums).expect("read"),
    );
    // Damaged, cut off, longer, empty; and with the sums of another file, none, or those of a shard that was here.
    let mut damaged = file.clone();
    damaged[100] ^= 1;
    let longer = [&file[..], &[0; 4096]].concat();
    for changed in [&damaged, &file[..file.len() - 4096], &longer, &[]] {
        fs::write(&staged, changed).expect("written");
        assert!(matches!(adopt(&|_| ()), Err(Error::Corrupt(_))));
    }
    fs::write(&staged, &file).expect("written");
    let mut others = file_sums.clone();
    others[4096] ^= 1;
    fs::write(&sums, &others).expect("written");
    assert!(matches!(adopt(&|_| ()), Err(Error::Corrupt(_))));
    fs::remove_file(&sums).expect("removed");
    assert!(matches!(adopt(&|_| ()), Err(Error::Corrupt(_))));
    fs::write(to.with_extension("sums"), &others).expect("written");
    assert!(matches!(adopt(&|_| ()), Err(Error::Corrupt(_))));
    fs::remove_file(to.with_extension("sums")).expect("removed");
    fs::write(&sums, &file_sums).expect("written");

    // A journal that cannot begin a segment.
    let before = || {
        let entries = fs::read_dir(nodes.dir(B)).expect("listed").flatten();
        let mut names: Vec<_> = entries.map(|entry| entry.file_name()).collect();
        names.sort();
        names
    };
    let names = before();
    let full = handoff::adopt(&to, &identity_in(B), |_| Err(Error::DiskFull));
    assert!(matches!(full, Err(Error::DiskFull)));
    assert_eq!(before(), names);

    // A shard that is there is never replaced; one that is neither there nor copied stays an error.
    fs::write(&to, "a shard").expect("written");
    assert!(matches!(adopt(&|_| ()), Err(Error::Io(_))));
    assert_eq!(fs::read(&to).expect("read"), b"a shard");
    fs::remove_file(&to).expect("removed");
    // What SQLite left of a shard that was here before is not taken for a part of the new one.
    assert!(wal.len() > 9000);
    fs::write(to.with_extension("db-wal"), wal).expect("written");
    nodes.node(B).adopt(&to).expect("adopted");
    assert!(!to.with_extension("db-wal").exists() && !staged.exists());
    let mut b = nodes.node(B);
    b.adopt(&to).expect("is here already");
    let mut opened = nodes.open(b, B);
    assert!(read(&mut opened) == expected);
    drop(opened);
    handoff::discard(&to).expect("discarded");
    assert!(matches!(adopt(&|_| ()), Err(Error::Corrupt(_))));
}

#[test]
fn an_open_shard_is_neither_adopted_nor_read_as_a_closed_one() {
    let nodes = Nodes::new();
    let path = nodes.path(A);
    drop(testing::open(&path).expect("opened"));
    let claim = crate::sqlite::Claim::take(&path).expect("free");
    assert!(matches!(Outline::of_closed(&path), Err(Error::Claimed)));
    assert!(matches!(
        handoff::pages_of_closed(&path, &[1]),
        Err(Error::Claimed)
    ));
    assert!(matches!(
        handoff::whole_digest(&path, None),
        Err(Error::Claimed)
    ));
    assert!(matches!(nodes.node(A).adopt(&path), Err(Error::Claimed)));
    drop(claim);
}
