//! Writing a journal: one buffer of records, one write and one sync per commit.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::files;
use super::label::Label;
use super::note::Note;
use super::record::{ALIGN, HEADER, Header, Kind, RowRef, put_row, sum};
use super::recovery::Recovered;
use super::segments::{Live, Segments};
use crate::error::{Error, Result};
use crate::files::Watch;

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
    active: Option<Active>,
    /// Where the next record stands.
    next: u64,
    /// The last record that was synced, and the last segment that was begun.
    synced: u64,
    number: u64,
    buffer: Vec<u8>,
    /// The records in the buffer, whose headers are written when it is known which segment they go to.
    pending: Vec<(Header, usize)>,
    /// A commit failed, and no segment was begun since.
    has_failed: bool,
    /// When the files were last looked at.
    looked: Instant,
}

/// The segment that is written.
struct Active {
    file: Arc<File>,
    path: PathBuf,
    watch: Watch,
    size: u64,
    seed: u64,
    at: u64,
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
        let journal = Self {
            dir,
            segments: Arc::clone(&recovered.segments),
            notes,
            id,
            run,
            is_synced,
            active: None,
            next: recovered.next,
            synced: recovered.next.saturating_sub(1),
            number: recovered.number,
            buffer: Vec::new(),
            pending: Vec::new(),
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

    fn first_pending(&self) -> u64 {
        self.next - self.pending.len() as u64
    }

    /// Puts a row of a shard into the commit that is being gathered: its checksum.
    pub fn put_row(&mut self, shard: u16, row: &RowRef<'_>) -> i64 {
        let checksum = row.checksum();
        let at = self.open_record();
        put_row(&mut self.buffer, row);
        let header = Header {
            kind: Kind::Row,
            shard,
            body: 0,
            lsn: 0,
            index: 0,
            is_last: false,
            entity: u16::try_from(row.entity.len()).unwrap_or(u16::MAX),
            aggregate: u16::try_from(row.aggregate.len()).unwrap_or(u16::MAX),
            position: row.position,
            prev: row.prev,
            recorded_at: row.recorded_at,
            sum: checksum.cast_unsigned(),
        };
        self.close_record(header, at);
        checksum
    }

    /// Likewise a record that is no row. The first `entity` bytes of the body are the entity's id.
    pub fn put(&mut self, kind: Kind, shard: u16, position: i64, entity: u16, body: &[u8]) {
        let at = self.open_record();
        self.buffer.extend_from_slice(body);
        let header = Header {
            kind,
            shard,
            body: 0,
            lsn: 0,
            index: 0,
            is_last: false,
            entity,
            aggregate: 0,
            position,
            prev: 0,
            recorded_at: 0,
            sum: sum(position, body),
        };
        self.close_record(header, at);
    }

    fn open_record(&mut self) -> usize {
        let at = self.buffer.len();
        self.buffer.resize(at + HEADER, 0);
        at
    }

    fn close_record(&mut self, header: Header, at: usize) {
        let body = self.buffer.len() - at - HEADER;
        self.buffer
            .resize(self.buffer.len().next_multiple_of(ALIGN), 0);
        let header = Header {
            body: u32::try_from(body).unwrap_or(u32::MAX),
            lsn: self.next,
            index: u32::try_from(self.pending.len()).unwrap_or(u32::MAX),
            ..header
        };
        self.pending.push((header, at));
        self.next += 1;
    }

    /// How many records wait for the commit.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Gives up all records but the first so many that were gathered.
    pub fn rewind(&mut self, records: usize) {
        if let Some((header, at)) = self.pending.get(records) {
            self.next = header.lsn;
            self.buffer.truncate(*at);
            self.pending.truncate(records);
        }
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
            self.synced = self.next - 1;
            let begins = self.active.as_ref().map_or(0, |active| active.at);
            let places = self.pending.iter().map(|(header, at)| {
                let place = (begins + *at as u64) / ALIGN as u64;
                (header.shard, header.position, place as u32)
            });
            self.segments.add(places);
            if let Some(active) = &mut self.active {
                active.at += self.buffer.len() as u64;
                if active.at > active.size / 2 {
                    self.segments.prepare();
                }
            }
            self.pending.clear();
            self.buffer.clear();
        } else {
            self.discard();
        }
        if self.buffer.capacity() > MAX_BUFFER {
            self.buffer.shrink_to(MAX_BUFFER);
        }
        result.map(|()| Written {
            took: started.elapsed(),
        })
    }

    fn write(&mut self, look_again: Duration) -> Result<()> {
        let bytes = self.buffer.len() as u64;
        let fits = |active: &Active| active.at + bytes <= active.size;
        if !self.active.as_ref().is_some_and(fits) {
            self.begin(bytes)?;
        }
        let Some(active) = &self.active else {
            return Err(Error::internal("a journal without a segment"));
        };
        if let Some((last, _)) = self.pending.last_mut() {
            last.is_last = true;
        }
        for (header, at) in &self.pending {
            let place = self.buffer.get_mut(*at..*at + HEADER);
            if let Some(place) = place {
                place.copy_from_slice(&header.encode(active.seed));
            }
        }
        if self.looked.elapsed() >= look_again {
            self.look()?;
        }
        let Some(active) = &self.active else {
            return Err(Error::internal("a journal without a segment"));
        };
        let written = active
            .file
            .write_all_at(&self.buffer, active.at)
            .and_then(|()| self.sync(&active.file))
            .map_err(|error| Error::io(&active.path, error));
        #[cfg(feature = "fault")]
        let written = written.and_then(|()| crate::fault::at_commit());
        if written.is_err() {
            self.fail();
            return written;
        }
        // The commit is written, but perhaps to a file that nobody will find.
        if active.watch.check().is_err() {
            self.fail();
            return Err(Error::Interrupted);
        }
        let synced = self.next - 1;
        let noted = self.note(synced, false, false);
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
            self.buffer.fill(0);
            let _ = active.file.write_all_at(&self.buffer, active.at);
        }
        self.has_failed = true;
    }

    fn sync(&self, file: &File) -> std::io::Result<()> {
        if self.is_synced {
            file.sync_data()
        } else {
            Ok(())
        }
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

    /// Begins a segment that has room for so many bytes, durably.
    fn begin(&mut self, bytes: u64) -> Result<()> {
        self.active = None;
        let positions = self.segments.positions();
        let label_bytes = Label::bytes(positions.len()) as u64;
        let prepared = self.segments.take(label_bytes + bytes)?;
        let label = Label {
            size: prepared.size,
            number: prepared.number,
            journal: self.id,
            run: self.run,
            first: self.first_pending(),
            positions,
        };
        let path = files::path(&self.dir, prepared.number);
        let mut watch = Watch::default();
        watch.add(path.clone())?;
        prepared
            .file
            .write_all_at(&label.encode(), 0)
            .and_then(|()| prepared.file.sync_data())
            .map_err(|error| Error::io(&path, error))?;
        self.number = prepared.number;
        self.note(self.synced, false, true)?;
        let file = Arc::new(prepared.file);
        self.segments.begin(Live {
            number: prepared.number,
            file: Arc::clone(&file),
            size: prepared.size,
            seed: label.seed(),
            run: self.run,
            parts: std::collections::HashMap::new(),
        });
        self.active = Some(Active {
            file,
            path,
            watch,
            size: prepared.size,
            seed: label.seed(),
            at: label_bytes,
        });
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
            self.begin(0)?;
        }
        Ok(())
    }

    /// Error: `Io` when a file is not in its place any more: what happened, and what to do.
    pub fn look(&mut self) -> Result<()> {
        self.looked = Instant::now();
        self.notes.check()?;
        match &self.active {
            Some(active) => {
                let found = active.watch.check();
                found.map(drop).map_err(|lost| Error::Io(lost.into()))
            }
            None => Ok(()),
        }
    }

    /// Ends the journal: every shard has everything in its own file, synced.
    pub fn close(self) -> Result<()> {
        self.note(self.synced, true, true)?;
        self.segments.remove_all()
    }
}

/// The buffer is kept up to this size.
const MAX_BUFFER: usize = 16 * 1024 * 1024;
