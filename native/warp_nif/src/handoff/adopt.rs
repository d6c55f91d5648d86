//! A copy that is complete becomes a shard of this node.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, OpenFlags};

use super::names;
use super::{discard, outline};
use crate::error::{Error, Result};
use crate::files;
use crate::log::schema::set_meta;
use crate::open::file::{self, Identity};
use crate::open::replay;
use crate::sqlite::sums::{header, steps, table::PAGE};
use crate::sqlite::{Claim, Sums, empty_wal, immutable, in_transaction, open_with_sums};

/// How long it waits for another program's lock on the file.
pub(super) const PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);

/// Makes a shard at `path` of the copy beside it, which belongs to another journal: `begin` is told its position, and has
/// the journal of `identity` expect it before the file is put in its place and says that it belongs to it.
///
/// It can be called again, wherever an earlier call has ended; also when the shard is there already, and belongs to the
/// journal. Errors: `Claimed` while the shard or the copy is open in this VM; `Corrupt` when there is neither, or what there is
/// is not whole; `NotAShard`, `NewerFormat`, `ShardCount`, `WrongIdentity`; `Io`, also when there are both; those of `begin`.
pub fn adopt(
    path: &Path,
    identity: &Identity,
    begin: impl FnOnce(i64) -> Result<()>,
) -> Result<()> {
    let staged = names::staged(path);
    let _claims = (Claim::take(path)?, Claim::take(&staged)?);
    for name in names::all(path) {
        files::check_kind(&name)?;
    }
    match (exists(&staged)?, exists(path)?) {
        (true, true) => {
            let what = "there is a shard, and a copy of another node's to take its place";
            Err(Error::io(path, io::Error::other(what)))
        }
        (true, false) => {
            begin(check_staged(path, identity)?)?;
            steps::pass();
            // NOTE: the sums first, each durably: a database by that name has its sums.
            let sums = names::staged_sums(path);
            if exists(&sums)? {
                rename(&sums, &header::path_of(path))?;
            }
            put_in_place(&staged, path)?;
            join(&open(path)?.0, path, identity)
        }
        (false, _) => {
            let (connection, _sums) = open(path)?;
            if file::check_all_but_journal(&connection, path, identity)? == identity.journal {
                return Ok(());
            }
            begin(replay::applied(&connection).map_err(|error| error.at(path))?)?;
            steps::pass();
            join(&connection, path, identity)
        }
    }
}

/// The digest of a copy that is complete; none when there is none, or it is not complete.
///
/// Errors: `Claimed` while it is open in this VM; `Corrupt`; `Io`.
pub fn staged_digest(path: &Path) -> Result<Option<[u8; 16]>> {
    let (staged, sums) = (names::staged(path), names::staged_sums(path));
    let _claim = Claim::take(&staged)?;
    if !exists(&staged)? {
        return Ok(None);
    }
    let Some(sums) = Sums::find_at(&staged, sums)? else {
        return Ok(None);
    };
    outline::Outline::of(&staged, &sums).map(|outline| Some(outline.digest()))
}

/// Checks a copy without changing it: the position up to which it has all.
fn check_staged(path: &Path, identity: &Identity) -> Result<i64> {
    let staged = names::staged(path);
    if file::version_of(&staged)?.is_none() {
        return Err(Error::corrupt("this copy of a shard is empty").at(&staged));
    }
    // A call that ended before has put the sums in their place.
    let sums = match Sums::find_at(&staged, names::staged_sums(path))? {
        Some(sums) => Some(sums),
        None => Sums::find_at(&staged, header::path_of(path))?,
    };
    let Some(sums) = sums else {
        let what = "this copy of a shard is not complete: it has no checksums of its pages";
        return Err(Error::corrupt(what).at(&staged));
    };
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_URI;
    let connection = open_with_sums(&immutable(&staged), flags, &sums)?;
    file::check_all_but_journal(&connection, &staged, identity)?;
    let look = || {
        let pages: u32 = connection.pragma_query_value(None, "page_count", |row| row.get(0))?;
        let found = fs::metadata(&staged).map_err(|error| Error::io(&staged, error))?;
        if found.len() != u64::from(pages) * PAGE as u64 {
            let what = format!("it has {} bytes, and not {pages} pages", found.len());
            return Err(Error::corrupt(what));
        }
        replay::applied(&connection)
    };
    look().map_err(|error: Error| error.at(&staged))
}

/// Gives a database that is complete its name, durably, once its sums have theirs.
pub(super) fn put_in_place(from: &Path, path: &Path) -> Result<()> {
    // A WAL that is left of a shard that was here before would be moved into the new one.
    discard::erase_files(&names::besides(path))?;
    // NOTE: also for the sums, which may have got their name in a call that ended then.
    files::sync_parent(path)?;
    rename(from, path)
}

fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).map_err(|error| Error::io(from, error))?;
    files::sync_parent(to)?;
    steps::pass();
    Ok(())
}

/// Whether there is a file of that name.
pub(super) fn exists(path: &Path) -> Result<bool> {
    path.try_exists().map_err(|error| Error::io(path, error))
}

/// Opens the file in its place.
pub(super) fn open(path: &Path) -> Result<(Connection, Arc<Sums>)> {
    if file::version_of(path)?.is_none() {
        let what =
            "this shard is missing or empty, and there is no copy of it that could be adopted";
        return Err(Error::corrupt(what).at(path));
    }
    let sums = Sums::find(path)?;
    let sums = sums.ok_or_else(|| Error::corrupt("it has no checksums of its pages").at(path))?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = open_with_sums(path, flags, &sums)?;
    connection.busy_timeout(PATIENCE)?;
    Ok((connection, sums))
}

/// Has the file say that it belongs to the journal, durably.
fn join(connection: &Connection, path: &Path, identity: &Identity) -> Result<()> {
    let join = || {
        connection.execute_batch(
            "PRAGMA fullfsync = ON;
             PRAGMA checkpoint_fullfsync = ON;
             PRAGMA wal_autocheckpoint = 0;
             PRAGMA secure_delete = ON;
             PRAGMA synchronous = FULL;",
        )?;
        in_transaction(connection, || {
            set_meta(connection, "journal", identity.journal.cast_signed())?;
            Ok::<_, Error>(())
        })?;
        steps::pass();
        empty_wal(connection, PATIENCE)
    };
    join().map_err(|error: Error| error.at(path))
}
