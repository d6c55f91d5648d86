//! Opening a shard's file: creating it, and checking that it is ours, before anything is touched.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use crate::error::{Error, Result};
use crate::files::{self, Access};
use crate::log::kinds::Kinds;
use crate::log::schema::{APPLICATION_ID, FORMAT, SCHEMA, WITH_KEYS, meta};
use crate::open::upgrade;
use crate::sqlite::{self, BUSY, Sums, empty_wal, open_with_sums};

/// How long opening a file waits for another program's lock on it.
const PATIENCE: Duration = Duration::from_secs(5);
/// From which format on a shard has sums of its pages, and belongs to a journal.
const WITH_SUMS: u32 = 2;
const READ_AND_WRITE: OpenFlags =
    OpenFlags::SQLITE_OPEN_READ_WRITE.union(OpenFlags::SQLITE_OPEN_NO_MUTEX);
/// What makes a file a shard.
const SHARD: sqlite::Format = sqlite::Format {
    application_id: APPLICATION_ID,
    version: WITH_KEYS,
    foreign: Error::NotAShard,
};

/// Whose file it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The context's name.
    pub context: String,
    /// The number of the shard, from 0.
    pub shard: i64,
    /// How many shards the context has: it tells where entities live.
    pub shards: i64,
    /// The number of the journal that it belongs to.
    pub journal: u64,
}

/// Opens the shard at `path` for its writer, creating it where there is none.
///
/// Errors, with the file left as it was: `NotAShard`, `NewerFormat`, `ShardCount`,
/// `WrongIdentity`, `Corrupt`, `Io`, `DiskFull`. A file of an earlier format is upgraded.
pub fn open(
    path: &Path,
    identity: &Identity,
    kinds: &Kinds,
    may_create: Option<Access>,
) -> Result<(Connection, Arc<Sums>)> {
    for suffix in ["", "-wal", "-shm", "-journal"] {
        files::check_kind(&files::beside(path, suffix))?;
    }
    if may_create.is_some() {
        roll_back(path)?;
    }
    let version = SHARD.version_of(path)?;
    let fresh = version.is_none();
    match may_create {
        Some(access) if fresh => drop(files::create(path, access)?),
        None if fresh => {
            let what = "this shard of an existing context is missing or empty";
            return Err(Error::corrupt(what).at(path));
        }
        _ => {}
    }
    let sums = match Sums::find(path) {
        _ if fresh => Sums::create(path)?,
        Ok(None) if version < Some(WITH_SUMS) => first_sums(path, identity)?,
        Ok(Some(sums)) => sums,
        Ok(None) => Sums::open(path)?,
        Err(error) => return Err(error),
    };
    let connection = open_with_sums(path, READ_AND_WRITE, &sums)?;
    connection.busy_timeout(PATIENCE)?;
    if fresh {
        create(&connection, path, identity)?;
    } else {
        check_identity(&connection, path, identity)?;
    }
    let version: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL;
             PRAGMA fullfsync = ON;
             PRAGMA checkpoint_fullfsync = ON;
             PRAGMA wal_autocheckpoint = 0;
             PRAGMA secure_delete = ON;
             PRAGMA temp_store = MEMORY;
             PRAGMA cache_size = -8192;",
        )
        .map_err(|error| Error::from(error).at(path))?;
    if version < FORMAT {
        upgrade::upgrade(&connection, version, kinds, identity.journal)
            .map_err(|error| error.at(path))?;
    }
    // What reaches the disk when does not matter before the WAL is moved: the journal has it all.
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.busy_timeout(BUSY)?;
    Ok((connection, sums))
}

/// Opens the shard at `path` of a folder that is not complete and that nobody else knows, or makes an empty file, which is
/// to be filled in: whether it is one. What a transaction has done that was not ended is undone. The file has a rollback
/// journal in place of a WAL. Errors: as for [`open`].
pub fn open_unfinished(
    path: &Path,
    identity: &Identity,
    access: Access,
) -> Result<(Connection, bool)> {
    for suffix in ["", "-wal", "-shm", "-journal"] {
        files::check_kind(&files::beside(path, suffix))?;
    }
    roll_back(path)?;
    let is_new = SHARD.is_missing(path)?;
    let sums = if is_new {
        let _ = files::create(path, access)?;
        Sums::create(path)?
    } else {
        let missing = || Error::corrupt("the checksums of its pages are missing").at(path);
        let sums = Sums::find(path)?.ok_or_else(missing)?;
        sums.renew_free().map_err(|error| Error::io(path, error))?;
        sums
    };
    let connection = open_with_sums(path, READ_AND_WRITE, &sums)?;
    connection.busy_timeout(PATIENCE)?;
    if !is_new {
        check_identity(&connection, path, identity)?;
    }
    // NOTE: with EXTRA a transaction that was ended stays so. Its end is that the journal is gone.
    connection
        .execute_batch(
            "PRAGMA journal_mode = DELETE;
             PRAGMA synchronous = EXTRA;
             PRAGMA fullfsync = ON;
             PRAGMA secure_delete = ON;
             PRAGMA temp_store = MEMORY;",
        )
        .map_err(|error| Error::from(error).at(path))?;
    Ok((connection, is_new))
}

/// Undoes what a transaction has done to a shard without a WAL that was not ended: until then nothing in it means anything.
/// Errors: `Corrupt`, `Io`.
pub fn roll_back(path: &Path) -> Result<()> {
    // NOTE: with the sums, if there are any: rolling back writes pages.
    sqlite::finish_creation(path, || match Sums::find(path) {
        Ok(Some(sums)) => open_with_sums(path, READ_AND_WRITE, &sums),
        _ => Ok(Connection::open_with_flags(path, READ_AND_WRITE)?),
    })
}

/// The number of the journal that the shards in a folder belong to, as the first of them says that can be
/// read. For a folder whose file `lock` says nothing of a journal, as that of copies does.
pub fn journal_of(dir: &Path) -> Option<u64> {
    let paths = std::fs::read_dir(dir)
        .ok()?
        .flatten()
        .map(|entry| entry.path());
    let mut shards: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|end| end == "db"))
        .filter(|path| matches!(SHARD.version_of(path), Ok(Some(WITH_SUMS..))))
        .collect();
    shards.sort();
    // NOTE: read only, so that nothing is written past the sums.
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    shards.iter().find_map(|path| {
        let connection = match Sums::find(path).ok()? {
            Some(sums) => open_with_sums(path, flags, &sums).ok()?,
            None => Connection::open_with_flags(path, flags).ok()?,
        };
        meta::<i64>(&connection, "journal")
            .ok()
            .map(i64::cast_unsigned)
    })
}

/// The format of the shard at `path`; none when there is no file, or an empty one. Errors: `NotAShard`, `NewerFormat`,
/// `Io`.
pub fn version_of(path: &Path) -> Result<Option<u32>> {
    SHARD.version_of(path)
}

/// The sums of a shard that is only read; none for one that was copied with `VACUUM INTO`.
///
/// Errors: `NotAShard`, `NewerFormat`; `Corrupt`, for one of an earlier format too, which has no sums; `Io`.
pub fn sums_of(path: &Path) -> Result<Option<Arc<Sums>>> {
    match SHARD.version_of(path)? {
        None => Err(Error::corrupt("this shard is missing or empty").at(path)),
        Some(version) if version < WITH_SUMS => {
            let what = format!(
                "this shard has format {version}, which has no checksums of its pages. Start the context \
                 once, which brings it to format {FORMAT}"
            );
            Err(Error::corrupt(what).at(path))
        }
        Some(_) => Sums::find_unless_copy(path),
    }
}

/// Makes the sums of a file of format 1, of what it has in its WAL too.
fn first_sums(path: &Path, identity: &Identity) -> Result<Arc<Sums>> {
    let connection = Connection::open_with_flags(path, READ_AND_WRITE)
        .map_err(|error| Error::from(error).at(path))?;
    connection.busy_timeout(PATIENCE)?;
    check_identity(&connection, path, identity)?;
    let empty = || {
        connection.execute_batch("PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0")?;
        empty_wal(&connection, PATIENCE)
    };
    empty().map_err(|error: Error| error.at(path))?;
    drop(connection);
    Sums::build(path)
}

fn create(connection: &Connection, path: &Path, identity: &Identity) -> Result<()> {
    let create = || -> rusqlite::Result<()> {
        // SQLite may find the WAL of a file that was emptied, which must not come back to life.
        connection.pragma_update(None, "journal_mode", "DELETE")?;
        connection.pragma_update(None, "synchronous", "EXTRA")?;
        let transaction = connection.unchecked_transaction()?;
        fill_in(connection, identity)?;
        transaction.commit()
    };
    create().map_err(|error| Error::from(error).at(path))?;
    Ok(())
}

/// Makes the tables of an empty shard, in the transaction under way.
pub fn fill_in(connection: &Connection, identity: &Identity) -> rusqlite::Result<()> {
    connection.pragma_update(None, "application_id", APPLICATION_ID)?;
    connection.pragma_update(None, "user_version", FORMAT)?;
    connection.execute_batch(SCHEMA)?;
    let mut insert = connection.prepare("INSERT INTO meta (name, value) VALUES (?1, ?2)")?;
    insert.execute(("context", &identity.context))?;
    insert.execute(("shard", identity.shard))?;
    insert.execute(("shards", identity.shards))?;
    insert.execute(("flushed", 0))?;
    insert.execute(("erased_bytes", 0))?;
    insert.execute(("last_row", 0))?;
    insert.execute(("journal", identity.journal.cast_signed()))?;
    Ok(())
}

/// Checks whose file it is, whichever journal it belongs to: the number of that. Errors: `ShardCount`, `WrongIdentity`,
/// `Corrupt`.
pub fn check_all_but_journal(
    connection: &Connection,
    path: &Path,
    expected: &Identity,
) -> Result<u64> {
    let found = identity_of(connection, path, expected)?;
    let expected = Identity {
        journal: found.journal,
        ..expected.clone()
    };
    check_identity(connection, path, &expected)?;
    Ok(found.journal)
}

fn identity_of(connection: &Connection, path: &Path, expected: &Identity) -> Result<Identity> {
    let read = || -> Result<Identity> {
        let version: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        Ok(Identity {
            journal: if version < WITH_SUMS {
                // It is given one when it is upgraded.
                expected.journal
            } else {
                meta::<i64>(connection, "journal")?.cast_unsigned()
            },
            context: meta(connection, "context")?,
            shard: meta(connection, "shard")?,
            shards: meta(connection, "shards")?,
        })
    };
    read().map_err(|error| error.at(path))
}

fn check_identity(connection: &Connection, path: &Path, expected: &Identity) -> Result<()> {
    let found = identity_of(connection, path, expected)?;
    if found.shards != expected.shards {
        return Err(Error::ShardCount(found.shards, expected.shards));
    }
    if found.journal != expected.journal && found.context == expected.context {
        let what = "this shard belongs to another journal than the one in its folder: a file was \
                    copied alone, or the file `lock` or the journal was lost. Put back the files of \
                    one time, all of them";
        return Err(Error::corrupt(what).at(path));
    }
    if found != *expected {
        let found = format!("shard {} of context {}", found.shard, found.context);
        return Err(Error::WrongIdentity(path.to_owned(), found));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(shards: i64) -> Identity {
        Identity {
            context: "bank".into(),
            shard: 0,
            shards,
            journal: 7,
        }
    }

    fn open_in(dir: &Path, shards: i64) -> Result<Connection> {
        let opened = open(
            &dir.join("s.db"),
            &identity(shards),
            &Kinds::default(),
            Some(Access::Owner),
        );
        opened.map(|(connection, _)| connection)
    }

    #[test]
    fn a_shard_opens_again_only_as_what_it_was() {
        let dir = tempfile::tempdir().expect("temp dir");
        drop(open_in(dir.path(), 4).expect("created"));
        drop(open_in(dir.path(), 4).expect("opened again"));
        assert!(matches!(
            open_in(dir.path(), 8),
            Err(Error::ShardCount(4, 8))
        ));
    }

    #[test]
    fn foreign_and_newer_files_are_refused_untouched() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("s.db");
        std::fs::write(&path, "shopping list").expect("written");
        assert!(matches!(open_in(dir.path(), 4), Err(Error::NotAShard(_))));
        assert_eq!(std::fs::read(&path).expect("read"), b"shopping list");

        std::fs::remove_file(&path).expect("removed");
        let other = Connection::open(&path).expect("opened");
        other.execute_batch("CREATE TABLE t(x)").expect("created");
        drop(other);
        assert!(matches!(open_in(dir.path(), 4), Err(Error::NotAShard(_))));

        std::fs::remove_file(&path).expect("removed");
        let ours = open_in(dir.path(), 4).expect("created");
        ours.execute_batch("PRAGMA journal_mode = DELETE; PRAGMA user_version = 9")
            .expect("changed");
        drop(ours);
        assert!(matches!(
            open_in(dir.path(), 4),
            Err(Error::NewerFormat(_, 9))
        ));
    }

    #[test]
    fn an_emptied_shard_of_an_existing_context_is_not_made_anew() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("s.db");
        std::fs::write(&path, "").expect("written");
        let opened = open(&path, &identity(4), &Kinds::default(), None);
        assert!(matches!(opened, Err(Error::Corrupt(_))));
    }
}
