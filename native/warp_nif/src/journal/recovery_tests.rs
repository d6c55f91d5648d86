//! What recovery makes of files in which a loss of power came between two writes.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::files;
use super::note::Note;
use super::record::Kind;
use super::recovery::{Recovered, recover};
use super::write::{Journal, Notes};
use crate::error::{Error, Result};
use crate::files::Access;

/// Keeps no note.
struct NoNotes;

impl Notes for NoNotes {
    fn write(&self, _note: &[u8], _sync: bool) -> Result<()> {
        Ok(())
    }

    fn check(&self) -> Result<()> {
        Ok(())
    }
}

const JOURNAL: u64 = 7;

fn recovered(dir: &Path) -> Result<Recovered> {
    recover(dir, Access::Owner, None)
}

/// A run that writes one commit with a record of each of so many shards, at this position: the number
/// of its segment.
fn run(dir: &Path, shards: u16, position: i64) -> u64 {
    let recovered = recovered(dir).expect("recovered");
    let numbers = (JOURNAL, position);
    let journal = Journal::new(dir.to_owned(), &recovered, NoNotes, numbers, false);
    let mut journal = journal.expect("opened");
    for shard in 0..shards {
        journal.put(Kind::Erase, shard, position, 0, &[b'x'; 700]);
    }
    journal.commit(std::time::Duration::ZERO).expect("written");
    *journal.segments().numbers().last().expect("begun")
}

/// Overwrites a part of a segment with zeros.
fn zero(path: &Path, part: std::ops::Range<usize>) {
    let mut bytes = fs::read(path).expect("read");
    bytes[part].fill(0);
    fs::write(path, bytes).expect("written");
}

#[test]
fn a_label_that_was_cut_short_is_no_segment() {
    let dir = tempfile::tempdir().expect("temp dir");
    let first = run(dir.path(), 64, 1);
    let second = run(dir.path(), 64, 2);
    let path = files::path(dir.path(), second);
    // The first sector of the label, and then all behind it.
    zero(&path, 0..512);
    let found = recovered(dir.path());
    assert!(matches!(found, Err(Error::Corrupt(_))), "records are lost");
    zero(&path, 4096..64 * 1024 * 4);
    assert!(fs::read(&path).expect("read").iter().any(|byte| *byte != 0));
    let found = recovered(dir.path()).expect("recovered");
    assert_eq!((found.segments.numbers(), found.next), (vec![first], 65));
    assert!(!path.exists());
    // With the note that it was begun it is missing.
    let second = run(dir.path(), 64, 2);
    zero(&files::path(dir.path(), second), 0..64 * 1024 * 4);
    let note = Note {
        journal: JOURNAL,
        is_closed: false,
        number: second,
        synced: 64,
    };
    assert!(recover(dir.path(), Access::Owner, Some(&note)).is_err());
}

/// Three runs with a record each, and what recovery makes of these of their segments when the journal was closed.
fn left(dir: &Path, kept: [bool; 3]) -> Recovered {
    let numbers = [1, 2, 3].map(|position| run(dir, 1, position));
    for (number, _) in numbers.iter().zip(kept).filter(|(_, kept)| !kept) {
        fs::remove_file(files::path(dir, *number)).expect("removed");
    }
    let note = Note {
        journal: JOURNAL,
        is_closed: true,
        number: numbers[2],
        synced: 3,
    };
    recover(dir, Access::Owner, Some(&note)).expect("recovered")
}

#[test]
fn a_shard_may_be_ahead_of_what_is_left_of_a_journal_that_was_closed() {
    let places = |found: &Recovered, behind| {
        let found = found.segments.behind(0, behind);
        found.map(|found| found.len())
    };
    for kept in 0..8_u8 {
        let dir = tempfile::tempdir().expect("temp dir");
        let found = left(dir.path(), [1, 2, 4].map(|bit| kept & bit != 0));
        assert_eq!((found.next, places(&found, 3).expect("ahead")), (4, 0));
    }
    // One that is behind it is told so, or gets what it lacks.
    let dir = tempfile::tempdir().expect("temp dir");
    let found = left(dir.path(), [true, false, true]);
    assert!(matches!(places(&found, 0), Err(Error::Corrupt(_))));
    assert_eq!(places(&found, 2).expect("found"), 1);
}

#[test]
fn what_is_left_of_a_segment_that_was_overwritten_is_removed() {
    let dir = tempfile::tempdir().expect("temp dir");
    let first = run(dir.path(), 1, 1);
    let second = run(dir.path(), 1, 2);
    let path = files::path(dir.path(), first);
    let old = path.with_extension("old");
    fs::rename(&path, &old).expect("renamed");
    zero(&old, 0..4096);
    let found = recovered(dir.path()).expect("recovered");
    assert_eq!(found.segments.numbers(), [second]);
    assert!(!old.exists());
}

#[test]
fn a_blanking_that_was_cut_short_is_no_damage_and_is_taken_up_again() {
    let dir = tempfile::tempdir().expect("temp dir");
    let number = run(dir.path(), 3, 1);
    let path = files::path(dir.path(), number);
    let (segment, places) = {
        let found = recovered(dir.path()).expect("recovered");
        let needed = found.segments.needed();
        let live = needed.live.first().expect("one");
        let place = |shard| live.part(shard).and_then(|part| part.place(1));
        let places: Vec<u32> = (0..3).filter_map(place).collect();
        (Arc::clone(&live.segment), places)
    };
    let bodies = segment.mark_blank(&places).expect("marked");
    let (at, size) = bodies[2];
    let (at, half) = (at as usize, size / 2);
    zero(&path, at..at + half);
    let found = recovered(dir.path()).expect("recovered");
    assert_eq!(
        (found.next, found.segments.check(number).expect("sound")),
        (4, 3)
    );
    let holds = || fs::read(&path).expect("read").contains(&b'x');
    assert!(holds());
    let segment = {
        let found = recovered(dir.path()).expect("recovered");
        let needed = found.segments.needed();
        Arc::clone(&needed.live.first().expect("one").segment)
    };
    segment.blank(&places).expect("blank");
    assert!(!holds());
    assert_eq!(recovered(dir.path()).expect("recovered").next, 4);
}
