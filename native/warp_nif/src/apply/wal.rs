//! The write-ahead log: keeping it small, and free of what was erased.
//!
//! Moving the WAL into the file can go on beside reads. Beginning it anew cannot: as long as any
//! read uses it, SQLite appends to it. With many readers there is always one, so the gate holds
//! reads back until those under way have ended. The writer goes on committing meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use crate::error::{Error, Result};
use crate::sqlite::{self, Gate, PATIENCE};

/// After how many pages (4 kB each) the WAL is moved into the file and begun anew.
const CHECKPOINT_PAGES: usize = 4096;
/// How much further it may grow before the next attempt, when one did not succeed.
const CHECKPOINT_AGAIN: usize = 1024;
/// From how many pages on it is an error that it cannot be begun anew: 64 MiB.
const TOO_MANY_PAGES: usize = 16_384;
/// The pauses between attempts to empty it of what was erased.
const MIN_PAUSE: Duration = Duration::from_millis(20);
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// What the writer knows of its WAL.
pub struct Wal {
    pages: Arc<AtomicUsize>,
    checkpoint_at: usize,
    /// An attempt to begin it anew met an error, and none has succeeded since.
    failed: bool,
    /// Since when the gate is closed.
    gate_closed: Option<Instant>,
    /// When to try again to empty it, and the pause before.
    again: Option<Instant>,
    pause: Duration,
    /// Bytes of something erased may stand in it.
    erased: bool,
    /// Likewise of payloads that were cleared along with an append: they may stand there until
    /// someone erases.
    cleared: bool,
}

impl Wal {
    /// Begins to watch the WAL of the writer's connection.
    pub fn watch(connection: &mut Connection) -> Result<Self> {
        let pages = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&pages);
        connection.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, pages: i32| {
            counter.store(usize::try_from(pages).unwrap_or(0), Ordering::Relaxed);
            Ok(())
        }))?;
        Ok(Self {
            pages,
            checkpoint_at: CHECKPOINT_PAGES,
            failed: false,
            gate_closed: None,
            again: None,
            pause: MIN_PAUSE,
            // The previous writer may have been killed right after an erasure.
            erased: true,
            cleared: false,
        })
    }

    /// Notes what a commit overwrote.
    pub fn overwrote(&mut self, erased: bool, cleared: bool) {
        self.erased |= erased;
        self.cleared |= cleared;
    }

    /// Whether bytes of something erased may stand in it.
    pub fn holds_erased(&self) -> bool {
        self.erased
    }

    /// Likewise, or of something that was cleared along with an append.
    pub fn holds_any(&self) -> bool {
        self.erased || self.cleared
    }

    /// Whether beginning it anew met an error, and has not succeeded since.
    pub fn has_failed(&self) -> bool {
        self.failed
    }

    /// Someone begins to wait for it to be emptied: the next attempt is made at once.
    pub fn hurry(&mut self) {
        self.again = None;
        self.pause = MIN_PAUSE;
    }

    /// When to call `tend` again, though nothing is committed.
    pub fn look_again(&self) -> Option<Duration> {
        match (self.gate_closed, self.again) {
            (Some(_), _) => Some(Duration::from_millis(1)),
            (None, Some(at)) => Some(at.saturating_duration_since(Instant::now())),
            (None, None) => None,
        }
    }

    /// Between two commits: begins the WAL anew when it is large, and empties it when asked to.
    /// Never waits; what cannot be done now is done by a later call. Whether all of it was moved into the
    /// file, synced.
    ///
    /// Error: `Io` when a read does not end. It is tried again.
    pub fn tend(&mut self, connection: &Connection, gate: &Gate, empty: bool) -> Result<bool> {
        let pages = self.pages.load(Ordering::Relaxed);
        let since = match self.gate_closed {
            Some(since) => since,
            None => {
                let now = Instant::now();
                let has_to = empty || self.failed || pages >= TOO_MANY_PAGES;
                if !has_to {
                    // The WAL has to grow before the next attempt.
                    self.again = None;
                }
                let is_due = has_to && self.again.is_none_or(|at| at <= now);
                if !is_due && pages < self.checkpoint_at {
                    return Ok(false);
                }
                // Most of the WAL is moved beside reads, so that the gate is closed for a short time only.
                if let Err(error) = checkpoint(connection, "PASSIVE") {
                    self.put_off(pages);
                    self.failed = true;
                    return Err(error);
                }
                gate.close();
                self.gate_closed = Some(now);
                now
            }
        };
        let is_idle = gate.is_idle();
        if !is_idle && since.elapsed() < PATIENCE {
            return Ok(false);
        }
        let mode = if empty { "TRUNCATE" } else { "RESTART" };
        let begun = if is_idle {
            checkpoint(connection, mode)
        } else {
            Ok(false)
        };
        gate.open();
        self.gate_closed = None;
        if matches!(begun, Ok(true)) {
            self.pages.store(0, Ordering::Relaxed);
            self.checkpoint_at = CHECKPOINT_PAGES;
            self.failed = false;
            self.again = None;
            self.pause = MIN_PAUSE;
            if empty {
                self.erased = false;
                self.cleared = false;
            }
            return Ok(true);
        }
        self.put_off(pages);
        let why = Self::not_begun(begun, empty, pages);
        self.failed |= why.is_err();
        why.map(|()| false)
    }

    fn not_begun(begun: Result<bool>, empty: bool, pages: usize) -> Result<()> {
        begun?;
        if empty {
            Err(Error::Io(
                "erased, but old bytes are still in the write-ahead log: another program is \
                 reading the file; delete again when it has finished"
                    .into(),
            ))
        } else if pages >= TOO_MANY_PAGES {
            let what = format!(
                "the write-ahead log has grown to {pages} pages and cannot be begun anew: another \
                 program is reading the file, in a transaction that does not end"
            );
            Err(Error::Io(what.into()))
        } else {
            Ok(())
        }
    }

    fn put_off(&mut self, pages: usize) {
        self.checkpoint_at = pages.max(CHECKPOINT_PAGES) + CHECKPOINT_AGAIN;
        self.again = Some(Instant::now() + self.pause);
        self.pause = (self.pause * 2).min(MAX_PAUSE);
    }

    /// Moves all of it into the file, synced, and empties it, waiting up to `patience` for readers.
    ///
    /// Error: `Io` when another program is reading the file and does not stop for that long.
    pub fn empty_all(&mut self, connection: &Connection, patience: Duration) -> Result<()> {
        sqlite::empty_wal(connection, patience)?;
        self.erased = false;
        self.cleared = false;
        Ok(())
    }
}

/// Without waiting for anyone. Whether it could be done.
fn checkpoint(connection: &Connection, mode: &str) -> Result<bool> {
    connection.busy_timeout(Duration::ZERO)?;
    let done = sqlite::checkpoint(connection, mode);
    connection.busy_timeout(sqlite::BUSY)?;
    done
}
