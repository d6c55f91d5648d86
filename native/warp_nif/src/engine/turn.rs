//! What the thread that applies does for one shard, again and again, and at its end.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use rustler::Encoder;

use crate::atoms;
use crate::engine::context::{Attached, Engine};
use crate::engine::looked::{IDLE, Looked, PATIENCE};
use crate::error::{Error, Result};
use crate::shard::background::Task;
use crate::writer::answers::send;

/// How long rows wait at most before they are brought into the file, unless that fails.
pub const APPLY_EVERY: Duration = Duration::from_millis(80);
/// After how many bytes of events they do not wait.
const APPLY_BYTES: usize = 4 * 1024 * 1024;

impl Looked {
    /// Does what is to be done of a shard. After how long to look at it again.
    pub fn turn(&mut self, engine: &Engine, hurry: bool) -> Duration {
        let now = Instant::now();
        if self.looked.elapsed() >= IDLE {
            self.looked = now;
            self.look_at_files();
            // Nobody's view of the file is older than that.
            let old = self.shared.tail_mut().forget_applied();
            drop(old);
        }
        match &self.attached {
            None => return IDLE,
            Some(attached) if attached.store.is_lost() => {
                if !self.shared.is_closed() {
                    self.shared.close();
                    engine.queue.detach(&self.shared);
                }
                return IDLE;
            }
            Some(_) => {}
        }
        let (steps, bytes) = {
            let tail = self.shared.tail();
            (tail.steps(), tail.bytes())
        };
        let is_late = hurry || bytes >= APPLY_BYTES || self.applied_at.elapsed() >= APPLY_EVERY;
        let has_to = is_late && (steps > 0 || !self.snapshots.is_empty());
        if has_to && self.again.is_none_or(|again| again <= now) {
            self.applied_at = now;
            self.again = self.apply(engine).err().map(|_| now + IDLE);
            self.look_at_files();
        }
        let erase_again = self.go_on_erasing(engine);
        erase_again.min(self.go_on_with_keys())
    }

    fn look_at_files(&mut self) {
        // The store keeps the error that it finds, and the file is closed over it.
        if let Some(Attached { store, .. }) = &mut self.attached
            && let Ok(bytes) = store.look()
        {
            self.shared.stats.file_bytes.store(bytes, Relaxed);
        }
    }

    /// Brings everything into the file.
    pub(super) fn apply(&mut self, engine: &Engine) -> Result<()> {
        loop {
            let Some(Attached { store, .. }) = &mut self.attached else {
                return Ok(());
            };
            let stretch = self.shared.tail_mut().begin_apply();
            let is_more = stretch.is_some();
            if !is_more && self.snapshots.is_empty() {
                return Ok(());
            }
            let applied = store.apply(stretch.as_deref(), &self.snapshots);
            let failing = &self.shared.background;
            match &applied {
                // Both go in one transaction, and rows are what it is there for.
                Err(_) if is_more => failing.note(Task::WriteBehind, &applied),
                Err(_) => failing.note(Task::Snapshot, &applied),
                Ok(_) => {
                    failing.note(Task::WriteBehind, &applied);
                    failing.note(Task::Snapshot, &applied);
                }
            }
            self.snapshots.clear();
            let broken = match applied {
                Ok(broken) => broken,
                Err(error) => {
                    self.fail(engine, &error, |waiting| waiting.overwritten.is_none());
                    return Err(error);
                }
            };
            if is_more {
                let old = self.shared.tail_mut().applied_all();
                drop(old);
            }
            for (position, error) in broken {
                self.shared
                    .background
                    .note::<()>(Task::Erase, &Err(error.clone()));
                self.fail(engine, &error, |waiting| waiting.position == position);
            }
            if !is_more || self.shared.tail().steps() == 0 {
                return Ok(());
            }
        }
    }

    /// Brings everything into the file, and moves the WAL there, synced, as far as that can be done beside reads.
    pub fn move_wal(&mut self, engine: &Engine) -> Result<()> {
        self.apply(engine)?;
        let attached = self.attached.as_mut().ok_or(Error::Closed)?;
        attached.store.make_durable().map(drop)
    }

    /// Brings the rest into the file and closes it. Up to which position it is durable.
    pub fn finish(&mut self, engine: &Engine) -> i64 {
        self.shared.close();
        let lost = self.attached.as_mut().is_some_and(|attached| {
            let _ = attached.store.look();
            attached.store.is_lost()
        });
        if !lost {
            // What fails stays in the journal.
            let _ = self.apply(engine);
        }
        let mut durable = 0;
        if let Some(Attached {
            mut store, keeps, ..
        }) = self.attached.take()
        {
            if lost {
                // NOTE: a connection that is opened beside them would share what they know of the old WAL.
                while !self.shared.end_readers() {}
                durable = store.durable();
                let what = store.rescue(&self.shared.path);
                if let Some(owner) = self.shared.owner {
                    send(owner, |env| (atoms::warp_files_lost(), what).encode(env));
                }
            } else {
                let gone = store.settle(PATIENCE).and_then(|()| {
                    let positions = store.blank().clone();
                    engine.segments.blank(self.shared.number, &positions)
                });
                if gone.is_ok() {
                    for waiting in &mut self.deferred {
                        let is_left = waiting.hash.is_some_and(|hash| store.is_erasing(hash));
                        if store.applied() >= waiting.position && !is_left {
                            waiting.overwritten = Some(Instant::now());
                        }
                    }
                    self.settle(engine, |_| true);
                }
                self.shared.end_readers();
                durable = store.durable();
                drop(store);
            }
            self.shared.close_pages();
            drop(keeps);
        }
        self.fail(engine, &Error::Closed, |_| true);
        durable
    }
}
