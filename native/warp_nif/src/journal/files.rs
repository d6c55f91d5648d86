//! The files of a journal's segments: their names, and making them.

use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::files::{self, Access};

/// What the names of segments begin with.
const PREFIX: &str = "journal-";
/// How much is written at once while a segment is prepared.
const PIECE: usize = 1024 * 1024;

/// The file of the segment with that number.
pub fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{PREFIX}{number:010}"))
}

/// The numbers of all segments in the folder, in order.
pub fn numbers(dir: &Path) -> Result<Vec<u64>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(|error| Error::io(dir, error))? {
        let entry = entry.map_err(|error| Error::io(dir, error))?;
        let name = entry.file_name();
        let digits = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        found.extend(digits.and_then(|digits| digits.parse::<u64>().ok()));
    }
    found.sort_unstable();
    Ok(found)
}

/// A segment that is all zeros, and can be begun without any more room on the disk.
pub struct Prepared {
    /// Its number.
    pub number: u64,
    /// Its file.
    pub file: File,
    /// How many bytes it has.
    pub size: u64,
}

/// Makes a segment of zeros, out of the one with the number `old` if there is one. Its name and its
/// bytes are durable.
pub fn prepare(
    dir: &Path,
    access: Access,
    number: u64,
    size: u64,
    old: Option<u64>,
) -> Result<Prepared> {
    let new = path(dir, number);
    files::check_kind(&new)?;
    if let Some(old) = old {
        let old = path(dir, old);
        let file = open(&old)?;
        // NOTE: the label goes first, so that no crash leaves one under another number.
        let label = vec![0; 64 * 1024];
        file.write_all_at(&label, 0)
            .and_then(|()| file.sync_data())
            .map_err(|error| Error::io(&old, error))?;
        fs::rename(&old, &new).map_err(|error| Error::io(&new, error))?;
    } else {
        files::create(&new, access)?;
    }
    let made = fill(&new, size);
    if made.is_err() {
        // What cannot be filled takes room that others need.
        let _ = fs::remove_file(&new);
    }
    let file = made?;
    files::sync_dir(dir)?;
    Ok(Prepared { number, file, size })
}

/// Opens a segment.
pub fn open(path: &Path) -> Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .map_err(|error| Error::io(path, error))
}

fn fill(path: &Path, size: u64) -> Result<File> {
    let file = open(path)?;
    let fill = || {
        let zeros = vec![0; PIECE];
        let mut at = 0;
        while at < size {
            let piece = usize::try_from(size - at).unwrap_or(PIECE).min(PIECE);
            file.write_all_at(zeros.get(..piece).unwrap_or_default(), at)?;
            at += piece as u64;
            // In pieces, so that a commit's own sync never waits for all of it.
            file.sync_data()?;
        }
        file.set_len(size)?;
        file.sync_all()
    };
    fill().map_err(|error| Error::io(path, error))?;
    Ok(file)
}

/// Removes the segments with these numbers, durably, as far as they are there.
pub fn remove(dir: &Path, numbers: &[u64]) -> Result<()> {
    for number in numbers {
        let path = path(dir, *number);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(Error::io(&path, error));
            }
            _ => {}
        }
    }
    if numbers.is_empty() {
        return Ok(());
    }
    files::sync_dir(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prepared_segment_is_zeros_whatever_was_there() {
        let dir = tempfile::tempdir().expect("temp dir");
        let old = prepare(dir.path(), Access::Owner, 7, 100_000, None).expect("prepared");
        old.file.write_all_at(&[1; 100_000], 0).expect("written");
        let new = prepare(dir.path(), Access::Owner, 9, 3_000_000, Some(7)).expect("prepared");
        assert_eq!((new.number, new.size), (9, 3_000_000));
        assert_eq!(numbers(dir.path()).expect("listed"), [9]);
        let bytes = fs::read(path(dir.path(), 9)).expect("read");
        assert!(bytes.len() == 3_000_000 && bytes.iter().all(|byte| *byte == 0));
        fs::write(dir.path().join("journal-x"), "").expect("written");
        remove(dir.path(), &[9]).expect("removed");
        assert_eq!(numbers(dir.path()).expect("listed"), [0; 0]);
    }
}
