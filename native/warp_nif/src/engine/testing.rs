//! What the tests of a shard share.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::apply::store::Store;
use crate::error::{Error, Result};
use crate::event::Packed;
use crate::files::Access;
use crate::handoff;
use crate::journal::note::Note;
use crate::journal::{Journal, Notes, recover};
use crate::log::Apart;
use crate::log::kinds::{Kind, Kinds};
use crate::open::file::{self, Identity};
use crate::open::replay;
use crate::shard::shared::Shared;
use crate::writer::command::{Answer, Append, Command, Submission};
use crate::writer::staged::Staged;

/// The identity of every shard of a test, in the journal with this number.
pub fn identity_in(journal: u64) -> Identity {
    Identity {
        context: "test".into(),
        shard: 0,
        shards: 1,
        journal,
    }
}

/// The number of the journal, unless a test names another one.
const JOURNAL: u64 = 7;

/// What the ids of the one kind begin with.
pub const KIND: &str = "$warp/saga/";
/// The aggregate that closes an entity of it.
pub const CLOSING: &str = "$warp/saga/end";

/// What is cleared of the events of an entity of it.
pub fn cleared_types() -> Vec<(String, String)> {
    let types = [("Forward", "Cleared"), ("Reverse", "Cleared")];
    types.map(|(from, to)| (from.into(), to.into())).into()
}

pub fn kinds() -> Kinds {
    let kind = Kind {
        prefix: KIND.into(),
        closing: CLOSING.into(),
        apart: Apart::new(cleared_types(), 2).expect("a group"),
    };
    Kinds::new(vec![kind]).expect("one kind")
}

/// Keeps notes in a file of their own.
pub struct FileNotes(PathBuf);

impl Notes for FileNotes {
    fn write(&self, note: &[u8], _sync: bool) -> Result<()> {
        std::fs::write(&self.0, note).expect("notes");
        Ok(())
    }

    fn check(&self) -> Result<()> {
        Ok(())
    }
}

/// A journal without threads, of which no shard is open. Dropping it is what a kill does.
pub struct Node {
    pub journal: Journal<FileNotes>,
    /// The numbers of the journal and of its run.
    numbers: (u64, i64),
}

/// Likewise with one shard.
pub struct Opened {
    pub store: Store,
    pub shared: Arc<Shared>,
    pub journal: Journal<FileNotes>,
    numbers: (u64, i64),
}

/// Opens the shard at `path`, creating it where there is none, and the journal beside it.
pub fn open(path: &Path) -> Result<Opened> {
    node(path.parent().expect("in a folder"), JOURNAL)?.open(path)
}

fn rand_run() -> i64 {
    use std::sync::atomic::{AtomicI64, Ordering};
    static RUN: AtomicI64 = AtomicI64::new(1);
    RUN.fetch_add(1, Ordering::Relaxed)
}

/// Opens the journal in a folder, which gets this number.
pub fn node(dir: &Path, journal: u64) -> Result<Node> {
    let notes = dir.join("note");
    let note = std::fs::read(&notes).ok();
    let note = match note {
        Some(bytes) => Note::decode(&bytes).map_err(|()| Error::corrupt("a damaged note"))?,
        None => None,
    };
    let recovered = recover(dir, Access::Owner, note.as_ref())?;
    let numbers = (journal, rand_run());
    let notes = FileNotes(notes);
    Ok(Node {
        journal: Journal::new(dir.to_owned(), &recovered, notes, numbers, false)?,
        numbers,
    })
}

impl Node {
    /// Opens the shard at `path`, creating it where there is none.
    pub fn open(self, path: &Path) -> Result<Opened> {
        let Self { journal, numbers } = self;
        let identity = identity_in(numbers.0);
        let (connection, sums) = file::open(path, &identity, &kinds(), Some(Access::Owner))?;
        let segments = journal.segments();
        let (mut store, tail) = replay::open(connection, segments, 0, &kinds(), numbers.1)?;
        store.watch.add_database(path)?;
        let shared = Shared::new((path.to_owned(), sums), 0, None, kinds(), tail, 16);
        Ok(Opened {
            store,
            shared: Arc::new(shared),
            journal,
            numbers,
        })
    }

    /// Makes an empty shard at `path` whose log ends at a position.
    pub fn create(&mut self, path: &Path, position: i64) -> Result<()> {
        let journal = &mut self.journal;
        let identity = identity_in(self.numbers.0);
        handoff::create(path, &identity, (position, Access::Owner), |position| {
            journal.segments().prepare_now();
            journal.adopt(0, position)
        })
    }

    /// Adopts the copy beside `path`.
    pub fn adopt(&mut self, path: &Path) -> Result<()> {
        let journal = &mut self.journal;
        let identity = identity_in(self.numbers.0);
        handoff::adopt(path, &identity, |position| {
            journal.segments().prepare_now();
            journal.adopt(0, position)
        })
    }
}

impl Opened {
    /// Closes the shard, with everything in its file.
    pub fn close_shard(mut self) -> Result<Node> {
        self.apply()?;
        self.store.settle(crate::sqlite::BUSY)?;
        let positions = std::mem::take(self.store.blank());
        self.journal.segments().blank(0, &positions)?;
        self.shared.close();
        self.shared.end_readers();
        drop(self.store);
        self.shared.close_pages();
        Ok(Node {
            journal: self.journal,
            numbers: self.numbers,
        })
    }

    /// Carries one command out in a commit of its own. Snapshots are applied at once.
    pub fn commit(&mut self, command: Command) -> Result<Option<Answer>> {
        let mut staged = Staged::new(Arc::clone(&self.shared));
        let journal = &mut self.journal;
        let answer = match &command {
            Command::Append(submission) => staged.append(journal, submission)?,
            Command::Import { entity, rows, .. } => staged.import(journal, entity, rows)?,
            Command::Replace {
                entity,
                base,
                append,
                ..
            } => staged.replace(journal, entity, *base, &append.packed, append.recorded_at)?,
            Command::Erase { entity, .. } => {
                staged.erase(journal, entity)?;
                Answer::Erased
            }
            Command::Clear { events, types, .. } => {
                for (entity, seqs) in events {
                    staged.clear(journal, entity, seqs, types)?;
                }
                Answer::Cleared
            }
            Command::CorrectTime {
                entity,
                seq,
                recorded_at,
                ..
            } => {
                let failed = staged.correct_time(journal, entity, *seq, *recorded_at)?;
                failed.unwrap_or(Answer::Corrected)
            }
            Command::Snapshot { .. } => {
                self.apply()?;
                self.store.apply(None, &[command])?;
                return Ok(None);
            }
            _ => return Ok(None),
        };
        staged.end_view();
        if journal.pending() > 0 {
            journal.commit(Duration::ZERO)?;
        }
        self.shared.tail_mut().publish(staged.steps);
        Ok(Some(answer))
    }

    /// Decides about one append, in a commit that goes on.
    pub fn decide(&mut self, staged: &mut Staged, append: &Command) -> Result<Answer> {
        match append {
            Command::Append(submission) => staged.append(&mut self.journal, submission),
            _ => Err(Error::internal("no append")),
        }
    }

    /// Brings everything into the file. The first error of a single step.
    pub fn apply(&mut self) -> Result<()> {
        loop {
            let Some(stretch) = self.shared.tail_mut().begin_apply() else {
                return Ok(());
            };
            let broken = self.store.apply(Some(&stretch), &[])?;
            self.shared.tail_mut().applied_all();
            if let Some((_, error)) = broken.into_iter().next() {
                return Err(error);
            }
        }
    }

    /// Closes the journal, with everything in the file.
    pub fn close(mut self) -> Result<()> {
        self.apply()?;
        self.store.settle(crate::sqlite::BUSY)?;
        self.journal.close()
    }

    /// Erases what is left to be erased, in the file, its WAL and the journal.
    pub fn erase_all(&mut self) -> Result<()> {
        self.apply()?;
        while self.store.erases_next().is_some() {
            self.store.erase_piece()?;
        }
        self.store.settle(crate::sqlite::BUSY)?;
        let positions = std::mem::take(self.store.blank());
        self.journal.segments().blank(0, &positions)
    }
}

fn one(packed: Packed) -> Append {
    Append {
        packed: Arc::new(packed),
        handle: None,
        recorded_at: 1_700_000_000_000_000,
        tied: None,
    }
}

/// The command that appends one row behind `base`.
pub fn append(entity: &str, base: u64, packed: Packed) -> Command {
    Command::Append(Submission {
        entity: entity.into(),
        from: None,
        base,
        appends: vec![one(packed)],
        clear: None,
        receipt: None,
        is_silent: false,
    })
}

/// The command that begins the log of an entity anew that ends at `base`.
pub fn replace(entity: &str, base: u64, packed: Packed) -> Command {
    Command::Replace {
        entity: entity.into(),
        base,
        append: one(packed),
        from: None,
    }
}
