//! Opening a journal: reads its segments, and begins one of a new run.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::files;
use super::judge::{Read, Wrong, judge};
use super::label::{Label, Reading};
use super::live::Live;
use super::note::Note;
use super::record::{ALIGN, HEADER, Header};
use super::scan::scan;
use super::segment::Segment;
use super::segments::Segments;
use crate::error::{Error, Result};
use crate::files::Access;

/// A journal that was read.
pub struct Recovered {
    /// Its segments.
    pub segments: Arc<Segments>,
    /// Its random number; none when it has never been written.
    pub journal: Option<u64>,
    /// Where the next record stands in it.
    pub next: u64,
    /// The number of its last segment.
    pub number: u64,
}

/// Reads the segments in the folder of a context, and removes those that were not begun. Errors: as of
/// `read`.
pub fn recover(dir: &Path, access: Access, note: Option<&Note>) -> Result<Recovered> {
    let (recovered, unused) = read(dir, access, note)?;
    files::remove(dir, &unused)?;
    files::remove_old(dir)?;
    Ok(recovered)
}

/// Reads the segments in the folder of a context. Also the numbers of those that were not begun.
///
/// Errors: `Corrupt` when a record or a segment is damaged or missing that was synced; `NewerFormat`;
/// `Io`.
pub fn read(dir: &Path, access: Access, note: Option<&Note>) -> Result<(Recovered, Vec<u64>)> {
    let numbers = files::numbers(dir)?;
    let mut journal = note.map(|note| note.journal);
    let (mut found, mut files, mut unused) = (Vec::new(), Vec::new(), Vec::new());
    for number in &numbers {
        let path = files::path(dir, *number);
        crate::files::check_kind(&path)?;
        let bytes = std::fs::read(&path).map_err(|error| Error::io(&path, error))?;
        match Label::decode(&bytes) {
            Reading::Empty => unused.push((*number, bytes, false)),
            Reading::Newer(version) => return Err(Error::NewerFormat(path, i64::from(version))),
            // A loss of power may have come while it was written.
            Reading::Damaged => unused.push((*number, bytes, true)),
            Reading::Label(label, _) if label.number != *number => {
                let what = format!("this is segment {} under another's name", label.number);
                return Err(damaged(&what).at(&path));
            }
            Reading::Label(label, _) if journal.is_some_and(|id| id != label.journal) => {
                return Err(damaged("this segment belongs to another journal").at(&path));
            }
            Reading::Label(label, start) => {
                if (bytes.len() as u64) < label.size {
                    let what = format!("it has {} bytes of {}", bytes.len(), label.size);
                    return Err(damaged(&what).at(&path));
                }
                journal = Some(label.journal);
                let scan = scan(&bytes, start, label.first, label.seed());
                let file = files::open(&path)?;
                files.push((path, file));
                found.push(Read { label, scan });
            }
        }
    }
    for (number, bytes, is_damaged) in &unused {
        let has_records = journal.map(|id| has_records(bytes, id, *number));
        let what = match (has_records, is_damaged) {
            (Some(true), true) => {
                "the label of the segment is damaged, and there are records behind it"
            }
            (Some(true), false) => {
                "the label of the segment is missing, and there are records behind it"
            }
            (None, true) => "the label of the segment is damaged",
            (Some(false), _) | (None, false) => continue,
        };
        return Err(damaged(what).at(&files::path(dir, *number)));
    }
    let judged = judge(&found, note).map_err(|wrong| explain(dir, &wrong))?;
    let mut known: HashMap<u16, i64> = HashMap::new();
    // NOTE: a loss of power while a journal was closed leaves some of its segments, whichever they are. The
    // shards have all of it, so they may be ahead of what is left.
    let mut know = |is_left: bool, shard: u16, position: i64| {
        if is_left {
            return;
        }
        let last = known.entry(shard).or_insert(0);
        *last = (*last).max(position);
    };
    let mut all = Vec::with_capacity(found.len());
    for ((read, (path, file)), count) in found.iter().zip(files).zip(&judged.counts) {
        let end = read.end_of(*count);
        let mut live = Live::new(Segment::new(&read.label, path, file, Some(end)));
        let is_left = note.is_some_and(|note| note.is_behind(read.label.number));
        for (shard, position) in &read.label.positions {
            let shard = u16::try_from(*shard).unwrap_or(u16::MAX);
            know(is_left, shard, *position);
        }
        for record in read.scan.found.iter().take(*count) {
            let Header {
                shard, position, ..
            } = record.header;
            let part = live.part_from(shard, position);
            if position != part.last() + 1 {
                let what = format!(
                    "the record of position {position} of shard {shard} is not behind {}",
                    part.last()
                );
                return Err(damaged(&what).at(&live.segment.path));
            }
            let place = u32::try_from(record.at / ALIGN);
            part.push(place.map_err(|_| damaged("a segment is too long"))?);
            know(is_left, shard, position);
        }
        all.push(live);
    }
    let unused: Vec<u64> = unused.iter().map(|(number, ..)| *number).collect();
    let last = numbers.last().copied().unwrap_or(0);
    let number = last.max(note.map_or(0, |note| note.number));
    let segments = Segments::new(dir.to_owned(), access, all, known, number + 1);
    let recovered = Recovered {
        segments: Arc::new(segments),
        journal,
        next: judged.next,
        number,
    };
    Ok((recovered, unused))
}

/// Whether something in a segment without a label checks as a record of it.
fn has_records(bytes: &[u8], journal: u64, number: u64) -> bool {
    let label = Label {
        size: 0,
        number,
        journal,
        run: 0,
        first: 0,
        positions: Vec::new(),
    };
    let seed = label.seed();
    bytes
        .chunks_exact(HEADER)
        .any(|place| place.iter().any(|byte| *byte != 0) && Header::decode(place, seed).is_some())
}

fn damaged(what: &str) -> Error {
    Error::corrupt(format!(
        "{what}. Restore a backup, or put back the files of one time, all of them"
    ))
}

fn explain(dir: &Path, wrong: &Wrong) -> Error {
    let (number, what) = match wrong {
        Wrong::Hole(number, lsn) => (
            *number,
            format!("record {lsn} of the journal is damaged or missing, and there are later ones"),
        ),
        Wrong::Short(number, lsn) => (
            *number,
            format!("the journal ends before record {lsn}, which was synced"),
        ),
        Wrong::Missing(number) => (*number, "this segment of the journal is missing".to_owned()),
    };
    damaged(&what).at(&files::path(dir, number))
}
