//! The files of all shards of a context that is being restored.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::flush::Flusher;
use super::parallel;
use super::shard::ShardFile;
use super::slice::Slice;
use crate::backup::key_ring::KeyRing;
use crate::error::{Error, Result};
use crate::files::{self, Access};
use crate::log::kinds::Kinds;
use crate::open::file::{self, Identity, journal_of};
use crate::sqlite::random;

/// How long a restore goes on before it makes what it has done durable: about so much is done again after a crash.
const SETTLE: Duration = if cfg!(any(test, feature = "fault")) {
    Duration::from_millis(20)
} else {
    Duration::from_secs(5)
};

/// The files of all shards.
pub struct Files {
    dir: PathBuf,
    identity: Identity,
    access: Access,
    /// `None` for one that was not opened yet.
    shards: BTreeMap<u16, Option<ShardFile>>,
    settled: Instant,
    /// NOTE: behind the shards, since it ends last: see [`ShardFile`].
    flusher: Flusher,
}

impl Files {
    /// Those in a folder, which may have what a restore has left that was interrupted. Error: `Io`.
    pub fn new(dir: PathBuf, context: String, shards: u32, access: Access) -> Result<Self> {
        let numbers = u16::try_from(shards).map_err(|_| Error::internal("too many shards"))?;
        for number in 0..numbers {
            // NOTE: before anything is read from it.
            file::roll_back(&path_of(&dir, number))?;
        }
        let journal = journal_of(&dir).map_or_else(random, Ok)?;
        Ok(Self {
            dir,
            identity: Identity {
                context,
                shard: 0,
                shards: i64::from(shards),
                journal,
            },
            access,
            shards: (0..numbers).map(|number| (number, None)).collect(),
            settled: Instant::now(),
            flusher: Flusher::default(),
        })
    }

    /// Brings what a segment has into the files, and now and then makes all of it durable. Errors: those of the files,
    /// after which these are only to be dropped.
    pub fn write(
        &mut self,
        mut slices: BTreeMap<u16, Slice>,
        kinds: &Kinds,
        ring: &KeyRing,
    ) -> Result<()> {
        let work = self.opened_by(ring, |number| slices.remove(&number));
        parallel::each(work, |(opening, file, slice)| {
            opening.of(file)?.write(&slice, kinds)
        })?;
        if self.settled.elapsed() >= SETTLE {
            return self.settle();
        }
        let open = self.shards.values().flatten();
        self.flusher.begin(open.map(ShardFile::file).collect())
    }

    /// Makes all of it durable. Errors: those of the files, likewise.
    pub fn settle(&mut self) -> Result<()> {
        let open: Vec<_> = self.shards.values_mut().flatten().collect();
        parallel::each(open, ShardFile::settle)?;
        self.settled = Instant::now();
        Ok(())
    }

    /// Makes the files of shards that have no row, and completes and closes all. Errors: those of the files.
    pub fn finish(mut self, ring: &KeyRing) -> Result<()> {
        let work = self.opened_by(ring, |_| Some(()));
        parallel::each(work, |(opening, file, ())| {
            opening.of(file)?;
            file.take().map_or(Ok(()), ShardFile::finish)
        })?;
        self.flusher.wait()?;
        // NOTE: a journal that came back after a loss of power would undo what the file has.
        files::sync_dir(&self.dir)
    }

    /// The shards for which there is something to do, each with what opens it.
    fn opened_by<'f, W>(
        &'f mut self,
        ring: &'f KeyRing,
        mut work: impl FnMut(u16) -> Option<W>,
    ) -> Vec<(Opening<'f>, &'f mut Option<ShardFile>, W)> {
        let (dir, identity, access) = (&self.dir, &self.identity, self.access);
        let each = self.shards.iter_mut().filter_map(|(number, file)| {
            let opening = Opening {
                path: path_of(dir, *number),
                identity: Identity {
                    shard: i64::from(*number),
                    ..identity.clone()
                },
                access,
                ring,
            };
            Some((opening, file, work(*number)?))
        });
        each.collect()
    }
}

/// What opens a shard's file.
struct Opening<'f> {
    path: PathBuf,
    identity: Identity,
    access: Access,
    ring: &'f KeyRing,
}

impl Opening<'_> {
    /// The file, which is opened unless it is.
    fn of<'s>(&self, file: &'s mut Option<ShardFile>) -> Result<&'s mut ShardFile> {
        match file {
            Some(open) => Ok(open),
            None => {
                let opened = ShardFile::open(&self.path, &self.identity, self.access, self.ring)?;
                Ok(file.insert(opened))
            }
        }
    }
}

fn path_of(dir: &Path, shard: u16) -> PathBuf {
    dir.join(format!("shard-{shard:04}.db"))
}
