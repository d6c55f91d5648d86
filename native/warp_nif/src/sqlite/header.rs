//! The header of a file, read before SQLite is let near it.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// How many bytes the header of an SQLite database has.
const BYTES: u64 = 100;
/// Where in it the application id and the user version stand, as big-endian numbers.
const APPLICATION_ID: usize = 68;
const USER_VERSION: usize = 60;

/// What makes a file one of Warp's.
pub struct Format {
    /// The header's `application_id`.
    pub application_id: u32,
    /// The newest `user_version` that this library reads; the first one was 1.
    pub version: u32,
    /// The error for a file that something else has made.
    pub foreign: fn(PathBuf) -> Error,
}

impl Format {
    /// Whether there is no file yet, or an empty one. Errors: as of `version_of`.
    pub fn is_missing(&self, path: &Path) -> Result<bool> {
        Ok(self.version_of(path)?.is_none())
    }

    /// The `user_version` of the file; `None` when there is none yet, or an empty one. Errors, with the file
    /// left as it was: what `foreign` makes of its path, `NewerFormat`, `Io`.
    ///
    /// The header is read straight from the file: even SQLite's reading could touch a foreign one.
    /// It is complete from the first transaction on, which runs without a WAL.
    pub fn version_of(&self, path: &Path) -> Result<Option<u32>> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io(path, error)),
        };
        let mut header = Vec::new();
        file.take(BYTES)
            .read_to_end(&mut header)
            .map_err(|error| Error::io(path, error))?;
        if header.is_empty() {
            return Ok(None);
        }
        let is_sqlite = header.starts_with(b"SQLite format 3\0");
        match (word(&header, APPLICATION_ID), word(&header, USER_VERSION)) {
            (Some(id), Some(version)) if is_sqlite && id == self.application_id && version > 0 => {
                if version > self.version {
                    let newer = Error::NewerFormat(path.to_owned(), i64::from(version));
                    return Err(newer);
                }
                Ok(Some(version))
            }
            _ => Err((self.foreign)(path.to_owned())),
        }
    }
}

fn word(header: &[u8], at: usize) -> Option<u32> {
    let bytes: [u8; 4] = header.get(at..at + 4)?.try_into().ok()?;
    Some(u32::from_be_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: Format = Format {
        application_id: 7,
        version: 2,
        foreign: Error::NotAShard,
    };

    fn header(id: u32, version: u32) -> Vec<u8> {
        let mut header = b"SQLite format 3\0".to_vec();
        header.resize(100, 0);
        header[68..72].copy_from_slice(&id.to_be_bytes());
        header[60..64].copy_from_slice(&version.to_be_bytes());
        header
    }

    #[test]
    fn a_header_is_ours_newer_or_foreign() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("f.db");
        let judge = |bytes: &[u8]| {
            std::fs::write(&path, bytes).expect("written");
            OURS.is_missing(&path)
        };
        assert!(OURS.is_missing(&path).expect("no file"));
        assert!(judge(b"").expect("empty"));
        for version in [1, 2] {
            assert!(!judge(&header(7, version)).expect("ours"));
        }
        assert!(matches!(
            judge(&header(7, 3)),
            Err(Error::NewerFormat(_, 3))
        ));
        let mut other = header(7, 1);
        other[0] = b's';
        let foreign = [
            header(8, 1),
            header(7, 0),
            header(7, 1)[..71].to_vec(),
            other,
        ];
        for bytes in foreign {
            assert!(matches!(judge(&bytes), Err(Error::NotAShard(_))));
        }
    }
}
