//! The file of a shard that is being restored.
//!
//! Nobody reads it before the folder has its name, so it has no WAL: each page is written once, into its place. What has
//! to be undone after a crash, SQLite keeps in a rollback journal, and undoes when the file is opened again. That is
//! little, since most pages are new. One transaction has many segments, and says up to where the file was brought with
//! it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::Connection;

use super::slice::Slice;
use crate::backup::key::{Found, Key};
use crate::backup::key_ring::KeyRing;
use crate::error::{Error, Result};
use crate::files::Access;
use crate::log::keys::{self, OF_SHARD};
use crate::log::kinds::Kinds;
use crate::log::schema;
use crate::open::file::{self, Identity};
use crate::sqlite::sums::steps;

/// How many KiB of pages all shards together keep in memory.
const CACHE: i64 = 128 * 1024;
/// How many KiB a shard keeps at least, and at most.
const CACHE_OF_SHARD: (i64, i64) = (1024, 16 * 1024);

/// The file of a shard.
///
/// NOTE: a file that SQLite has open loses its locks when it is closed by anybody else in this process. So `file` is there
/// as long as the connection.
pub struct ShardFile {
    connection: Connection,
    file: Arc<File>,
    path: PathBuf,
    to: i64,
}

impl ShardFile {
    /// Opens the file, or makes it, in a transaction that is not ended yet. Errors: as for [`file::open`].
    pub fn open(path: &Path, identity: &Identity, access: Access, ring: &KeyRing) -> Result<Self> {
        let (connection, is_new) = file::open_unfinished(path, identity, access)?;
        let begin = || {
            let (least, most) = CACHE_OF_SHARD;
            let cache = (CACHE / identity.shards.max(1)).clamp(least, most);
            connection.pragma_update(None, "cache_size", -cache)?;
            connection.execute_batch("BEGIN IMMEDIATE")?;
            if is_new {
                file::fill_in(&connection, identity)?;
                let shard = u16::try_from(identity.shard).unwrap_or(u16::MAX);
                let own = own_keys(ring, shard);
                let own = own.iter().map(|keys| (OF_SHARD, keys.as_slice()));
                keys::restore(&connection, own, 0)?;
            }
            schema::meta(&connection, "flushed")
        };
        let to = begin().map_err(|error: Error| error.at(path))?;
        let file = File::open(path).map_err(|error| Error::io(path, error))?;
        Ok(Self {
            connection,
            file: Arc::new(file),
            path: path.to_owned(),
            to,
        })
    }

    /// The file itself, to have it go to the disk.
    pub fn file(&self) -> (PathBuf, Arc<File>) {
        (self.path.clone(), Arc::clone(&self.file))
    }

    /// Brings what a segment has of the shard into the file, but for what is there. Errors: those of [`Slice::write`],
    /// after which the file is only to be closed.
    pub fn write(&mut self, slice: &Slice, kinds: &Kinds) -> Result<()> {
        if slice.to <= self.to {
            return Ok(());
        }
        let begin = self.begin();
        let begun = begin.and_then(|()| slice.write(&self.connection, kinds, self.to));
        begun.map_err(|error| error.at(&self.path))?;
        self.to = slice.to;
        Ok(())
    }

    fn begin(&self) -> Result<()> {
        if self.connection.is_autocommit() {
            self.connection.execute_batch("BEGIN IMMEDIATE")?;
        }
        Ok(())
    }

    /// Ends the transaction: what it has outlives a loss of power. Errors: those of the file.
    pub fn settle(&mut self) -> Result<()> {
        if self.connection.is_autocommit() {
            return Ok(());
        }
        steps::pass();
        let ended = self.connection.execute_batch("COMMIT");
        steps::pass();
        ended.map_err(|error| Error::from(error).at(&self.path))
    }

    /// Ends the last transaction, makes the file one that has a WAL, as shards have, and closes it. Errors: those of the
    /// file.
    pub fn finish(mut self) -> Result<()> {
        self.settle()?;
        let end = || -> Result<()> {
            let mode = "PRAGMA journal_mode = WAL";
            let mode: String = self.connection.query_row(mode, [], |row| row.get(0))?;
            if mode != "wal" {
                return Err(Error::internal(format!("SQLite keeps the mode {mode}")));
            }
            Ok(())
        };
        end().map_err(|error| error.at(&self.path))?;
        steps::pass();
        let closed = self.connection.close();
        closed.map_err(|(_, error)| Error::from(error).at(&self.path))
    }
}

/// The shard's own key, if the backup has it.
fn own_keys(ring: &KeyRing, shard: u16) -> Option<Vec<Option<Key>>> {
    match ring.find(shard, OF_SHARD, 0) {
        Found::Key(key) => Some(vec![Some(key)]),
        Found::Erased | Found::Unknown => None,
    }
}
