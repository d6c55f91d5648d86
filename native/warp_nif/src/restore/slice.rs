//! What a segment has of one shard: opened, and with all that its index is told of it, so that it only has to be written.

use std::sync::Arc;

use rusqlite::Connection;

use crate::backup::key::{Found, Key};
use crate::backup::key_ring::KeyRing;
use crate::backup::read::Life;
use crate::error::Result;
use crate::hash::hash64;
use crate::index::aggregates::Names;
use crate::index::entities::{self, EntityInfo};
use crate::index::open_table;
use crate::log::kinds::{Changes, Kinds};
use crate::log::row::broken;
use crate::log::rows::{self, Row};
use crate::log::{keys, overwrite, runs, schema};
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
    /// What the index is told of each of its rows.
    facts: Vec<Facts>,
    /// The keys of a life that begins here.
    keys: Option<Vec<Option<Key>>>,
}

struct Facts {
    checksum: i64,
    /// The hashes of the ids of its events.
    ids: Vec<u64>,
    /// The aggregates of events that have another one than the row.
    others: Vec<Arc<str>>,
    /// Whether it leaves its entity open, if that is of a kind.
    open: Option<bool>,
}

/// Rows of one entity, which follow each other.
struct Log<'s> {
    hash: i64,
    incarnation: i64,
    rows: &'s [Row],
    facts: &'s [Facts],
}

impl Opened {
    /// Finds what the index is told of a life, and its keys. Error: `Corrupt`, when a row is not what Warp writes.
    pub fn new(life: Life, kinds: &Kinds, ring: &KeyRing) -> Result<Self> {
        let facts = life.rows.iter().map(|row| Facts::of(row, kinds));
        let facts = facts.collect::<Result<_>>()?;
        let begins = |row: &Row| row.prev == 0 && life.incarnation > 0;
        let keys = life.rows.first().filter(|row| begins(row)).map(|_| {
            let find = |part| match ring.find(life.shard, life.incarnation, part) {
                Found::Key(key) => Some(key),
                Found::Erased | Found::Unknown => None,
            };
            (0..ring.parts(life.shard, life.incarnation))
                .map(find)
                .collect()
        });
        Ok(Self { life, facts, keys })
    }

    /// Its rows behind a position.
    fn behind(&self, position: i64) -> (&[Row], &[Facts]) {
        let (rows, facts) = (&self.life.rows, &self.facts);
        let at = rows.partition_point(|row| row.position <= position);
        let behind = (rows.get(at..), facts.get(at..));
        (behind.0.unwrap_or_default(), behind.1.unwrap_or_default())
    }

    /// The logs that it has rows of behind a position: one, or of those that have no key of their own one for each row.
    fn logs(&self, position: i64) -> impl Iterator<Item = Log<'_>> {
        let own = self.life.incarnation;
        let (rows, facts) = self.behind(position);
        let size = if own == 0 { 1 } else { rows.len().max(1) };
        rows.chunks(size)
            .zip(facts.chunks(size))
            .filter_map(move |(rows, facts)| {
                let first = rows.first()?;
                Some(Log {
                    hash: hash64(first.entity.as_bytes()).cast_signed(),
                    incarnation: if own == 0 { first.position } else { own },
                    rows,
                    facts,
                })
            })
    }
}

impl Facts {
    fn of(row: &Row, kinds: &Kinds) -> Result<Self> {
        let events = Events::of(row)?;
        Ok(Self {
            checksum: row.borrow().checksum(),
            ids: events.ids,
            others: events.others,
            open: kinds.leaves_open(&row.entity, &row.aggregate),
        })
    }
}

impl Slice {
    /// Brings it into a shard's file, in the transaction under way, but for what that has already: the segment may have
    /// been merged of some that an interrupted restore has written, up to the position `behind`. What goes into one table
    /// is sorted, so that each page of the file is changed once, and most are only added. Errors: those of the file;
    /// `Corrupt` when rows do not follow on those that are there.
    pub fn write(&self, connection: &Connection, behind: i64) -> Result<()> {
        self.write_rows(connection, behind)?;
        self.write_index(connection, behind)?;
        for row in self.lives.iter().flat_map(|opened| &opened.life.revisions) {
            overwrite::row(connection, row)?;
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
        let mut all: Vec<(i64, &Row, i64)> = Vec::new();
        for opened in &self.lives {
            let (rows, facts) = opened.behind(behind);
            all.extend(rows.iter().zip(facts).map(|(row, facts)| (row.position, row, facts.checksum)));
        }
        all.sort_unstable_by_key(|(position, _, _)| *position);
        let mut insert = rows::insert_statement(connection)?;
        for (_, row, checksum) in &all {
            rows::insert(&mut insert, &row.borrow(), *checksum)?;
        }
        if let Some((last, _, _)) = all.last() {
            schema::set_meta(connection, "last_row", *last)?;
        }
        Ok(())
    }

    fn write_index(&self, connection: &Connection, behind: i64) -> Result<()> {
        let logs = self.lives.iter().flat_map(|opened| opened.logs(behind));
        let mut logs: Vec<Log<'_>> = logs.collect();
        logs.sort_unstable_by_key(|log| (log.hash, log.incarnation));
        let mut names = Names::read(connection)?;
        let mut changes = Changes::default();
        let (mut marks, mut ids) = (Vec::new(), Vec::new());
        let mut find = entities::of_life_statement(connection)?;
        let mut upsert = entities::upsert_statement(connection)?;
        for Log {
            hash,
            incarnation,
            rows,
            facts,
        } in logs
        {
            let mut info = match rows.first() {
                Some(first) if first.prev > 0 => entities::of_life(&mut find, hash, incarnation)?,
                _ => None,
            };
            let mut set = 0;
            for (row, facts) in rows.iter().zip(facts) {
                let ends_at = info.as_ref().map_or((0, 0), |info| (info.seq, info.head));
                if (row.seq.wrapping_sub(1), row.prev) != ends_at {
                    return Err(broken(row.position, "out of sequence"));
                }
                let next = EntityInfo::advance(info.as_ref(), row.position, row.count);
                if next.is_marked() {
                    marks.push((incarnation, row.seq, row.position));
                }
                let hashes = facts.ids.iter().map(|id| id.cast_signed());
                ids.extend(hashes.map(|id| (incarnation, id, row.position)));
                set |= names.bit_of(connection, &row.aggregate)?;
                for other in &facts.others {
                    set |= names.bit_of(connection, other)?;
                }
                if let Some(open) = facts.open {
                    changes.apply(incarnation, row.seq == 1, open);
                }
                info = Some(next);
            }
            if let Some(info) = info {
                entities::upsert(&mut upsert, hash, &info, set)?;
            }
        }
        entities::insert_marks(connection, marks)?;
        entities::insert_ids(connection, ids)?;
        open_table::flush(connection, &changes)?;
        Ok(())
    }
}
