//! Shards that leave and come back, and what recovery makes of it.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::files;
use super::note::Note;
use super::record::Kind;
use super::recovery::{Recovered, recover};
use super::write::{Journal, Notes};
use crate::error::{Error, Result};
use crate::files::Access;

/// Keeps the note in a file.
struct FileNotes(std::path::PathBuf);

impl Notes for FileNotes {
    fn write(&self, note: &[u8], _sync: bool) -> Result<()> {
        fs::write(&self.0, note).expect("noted");
        Ok(())
    }

    fn check(&self) -> Result<()> {
        Ok(())
    }
}

fn recovered(dir: &Path) -> Result<Recovered> {
    let note = fs::read(dir.join("note")).unwrap_or_default();
    let note = Note::decode(&note).expect("a note");
    recover(dir, Access::Owner, note.as_ref())
}

fn open(dir: &Path, run: i64) -> Journal<FileNotes> {
    let recovered = recovered(dir).expect("recovered");
    let notes = FileNotes(dir.join("note"));
    Journal::new(dir.to_owned(), &recovered, notes, (7, run), false).expect("opened")
}

/// Commits a record of each of the shards, at that position.
fn commit(journal: &mut Journal<FileNotes>, records: &[(u16, i64)]) -> Result<()> {
    for (shard, position) in records {
        let body = format!("secret of {shard} ").repeat(40);
        journal.put(Kind::Erase, *shard, *position, 0, body.as_bytes());
    }
    journal.commit(Duration::ZERO).map(drop)
}

fn holds(dir: &Path, text: &str) -> bool {
    let entries = fs::read_dir(dir).expect("listed").flatten();
    let mut files = entries.map(|entry| fs::read(entry.path()).expect("read"));
    files.any(|bytes| {
        bytes
            .windows(text.len())
            .any(|part| part == text.as_bytes())
    })
}

fn behind(segments: &super::Segments, shard: u16, position: i64) -> Result<usize> {
    segments
        .behind(shard, position)
        .map(|records| records.len())
}

#[test]
fn nothing_of_a_shard_is_left_that_has_left() {
    let dir = tempfile::tempdir().expect("temp dir");
    let mut journal = open(dir.path(), 1);
    for position in 1..=3 {
        commit(&mut journal, &[(3, position), (4, position)]).expect("written");
    }
    // A last commit that was cut off: its end is missing, and what is there of it does not count.
    commit(&mut journal, &[(3, 4), (4, 4)]).expect("written");
    drop(journal);
    let path = files::path(dir.path(), 1);
    let mut bytes = fs::read(&path).expect("read");
    let last = bytes
        .windows(12)
        .rposition(|part| part == b"secret of 4 ")
        .expect("there");
    bytes[last..last + 12].fill(0);
    fs::write(&path, bytes).expect("written");
    let note = dir.path().join("note");
    let _ = fs::remove_file(&note);

    let mut journal = open(dir.path(), 2);
    commit(&mut journal, &[(3, 4), (4, 4)]).expect("written");
    assert!(holds(dir.path(), "secret of 3 ") && holds(dir.path(), "secret of 4 "));
    // Also when it was forgotten first, as at a start.
    journal.segments().forget(3);
    for _ in 0..2 {
        journal.segments().leave(3).expect("left");
        assert!(!holds(dir.path(), "secret of 3 "));
    }
    commit(&mut journal, &[(4, 5)]).expect("written");
    assert_eq!(journal.segments().positions(), [(4, 5)]);
    drop(journal);
    // It stands where it stood, and the others are as they were.
    let found = recovered(dir.path()).expect("recovered");
    assert_eq!(behind(&found.segments, 4, 0).expect("there"), 5);
    for record in found.segments.behind(4, 0).expect("there") {
        assert!(!record.read().expect("sound").1.is_empty());
    }
    found.segments.forget(3);
    assert!(
        found
            .segments
            .are_all_in(|shard| if shard == 4 { 5 } else { 0 })
    );
}

#[test]
fn what_was_given_back_is_not_left_either() {
    let dir = tempfile::tempdir().expect("temp dir");
    drop({
        let mut journal = open(dir.path(), 1);
        commit(&mut journal, &[(3, 1)]).expect("written");
        journal
    });
    let mut journal = open(dir.path(), 2);
    commit(&mut journal, &[(4, 1)]).expect("written");
    let segments = std::sync::Arc::clone(journal.segments());
    // Nobody gives segments back meanwhile.
    let held = segments.recycling.lock().expect("free");
    assert_eq!(segments.recycle(|_| 1).expect("put off"), 0);
    drop(held);
    assert_eq!(segments.recycle(|_| 1).expect("given back"), 1);
    assert!(holds(dir.path(), "secret of 3 "));
    segments.leave(3).expect("left");
    assert!(!holds(dir.path(), "secret of 3 ") && holds(dir.path(), "secret of 4 "));
}

/// With the record of each shard that left, or only forgotten as at a start.
#[test]
fn a_shard_comes_back_with_a_later_position() {
    for blanks in [false, true] {
        let dir = tempfile::tempdir().expect("temp dir");
        let mut journal = open(dir.path(), 1);
        for position in 99..=100 {
            commit(&mut journal, &[(3, position), (4, position)]).expect("written");
        }
        if blanks {
            journal.segments().leave(3).expect("left");
        } else {
            journal.segments().forget(3);
        }
        commit(&mut journal, &[(4, 101)]).expect("written");
        journal.adopt(3, 300).expect("adopted");
        // A crash right behind that.
        let found = recovered(dir.path()).expect("recovered").segments;
        assert_eq!(behind(&found, 3, 300).expect("fits"), 0);
        let older = [behind(&found, 3, 299), behind(&found, 3, 100)];
        assert!(
            older
                .iter()
                .all(|found| matches!(found, Err(Error::Corrupt(_))))
        );
        assert!(matches!(behind(&found, 3, 301), Err(Error::Corrupt(_))));
        // It is adopted once more, and goes on.
        journal.adopt(3, 300).expect("adopted");
        commit(&mut journal, &[(3, 301), (4, 102)]).expect("written");
        commit(&mut journal, &[(3, 302)]).expect("written");
        drop(journal);
        let found = recovered(dir.path()).expect("recovered").segments;
        assert_eq!(behind(&found, 3, 300).expect("fits"), 2);
        assert_eq!(behind(&found, 3, 302).expect("fits"), 0);
        assert_eq!(behind(&found, 4, 98).expect("fits"), 4);
        assert!(behind(&found, 3, 200).is_err() && behind(&found, 3, 303).is_err());
    }
}

#[test]
fn a_shard_that_is_older_than_what_was_here_is_refused() {
    let dir = tempfile::tempdir().expect("temp dir");
    let mut journal = open(dir.path(), 1);
    commit(&mut journal, &[(3, 100), (4, 1)]).expect("written");
    assert!(matches!(journal.adopt(3, 99), Err(Error::Corrupt(_))));
    journal.adopt(3, 100).expect("as old");
}

#[test]
fn a_segment_that_cannot_be_begun_changes_nothing() {
    let dir = tempfile::tempdir().expect("temp dir");
    let mut journal = open(dir.path(), 1);
    commit(&mut journal, &[(4, 1)]).expect("written");
    // A folder in place of the next one.
    let next = files::path(dir.path(), 2);
    fs::create_dir(&next).expect("made");
    assert!(journal.adopt(3, 300).is_err());
    fs::remove_dir(&next).expect("removed");
    commit(&mut journal, &[(4, 2)]).expect("written");
    assert_eq!(journal.segments().numbers(), [1]);
    assert_eq!(journal.segments().positions(), [(4, 2)]);
    let found = recovered(dir.path()).expect("recovered").segments;
    assert_eq!(behind(&found, 4, 0).expect("fits"), 2);
}
