//! What tests of restores share: the segments of a context, and where they are restored to.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::Restoring;
use crate::backup::key::Found;
use crate::backup::label::NO_HASH;
use crate::backup::pages::{Lived, Page, page_of};
use crate::backup::testing::{BACKUP, Written, head, key, life_key, seal};
use crate::backup::write::Writer;
use crate::error::{Error, Result};
use crate::files::Access;
use crate::hash::{hash64, jump};
use crate::log::Row;
use crate::log::{Apart, Kind, Kinds};
use crate::save::OpenBackup;

/// The context that is restored.
pub struct Saved {
    /// How many shards it has.
    pub shards: u32,
    /// Its segments.
    pub segments: Vec<Written>,
    /// All its rows, by shard and position.
    pub rows: Vec<(u16, Row)>,
    /// The first position of each life.
    pub lives: Vec<(u16, i64)>,
}

/// How a context comes about, row by row, and how it goes into segments.
pub struct Saver {
    saved: Saved,
    writer: Writer,
    /// Where the log of each shard ends.
    ends: Vec<i64>,
    /// Where the log of each entity ends: its incarnation, its head and its last seq.
    heads: HashMap<String, (i64, i64, u64)>,
}

impl Saver {
    /// A context without rows.
    pub fn new(shards: u32) -> Self {
        let mut saver = Self {
            saved: Saved {
                shards,
                segments: Vec::new(),
                rows: Vec::new(),
                lives: Vec::new(),
            },
            writer: Writer::new(head(1, NO_HASH)),
            ends: vec![0; shards as usize],
            heads: HashMap::new(),
        };
        saver.begin();
        saver
    }

    fn begin(&mut self) {
        let last = self.saved.segments.last();
        let before = last.map_or(NO_HASH, |segment| segment.sealed.hash);
        let mut head = head(self.saved.segments.len() as u64 + 1, before);
        head.shards = self.saved.shards;
        self.writer = Writer::new(head);
        for (shard, end) in (0..).zip(&self.ends) {
            self.writer.begin(shard, *end, 11, false);
        }
    }

    /// Adds a row of one event to the log of an entity.
    pub fn row(&mut self, (entity, aggregate): (&str, &str), data: String) {
        let shard = jump(hash64(entity.as_bytes()), self.saved.shards) as u16;
        let position = self.ends[shard as usize] + 1;
        let found = self.heads.get(entity).copied();
        let (incarnation, prev, seq) = found.unwrap_or((position, 0, 0));
        let row = Row {
            position,
            entity: entity.into(),
            aggregate: aggregate.into(),
            seq: seq + 1,
            count: 1,
            recorded_at: 1_795_178_321_547_399 + position,
            prev,
            data,
        };
        let add = |writer: &mut Writer| {
            let added = writer.row(shard, incarnation, &row.borrow(), None);
            added.expect("takes the row")
        };
        if !add(&mut self.writer) {
            self.cut();
            assert!(add(&mut self.writer));
        }
        self.ends[shard as usize] = position;
        self.heads
            .insert(entity.into(), (incarnation, position, seq + 1));
        if prev == 0 {
            self.saved.lives.push((shard, position));
        }
        self.saved.rows.push((shard, row));
    }

    /// Ends a segment.
    pub fn cut(&mut self) {
        let number = self.saved.segments.len() as u64 + 1;
        let next = Writer::new(head(number, NO_HASH));
        let writer = std::mem::replace(&mut self.writer, next);
        self.saved.segments.push(seal(writer));
        self.begin();
    }

    /// All of it, in segments.
    pub fn end(mut self) -> Saved {
        self.cut();
        self.saved
    }
}

impl Saved {
    /// A restore of it into a folder, which has the keys.
    pub fn restoring(&self, dir: &Path) -> Restoring {
        let backup = OpenBackup {
            number: BACKUP,
            key: key(0),
        };
        let context = ("bank".into(), self.shards);
        let kind = Kind {
            prefix: "saga-".into(),
            closing: "End".into(),
            apart: Apart::default(),
        };
        let kinds = Kinds::new(vec![kind]).expect("kinds");
        let access = Access::Owner;
        let restoring = Restoring::new(Arc::new(backup), dir.into(), context, None, access, kinds);
        let restoring = restoring.expect("begins");
        let mut pages: HashMap<(u16, u64), Page> = HashMap::new();
        let own = (0..self.shards as u16).map(|shard| (shard, 0));
        for (shard, incarnation) in own.chain(self.lives.iter().copied()) {
            let Found::Key(key) = life_key(shard, incarnation, 0) else {
                panic!("no key");
            };
            let number = page_of(incarnation);
            let page = pages.entry((shard, number)).or_insert(Page {
                backup: BACKUP,
                shard,
                number,
                lives: Vec::new(),
            });
            page.lives.push(Lived {
                incarnation,
                tag: [0; 8],
                keys: vec![Some(key)],
            });
        }
        restoring.learn(|ring| pages.into_values().for_each(|page| ring.add(page)));
        restoring
    }

    /// Restores all segments: each is opened while the one before is written.
    pub fn restore(&self, restoring: &Restoring) -> Result<()> {
        let open = |number: usize| {
            let segment = self.segments.get(number - 1)?;
            Some(restoring.open(number as u64, &segment.bytes))
        };
        let mut next = open(1);
        for number in 2.. {
            let Some(opened) = next else { break };
            let (_, segment) = opened?;
            next = std::thread::scope(|scope| {
                let opening = scope.spawn(|| open(number));
                restoring.write(segment)?;
                Ok::<_, Error>(opening.join().expect("opens"))
            })?;
        }
        Ok(())
    }
}
