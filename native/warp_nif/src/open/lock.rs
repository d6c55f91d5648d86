//! The lock on a context's directory. The operating system holds it, so it goes with the VM.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use rustler::Resource;

use crate::error::{Error, Result};
use crate::files::{self, Access, Watch};
use crate::journal::note::{self, Note};
use crate::sync::relock;

/// What stands in the file once all shards have been created.
const SAYS: &[u8] = b"warp: all shards of this context have been created\n";

/// A locked directory. Unlocked when the last shard that was opened under it has closed.
///
/// The file `lock` is empty until all shards have been created once: from then on a shard that
/// is missing was lost, and must not be made anew in silence.
pub struct DirLock {
    file: File,
    established: AtomicBool,
    /// Who may read what is made in the directory.
    pub access: Access,
    path: PathBuf,
    watch: Watch,
}

/// What Erlang holds of a lock: released by hand, or with the term.
pub struct LockHandle(Mutex<Option<Arc<DirLock>>>);

#[rustler::resource_impl]
impl Resource for LockHandle {}

impl DirLock {
    /// Creates `dir` if need be and locks the file `lock` in it.
    ///
    /// Errors: `InUse` when another context holds it, `Io`.
    pub fn take(dir: &Path, access: Access) -> Result<LockHandle> {
        files::create_dirs(dir, access)?;
        let path = dir.join("lock");
        files::check_kind(&path)?;
        files::create(&path, access)?;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .map_err(|error| Error::io(&path, error))?;
        match file.try_lock() {
            Ok(()) => {
                let mut said = [0; SAYS.len()];
                let read = file
                    .read_at(&mut said, 0)
                    .map_err(|e| Error::io(&path, e))?;
                let is_said = said
                    .get(..read)
                    .is_some_and(|said| said.iter().any(|b| *b != 0));
                let established = AtomicBool::new(is_said);
                let mut watch = Watch::default();
                watch.add(path.clone())?;
                let lock = Arc::new(Self {
                    file,
                    established,
                    access,
                    path,
                    watch,
                });
                Ok(LockHandle(Mutex::new(Some(lock))))
            }
            Err(TryLockError::WouldBlock) => Err(Error::InUse(dir.to_owned())),
            Err(TryLockError::Error(error)) => Err(Error::io(&path, error)),
        }
    }

    /// The file that is locked.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Error: `Io` when the file that was locked is no longer in its place, so that another VM
    /// could take the directory.
    pub fn check(&self) -> Result<()> {
        self.watch
            .check()
            .map(drop)
            .map_err(|lost| Error::Io(lost.into()))
    }

    /// The journal's note. Error: `Corrupt` when something else stands in its place.
    pub fn read_note(&self) -> Result<Option<Note>> {
        let mut bytes = [0; note::BYTES];
        let read = self.file.read_at(&mut bytes, note::AT);
        let read = read.map_err(|error| Error::io(&self.path, error))?;
        let bytes = bytes.get(..read).unwrap_or_default();
        Note::decode(bytes).map_err(|()| {
            let what = "the journal's note is damaged. Put back the files of one time, all of them";
            Error::corrupt(what).at(&self.path)
        })
    }

    /// Writes the journal's note; with `sync`, durably.
    pub fn write_note(&self, bytes: &[u8], sync: bool) -> Result<()> {
        let written = self.file.write_all_at(bytes, note::AT);
        written
            .and_then(|()| if sync { self.file.sync_data() } else { Ok(()) })
            .map_err(|error| Error::io(&self.path, error))
    }

    /// Whether all shards have been created before.
    pub fn is_established(&self) -> bool {
        self.established.load(Ordering::Acquire)
    }

    /// Notes durably that all shards exist now.
    pub fn establish(&self) -> Result<()> {
        if self.is_established() {
            return Ok(());
        }
        self.file
            .write_all_at(SAYS, 0)
            .and_then(|()| self.file.sync_all())
            .map_err(|error| Error::io(&self.path, error))?;
        self.established.store(true, Ordering::Release);
        Ok(())
    }
}

impl LockHandle {
    /// The lock, to be shared with a shard. Error: `Closed` after `release`.
    pub fn share(&self) -> Result<Arc<DirLock>> {
        relock(&self.0).clone().ok_or(Error::Closed)
    }

    /// Gives up this handle's share of the lock.
    pub fn release(&self) {
        relock(&self.0).take();
    }
}
