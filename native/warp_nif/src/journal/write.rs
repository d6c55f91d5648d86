//! Writing a journal: one write and one sync per commit.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::active::Active;
use super::gathered::Gathered;
use super::label::Label;
use super::note::Note;
use super::record::Kind;
use super::recovery::Recovered;
use super::row::RowRef;
use super::segments::Segments;
use crate::error::{Error, Result};

/// Where notes are written.
pub trait Notes {
    /// Writes a note; with `sync`, durably.
    fn write(&self, note: &[u8], sync: bool) -> Result<()>;

    /// Error: `Io` when the file that they are written into is not in its place any more.
    fn check(&self) -> Result<()>;
}

/// The writing side of a journal.
pub struct Journal<N> {
    dir: PathBuf,
    segments: Arc<Segments>,
    notes: N,
    /// The random numbers of the journal and of this run.
    id: u64,
    run: i64,
    /// Whether each commit is synced.
    is_synced: bool,
    gathered: Gathered,
    active: Option<Active>,
    /// The last record that was synced, and the last segment that was begun.
    synced: u64,
    number: u64,
    /// A commit failed, and no segment was begun since.
    has_failed: bool,
    /// When the files were last looked at.
    looked: Instant,
}

/// What a commit wrote.
pub struct Written {
    /// How long writing and syncing took.
    pub took: Duration,
}

impl<N: Notes> Journal<N> {
    /// Goes on behind what was recovered, in a segment of its own, which is begun with the first commit.
    /// `id` is the journal's number, and `run` that of this run.
    pub fn new(
        dir: PathBuf,
        recovered: &Recovered,
        notes: N,
        (id, run): (u64, i64),
        is_synced: bool,
    ) -> Result<Self> {
        let gathered = Gathered::new(recovered.next);
        let journal = Self {
            dir,
            segments: Arc::clone(&recovered.segments),
            notes,
            id,
            run,
            is_synced,
            active: None,
            synced: gathered.last(),
            gathered,
            number: recovered.number,
            has_failed: false,
            looked: Instant::now(),
        };
        if recovered.journal.is_none() {
            // The shards say from now on that they belong to it.
            journal.note(journal.synced, true, true)?;
        }
        Ok(journal)
    }

    /// The segments, which other threads read and give back.
    pub fn segments(&self) -> &Arc<Segments> {
        &self.segments
    }

    /// Puts a row of a shard into the commit that is being gathered: its checksum.
    pub fn put_row(&mut self, shard: u16, row: &RowRef<'_>) -> i64 {
        self.gathered.put_row(shard, row)
    }

    /// Likewise a record that is no row. The first `entity` bytes of the body are the entity's id.
    pub fn put(&mut self, kind: Kind, shard: u16, position: i64, entity: u16, body: &[u8]) {
        self.gathered.put(kind, shard, position, entity, body);
    }

    /// How many records wait for the commit.
    pub fn pending(&self) -> usize {
        self.gathered.records()
    }

    /// Gives up all records but the first so many that were gathered.
    pub fn rewind(&mut self, records: usize) {
        self.gathered.rewind(records);
    }

    /// Gives up what was gathered.
    pub fn discard(&mut self) {
        self.rewind(0);
    }

    /// Writes and syncs what was gathered: from then on it outlives everything that the disk does.
    ///
    /// On an error nothing of it is kept: what may have reached the disk is cut off by the next
    /// segment, which says where it begins.
    pub fn commit(&mut self, look_again: Duration) -> Result<Written> {
        let started = Instant::now();
        let result = self.write(look_again);
        if result.is_ok() {
            self.synced = self.gathered.last();
            if let Some(active) = &mut self.active {
                let begins = active.pass(self.gathered.bytes());
                self.segments.add(self.gathered.places(begins));
                if active.is_half_full() {
                    self.segments.prepare();
                }
            }
            self.gathered.clear();
        } else {
            self.discard();
        }
        self.gathered.shrink();
        result.map(|()| Written {
            took: started.elapsed(),
        })
    }

    fn write(&mut self, look_again: Duration) -> Result<()> {
        let bytes = self.gathered.bytes();
        let has_room = |active: &Active| active.has_room(bytes);
        if !self.active.as_ref().is_some_and(has_room) {
            self.begin(bytes, None)?;
        }
        if self.looked.elapsed() >= look_again {
            self.look()?;
        }
        let Some(active) = &self.active else {
            return Err(Error::internal("a journal without a segment"));
        };
        let written = active.write(self.gathered.encode(active.seed()), self.is_synced);
        #[cfg(feature = "fault")]
        let written = written.and_then(|()| crate::fault::at_commit());
        if written.is_err() {
            self.fail();
            return written;
        }
        // The commit is written, but perhaps to a file that nobody will find.
        if active.look().is_err() {
            self.fail();
            return Err(Error::Interrupted);
        }
        let noted = self.note(self.gathered.last(), false, false);
        if noted.is_err() {
            self.fail();
        }
        noted
    }

    /// NOTE: nobody knows what of a failed commit the disk has. So nothing is written behind it: the next
    /// segment says that it begins where this commit began. Until there is one, as many zeros stand
    /// in its place, which outlive at least the VM.
    fn fail(&mut self) {
        if let Some(active) = self.active.take() {
            let _ = active.write(self.gathered.zeros(), false);
        }
        self.has_failed = true;
    }

    fn note(&self, synced: u64, is_closed: bool, sync: bool) -> Result<()> {
        let note = Note {
            journal: self.id,
            is_closed,
            number: self.number,
            synced,
        };
        self.notes.write(&note.encode(), sync)
    }

    /// Goes on in a new segment whose label says that a shard comes with this position, which its file has, durably. From
    /// then on recovery expects it so. Between two commits only.
    ///
    /// Errors: `Corrupt` when the journal knows a later position of the shard; those of the disk. Where the disk has no
    /// room, nothing changes.
    pub fn adopt(&mut self, shard: u16, position: i64) -> Result<()> {
        self.begin(0, Some((shard, position)))
    }

    /// Begins a segment that has room for so many bytes, durably; for a shard that comes, if one does.
    fn begin(&mut self, bytes: u64, comes: Option<(u16, i64)>) -> Result<()> {
        let positions = match comes {
            Some((shard, position)) => self.segments.positions_with(shard, position)?,
            None => self.segments.positions(),
        };
        let label_bytes = Label::bytes(positions.len()) as u64;
        let prepared = self.segments.take(label_bytes + bytes)?;
        // NOTE: also when this fails from here on. Its label may be on the disk, and cuts off what is written to the
        // segment before it.
        self.active = None;
        let label = Label {
            size: prepared.size,
            number: prepared.number,
            journal: self.id,
            run: self.run,
            first: self.gathered.first(),
            positions,
        };
        let (active, live) = Active::begin(&self.dir, prepared, &label)?;
        self.number = label.number;
        self.note(self.synced, false, true)?;
        self.segments.begin(live);
        if let Some((shard, position)) = comes {
            self.segments.know(shard, position);
        }
        self.active = Some(active);
        self.has_failed = false;
        Ok(())
    }

    /// Whether what failed may come back after a crash: no segment could be begun since.
    pub fn is_unsealed(&self) -> bool {
        self.has_failed
    }

    /// Tries to begin a segment after a commit that failed.
    pub fn seal(&mut self) -> Result<()> {
        if self.has_failed {
            self.begin(0, None)?;
        }
        Ok(())
    }

    /// Error: `Io` when a file is not in its place any more: what happened, and what to do.
    pub fn look(&mut self) -> Result<()> {
        self.looked = Instant::now();
        self.notes.check()?;
        match &self.active {
            Some(active) => active.look().map_err(|lost| Error::Io(lost.into())),
            None => Ok(()),
        }
    }

    /// Ends the journal: every shard has everything in its own file, synced.
    pub fn close(self) -> Result<()> {
        self.note(self.synced, true, true)?;
        self.segments.remove_all()
    }
}
