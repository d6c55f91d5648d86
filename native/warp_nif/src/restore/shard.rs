//! The file of a shard that is being restored.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;

use crate::apply::index::Index;
use crate::backup::key::Found;
use crate::backup::key_ring::KeyRing;
use crate::error::{Error, Result};
use crate::files::Access;
use crate::index::entities::{self, EntityInfo};
use crate::log::keys;
use crate::log::kinds::{Changes, Kinds};
use crate::log::rows::{self, Row};
use crate::log::runs;
use crate::log::{overwrite, schema};
use crate::open::file::{self, Identity};
use crate::sqlite::{checkpoint_all, empty_wal, in_transaction};
use crate::tail::found_row::found_row;

/// How long another program that reads the file is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a segment has of a shard.
pub struct Batch {
    /// Its rows.
    pub rows: Vec<Row>,
    /// Rows of this or earlier segments, as they stand since they were changed.
    pub revisions: Vec<Row>,
    /// From which position on which run wrote the rows.
    pub runs: Vec<(i64, i64)>,
    to: i64,
}

impl Batch {
    /// One that reaches up to this position.
    pub fn new(to: i64) -> Self {
        Self {
            rows: Vec::new(),
            revisions: Vec::new(),
            runs: Vec::new(),
            to,
        }
    }

    /// Whether a file that reaches so far has all of it.
    pub fn is_empty(&self, to: i64) -> bool {
        self.to <= to
    }
}

/// The file of a shard.
pub struct ShardFile {
    connection: Connection,
    path: std::path::PathBuf,
    to: i64,
}

impl ShardFile {
    /// Opens the file, or makes it. Errors: as for [`file::open`].
    pub fn open(path: &Path, identity: &Identity, kinds: &Kinds, access: Access) -> Result<Self> {
        let (connection, _sums) = file::open(path, identity, kinds, Some(access))?;
        let to = schema::meta(&connection, "flushed").map_err(|error: Error| error.at(path))?;
        Ok(Self {
            connection,
            path: path.to_owned(),
            to,
        })
    }

    /// Up to which position it was brought.
    pub fn to(&self) -> i64 {
        self.to
    }

    /// Brings what a segment has of the shard into the file, in one transaction. Errors: those of the file; `Corrupt`
    /// when rows do not follow on those that are there.
    pub fn apply(&mut self, mut batch: Batch, kinds: &Kinds) -> Result<()> {
        // The segment may have been merged of some that an interrupted restore has brought in.
        batch.rows.retain(|row| row.position > self.to);
        batch.runs.retain(|(first, _)| *first > self.to);
        batch.rows.sort_unstable_by_key(|row| row.position);
        let (connection, to) = (&self.connection, batch.to);
        in_transaction(connection, || fill(connection, batch, kinds))
            .and_then(|()| checkpoint_all(connection).map(drop))
            .map_err(|error: Error| error.at(&self.path))?;
        self.to = to;
        Ok(())
    }

    /// Gives the lives of the shard the keys that a backup has sealed them with, and closes the file.
    pub fn finish(self, number: u16, ring: &KeyRing) -> Result<()> {
        let connection = &self.connection;
        let end = || {
            in_transaction(connection, || {
                let lives = ring.of_shard(number).map(|life| {
                    let parts = 0..u16::try_from(life.keys.len()).unwrap_or(u16::MAX);
                    let found = parts.map(|part| match ring.find(number, life.incarnation, part) {
                        Found::Key(key) => Some(key),
                        Found::Erased | Found::Unknown => None,
                    });
                    (life.incarnation, found.collect::<Vec<_>>())
                });
                keys::restore(connection, lives, self.to)
            })?;
            empty_wal(connection, PATIENCE)
        };
        end().map_err(|error: Error| error.at(&self.path))
    }
}

fn fill(connection: &Connection, batch: Batch, kinds: &Kinds) -> Result<()> {
    let mut insert = rows::insert_statement(connection)?;
    let mut index = Index::default();
    let mut changes = Changes::default();
    let mut known: HashMap<std::sync::Arc<str>, EntityInfo> = HashMap::new();
    let mut last = None;
    for row in batch.rows {
        let position = row.position;
        let before = match known.get(row.entity.as_str()) {
            _ if row.prev == 0 => None,
            Some(info) => Some(info.clone()),
            None => entities::find(connection, &row.entity)?.map(|(info, _)| info),
        };
        let found = found_row(row, before.as_ref(), kinds)?;
        rows::insert(&mut insert, &found.borrow(), found.checksum)?;
        index.row(connection, &found)?;
        if let Some(open) = found.open {
            changes.apply(found.info.incarnation, found.seq == 1, open);
        }
        known.insert(found.entity, found.info);
        last = Some(position);
    }
    for row in &batch.revisions {
        overwrite::row(connection, row)?;
    }
    for (first, run) in batch.runs {
        runs::begin(connection, first, run)?;
    }
    index.write(connection, &changes)?;
    schema::set_meta(connection, "flushed", batch.to)?;
    if let Some(last) = last {
        schema::set_meta(connection, "last_row", last)?;
    }
    Ok(())
}
