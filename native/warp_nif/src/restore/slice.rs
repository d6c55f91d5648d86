//! What a segment has of one shard: opened, and with all that its index is told of it, so that it only has to be written.

use std::sync::Arc;

use rusqlite::Connection;

use crate::backup::key::{Found, Key};
use crate::backup::key_ring::KeyRing;
use crate::backup::read::Life;
use crate::backup::row_list::Stored;
use crate::error::Result;
use crate::hash::hash64;
use crate::index::aggregates::{Names, Set};
use crate::index::entities::{self, EntityInfo};
use crate::index::open_table;
use crate::log::kinds::{Changes, Kinds};
use crate::log::row::broken;
use crate::log::{keys, overwrite, rows, runs, schema};
use crate::tail::found_row::Events;

/// What a segment has of one shard.
pub struct Slice {
    /// Up to which position.
    pub to: i64,
    /// From which position on which run wrote the rows.
    pub runs: Vec<(i64, i64)>,
    /// Its lives.
    pub lives: Vec<Opened>,
}

/// What a segment has of one life.
pub struct Opened {
    life: Life,
    /// What the index is told of its rows beside themselves, for those of which there is something.
    named: Vec<Named>,
    /// The keys of a life that begins here.
    keys: Option<Vec<Option<Key>>>,
}

/// The names in one row.
struct Named {
    position: i64,
    /// The hashes of the ids of its events.
    ids: Vec<u64>,
    /// The aggregates of events that have another one than the row.
    others: Vec<Arc<str>>,
}

/// Rows of one entity, which follow each other: from one of a life on, so many.
struct Log<'s> {
    opened: &'s Opened,
    from: usize,
    count: usize,
    /// The position of the first of them.
    first: i64,
    hash: i64,
    incarnation: i64,
}

impl Opened {
    /// Finds what the index is told of a life, and its keys. Error: `Corrupt`, when a row is not what Warp writes.
    pub fn new(life: Life, ring: &KeyRing) -> Result<Self> {
        let mut named = Vec::new();
        for (row, _) in life.rows.iter() {
            if let Some(Events { ids, others, .. }) = Events::named(&row)? {
                named.push(Named {
                    position: row.position,
                    ids,
                    others,
                });
            }
        }
        let first = life.rows.get(0);
        let begins = first.is_some_and(|(first, _)| first.prev == 0) && life.incarnation > 0;
        let keys = begins.then(|| {
            let find = |part| match ring.find(life.shard, life.incarnation, part) {
                Found::Key(key) => Some(key),
                Found::Erased | Found::Unknown => None,
            };
            (0..ring.parts(life.shard, life.incarnation))
                .map(find)
                .collect()
        });
        Ok(Self { life, named, keys })
    }

    /// The logs that it has rows of behind a position: one, or of those that have no key of their own one for each row.
    fn logs(&self, behind: i64) -> impl Iterator<Item = Log<'_>> {
        let (from, end) = (self.life.rows.up_to(behind), self.life.rows.len());
        let own = self.life.incarnation;
        let count = if own == 0 { 1 } else { (end - from).max(1) };
        (from..end).step_by(count).filter_map(move |from| {
            let (first, _) = self.life.rows.get(from)?;
            Some(Log {
                opened: self,
                from,
                count,
                first: first.position,
                hash: hash64(first.entity.as_bytes()).cast_signed(),
                incarnation: if own == 0 { first.position } else { own },
            })
        })
    }
}

impl Slice {
    /// Brings it into a shard's file, in the transaction under way, but for what that has already: the segment may have
    /// been merged of some that an interrupted restore has written, up to the position `behind`. What goes into one table
    /// is sorted, so that each page of the file is changed once, and most are only added. Errors: those of the file;
    /// `Corrupt` when rows do not follow on those that are there. What was written then has to be undone.
    pub fn write(&self, connection: &Connection, kinds: &Kinds, behind: i64) -> Result<()> {
        self.write_rows(connection, behind)?;
        self.write_index(connection, kinds, behind)?;
        for opened in &self.lives {
            for (row, checksum) in opened.life.revisions.iter() {
                overwrite::row(connection, &row, checksum)?;
            }
        }
        for (first, run) in self.runs.iter().filter(|(first, _)| *first > behind) {
            runs::begin(connection, *first, *run)?;
        }
        let begun = self.lives.iter().filter_map(|opened| {
            let incarnation = opened.life.incarnation;
            let keys = opened.keys.as_deref().filter(|_| incarnation > behind)?;
            Some((incarnation, keys))
        });
        keys::restore(connection, begun, self.to)?;
        schema::set_meta(connection, "flushed", self.to)?;
        Ok(())
    }

    fn write_rows(&self, connection: &Connection, behind: i64) -> Result<()> {
        let rows = self.lives.iter().map(|opened| &opened.life.rows);
        let rows = rows.flat_map(|rows| rows.behind(behind));
        let mut all: Vec<(i64, Stored<'_>)> = rows.collect();
        all.sort_unstable_by_key(|(position, _)| *position);
        rows::insert_all(connection, &all, |(_, stored)| stored.row())?;
        if let Some((last, _)) = all.last() {
            schema::set_meta(connection, "last_row", *last)?;
        }
        Ok(())
    }

    fn write_index(&self, connection: &Connection, kinds: &Kinds, behind: i64) -> Result<()> {
        let logs = self.lives.iter().flat_map(|opened| opened.logs(behind));
        let mut logs: Vec<Log<'_>> = logs.collect();
        logs.sort_unstable_by_key(|log| (log.hash, log.incarnation));
        let mut told = Told {
            names: Names::read(connection)?,
            changes: Changes::default(),
            marks: Vec::new(),
            ids: Vec::new(),
        };
        let mut begun = Vec::new();
        let mut find = entities::of_life_statement(connection)?;
        let mut upsert = entities::upsert_statement(connection)?;
        for log in &logs {
            let info = if log.begins() {
                None
            } else {
                entities::of_life(&mut find, log.hash, log.incarnation)?
            };
            let (info, set) = told.log(connection, kinds, log, info)?;
            if log.begins() {
                begun.push((log.hash, info, set));
            } else {
                entities::upsert(&mut upsert, log.hash, &info, set)?;
            }
        }
        entities::insert_new(connection, &begun)?;
        entities::insert_marks(connection, told.marks)?;
        entities::insert_ids(connection, told.ids)?;
        open_table::flush(connection, &told.changes)?;
        Ok(())
    }
}

impl Log<'_> {
    /// Whether its first row is the first of its entity.
    fn begins(&self) -> bool {
        self.first == self.incarnation
    }
}

/// What the index of a shard is told of some logs.
struct Told {
    names: Names,
    changes: Changes,
    marks: Vec<(i64, u64, i64)>,
    ids: Vec<(i64, i64, i64)>,
}

impl Told {
    /// Adds a log that goes on where `info` ends: where it ends now, and its aggregates. Error: `Corrupt`, when it does not
    /// go on there.
    fn log(
        &mut self,
        connection: &Connection,
        kinds: &Kinds,
        log: &Log<'_>,
        mut info: Option<EntityInfo>,
    ) -> Result<(EntityInfo, Set)> {
        let mut set = 0;
        let rows = log.opened.life.rows.from(log.from).take(log.count);
        for (row, _) in rows {
            let ends_at = info.as_ref().map_or((0, 0), |info| (info.seq, info.head));
            if (row.seq.wrapping_sub(1), row.prev) != ends_at {
                return Err(broken(row.position, "out of sequence"));
            }
            let next = EntityInfo::advance(info.as_ref(), row.position, row.count);
            if next.is_marked() {
                self.marks.push((log.incarnation, row.seq, row.position));
            }
            set |= self.names.bit_of(connection, row.aggregate)?;
            if let Some(open) = kinds.leaves_open(row.entity, row.aggregate) {
                self.changes.apply(log.incarnation, row.seq == 1, open);
            }
            info = Some(next);
        }
        let info = info.ok_or_else(|| broken(log.incarnation, "missing"))?;
        let named = &log.opened.named;
        let from = named.partition_point(|named| named.position < log.first);
        let named = named.iter().skip(from);
        for named in named.take_while(|named| named.position <= info.head) {
            let ids = named.ids.iter().map(|id| id.cast_signed());
            self.ids
                .extend(ids.map(|id| (log.incarnation, id, named.position)));
            for other in &named.others {
                set |= self.names.bit_of(connection, other)?;
            }
        }
        Ok((info, set))
    }
}
