//! The thread that applies: brings what the journal has into the shards' files, erases, keeps WALs
//! small, and gives segments of the journal back.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustler::Encoder;

use super::looked::{IDLE, Looked};
use super::turn::APPLY_EVERY;
use crate::atoms;
use crate::engine::context::{Attached, Deferred, Engine};
use crate::engine::notes::LockNotes;
use crate::error::{Error, panic_message};
use crate::journal::Journal;
use crate::shard::background::Task;
use crate::shard::shared::Shared;
use crate::writer::answers::send;
use crate::writer::command::{Answer, Command};

/// How often what is to be given back is looked at.
const RECYCLE_EVERY: Duration = Duration::from_millis(80);

/// Runs until the writer has ended and all files are closed.
pub fn run(engine: &Arc<Engine>, writer: JoinHandle<Option<Journal<LockNotes>>>) {
    let mut applier = Applier {
        engine: Arc::clone(engine),
        shards: Vec::new(),
        durable: HashMap::new(),
        recycled: Instant::now(),
    };
    let ran = catch_unwind(AssertUnwindSafe(|| applier.serve(&writer)));
    let Applier {
        shards, durable, ..
    } = applier;
    drop(shards);
    if let Err(panic) = ran {
        engine.close();
        send(engine.owner, |env| {
            (atoms::warp_writer_down(), panic_message(&*panic)).encode(env)
        });
        let abandoned: Vec<Looked> = engine.abandon().into_iter().map(Looked::new).collect();
        drop(abandoned);
        let _ = writer.join();
        return;
    }
    // A panic of the writer was reported when it happened.
    if let Ok(Some(journal)) = writer.join() {
        let is_durable = |shard| durable.get(&shard).copied().unwrap_or(0);
        if journal.segments().are_all_in(is_durable) {
            // What is left is read at the next start.
            let closed = journal.close();
            engine.background.note(Task::Recycle, &closed);
        }
    }
}

struct Applier {
    engine: Arc<Engine>,
    shards: Vec<Looked>,
    /// Up to which position each shard's file outlives a loss of power.
    durable: HashMap<u16, i64>,
    recycled: Instant,
}

impl Applier {
    fn serve(&mut self, writer: &JoinHandle<Option<Journal<LockNotes>>>) {
        let (mut pause, mut is_idle) = (IDLE, true);
        loop {
            // NOTE: looked at before the inbox. A writer that has ended tells nothing more.
            let has_ended = writer.is_finished();
            let inbox = self.engine.told(pause, is_idle && !has_ended);
            let hurry = inbox.hurry || has_ended;
            self.take(inbox.attached, inbox.deferred, inbox.snapshots);
            for (shared, done) in inbox.moves {
                let engine = Arc::clone(&self.engine);
                let looked = self.of(&shared);
                let moved = looked.map_or(Err(Error::Closed), |looked| looked.move_wal(&engine));
                // Who waits for it may have gone.
                let _ = done.send(moved);
            }
            for (shared, up_to, done) in inbox.keys {
                let engine = Arc::clone(&self.engine);
                match self.of(&shared) {
                    Some(looked) => looked.ask_for_keys(&engine, up_to, done),
                    None => drop(done.send(Err(Error::Closed))),
                }
            }
            pause = IDLE;
            is_idle = true;
            let (mut unapplied, mut held, mut stuck) = (0, 0, None);
            for looked in &mut self.shards {
                let before = looked.shared.tail().bytes();
                let left = looked.turn(&self.engine, hurry);
                pause = pause.min(left);
                let tail = looked.shared.tail();
                let left_over = tail.bytes();
                self.engine.room.applied(before.saturating_sub(left_over));
                is_idle &= tail.steps() == 0 && looked.snapshots.is_empty();
                unapplied += left_over;
                drop(tail);
                if let Some(error) = looked.shared.background.first_error() {
                    held += left_over;
                    stuck = stuck.or(Some(error));
                }
                if let Some(attached) = &looked.attached {
                    self.durable
                        .insert(looked.shared.number, attached.store.durable());
                }
            }
            self.engine.turned((unapplied, held), stuck);
            self.close_some(has_ended);
            self.recycle();
            if has_ended && self.shards.is_empty() && self.engine.leave() {
                return;
            }
            if has_ended || self.engine.is_closed() {
                pause = pause.min(Duration::from_millis(1));
            }
            if !is_idle {
                pause = pause.min(APPLY_EVERY);
            }
        }
    }

    fn take(
        &mut self,
        attached: Vec<Attached>,
        deferred: Vec<(Arc<Shared>, Deferred)>,
        snapshots: Vec<(Arc<Shared>, Command)>,
    ) {
        self.shards.extend(attached.into_iter().map(Looked::new));
        for (shared, deferred) in deferred {
            match self.of(&shared) {
                Some(looked) => looked.defer(deferred),
                None => {
                    let failed = Answer::Failed(Error::Closed);
                    self.engine.answer(vec![(deferred.from, failed)]);
                }
            }
        }
        for (shared, snapshot) in snapshots {
            if let Some(looked) = self.of(&shared) {
                looked.snapshots.push(snapshot);
            }
        }
    }

    fn of(&mut self, shared: &Arc<Shared>) -> Option<&mut Looked> {
        let mut shards = self.shards.iter_mut();
        shards.find(|looked| Arc::ptr_eq(&looked.shared, shared))
    }

    /// Closes the files of shards that the writer is done with.
    fn close_some(&mut self, has_ended: bool) {
        let engine = Arc::clone(&self.engine);
        let is_done = |looked: &mut Looked| has_ended || looked.shared.is_detached();
        let done: Vec<Looked> = self.shards.extract_if(.., is_done).collect();
        for mut looked in done {
            let durable = looked.finish(&engine);
            self.durable.insert(looked.shared.number, durable);
        }
    }

    /// Gives segments back, and has those shards moved into their files that keep the oldest one.
    fn recycle(&mut self) {
        if self.engine.segments.waiting() == 0 || self.recycled.elapsed() < RECYCLE_EVERY {
            return;
        }
        self.recycled = Instant::now();
        let durable = &self.durable;
        let is_durable = |shard| durable.get(&shard).copied().unwrap_or(0);
        let behind = self.engine.segments.needed_by(is_durable);
        for looked in &mut self.shards {
            if behind.contains(&looked.shared.number)
                && let Some(attached) = &mut looked.attached
                && attached.store.make_durable().is_ok()
            {
                let durable = attached.store.durable();
                self.durable.insert(looked.shared.number, durable);
            }
        }
        let durable = &self.durable;
        let is_durable = |shard| durable.get(&shard).copied().unwrap_or(0);
        let recycled = self.engine.segments.recycle(is_durable);
        self.engine.background.note(Task::Recycle, &recycled);
    }
}
