//! Whether the files that are open are still those that others find by their names.
//!
//! A file that another program removed, or put another one in place of, can still be written to,
//! and all of it goes when it is closed. Neither SQLite nor the operating system says so.

use std::io;
use std::path::{Path, PathBuf};

use super::beside;
use super::identity::{Found, Identity, find};
use crate::error::{Error, Result};

/// Files with their identity, as of when they were opened. Looking at one costs a microsecond.
#[derive(Default)]
pub struct Watch {
    files: Vec<Watched>,
}

struct Watched {
    path: PathBuf,
    identity: Identity,
    /// Whether events stand in it: then its bytes count as those of the database.
    holds_events: bool,
}

impl Watch {
    /// Adds a file. Error: `Io`, when it is not there.
    pub fn add(&mut self, path: PathBuf) -> Result<()> {
        self.add_file(path, false)
    }

    /// Adds an open database in WAL mode, and what SQLite keeps beside it.
    pub fn add_database(&mut self, path: &Path) -> Result<()> {
        self.add_file(path.to_owned(), true)?;
        self.add_file(beside(path, "-wal"), true)?;
        self.add_file(beside(path, "-shm"), false)
    }

    fn add_file(&mut self, path: PathBuf, holds_events: bool) -> Result<()> {
        let Found { identity, .. } = find(&path).map_err(|error| Error::io(&path, error))?;
        self.files.push(Watched {
            identity,
            path,
            holds_events,
        });
        Ok(())
    }

    /// How many bytes the database has, if all is in its place. Else what happened, and what to do.
    pub fn check(&self) -> std::result::Result<u64, String> {
        Self::check_each(self.files.iter())
    }

    fn check_each<'f>(
        files: impl Iterator<Item = &'f Watched>,
    ) -> std::result::Result<u64, String> {
        let mut bytes = 0;
        for file in files {
            let what = match find(&file.path) {
                Ok(found) if found.identity == file.identity => {
                    bytes += if file.holds_events { found.bytes } else { 0 };
                    continue;
                }
                Ok(_) => "another program has put another file in its place".to_owned(),
                Err(error) if is_gone(&error) => {
                    "another program has removed or renamed it".to_owned()
                }
                Err(error) => format!("it cannot be looked at any more ({error})"),
            };
            return Err(format!(
                "{}: {what} while it was open. Nothing was written; Warp now opens its files again. \
                 Keep other programs from removing, renaming or replacing the files of a context \
                 that is open",
                file.path.display()
            ));
        }
        Ok(bytes)
    }

    /// Whether a file with that name is one of ours, or none is there.
    pub fn is_ours_or_gone(&self, path: &Path) -> bool {
        match find(path) {
            Ok(found) => self
                .files
                .iter()
                .any(|file| file.path == path && file.identity == found.identity),
            Err(error) => is_gone(&error),
        }
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_that_was_removed_or_replaced_is_noticed() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("file");
        for replace in [false, true] {
            fs::write(&path, "ours").expect("written");
            let mut watch = Watch::default();
            watch.add_file(path.clone(), true).expect("added");
            assert_eq!(watch.check(), Ok(4));
            fs::rename(&path, dir.path().join("elsewhere")).expect("renamed");
            if replace {
                fs::write(&path, "theirs").expect("written");
            }
            assert_eq!(watch.is_ours_or_gone(&path), !replace);
            assert!(watch.check().is_err_and(|why| why.contains("file: ")));
            fs::rename(dir.path().join("elsewhere"), &path).expect("put back");
            assert_eq!(watch.check(), Ok(4));
        }
    }
}
