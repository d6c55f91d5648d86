//! Watching the files of a shard, and rescuing what is in them once they are lost.

use std::path::{Path, PathBuf};

use rusqlite::Connection;

use crate::error::{Error, Result};
use crate::files::Watch;
use crate::sqlite;

/// The files of a shard, looked at before each transaction.
#[derive(Default)]
pub struct ShardWatch {
    files: Watch,
    /// Why they are not what is open here any more, once that was found.
    lost: Option<String>,
}

impl ShardWatch {
    /// Adds a file. Error: `Io`, when it is not there.
    pub fn add(&mut self, path: PathBuf) -> Result<()> {
        self.files.add(path)
    }

    /// Adds the open database, and what SQLite keeps beside it.
    pub fn add_database(&mut self, path: &Path) -> Result<()> {
        self.files.add_database(path)
    }

    /// Looks whether the files are still in their place: the bytes of the file and its WAL. Once
    /// they were not, always the same error: what is open here is of no use any more.
    pub fn look(&mut self) -> Result<u64> {
        if let Some(lost) = &self.lost {
            return Err(Error::Io(lost.as_str().into()));
        }
        self.files.check().map_err(|lost| {
            self.lost = Some(lost.clone());
            Error::Io(lost.into())
        })
    }

    /// Whether `look` has found that the files are not in their place any more.
    pub fn is_lost(&self) -> bool {
        self.lost.is_some()
    }

    /// Before a connection to files is closed of which some are not in their place any more: moves what
    /// was applied into the database's file. What became of it, in a sentence.
    pub fn rescue(&self, connection: &Connection, path: &Path) -> String {
        let lost = self.lost.as_deref().unwrap_or_default();
        let moved = sqlite::checkpoint(connection, "TRUNCATE");
        sqlite::spare_foreign_wal(connection, &self.files, path);
        let became = match moved {
            Ok(true) if self.files.is_ours_or_gone(path) => {
                "All that was committed is in the database's file or in the journal".into()
            }
            Ok(true) => {
                "All that was committed is in the file that was here before, or in the journal"
                    .into()
            }
            Ok(false) => {
                "What was committed last could not be moved into the database's file: another \
                      program is reading it. It is in the journal"
                    .into()
            }
            Err(error) => format!(
                "What was committed last could not be moved into the database's file: {error}. It \
                 is in the journal"
            ),
        };
        format!("{lost}. {became}")
    }
}
