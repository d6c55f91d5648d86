//! An empty shard, for one that was lost with its node: its log ends where the caller says.

use std::io;
use std::path::Path;

use rusqlite::Connection;

use super::{adopt, discard, names};
use crate::error::{Error, Result};
use crate::files::{self, Access};
use crate::log::kinds::Kinds;
use crate::log::rows;
use crate::log::schema::set_meta;
use crate::open::file::{self, Identity};
use crate::open::replay;
use crate::sqlite::sums::steps;
use crate::sqlite::{Claim, empty_wal, in_transaction};

/// Makes an empty shard at `path` that belongs to the journal of `identity`, and whose log ends at a position: an
/// erased row stands there, so that the next row gets the position behind it; 0: the log has no row. `begin` is told
/// the position, and has the journal expect it before the file has its name.
///
/// It can be called again, wherever an earlier call has ended; also when the empty shard is there already. Errors:
/// `Claimed` while a shard or a copy is open there in this VM; `Io`, also when there is a shard that is another one or
/// not empty, or a copy; of what is there in place of an empty shard `Corrupt`, `NotAShard`, `NewerFormat`,
/// `ShardCount`, `WrongIdentity`; `DiskFull`; those of `begin`, with which nothing has changed.
pub fn create(
    path: &Path,
    identity: &Identity,
    (position, access): (i64, Access),
    begin: impl FnOnce(i64) -> Result<()>,
) -> Result<()> {
    let staged = names::staged(path);
    let _claims = (Claim::take(path)?, Claim::take(&staged)?);
    for name in names::all(path) {
        files::check_kind(&name)?;
    }
    if adopt::exists(&staged)? {
        let what = "there is a copy of another node's shard, so no empty shard is made here";
        return Err(Error::io(&staged, io::Error::other(what)));
    }
    if adopt::exists(path)? {
        let (connection, _sums) = adopt::open(path)?;
        let journal = file::check_all_but_journal(&connection, path, identity)?;
        let ends_so = is_empty_up_to(&connection, position).map_err(|error| error.at(path))?;
        if journal == identity.journal && ends_so {
            return Ok(());
        }
        let what = "there is a shard, so no empty one is made here";
        return Err(Error::io(path, io::Error::other(what)));
    }
    let made = make(path, identity, (position, access)).and_then(|()| {
        steps::pass();
        begin(position)
    });
    if made.is_err() {
        // The error to tell is the first one.
        let _ = discard::erase_files(&names::of_new(path));
    }
    made?;
    steps::pass();
    adopt::put_in_place(&names::new(path), path)
}

/// Makes the file under another name, durably, in place of what an earlier call has left.
fn make(path: &Path, identity: &Identity, (position, access): (i64, Access)) -> Result<()> {
    discard::erase_files(&names::of_new(path))?;
    let new = names::new(path);
    let (connection, _sums) = file::open(&new, identity, &Kinds::default(), Some(access))?;
    let end = || {
        connection.pragma_update(None, "synchronous", "FULL")?;
        in_transaction(&connection, || {
            if position > 0 {
                rows::insert_erased(&connection, position)?;
            }
            set_meta(&connection, "last_row", position)?;
            set_meta(&connection, "flushed", position)?;
            Ok::<_, Error>(())
        })?;
        empty_wal(&connection, adopt::PATIENCE)
    };
    end().map_err(|error: Error| error.at(&new))
}

/// Whether a log has no row that is not erased, and ends at this position.
fn is_empty_up_to(connection: &Connection, position: i64) -> Result<bool> {
    let has_rows = "SELECT EXISTS (SELECT 1 FROM log WHERE typeof(entity) <> 'blob')";
    let has_rows: bool = connection.query_row(has_rows, [], |row| row.get(0))?;
    Ok(!has_rows && replay::applied(connection)? == position)
}
