//! Restoring a context: the segments of a backup, in order, become the files of shards.
//!
//! Each shard's file says up to where it was brought, so that whoever was interrupted goes on with the same segments.

mod shard;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::backup::key_ring::KeyRing;
use crate::backup::pages::{Page, tag};
use crate::backup::read::Lives;
use crate::backup::segment::Segment;
use crate::error::{Error, Result};
use crate::files::Access;
use crate::hash::{hash64, jump};
use crate::log::kinds::Kinds;
use crate::open::file::{Identity, journal_of};
use crate::save::OpenBackup;
use crate::sqlite::random;
use shard::{Batch, ShardFile};

/// What was read of one segment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// How many rows.
    pub rows: u64,
    /// How many events.
    pub events: u64,
    /// How many lives have no rows here any more, since they were erased.
    pub erased: u64,
    /// How many rows have events that were cleared since.
    pub cleared: u64,
}

/// A context that is being restored.
pub struct Restoring {
    backup: Arc<OpenBackup>,
    dir: PathBuf,
    identity: Identity,
    access: Access,
    kinds: Kinds,
    /// The entity that is restored alone.
    only: Option<String>,
    ring: KeyRing,
    shards: BTreeMap<u16, ShardFile>,
}

impl Restoring {
    /// Into a folder, which has what an earlier call has restored of the same segments, or nothing. All entities, or one
    /// alone. Error: `Io`.
    pub fn new(
        backup: Arc<OpenBackup>,
        dir: PathBuf,
        (context, shards): (String, u32),
        only: Option<String>,
        access: Access,
        kinds: Kinds,
    ) -> Result<Self> {
        let journal = journal_of(&dir).map_or_else(random, Ok)?;
        let identity = Identity {
            context,
            shard: 0,
            shards: i64::from(shards),
            journal,
        };
        Ok(Self {
            backup,
            dir,
            identity,
            access,
            kinds,
            only,
            ring: KeyRing::default(),
            shards: BTreeMap::new(),
        })
    }

    /// Adds a key page. Errors: `Backup`.
    pub fn page(&mut self, shard: u16, number: u64, bytes: &[u8]) -> Result<()> {
        let page = Page::open(bytes, &self.backup.key, self.backup.number, shard, number)?;
        self.ring.add(page);
        Ok(())
    }

    /// Notes which keys a segment says were erased: of every segment that there is, also of those behind the cut.
    /// Errors: `Backup`.
    pub fn erased(&mut self, number: u64, bytes: &[u8]) -> Result<()> {
        let segment = self.open(number, bytes)?;
        self.ring.erase(segment.erased());
        Ok(())
    }

    fn open<'b>(&self, number: u64, bytes: &'b [u8]) -> Result<Segment<'b>> {
        let segment = Segment::open(bytes, self.backup.number, number)?;
        segment.check_signature(&self.backup.key)?;
        Ok(segment)
    }

    /// Opens every block of a segment, and keeps nothing. Errors: `Backup`.
    pub fn check(&self, number: u64, bytes: &[u8]) -> Result<Counts> {
        self.read(number, bytes).map(|(_, counts)| counts)
    }

    fn read(&self, number: u64, bytes: &[u8]) -> Result<(BTreeMap<u16, Batch>, Counts)> {
        let segment = self.open(number, bytes)?;
        segment.verify().map_err(|errors| {
            let first = errors.into_iter().next();
            first.map_or_else(|| Error::internal("damage that is none"), Error::from)
        })?;
        let mut counts = Counts::default();
        let mut batches: BTreeMap<u16, Batch> = BTreeMap::new();
        for reach in &segment.label().reaches {
            batches.insert(reach.shard, Batch::new(reach.to));
        }
        for run in segment.runs() {
            if let Some(batch) = batches.get_mut(&run.shard) {
                batch.runs.push((run.first, run.run));
            }
        }
        let keys = |shard, incarnation, part| self.ring.find(shard, incarnation, part);
        let mut lives = Vec::new();
        match &self.only {
            None => lives.push(Lives::new(&segment, keys)?),
            Some(entity) => {
                let shards = segment.label().shards;
                let shard = jump(hash64(entity.as_bytes()), shards);
                let shard = u16::try_from(shard).unwrap_or(u16::MAX);
                for life in self.ring.with_tag(shard, tag(&self.backup.key, entity)) {
                    lives.push(Lives::of_life(&segment, shard, life.incarnation, keys)?);
                }
            }
        }
        for life in lives.into_iter().flatten() {
            let life = life?;
            counts.erased += u64::from(life.is_erased);
            counts.cleared += life.cleared as u64;
            counts.rows += life.rows.len() as u64;
            counts.events += life.rows.iter().map(|row| row.count).sum::<u64>();
            if let Some(batch) = batches.get_mut(&life.shard) {
                batch.rows.extend(life.rows);
                batch.revisions.extend(life.revisions);
            }
        }
        Ok((batches, counts))
    }

    /// Brings a segment into the files of its shards. Errors: `Backup`; those of the files. It can be called again.
    pub fn segment(&mut self, number: u64, bytes: &[u8]) -> Result<Counts> {
        let (batches, counts) = self.read(number, bytes)?;
        for shard in batches.keys() {
            self.shard(*shard)?;
        }
        let mut work: Vec<(&mut ShardFile, Batch)> = Vec::new();
        let mut batches = batches;
        for (number, file) in &mut self.shards {
            if let Some(batch) = batches
                .remove(number)
                .filter(|batch| !batch.is_empty(file.to()))
            {
                work.push((file, batch));
            }
        }
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let size = work.len().div_ceil(threads).max(1);
        let mut groups: Vec<Vec<(&mut ShardFile, Batch)>> = Vec::new();
        while !work.is_empty() {
            let rest = work.split_off(size.min(work.len()));
            groups.push(std::mem::replace(&mut work, rest));
        }
        let kinds = &self.kinds;
        std::thread::scope(|scope| {
            let running: Vec<_> = groups
                .into_iter()
                .map(|group| {
                    scope.spawn(move || {
                        group
                            .into_iter()
                            .try_for_each(|(file, batch)| file.apply(batch, kinds))
                    })
                })
                .collect();
            running.into_iter().try_for_each(|thread| {
                let done = thread.join();
                done.unwrap_or_else(|_| Err(Error::internal("a thread that restores has crashed")))
            })
        })?;
        Ok(counts)
    }

    /// The file of a shard, which is made if it is not there.
    fn shard(&mut self, number: u16) -> Result<&mut ShardFile> {
        if !self.shards.contains_key(&number) {
            let path = self.dir.join(format!("shard-{number:04}.db"));
            let identity = Identity {
                shard: i64::from(number),
                ..self.identity.clone()
            };
            let file = ShardFile::open(&path, &identity, &self.kinds, self.access)?;
            self.shards.insert(number, file);
        }
        let file = self.shards.get_mut(&number);
        file.ok_or_else(|| Error::internal("a shard that was just opened is missing"))
    }

    /// Makes the files of shards that have no row, gives each shard its keys, and closes all. Errors: those of the files.
    pub fn finish(mut self) -> Result<()> {
        let shards = u16::try_from(self.identity.shards)
            .map_err(|_| Error::internal("a context of too many shards"))?;
        for number in 0..shards {
            self.shard(number)?;
        }
        let Self { shards, ring, .. } = self;
        for (number, file) in shards {
            file.finish(number, &ring)?;
        }
        Ok(())
    }
}
