//! Saving a context: the rows of its open shards, up to a cut, become segments of a backup, and their keys key pages.
//! It reads beside all else, and what it needs of a shard for one segment in one view of its file.

pub mod dead;
mod fill;
mod pages;

use std::sync::Arc;

use rustler::ResourceArc;

use crate::backup::key::{Key, random};
use crate::backup::keys_index::{Covered, KeysIndex};
use crate::backup::label::Hash;
use crate::backup::trailer::Cut;
use crate::backup::write::{Head, Writer};
use crate::engine::Shard;
use crate::error::{Error, Result};
use fill::{Filled, Keys};

/// An open backup: its random number and its key.
pub struct OpenBackup {
    /// The random number.
    pub number: u64,
    /// The backup key.
    pub key: Key,
}

/// What is to be saved of one shard.
pub struct Part {
    /// The shard; `None` for one of which nothing is saved here.
    pub shard: Option<ResourceArc<Shard>>,
    /// Its number.
    pub number: u16,
    /// The last position that the segments before have.
    pub from: i64,
    /// The run of that position.
    pub run: i64,
    /// Up to which position it is saved.
    pub to: i64,
    /// Up to which position the stored key pages are complete.
    pub covered: i64,
}

impl Part {
    /// The shard. Error: `Closed`, when it is not here.
    fn shard(&self) -> Result<&ResourceArc<Shard>> {
        self.shard.as_ref().ok_or(Error::Closed)
    }
}

/// Where the segments go on.
#[derive(Clone)]
pub struct Stream {
    /// The random number of the stream.
    pub number: u64,
    /// How many shards the context has.
    pub shards: u32,
    /// The name of the node.
    pub node: String,
    /// The number of the last segment; 0 when there is none.
    pub segment: u64,
    /// Its SHA-256; zeros when there is none.
    pub before: Hash,
}

/// A segment that is to be stored.
pub struct Segment {
    /// Its number.
    pub number: u64,
    /// Its SHA-256.
    pub hash: Hash,
    /// Whether it completes the cut.
    pub is_last: bool,
    /// All of it.
    pub bytes: Vec<u8>,
    /// How many rows and events it has.
    pub counts: (u64, u64),
}

/// A context that is being saved up to a cut.
pub struct Saving {
    backup: Arc<OpenBackup>,
    stream: Stream,
    time: i64,
    /// Whether the last segment completes the cut.
    completes: bool,
    parts: Vec<Part>,
    /// Which part comes next.
    at: usize,
    /// Key pages that are still to be given: which part, and which page of it.
    pages: Option<Vec<(usize, u64)>>,
    is_done: bool,
}

impl Saving {
    /// Of these parts, whose lives have keys up to the cut, which was at this time, and which the last segment completes
    /// or does not. In the order of shards.
    pub fn new(
        backup: Arc<OpenBackup>,
        stream: Stream,
        (time, completes): (i64, bool),
        parts: Vec<Part>,
    ) -> Self {
        Self {
            backup,
            stream,
            time,
            completes,
            parts,
            at: 0,
            pages: None,
            is_done: false,
        }
    }

    /// The next key page: shard, number and bytes. They are stored behind the segments, whose names only one context can
    /// get. Errors: `Closed`; those of the files.
    pub fn page(&mut self) -> Result<Option<(u16, u64, Vec<u8>)>> {
        loop {
            let pages = match &mut self.pages {
                Some(pages) => pages,
                None => {
                    let changed = pages::changed(&self.parts)?;
                    self.pages.insert(changed)
                }
            };
            let Some((at, page)) = pages.pop() else {
                return Ok(None);
            };
            let Some(part) = self.parts.get(at) else {
                continue;
            };
            let sealed = pages::seal(&self.backup, part, page)?;
            if let Some(bytes) = sealed {
                return Ok(Some((part.number, page, bytes)));
            }
        }
    }

    /// The index of the key pages, which is stored behind them.
    pub fn index(&self) -> Vec<u8> {
        let shards = self.parts.iter().map(|part| Covered {
            shard: part.number,
            highest: part.to,
            edits: part.to,
        });
        let index = KeysIndex {
            backup: self.backup.number,
            stream: self.stream.number,
            segment: self.stream.segment,
            time: self.time,
            shards: shards.collect(),
        };
        index.encode(&self.backup.key)
    }

    /// The next segment; `None` when all are made. Errors: `Closed`; those of the files; `Corrupt`: of damage in a
    /// shard.
    pub fn segment(&mut self) -> Result<Option<Segment>> {
        if self.is_done {
            return Ok(None);
        }
        let number = self.stream.segment + 1;
        let mut writer = Writer::new(Head {
            backup: self.backup.number,
            stream: self.stream.number,
            shards: self.stream.shards,
            number,
            before: self.stream.before,
            id: random()?,
            time: self.time,
            node: self.stream.node.clone(),
        });
        for part in &self.parts {
            writer.begin(part.number, part.from, part.run, false);
        }
        let (mut keys, mut counts) = (Keys::default(), (0, 0));
        let mut reached = Vec::new();
        let mut at = self.at;
        while let Some(part) = self.parts.get(at) {
            if part.to <= part.from {
                at += 1;
                continue;
            }
            let Filled {
                to,
                run,
                is_full,
                rows,
                events,
            } = fill::fill(part, &mut writer, &mut keys)?;
            counts = (counts.0 + rows, counts.1 + events);
            reached.push((at, to, run));
            if is_full {
                break;
            }
            at += 1;
        }
        let is_last = at >= self.parts.len();
        let cut = Cut {
            number,
            record: 0,
            time: self.time,
        };
        let mut bytes = Vec::new();
        let sealed = writer.seal(
            |shard, incarnation, key| keys.find(shard, incarnation, key),
            (is_last && self.completes).then_some(cut),
            &self.backup.key,
            &mut bytes,
        )?;
        for (at, to, run) in reached {
            if let Some(part) = self.parts.get_mut(at) {
                part.from = to;
                part.run = run;
            }
        }
        self.at = at;
        self.is_done = is_last;
        self.stream.segment = number;
        self.stream.before = sealed.hash;
        Ok(Some(Segment {
            number,
            hash: sealed.hash,
            is_last,
            bytes,
            counts,
        }))
    }
}
