//! The keys of lives, in the files of a shard: where their bytes are, and where they are not any more.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::handoff_tests::{A, B, Nodes, copy, note, read, work};
use super::testing::{self, CLOSING, KIND, Opened, append, cleared_types, open, replace};
use super::verify_tests::check;
use crate::erase::Retyping;
use crate::event::Packed;
use crate::handoff;
use crate::log::edits::{self, What};
use crate::log::keys::{self, KEY};
use crate::reader::view::with_reader;
use crate::sqlite::sums::steps;
use crate::writer::command::{Answer, Command};

/// All keys that the file has, by the position of the life.
pub fn all_keys(opened: &Opened) -> BTreeMap<i64, Vec<u8>> {
    let mut found = BTreeMap::new();
    let each = |position, keys: crate::error::Result<&[u8]>| {
        found.insert(position, keys?.to_vec());
        Ok(())
    };
    keys::between(opened.store.connection(), (-1, i64::MAX), each).expect("read");
    found
}

fn all_edits(opened: &Opened) -> Vec<(i64, What, i64)> {
    let mut found = Vec::new();
    let each = |edit: edits::Edit| {
        assert!(edit.at > 1_700_000_000_000_000, "{edit:?}");
        found.push((edit.position, edit.what, edit.of));
        Ok(())
    };
    edits::between(opened.store.connection(), (0, i64::MAX), each).expect("read");
    found
}

/// Makes keys of all that there is.
pub fn make_all(opened: &mut Opened) -> BTreeMap<i64, Vec<u8>> {
    opened.apply().expect("applied");
    make(opened, opened.store.applied());
    all_keys(opened)
}

fn make(opened: &mut Opened, up_to: i64) {
    while !opened.store.make_keys(up_to).expect("made") {}
    assert!(opened.store.make_durable().expect("moved"));
}

/// The version of the format, and how many tables it has that shards with keys have.
fn format(opened: &Opened) -> (u32, u32) {
    let sql =
        "SELECT user_version, (SELECT count(*) FROM sqlite_schema WHERE name IN ('keys', 'edits'))
               FROM pragma_user_version";
    let found = opened
        .store
        .connection()
        .query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)));
    found.expect("read")
}

/// In how many files of a folder these bytes stand.
pub fn files_with(dir: &Path, bytes: &[u8]) -> usize {
    let entries = fs::read_dir(dir).expect("listed").flatten();
    let has = |file: &Vec<u8>| file.windows(bytes.len()).any(|part| part == bytes);
    let files = entries.map(|entry| fs::read(entry.path()).expect("read"));
    files.filter(has).count()
}

pub fn erase(opened: &mut Opened, entity: &str) {
    let erase = Command::Erase {
        entity: entity.into(),
        from: None,
    };
    opened.commit(erase).expect("erased");
}

pub fn clear(opened: &mut Opened, entity: &str, seqs: &[u64]) {
    let clear = Command::Clear {
        events: vec![(entity.into(), seqs.to_vec())],
        types: Arc::new(Retyping::new(cleared_types()).expect("types")),
        from: None,
    };
    opened.commit(clear).expect("cleared");
}

pub fn retime(opened: &mut Opened, entity: &str, seq: u64) {
    let retime = Command::CorrectTime {
        entity: entity.into(),
        seq,
        recorded_at: 1_600_000_000_000_000,
        from: None,
    };
    let answer = opened.commit(retime).expect("corrected");
    assert!(matches!(answer, Some(Answer::Corrected)), "{answer:?}");
}

/// Begins an entity of the kind, with so many steps.
pub fn saga(opened: &mut Opened, name: &str, steps: usize) -> String {
    let entity = format!("{KIND}{name}");
    let mut events = vec!["{\"type\":\"Planned\",\"payload\":{}}".to_owned()];
    for step in 0..steps {
        for kind in ["Forward", "Reverse"] {
            let payload = format!("{{\"of\":\"{name} {step}\"}}");
            events.push(format!("{{\"type\":\"{kind}\",\"payload\":{payload}}}"));
        }
    }
    let data = format!("[{}]", events.join(","));
    let packed = Packed::new("$warp/saga".into(), data, events.len(), Vec::new());
    opened.commit(append(&entity, 0, packed)).expect("stored");
    entity
}

fn end_of_saga() -> Packed {
    let data = "[{\"type\":\"Removed\",\"payload\":{}}]";
    Packed::new(CLOSING.into(), data.into(), 1, Vec::new())
}

fn assert_sound(opened: &Opened) {
    assert_eq!(check(opened).1, Vec::<String>::new());
}

fn zeros(keys: usize) -> Vec<u8> {
    vec![0; keys * KEY]
}

#[test]
fn a_shard_without_keys_is_as_it_was() {
    let dir = tempfile::tempdir().expect("temp dir");
    let path = dir.path().join("s.db");
    let mut opened = open(&path).expect("opened");
    for entity in ["alice", "bob", "alice"] {
        note(&mut opened, entity, "text");
    }
    let saga = saga(&mut opened, "1", 2);
    clear(&mut opened, &saga, &[2, 3]);
    retime(&mut opened, "alice", 2);
    erase(&mut opened, "bob");
    opened.erase_all().expect("erased");
    assert_eq!(format(&opened), (3, 0));
    opened.close().expect("closed");
    let opened = open(&path).expect("opened");
    assert_eq!(format(&opened), (3, 0));
    assert_sound(&opened);
}

#[test]
fn each_life_gets_its_key_once_when_it_is_first_met() {
    let dir = tempfile::tempdir().expect("temp dir");
    let path = dir.path().join("s.db");
    let mut opened = open(&path).expect("opened");
    for entity in ["alice", "bob", "alice", "carol", "alice", "dave"] {
        note(&mut opened, entity, "text");
    }
    opened.apply().expect("applied");
    make(&mut opened, 2);
    assert_eq!(format(&opened), (4, 2));
    let first = all_keys(&opened);
    assert_eq!(first.keys().copied().collect::<Vec<_>>(), [0, 1, 2]);
    make(&mut opened, 1);
    assert!(all_keys(&opened) == first);

    erase(&mut opened, "dave");
    note(&mut opened, "dave", "again");
    let second = make_all(&mut opened);
    assert_eq!(second.keys().copied().collect::<Vec<_>>(), [0, 1, 2, 4, 8]);
    assert!(first.iter().all(|(at, key)| second.get(at) == Some(key)));
    let mut each: Vec<_> = second.values().collect();
    assert!(each.iter().all(|key| key.len() == KEY && **key != zeros(1)));
    each.sort();
    each.dedup();
    assert_eq!(each.len(), second.len());
    // Nothing is known of it to any backup.
    assert_eq!(all_edits(&opened), []);
    assert_sound(&opened);

    erase(&mut opened, "dave");
    note(&mut opened, "dave", "a third time");
    let third = make_all(&mut opened);
    assert!(third[&8] == zeros(1) && third[&10] != second[&8]);
    assert_eq!(all_edits(&opened), [(9, What::Erased, 8)]);
    drop(opened);
    let opened = open(&path).expect("opened");
    assert!(all_keys(&opened) == third);
    assert_sound(&opened);
}

#[test]
fn the_key_of_an_erased_life_is_in_no_file() {
    let dir = tempfile::tempdir().expect("temp dir");
    let path = dir.path().join("s.db");
    let mut opened = open(&path).expect("opened");
    // Several pages of keys, and an entity that is erased in pieces.
    for n in 0..600 {
        note(&mut opened, &format!("entity {n}"), "text");
    }
    for n in 0..20 {
        note(&mut opened, "large", &format!("secret {n}"));
    }
    let keys = make_all(&mut opened);
    assert_eq!(keys.len(), 602);
    assert!(keys.values().all(|key| files_with(dir.path(), key) > 0));

    let mut erased = Vec::new();
    for n in (0..600).step_by(7) {
        erase(&mut opened, &format!("entity {n}"));
        erased.push(n + 1);
    }
    erase(&mut opened, "large");
    erased.push(601);
    // The keys go first, and rows follow.
    opened.apply().expect("applied");
    assert!(opened.store.erases_next().is_some());
    let now = all_keys(&opened);
    assert!(
        now.iter()
            .all(|(at, key)| erased.contains(at) == (*key == zeros(1)))
    );
    assert_sound(&opened);
    opened.erase_all().expect("erased");
    for (at, key) in &keys {
        assert_eq!(
            files_with(dir.path(), key) == 0,
            erased.contains(at),
            "{at}"
        );
    }
    assert_eq!(all_edits(&opened).len(), erased.len());
    assert_sound(&opened);
    drop(opened);
    let opened = open(&path).expect("opened");
    assert!(all_keys(&opened) == now);
}

/// The erasure is in the journal alone when the process ends.
#[test]
fn what_was_erased_before_a_crash_has_no_key_after_it() {
    let dir = tempfile::tempdir().expect("temp dir");
    let path = dir.path().join("s.db");
    let mut opened = open(&path).expect("opened");
    for entity in ["alice", "bob"] {
        note(&mut opened, entity, "text");
    }
    let saga = saga(&mut opened, "1", 2);
    let keys = make_all(&mut opened);
    erase(&mut opened, "alice");
    clear(&mut opened, &saga, &[4, 5]);
    retime(&mut opened, "bob", 1);
    drop(opened);
    assert!(files_with(dir.path(), &keys[&1]) > 0);
    let opened = open(&path).expect("opened");
    let now = all_keys(&opened);
    assert_eq!(now[&1], zeros(1));
    assert_eq!(now[&3][2 * KEY..], zeros(1));
    assert_eq!(now[&3][..2 * KEY], keys[&3][..2 * KEY]);
    for gone in [&keys[&1], &keys[&3][2 * KEY..]] {
        assert_eq!(files_with(dir.path(), gone), 0);
    }
    let expected = [
        (4, What::Erased, 1),
        (5, What::Changed, 3),
        (6, What::Changed, 2),
    ];
    assert_eq!(all_edits(&opened), expected);
    assert_sound(&opened);
}

#[test]
fn each_step_of_a_saga_has_a_key_that_goes_with_its_payloads() {
    let dir = tempfile::tempdir().expect("temp dir");
    let path = dir.path().join("s.db");
    let mut opened = open(&path).expect("opened");
    let early = saga(&mut opened, "early", 3);
    clear(&mut opened, &early, &[4, 5]);
    let late = saga(&mut opened, "late", 200);
    note(&mut opened, "alice", "text");
    let keys = make_all(&mut opened);
    assert_eq!(keys[&1].len(), 4 * KEY);
    // What was cleared before.
    assert_eq!(keys[&1][2 * KEY..3 * KEY], zeros(1));
    assert_eq!(keys[&3].len(), 201 * KEY);
    assert_eq!(keys[&4].len(), KEY);
    assert_eq!(all_edits(&opened), []);

    // Rows behind the first one have no payloads with keys.
    let more = "[{\"type\":\"Forward\",\"payload\":{}},{\"type\":\"T\",\"payload\":{}}]";
    let more = Packed::new("$warp/saga".into(), more.into(), 2, Vec::new());
    opened.commit(append(&late, 401, more)).expect("stored");
    clear(&mut opened, &late, &[2, 3, 400, 401, 402]);
    clear(&mut opened, "alice", &[1]);
    opened.erase_all().expect("cleared");
    let now = all_keys(&opened);
    for number in 0..201 {
        let bytes = number * KEY..(number + 1) * KEY;
        let is_cleared = [1, 200].contains(&number);
        assert_eq!(now[&3][bytes.clone()] == zeros(1), is_cleared, "{number}");
        // It may go over the end of a page.
        let mut halves = keys[&3][bytes].chunks(KEY / 2);
        let is_there = halves.any(|half| files_with(dir.path(), half) > 0);
        assert_ne!(is_there, is_cleared, "{number}");
    }
    assert!(now[&1] == keys[&1] && now[&4] == keys[&4]);
    // The row behind was no backup's yet.
    assert_eq!(
        all_edits(&opened),
        [(6, What::Changed, 3), (7, What::Changed, 4)]
    );
    assert_sound(&opened);
}

/// Two rows are cleared at one position.
#[test]
fn a_clearing_of_several_rows_is_an_edit_of_each() {
    let dir = tempfile::tempdir().expect("temp dir");
    let mut opened = open(&dir.path().join("s.db")).expect("opened");
    for _ in 0..3 {
        note(&mut opened, "alice", "text");
    }
    make_all(&mut opened);
    clear(&mut opened, "alice", &[1, 3]);
    opened.apply().expect("applied");
    let expected = [(4, What::Changed, 1), (4, What::Changed, 3)];
    assert_eq!(all_edits(&opened), expected);
    assert_sound(&opened);
}

#[test]
fn what_is_left_of_a_removed_saga_has_no_key_of_its_own() {
    let dir = tempfile::tempdir().expect("temp dir");
    let path = dir.path().join("s.db");
    let mut opened = open(&path).expect("opened");
    let saga = saga(&mut opened, "1", 1);
    opened
        .commit(append(&saga, 3, end_of_saga()))
        .expect("stored");
    let keys = make_all(&mut opened);
    let removed = opened.commit(replace(&saga, 4, end_of_saga()));
    assert!(matches!(removed, Ok(Some(Answer::Stored { .. }))));
    opened.erase_all().expect("erased");
    let now = make_all(&mut opened);
    assert_eq!(now.keys().copied().collect::<Vec<_>>(), [0, 1]);
    assert_eq!(now[&1], zeros(2));
    assert_eq!(now[&0], keys[&0]);
    assert_eq!(files_with(dir.path(), &keys[&1]), 0);
    assert_eq!(all_edits(&opened), [(3, What::Erased, 1)]);
    assert_sound(&opened);
}

/// Nobody can read it, so that no backup can have it.
#[test]
fn a_life_whose_first_row_is_damaged_gets_no_key() {
    let dir = tempfile::tempdir().expect("temp dir");
    let mut opened = open(&dir.path().join("s.db")).expect("opened");
    for entity in ["alice", "bob", "carol"] {
        note(&mut opened, entity, "text");
    }
    opened.apply().expect("applied");
    let log = opened.store.connection();
    log.execute("UPDATE log SET checksum = 7 WHERE position = 2", [])
        .expect("damaged");
    let keys = make_all(&mut opened);
    assert_eq!(keys.keys().copied().collect::<Vec<_>>(), [0, 1, 3]);
    let damaged = check(&opened).1;
    assert!(
        damaged.iter().all(|what| what.contains("position 2")),
        "{damaged:?}"
    );
    erase(&mut opened, "bob");
    assert!(opened.apply().is_err());
    assert_eq!(all_edits(&opened), [(4, What::Erased, 2)]);
}

/// Its rows cannot be erased, but its key is gone.
#[test]
fn an_erasure_that_meets_a_damaged_row_has_overwritten_the_key() {
    let dir = tempfile::tempdir().expect("temp dir");
    let mut opened = open(&dir.path().join("s.db")).expect("opened");
    for entity in ["alice", "bob", "alice"] {
        note(&mut opened, entity, "text");
    }
    let keys = make_all(&mut opened);
    let log = opened.store.connection();
    log.execute("UPDATE log SET checksum = 7 WHERE position = 3", [])
        .expect("damaged");
    erase(&mut opened, "alice");
    assert!(opened.apply().is_err());
    let now = all_keys(&opened);
    assert!(now[&1] == zeros(1) && now[&2] == keys[&2]);
    assert_eq!(all_edits(&opened), [(4, What::Erased, 1)]);
}

/// Its rows are still there, but for the last ones.
#[test]
fn a_life_that_is_being_erased_gets_no_key() {
    let dir = tempfile::tempdir().expect("temp dir");
    let mut opened = open(&dir.path().join("s.db")).expect("opened");
    for n in 0..20 {
        note(&mut opened, "large", &format!("secret {n}"));
    }
    note(&mut opened, "bob", "text");
    erase(&mut opened, "large");
    let keys = make_all(&mut opened);
    assert!(opened.store.erases_next().is_some());
    assert_eq!(keys.keys().copied().collect::<Vec<_>>(), [0, 21]);
    assert_sound(&opened);
    opened.erase_all().expect("erased");
    assert!(make_all(&mut opened) == keys);
}

#[test]
fn keys_of_erased_lives_go_when_the_file_is_compacted() {
    let dir = tempfile::tempdir().expect("temp dir");
    let path = dir.path().join("s.db");
    let mut opened = open(&path).expect("opened");
    for n in 0..40 {
        note(&mut opened, &format!("entity {n}"), &"x".repeat(100_000));
    }
    let keys = make_all(&mut opened);
    for n in 0..36 {
        erase(&mut opened, &format!("entity {n}"));
    }
    opened.erase_all().expect("erased");
    let edits = all_edits(&opened);
    drop(opened);
    let mut opened = open(&path).expect("opened");
    let log = opened.store.connection();
    let rows = log.query_row("SELECT count(*) FROM log", [], |row| row.get(0));
    assert_eq!(rows, Ok(4));
    let now = all_keys(&opened);
    assert_eq!(now.keys().copied().collect::<Vec<_>>(), [0, 37, 38, 39, 40]);
    assert!(now.iter().all(|(at, key)| keys[at] == *key));
    assert_eq!(all_edits(&opened), edits);
    assert_sound(&opened);
    // None is made again.
    assert!(make_all(&mut opened) == now);
}

#[test]
fn a_shard_that_is_handed_over_takes_its_keys_along() {
    let nodes = Nodes::new();
    let mut opened = nodes.open(nodes.node(A), A);
    work(&mut opened, 1);
    make_all(&mut opened);
    work(&mut opened, 2);
    let keys = make_all(&mut opened);
    assert!(keys.values().any(|key| *key == zeros(1)));
    let edits = all_edits(&opened);
    assert_ne!(edits, []);
    drop(opened.close_shard().expect("closed"));
    copy(&nodes.path(A), &nodes.path(B)).expect("copied");
    let mut b = nodes.node(B);
    b.adopt(&nodes.path(B)).expect("adopted");
    let mut opened = nodes.open(b, B);
    read(&mut opened);
    assert!(all_keys(&opened) == keys);
    assert_eq!(all_edits(&opened), edits);
    assert_eq!(format(&opened), (4, 2));

    handoff::discard(&nodes.path(A)).expect("discarded");
    let (at, key) = keys
        .iter()
        .rfind(|(_, key)| **key != zeros(1))
        .expect("one");
    assert_eq!(files_with(nodes.dir(A), key), 0);
    assert!(files_with(nodes.dir(B), key) > 0);
    let sql = "SELECT entity FROM log WHERE position = ?1";
    let entity = opened
        .store
        .connection()
        .query_row(sql, [at], |row| row.get::<_, String>(0));
    erase(&mut opened, &entity.expect("a life"));
    opened.erase_all().expect("erased");
    assert_eq!(files_with(nodes.dir(B), key), 0);
}

#[test]
fn damaged_keys_and_edits_are_named() {
    let damage = [
        (
            "UPDATE keys SET key = 'text' WHERE position = 1",
            "keys at position 1: no keys",
        ),
        (
            "UPDATE keys SET key = x'00' WHERE position = 1",
            "keys at position 1: no keys",
        ),
        (
            "UPDATE keys SET key = zeroblob(64) WHERE position = 1",
            "keys at position 1: not as many as its life has",
        ),
        (
            "UPDATE keys SET key = zeroblob(32) WHERE position = 1",
            "keys at position 1: erased, and its life is not",
        ),
        (
            "DELETE FROM keys WHERE position = 0",
            "keys at position 0: missing",
        ),
        (
            "DELETE FROM keys WHERE position = 4",
            "keys at position 4: missing",
        ),
        (
            "INSERT INTO keys VALUES (3, randomblob(32))",
            "keys at position 3: of no life that there is",
        ),
        (
            "UPDATE keys SET key = randomblob(32) WHERE position = 2",
            "keys at position 2: of no life that there is",
        ),
        (
            "UPDATE keys SET key = randomblob(96) WHERE position = 4",
            "keys at position 4: that of a payload which is cleared is there still",
        ),
        (
            "UPDATE meta SET value = 99 WHERE name = 'keyed'",
            "keys at position 99: behind the end of the log",
        ),
        (
            "UPDATE edits SET what = 3",
            "edit at position 5: of no kind that there is",
        ),
        (
            "UPDATE edits SET of = 1",
            "edit at position 5: its life is not erased",
        ),
        (
            "UPDATE edits SET of = 5",
            "edit at position 5: of what no backup can have",
        ),
        (
            "UPDATE edits SET position = 4",
            "edit at position 4: a row stands there",
        ),
    ];
    for (sql, expected) in damage {
        let dir = tempfile::tempdir().expect("temp dir");
        let mut opened = open(&dir.path().join("s.db")).expect("opened");
        for entity in ["alice", "bob", "alice"] {
            note(&mut opened, entity, "text");
        }
        let saga = saga(&mut opened, "1", 2);
        make_all(&mut opened);
        erase(&mut opened, "bob");
        clear(&mut opened, &saga, &[2, 3]);
        opened.erase_all().expect("erased");
        assert_sound(&opened);
        opened.store.connection().execute(sql, []).expect("damaged");
        let found = check(&opened).1;
        let is_named = found.iter().any(|what| what.ends_with(expected));
        assert!(is_named, "{sql}: {found:?}");
    }
}

#[test]
fn an_older_warp_refuses_a_shard_with_keys() {
    let dir = tempfile::tempdir().expect("temp dir");
    let path = dir.path().join("s.db");
    let mut opened = testing::open(&path).expect("opened");
    note(&mut opened, "alice", "text");
    make_all(&mut opened);
    // It looks at the header on the disk, as soon as a key may be used.
    let header = fs::read(&path).expect("read");
    assert_eq!(header[60..64], 4u32.to_be_bytes());
}

const CHILD: &str = "WARP_TEST_KEYS_CHILD";

/// Run by the test below in a process of its own, which ends at some point between two changes of the files. It says in
/// files what is done: `keyed`, with the keys, and `erased`.
#[test]
fn child() {
    let Some(task) = std::env::var_os(CHILD) else {
        return;
    };
    let task = task.into_string().expect("a text");
    let (points, dir) = task.split_once(' ').expect("two words");
    let dir = Path::new(dir);
    let mut opened = open(&dir.join("s.db")).expect("opened");
    steps::abort_after(points.parse().expect("a number"));
    let keys: Vec<_> = make_all(&mut opened).into_values().flatten().collect();
    fs::write(dir.join("keyed"), keys).expect("written");
    erase(&mut opened, "bob");
    clear(&mut opened, &format!("{KIND}1"), &[2, 3]);
    opened.erase_all().expect("erased");
    fs::write(dir.join("erased"), "").expect("written");
}

#[test]
fn a_process_that_ends_at_any_point_leaves_each_life_its_key_or_none() {
    let (mut ends, mut said) = (0, [0, 0]);
    for points in 1.. {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("s.db");
        let mut opened = open(&path).expect("opened");
        for entity in ["alice", "bob", "alice", "carol"] {
            note(&mut opened, entity, "text");
        }
        saga(&mut opened, "1", 2);
        drop(opened);
        let child = std::process::Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "engine::keys_tests::child", "--nocapture"])
            .env(CHILD, format!("{points} {}", dir.path().display()))
            .output()
            .expect("runs");
        // The shard's own, alice, bob, carol, and the saga with two steps.
        let keyed = fs::read(dir.path().join("keyed")).ok();
        let is_erased = dir.path().join("erased").exists();
        let _ = fs::remove_file(dir.path().join("keyed"));
        let key = |number: usize| keyed.as_ref().map(|keys| &keys[number * KEY..][..KEY]);
        let gone = [2, 5].map(key);
        if is_erased {
            assert!(
                gone.iter()
                    .flatten()
                    .all(|key| files_with(dir.path(), key) == 0)
            );
        }
        let mut opened = open(&path).expect("opened");
        assert_sound(&opened);
        let is_there = |entity: &str| {
            let found = with_reader(&opened.shared, |reader| reader.head(entity));
            found.expect("read").is_some()
        };
        let is_left = is_there("bob");
        assert!(is_there("alice") && !(is_erased && is_left), "{points}");
        if keyed.is_some() {
            let found: Vec<u8> = all_keys(&opened).into_values().flatten().collect();
            for number in 0..7 {
                let found = &found[number * KEY..][..KEY];
                let may_be_gone = [2, 5].contains(&number) && found == zeros(1);
                assert!(
                    may_be_gone || Some(found) == key(number),
                    "{points}: {number}"
                );
                assert!(!(number == 2 && is_left && may_be_gone), "{points}");
            }
        } else {
            assert!(is_left);
        }
        // And once more, with all that is to be done.
        erase(&mut opened, "bob");
        let keys = make_all(&mut opened);
        opened.erase_all().expect("erased");
        assert_eq!(keys.len(), if keyed.is_some() { 5 } else { keys.len() });
        assert!(
            gone[..1]
                .iter()
                .flatten()
                .all(|key| files_with(dir.path(), key) == 0)
        );
        assert_sound(&opened);
        said[0] += usize::from(keyed.is_some());
        said[1] += usize::from(is_erased);
        if child.status.success() {
            break;
        }
        let output = String::from_utf8_lossy(&child.stderr);
        assert!(child.status.code().is_none(), "{output}");
        ends += 1;
    }
    assert!(
        ends >= 20 && said[0] >= 10 && said[1] >= 1,
        "{ends} {said:?}"
    );
}
