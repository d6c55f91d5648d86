//! The files of a journal's segments: their names, and making them.

use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::files::{self, Access};

/// What the names of segments begin with.
const PREFIX: &str = "journal-";
/// What the name of one ends with that was given back, and is overwritten.
const OLD: &str = ".old";
/// How much is written at once while a segment is prepared.
const PIECE: usize = 1024 * 1024;

/// The file of the segment with that number.
pub fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{PREFIX}{number:010}"))
}

/// The numbers of all segments in the folder, in order.
pub fn numbers(dir: &Path) -> Result<Vec<u64>> {
    let digits = names(dir)?;
    let mut found: Vec<u64> = digits.iter().filter_map(|n| n.parse().ok()).collect();
    found.sort_unstable();
    Ok(found)
}

/// What stands behind the prefix in the names of files that are a journal's.
fn names(dir: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(|error| Error::io(dir, error))? {
        let entry = entry.map_err(|error| Error::io(dir, error))?;
        let name = entry.file_name();
        let rest = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        found.extend(rest.map(str::to_owned));
    }
    Ok(found)
}

/// The one with that number once it was given back, and is overwritten.
fn old_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{PREFIX}{number:010}{OLD}"))
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
    let filled = match old {
        Some(old) => {
            let aside = old_path(dir, old);
            let from = path(dir, old);
            fs::rename(&from, &aside).map_err(|error| Error::io(&from, error))?;
            // NOTE: it has no number any more before its bytes change. What a loss of power leaves of
            // it would look like a segment that is damaged.
            files::sync_dir(dir).map(|()| aside)
        }
        None => files::create(&new, access).map(|_| new.clone()),
    };
    let made = filled.and_then(|filled| {
        let file = fill(&filled, size)?;
        if filled != new {
            fs::rename(&filled, &new).map_err(|error| Error::io(&new, error))?;
        }
        files::sync_dir(dir)?;
        Ok(file)
    });
    if made.is_err() {
        // What cannot be filled takes room that others need.
        let _ = fs::remove_file(&new);
        let _ = old.map(|old| fs::remove_file(old_path(dir, old)));
    }
    Ok(Prepared {
        number,
        file: made?,
        size,
    })
}

/// Removes what is left of segments that were being overwritten.
pub fn remove_old(dir: &Path) -> Result<()> {
    let names = names(dir)?;
    let old = names.iter().filter_map(|name| name.strip_suffix(OLD));
    let old: Vec<PathBuf> = old
        .filter_map(|digits| digits.parse().ok())
        .map(|number| old_path(dir, number))
        .collect();
    remove_all(dir, &old)
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

/// Removes the segments with these numbers, durably, as far as they are there: those too that were being overwritten.
pub fn remove(dir: &Path, numbers: &[u64]) -> Result<()> {
    let names = |number: &u64| [path(dir, *number), old_path(dir, *number)];
    let paths: Vec<PathBuf> = numbers.iter().flat_map(names).collect();
    remove_all(dir, &paths)
}

fn remove_all(dir: &Path, paths: &[PathBuf]) -> Result<()> {
    for path in paths {
        match fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(Error::io(path, error));
            }
            _ => {}
        }
    }
    if paths.is_empty() {
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
