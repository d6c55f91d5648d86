//! Making files and folders: who may read them, and that their names are durable.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use crate::error::{Error, Result};

/// Who may read and write what is made. SQLite gives what it keeps beside a database the modes of
/// the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// The user that the VM runs as, alone.
    Owner,
    /// Whoever the umask of the VM lets.
    Umask,
}

impl Access {
    /// The mode of a file.
    pub(super) fn of_files(self) -> u32 {
        match self {
            Self::Owner => 0o600,
            Self::Umask => 0o666,
        }
    }

    fn of_dirs(self) -> u32 {
        match self {
            Self::Owner => 0o700,
            Self::Umask => 0o777,
        }
    }
}

/// Makes a folder, and what is missing above it, durably. What is there stays as it is.
pub fn create_dirs(dir: &Path, access: Access) -> Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        create_dirs(parent, access)?;
    }
    match DirBuilder::new().mode(access.of_dirs()).create(dir) {
        Ok(()) => sync_parent(dir),
        // NOTE: another process has made it meanwhile.
        Err(error) if error.kind() == ErrorKind::AlreadyExists && dir.is_dir() => Ok(()),
        Err(error) => Err(Error::io(dir, error)),
    }
}

/// Makes an empty file where there is none, durably: only its name, since SQLite would give it
/// other modes. Whether it was made.
pub fn create(path: &Path, access: Access) -> Result<bool> {
    let made = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(access.of_files())
        .open(path);
    match made {
        Ok(_) => sync_parent(path).map(|()| true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(Error::io(path, error)),
    }
}

/// Makes the name of a file or folder durable.
pub fn sync_parent(path: &Path) -> Result<()> {
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    sync_dir(parent.unwrap_or(Path::new(".")))
}

/// Makes the names in a folder durable.
pub fn sync_dir(dir: &Path) -> Result<()> {
    let synced = File::open(dir).and_then(|dir| dir.sync_all());
    match synced {
        // We may search this folder above ours, but not read it, and so cannot sync it.
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(()),
        other => other.map_err(|error| Error::io(dir, error)),
    }
}

/// Refuses what is there by that name but is no file: a symbolic link could lead to a file of
/// someone else's, and opening a pipe waits for ever. Error: `Io`.
pub fn check_kind(path: &Path) -> Result<()> {
    let what = match fs::symlink_metadata(path) {
        Ok(found) if found.is_file() => return Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Ok(found) if found.is_symlink() => {
            "a symbolic link, which Warp does not follow. Put the file itself here, or link its folder"
        }
        Ok(_) => "not a file. Remove it, or give the context another folder",
        Err(error) => return Err(Error::io(path, error)),
    };
    Err(Error::io(path, io::Error::other(what)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn mode(path: &Path) -> u32 {
        let found = fs::metadata(path).expect("is there");
        found.permissions().mode() & 0o777
    }

    #[test]
    fn what_is_made_is_the_owners_alone_and_what_is_there_stays() {
        let dir = tempfile::tempdir().expect("temp dir");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("set");
        let below = dir.path().join("a/b");
        create_dirs(&below, Access::Owner).expect("made");
        let file = below.join("file");
        assert!(create(&file, Access::Owner).expect("made"));
        let modes = [dir.path(), &dir.path().join("a"), &below, &file].map(mode);
        assert_eq!(modes, [0o755, 0o700, 0o700, 0o600]);

        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).expect("set");
        create_dirs(&below, Access::Owner).expect("is there");
        assert!(!create(&file, Access::Owner).expect("is there"));
        assert_eq!(mode(&file), 0o640);
    }

    #[test]
    fn links_and_folders_are_refused_by_name() {
        let dir = tempfile::tempdir().expect("temp dir");
        let link = dir.path().join("link");
        std::os::unix::fs::symlink("/nowhere", &link).expect("linked");
        for (path, says) in [
            (link.as_path(), "symbolic link"),
            (dir.path(), "not a file"),
        ] {
            let refused = check_kind(path);
            assert!(matches!(refused, Err(Error::Io(why)) if why.text().contains(says)));
        }
        check_kind(&dir.path().join("none")).expect("nothing is there");
    }
}
