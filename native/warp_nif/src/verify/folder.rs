//! Checking the files of a context that nobody has open. None of them is changed.

use std::fs::{File, TryLockError};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::findings::Findings;
use super::shard::Checker;
use super::source::Source;
use crate::error::{Error, Result};
use crate::files::Access;
use crate::journal::note::{self, Note};
use crate::journal::{self, Segments};
use crate::log::kinds::Kinds;
use crate::log::schema::meta;

/// The folder of a context.
pub struct Folder {
    /// Its shards that are checked, in order: the number and the file of each.
    pub shards: Vec<(usize, PathBuf)>,
    /// Whether these are all that the context has.
    are_all: bool,
    kinds: Kinds,
    segments: Option<Arc<Segments>>,
    journal: Option<u64>,
    findings: Findings,
    /// Held until the check ends, so that nobody opens the context.
    lock: Option<File>,
}

impl Folder {
    /// Reads the journal. The shards that have to be there are those with the given numbers, or all of the context.
    ///
    /// Errors: `InUse` when a VM has the context open, `Io`.
    pub fn open(dir: &Path, kinds: Kinds, given: Option<Vec<usize>>) -> Result<Self> {
        let are_all = given.is_none();
        let shards = match given {
            Some(given) => given_in(dir, given),
            None => (0..).zip(shards_in(dir)?).collect(),
        };
        let lock = lock(dir)?;
        let mut findings = Findings::default();
        let read = || {
            let note = lock
                .as_ref()
                .map_or(Ok(None), |lock| read_note(dir, lock))?;
            journal::read(dir, Access::Owner, note.as_ref())
        };
        let recovered = findings.note(read())?.map(|(recovered, _)| recovered);
        Ok(Self {
            shards,
            are_all,
            kinds,
            journal: recovered.as_ref().and_then(|recovered| recovered.journal),
            segments: recovered.map(|recovered| recovered.segments),
            findings,
            lock,
        })
    }

    /// Begins to check the shard with that number; none when its file is missing, or cannot be read as a shard. Errors:
    /// `NotAShard`, `NewerFormat`, `Io`.
    pub fn shard(&mut self, number: usize) -> Result<Option<Checker>> {
        let mut shards = self.shards.iter();
        let found = shards.find(|(shard, _)| *shard == number);
        let Some(path) = found.map(|(_, path)| path.clone()) else {
            return Err(Error::internal("a shard that the folder does not have"));
        };
        let source = Source::closed(path, self.kinds.clone());
        let Some(source) = self.findings.note(source)? else {
            return Ok(None);
        };
        let fits = self.fits(number, &source);
        self.findings.note(fits)?;
        let checker = Checker::new(source);
        self.findings.note(checker)
    }

    /// Whether a shard is the one that its name says, and has or finds in the journal all that there is.
    fn fits(&self, number: usize, source: &Source) -> Result<()> {
        let applied = source.view(|connection| {
            let shard: i64 = meta(connection, "shard")?;
            let shards: i64 = meta(connection, "shards")?;
            let journal = meta::<i64>(connection, "journal")?.cast_unsigned();
            if usize::try_from(shard) != Ok(number) {
                return Err(Error::corrupt(format!("this is shard {shard} under another's name")));
            }
            if self.are_all && usize::try_from(shards) != Ok(self.shards.len()) {
                let found = self.shards.len();
                return Err(Error::corrupt(format!(
                    "the context has {shards} shards, and its folder has {found}"
                )));
            }
            if self.journal.is_some_and(|own| own != journal) {
                return Err(Error::corrupt(
                    "this shard belongs to another journal than the one in its folder: put back the files of \
                     one time, all of them",
                ));
            }
            meta::<i64>(connection, "flushed")
        })?;
        if let Some(segments) = &self.segments {
            let shard = u16::try_from(number).unwrap_or(u16::MAX);
            for record in segments.behind(shard, applied)? {
                record.read()?;
            }
        }
        Ok(())
    }

    /// Reads all records of the journal: how many there are. Error: `Io`.
    pub fn records(&mut self) -> Result<u64> {
        let Self {
            segments, findings, ..
        } = self;
        match segments {
            Some(segments) => super::journal::check(segments, findings),
            None => Ok(0),
        }
    }

    /// Lets others open the context.
    pub fn unlock(&mut self) {
        self.lock.take();
    }

    /// What is damaged, but for what the checks of the shards have found.
    pub fn findings(&self) -> &Findings {
        &self.findings
    }
}

/// The files of the shards with these numbers, each once.
fn given_in(dir: &Path, mut given: Vec<usize>) -> Vec<(usize, PathBuf)> {
    given.sort_unstable();
    given.dedup();
    let file = |number: usize| (number, dir.join(format!("shard-{number:04}.db")));
    given.into_iter().map(file).collect()
}

/// The shards' files. Error: `Io` when there are none, or one is missing between others.
fn shards_in(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(|error| Error::io(dir, error))? {
        let path = entry.map_err(|error| Error::io(dir, error))?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        if name.is_some_and(|name| name.starts_with("shard-") && name.ends_with(".db")) {
            found.push(path);
        }
    }
    found.sort();
    if found.is_empty() {
        let what =
            "there are no shards in this folder. Give the folder of one context: DATA_DIR/CONTEXT";
        return Err(Error::Io(format!("{}: {what}", dir.display()).into()));
    }
    Ok(found)
}

fn lock(dir: &Path) -> Result<Option<File>> {
    let path = dir.join("lock");
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io(&path, error)),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Err(Error::InUse(dir.to_owned())),
        Err(TryLockError::Error(error)) => Err(Error::io(&path, error)),
    }
}

fn read_note(dir: &Path, lock: &File) -> Result<Option<Note>> {
    let mut bytes = [0; note::BYTES];
    let path = dir.join("lock");
    let read = lock
        .read_at(&mut bytes, note::AT)
        .map_err(|error| Error::io(&path, error))?;
    Note::decode(bytes.get(..read).unwrap_or_default())
        .map_err(|()| Error::corrupt("the journal's note is damaged").at(&path))
}
