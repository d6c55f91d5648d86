//! Removing the files of a shard that is not here any more, so that nothing of it can be read.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::names;
use crate::error::{Error, Result};
use crate::files;
use crate::sqlite::Claim;

/// How much is overwritten at once.
const PIECE: usize = 1024 * 1024;
/// After how many bytes what was overwritten is synced, so that no other sync has to wait for all of it.
const SYNC_AFTER: u64 = 16 * 1024 * 1024;

/// Overwrites all files of the shard at `path` with zeros, and those of a copy that was made beside it, and removes them,
/// durably. Files that are not there are none.
///
/// Errors: `Claimed` while the shard or the copy is open in this VM; `Io`: it can be called again.
pub fn discard(path: &Path) -> Result<()> {
    let _claims = (Claim::take(path)?, Claim::take(&names::staged(path))?);
    erase_files(&names::all(path))?;
    files::sync_parent(path)
}

/// Overwrites files with zeros, as far as they are there, and removes them. That they are gone is not durable yet.
pub fn erase_files(paths: &[PathBuf]) -> Result<()> {
    for path in paths {
        files::check_kind(path)?;
        match overwrite(path).and_then(|()| fs::remove_file(path)) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(Error::io(path, error));
            }
            _ => {}
        }
    }
    Ok(())
}

fn overwrite(path: &Path) -> io::Result<()> {
    let file: File = OpenOptions::new().write(true).open(path)?;
    let bytes = file.metadata()?.len();
    let zeros = vec![0; PIECE];
    let (mut at, mut synced) = (0, 0);
    while at < bytes {
        let piece = usize::try_from(bytes - at).unwrap_or(PIECE).min(PIECE);
        file.write_all_at(zeros.get(..piece).unwrap_or_default(), at)?;
        at += piece as u64;
        if at - synced >= SYNC_AFTER {
            file.sync_data()?;
            synced = at;
        }
    }
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_files_of_a_shard_are_overwritten_and_removed() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("shard-0003.db");
        // What is overwritten can still be seen by who has it open.
        let opened = names::all(&path).into_iter().map(|path| {
            fs::write(&path, vec![7; 3 * PIECE + 5]).expect("written");
            File::open(path).expect("opened")
        });
        let opened: Vec<File> = opened.collect();
        let others = ["shard-0004.db", "shard-0030.db", "shard-0003", "lock"];
        for other in others {
            fs::write(dir.path().join(other), "kept").expect("written");
        }
        for _ in 0..2 {
            discard(&path).expect("discarded");
            assert_eq!(fs::read_dir(dir.path()).expect("listed").count(), 4);
        }
        for file in opened {
            let mut bytes = vec![1; 3 * PIECE + 5];
            file.read_exact_at(&mut bytes, 0).expect("read");
            assert!(bytes.iter().all(|byte| *byte == 0));
        }
    }

    #[test]
    fn what_is_open_is_not_discarded() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("shard-0003.db");
        fs::write(&path, "kept").expect("written");
        for open in [path.clone(), names::staged(&path)] {
            let claim = Claim::take(&open).expect("free");
            assert!(matches!(discard(&path), Err(Error::Claimed)));
            drop(claim);
            assert!(path.exists());
        }
        discard(&path).expect("free");
        assert!(!path.exists());
    }
}
