//! Writing a whole file, so that whoever looks finds it whole or not at all, also after a loss of power.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::thread;
use std::time::Duration;

use super::access::{Access, check_kind, create_dirs, sync_parent};
use super::beside;
use crate::error::{Error, Result};

/// How often it is tried, and after which pause, while another one writes a file of the same name.
const TRIES: u32 = 400;
const PAUSE: Duration = Duration::from_millis(5);

/// What becomes of a file that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum There {
    /// It stays, and nothing is written.
    Stays,
    /// The new one takes its place, and its own bytes are overwritten, unless the file has another name too.
    GivesWay,
}

/// Writes a file, and makes the folders above it that are missing. Whether it was written: `false` when there is one
/// that stays. Errors: `DiskFull`, `Io`; what is in the file's place is whole then, as it was.
pub fn put(path: &Path, bytes: &[u8], access: Access, there: There) -> Result<bool> {
    check_kind(path)?;
    if there == There::Stays && exists(path)? {
        return Ok(false);
    }
    if let Some(dir) = path.parent() {
        create_dirs(dir, access)?;
    }
    let new = beside(path, ".new");
    check_kind(&new)?;
    // NOTE: it stays locked until the file has its name, so that nobody else writes into it, or names it.
    let mut file = own(&new, access).map_err(|error| Error::io(path, error))?;
    write(&mut file, bytes).map_err(|error| {
        // A part of it is of no use to anyone; the error to tell is the first one.
        let _ = fs::remove_file(&new);
        Error::io(path, error)
    })?;
    let old = match there {
        There::GivesWay => OpenOptions::new().write(true).open(path).ok(),
        There::Stays => None,
    };
    let named = match there {
        There::GivesWay => fs::rename(&new, path).map(|()| true),
        There::Stays => name_once(&new, path),
    };
    let written = named.map_err(|error| Error::io(path, error))?;
    sync_parent(path)?;
    if let Some(old) = old {
        overwrite(&old).map_err(|error| Error::io(path, error))?;
    }
    Ok(written)
}

/// Overwrites a file that has lost its last name: what it held may have been erased since.
fn overwrite(mut file: &File) -> io::Result<()> {
    let about = file.metadata()?;
    if about.nlink() > 0 {
        return Ok(());
    }
    let mut left = about.len();
    let zeros = [0; 65_536];
    while left > 0 {
        let piece = left.min(zeros.len() as u64);
        file.write_all(zeros.get(..piece as usize).unwrap_or_default())?;
        left -= piece;
    }
    file.sync_data()
}

/// An empty file that this call alone has, in place of what a crash has left. Error: `WouldBlock`, when another one has
/// it for long.
fn own(new: &Path, access: Access) -> io::Result<File> {
    for _ in 0..TRIES {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(access.of_files())
            .open(new)?;
        match file.try_lock() {
            // The other one may have given it its name since it was opened here.
            Ok(()) if is_there(&file, new)? => {
                file.set_len(0)?;
                return Ok(file);
            }
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => thread::sleep(PAUSE),
            Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => {
                // A file system without locks.
                file.set_len(0)?;
                return Ok(file);
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    Err(io::Error::new(
        ErrorKind::WouldBlock,
        "another process has been writing this file for two seconds",
    ))
}

/// Whether the open file still has this name.
fn is_there(file: &File, path: &Path) -> io::Result<bool> {
    let own = file.metadata()?;
    match fs::symlink_metadata(path) {
        Ok(found) => Ok((found.dev(), found.ino()) == (own.dev(), own.ino())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn write(file: &mut File, bytes: &[u8]) -> io::Result<()> {
    file.write_all(bytes)?;
    file.sync_all()
}

/// Gives a file its name unless another one has it. `false`: another one has.
fn name_once(new: &Path, path: &Path) -> io::Result<bool> {
    match fs::hard_link(new, path) {
        Ok(()) => fs::remove_file(new).map(|()| true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            fs::remove_file(new).map(|()| false)
        }
        // A file system without links. It was looked at before, and nobody else writes here.
        Err(_) => fs::rename(new, path).map(|()| true),
    }
}

fn exists(path: &Path) -> Result<bool> {
    path.try_exists().map_err(|error| Error::io(path, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let found = fs::read_dir(dir).expect("read").flatten();
        let mut names: Vec<_> = found
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_written_once_or_takes_the_place_of_another() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("a/b/1");
        assert!(put(&path, b"one", Access::Owner, There::Stays).expect("written"));
        assert!(!put(&path, b"two", Access::Owner, There::Stays).expect("there"));
        assert_eq!(fs::read(&path).expect("read"), b"one");
        assert!(put(&path, b"three", Access::Owner, There::GivesWay).expect("written"));
        assert_eq!(fs::read(&path).expect("read"), b"three");
        assert_eq!(names(&dir.path().join("a/b")), ["1"]);
    }

    #[test]
    fn what_gives_way_is_overwritten_unless_it_has_another_name() {
        use std::io::Read;
        let dir = tempfile::tempdir().expect("temp dir");
        for has_another in [false, true] {
            let path = dir.path().join("1");
            let secret = vec![7; 100_000];
            put(&path, &secret, Access::Owner, There::GivesWay).expect("written");
            if has_another {
                fs::hard_link(&path, dir.path().join("2")).expect("linked");
            }
            let mut old = File::open(&path).expect("opened");
            put(&path, b"new", Access::Owner, There::GivesWay).expect("written");
            let mut left = Vec::new();
            old.read_to_end(&mut left).expect("read");
            let kept = if has_another { 7 } else { 0 };
            assert_eq!(left, vec![kept; 100_000]);
        }
    }

    #[test]
    fn what_a_crash_left_is_in_nobodys_way() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("1");
        fs::write(dir.path().join("1.new"), "a part of something longer").expect("written");
        assert!(put(&path, b"one", Access::Owner, There::Stays).expect("written"));
        assert_eq!(fs::read(&path).expect("read"), b"one");
        assert_eq!(names(dir.path()), ["1"]);
    }

    /// Whoever comes first is there, whole; also where both begin at once.
    #[test]
    fn of_many_at_once_one_is_written() {
        let dir = tempfile::tempdir().expect("temp dir");
        for round in 0..50 {
            let path = dir.path().join(round.to_string());
            let written: Vec<_> = thread::scope(|scope| {
                let writers: Vec<_> = (0..4_u8)
                    .map(|writer| {
                        let path = &path;
                        scope.spawn(move || {
                            let bytes = vec![writer; 50_000 * (usize::from(writer) + 1)];
                            put(path, &bytes, Access::Owner, There::Stays).expect("put")
                        })
                    })
                    .collect();
                writers
                    .into_iter()
                    .map(|writer| writer.join().expect("ended"))
                    .collect()
            });
            let first = written.iter().position(|written| *written).expect("one");
            assert_eq!(written.iter().filter(|written| **written).count(), 1);
            let found = fs::read(&path).expect("read");
            assert_eq!(found, vec![first as u8; 50_000 * (first + 1)]);
        }
        assert_eq!(names(dir.path()).len(), 50);
    }

    #[test]
    fn what_another_one_is_writing_is_not_written_into() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("1");
        let other = own(&dir.path().join("1.new"), Access::Owner).expect("own");
        let waits = put(&path, b"one", Access::Owner, There::Stays);
        assert!(matches!(waits, Err(Error::Io(_))));
        drop(other);
        assert!(put(&path, b"one", Access::Owner, There::Stays).expect("written"));
        assert_eq!(names(dir.path()), ["1"]);
    }

    #[test]
    fn what_cannot_be_written_changes_nothing() {
        let dir = tempfile::tempdir().expect("temp dir");
        fs::write(dir.path().join("a"), "a file").expect("written");
        for path in [dir.path().join("a/1"), dir.path().to_owned()] {
            let refused = put(&path, b"one", Access::Owner, There::GivesWay);
            assert!(matches!(refused, Err(Error::Io(_))));
        }
        assert_eq!(names(dir.path()), ["a"]);
    }
}
