//! Which file stands at a path.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The numbers of a file's device and of the file on it.
pub type Identity = (u64, u64);

/// A file that was found at a path.
pub struct Found {
    /// Which file it is.
    pub identity: Identity,
    /// How many bytes it has.
    pub bytes: u64,
}

/// Looks which file is at the path. Asks for its times only where the system has no call that leaves them out.
///
/// NOTE: Linux since 6.13 gives a file that somebody asked for its times a new one with the next write, however soon
/// that comes. A file system without a journal writes the changed inode with each sync then, which takes the disk one
/// more write per commit.
pub fn find(path: &Path) -> io::Result<Found> {
    #[cfg(target_os = "linux")]
    match without_times(path) {
        Err(rustix::io::Errno::NOSYS) => {}
        found => return Ok(found?),
    }
    let found = fs::metadata(path)?;
    Ok(Found {
        identity: (found.dev(), found.ino()),
        bytes: found.len(),
    })
}

#[cfg(target_os = "linux")]
fn without_times(path: &Path) -> rustix::io::Result<Found> {
    use rustix::fs::{AtFlags, CWD, StatxFlags, makedev, statx};
    let found = statx(
        CWD,
        path,
        AtFlags::empty(),
        StatxFlags::INO | StatxFlags::SIZE,
    )?;
    Ok(Found {
        identity: (
            makedev(found.stx_dev_major, found.stx_dev_minor),
            found.stx_ino,
        ),
        bytes: found.stx_size,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_found_as_every_other_program_finds_it() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("file");
        fs::write(&path, "four").expect("written");
        let other = fs::metadata(&path).expect("is there");
        let found = find(&path).expect("found");
        assert_eq!(
            (found.identity, found.bytes),
            ((other.dev(), other.ino()), 4)
        );
        std::os::unix::fs::symlink(&path, dir.path().join("link")).expect("linked");
        let linked = find(&dir.path().join("link")).expect("found");
        assert_eq!(linked.identity, found.identity);
        let missing = find(&dir.path().join("none")).map(|_| ());
        assert_eq!(
            missing.map_err(|error| error.kind()),
            Err(io::ErrorKind::NotFound)
        );
    }
}
