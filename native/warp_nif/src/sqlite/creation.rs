//! The creation of a file, which a crash may have cut short.

use std::path::Path;

use rusqlite::Connection;

use crate::error::{Error, Result};
use crate::files;

/// Has SQLite roll back a creation that was cut short: until then the header of the file at `path` means
/// nothing. `open` opens a connection that may write. Errors: `Corrupt`, `Io`.
///
/// From its creation on a file has a WAL, and no such journal.
pub fn finish_creation(path: &Path, open: impl FnOnce() -> Result<Connection>) -> Result<()> {
    if path.exists() && files::beside(path, "-journal").exists() {
        let _: i64 = open()?
            .query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0))
            .map_err(|error| Error::from(error).at(path))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// The journal of a first transaction: the database had no pages.
    fn journal() -> Vec<u8> {
        let mut journal = vec![0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];
        for number in [0_u32, 7, 0, 512, 4096] {
            journal.extend_from_slice(&number.to_be_bytes());
        }
        journal.resize(512, 0);
        journal
    }

    #[test]
    fn a_creation_that_was_cut_short_is_undone() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("f.db");
        let journal_path = files::beside(&path, "-journal");
        let finish = || finish_creation(&path, || Ok(Connection::open(&path)?));
        let whole = {
            let other = dir.path().join("whole.db");
            let connection = Connection::open(&other).expect("opened");
            let create = "PRAGMA application_id = 7; PRAGMA user_version = 1";
            connection.execute_batch(create).expect("made");
            fs::read(&other).expect("read")
        };
        for left in [&[0; 3584][..], &whole[..512], &whole] {
            fs::write(&path, left).expect("written");
            fs::write(&journal_path, journal()).expect("written");
            finish().expect("undone");
            assert_eq!(fs::read(&path).expect("read").len(), 0, "{}", left.len());
            assert!(!journal_path.exists());
        }
        fs::write(&path, &whole).expect("written");
        finish().expect("whole");
        assert_eq!(fs::read(&path).expect("read"), whole);
        // A journal alone is SQLite's matter.
        fs::remove_file(&path).expect("removed");
        fs::write(&journal_path, journal()).expect("written");
        finish().expect("nothing to do");
        assert!(!path.exists());
    }
}
