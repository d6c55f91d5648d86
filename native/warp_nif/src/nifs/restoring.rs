//! Segments of a context that is being restored, and its files.

use std::sync::Mutex;

use rustler::{Encoder, Env, Resource, ResourceArc, Term};

use super::terms::{reply_ok, with_bytes};
use crate::error::Error;
use crate::restore::{OpenSegment, Restoring};
use crate::sync::relock;
use crate::threads::{BACKUPS, answer};

/// A context that is being restored.
pub struct RestoringHandle(Restoring);

#[rustler::resource_impl]
impl Resource for RestoringHandle {}

impl RestoringHandle {
    /// One whose files are closed with it, unless that was done before.
    pub fn new(restoring: Restoring) -> Self {
        Self(restoring)
    }

    /// The context.
    pub fn get(&self) -> &Restoring {
        &self.0
    }
}

impl Drop for RestoringHandle {
    fn drop(&mut self) {
        // Nobody waits for the disk where terms are collected. Without a thread they are closed here.
        if let Some(files) = self.0.take_files() {
            let _ = BACKUPS.run(Box::new(move || drop(files)));
        }
    }
}

/// A segment that was opened; none once it is written.
pub struct OpenSegmentHandle(Mutex<Option<OpenSegment>>);

#[rustler::resource_impl]
impl Resource for OpenSegmentHandle {}

impl Drop for OpenSegmentHandle {
    fn drop(&mut self) {
        // Likewise: it has many small parts.
        if let Some(segment) = relock(&self.0).take() {
            let _ = BACKUPS.run(Box::new(move || drop(segment)));
        }
    }
}

/// Opens all of a segment, to be written: `{ok, {{Rows, Events, Erased, Cleared}, Segment}}`.
#[rustler::nif]
fn restore_open<'a>(
    env: Env<'a>,
    restoring: ResourceArc<RestoringHandle>,
    number: u64,
    bytes: Term<'a>,
    tag: Term<'a>,
) -> Term<'a> {
    with_bytes(env, &BACKUPS, bytes, tag, move |env, bytes| {
        let (counts, segment) = restoring.0.open(number, bytes)?;
        let counts = (counts.rows, counts.events, counts.erased, counts.cleared);
        let handle = ResourceArc::new(OpenSegmentHandle(Mutex::new(Some(segment))));
        Ok((counts, handle).encode(env))
    })
}

/// Brings a segment into the files: `ok`.
#[rustler::nif]
fn restore_write<'a>(
    env: Env<'a>,
    restoring: ResourceArc<RestoringHandle>,
    segment: ResourceArc<OpenSegmentHandle>,
    tag: Term<'a>,
) -> Term<'a> {
    answer(env, &BACKUPS, tag, move |env| {
        let segment = relock(&segment.0).take().ok_or(Error::Closed);
        reply_ok(env, segment.and_then(|segment| restoring.0.write(segment)))
    })
}

/// Ends a restore: `ok`, when all files are complete and closed.
#[rustler::nif]
fn restore_finish<'a>(
    env: Env<'a>,
    restoring: ResourceArc<RestoringHandle>,
    tag: Term<'a>,
) -> Term<'a> {
    answer(env, &BACKUPS, tag, move |env| {
        reply_ok(env, restoring.0.finish())
    })
}

/// Closes all files, with what was written: `ok`.
#[rustler::nif]
fn restore_close<'a>(
    env: Env<'a>,
    restoring: ResourceArc<RestoringHandle>,
    tag: Term<'a>,
) -> Term<'a> {
    answer(env, &BACKUPS, tag, move |env| {
        reply_ok(env, restoring.0.close())
    })
}
