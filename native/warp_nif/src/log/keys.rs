//! The keys of lives: what a backup seals the rows of each life of an entity with. Who has overwritten the key has made
//! the rows unreadable in all backups.
//!
//! A life gets its keys when a backup first meets it, so that nothing is made, nor written, where there are no backups.
//! Its first key is for all of its rows, but for the payloads of its first row that can be cleared by themselves: for
//! these there are others, see [`Apart`](super::apart::Apart). All keys of a life stand in one blob.
//!
//! NOTE: as rows of the log do, keys stand in the order of positions, are overwritten in place, and go with VACUUM alone.

use std::time::{Duration, Instant};

use ring::rand::{SecureRandom, SystemRandom};
use rusqlite::{Connection, OptionalExtension};
use zeroize::Zeroizing;

use super::apart::Part;
use super::kinds::Kinds;
use super::rows;
use super::schema::{self, set_meta};
use crate::backup::key::Key;
use crate::error::{Error, Result};
use crate::journal::RowRef;
use crate::sqlite::insert_all;

/// How many bytes a key has.
pub const KEY: usize = 32;
/// The `position` of the shard's own key, for lives that are nobody's: they have none.
pub const OF_SHARD: i64 = 0;

/// How long one piece makes keys.
const PIECE_TIME: Duration = if cfg!(test) {
    Duration::ZERO
} else {
    Duration::from_millis(5)
};
/// How many positions one look into the log is about.
const RANGE: i64 = if cfg!(test) { 3 } else { 256 };

/// Up to which position each life has keys; `None` when the shard has none.
pub fn made(connection: &Connection) -> Result<Option<i64>> {
    let mut statement = connection.prepare_cached("SELECT value FROM meta WHERE name = 'keyed'")?;
    Ok(statement.query_row([], |row| row.get(0)).optional()?)
}

/// Whether what stands at a position may be in a backup: keys were made up to there.
pub fn cover(connection: &Connection, position: i64) -> Result<bool> {
    Ok(made(connection)?.is_some_and(|made| position <= made))
}

/// Makes a piece of the keys that are missing up to a position, which the file has, in the transaction under way.
/// Whether that was the last piece.
///
/// A life whose first row is damaged gets none: nobody reads it.
pub fn make(connection: &Connection, kinds: &Kinds, up_to: i64) -> Result<bool> {
    let until = Instant::now() + PIECE_TIME;
    let mut made = match made(connection)? {
        Some(made) => made,
        None => begin(connection)?,
    };
    if made >= up_to {
        return Ok(true);
    }
    loop {
        made = make_some(connection, kinds, (made, up_to.min(made + RANGE)), until)?;
        if made >= up_to || Instant::now() >= until {
            break;
        }
    }
    set_meta(connection, "keyed", made)?;
    Ok(made >= up_to)
}

/// From here on the shard has keys, and an older Warp, which would leave them behind when it erases, refuses it.
fn begin(connection: &Connection) -> Result<i64> {
    connection.execute_batch(schema::ADDED_KEYS)?;
    connection.pragma_update(None, "user_version", schema::WITH_KEYS)?;
    insert(connection, OF_SHARD, 1, &[])?;
    Ok(0)
}

/// Up to which position there are keys then.
fn make_some(
    connection: &Connection,
    kinds: &Kinds,
    (after, up_to): (i64, i64),
    until: Instant,
) -> Result<i64> {
    let mut lives = connection.prepare_cached(
        "SELECT position FROM log WHERE position > ?1 AND position <= ?2 AND prev = 0
                                    AND position NOT IN (SELECT incarnation FROM erasing) ORDER BY position",
    )?;
    let mut lives = lives.query((after, up_to))?;
    while let Some(life) = lives.next()? {
        let incarnation: i64 = life.get(0)?;
        match rows::at(connection, incarnation) {
            Ok(None) | Err(Error::Corrupt(_)) => {}
            Ok(Some(row)) => match parts(kinds, &row.borrow()) {
                Ok(None) | Err(Error::Corrupt(_)) => {}
                Ok(Some(parts)) => insert(connection, incarnation, count(&parts), &parts)?,
                Err(error) => return Err(error),
            },
            Err(error) => return Err(error),
        }
        if Instant::now() >= until {
            return Ok(incarnation);
        }
    }
    Ok(up_to)
}

/// The payloads with keys of their own in the first row of a life. `None` for a life that has no key, since nothing in it
/// is anybody's: what is left of an entity that was closed and removed.
///
/// Error: `Corrupt`, when the row is not what Warp writes.
pub fn parts(kinds: &Kinds, first: &RowRef<'_>) -> Result<Option<Vec<Part>>> {
    match kinds.of(first.entity) {
        Some(kind) if kind.closing == first.aggregate => Ok(None),
        Some(kind) => kind.apart.of(first.data).map(Some),
        None => Ok(Some(Vec::new())),
    }
}

/// How many keys a life has.
pub fn count(parts: &[Part]) -> usize {
    1 + parts.last().map_or(0, |part| part.key)
}

/// Payloads that are cleared already get no key.
fn insert(connection: &Connection, position: i64, count: usize, parts: &[Part]) -> Result<()> {
    let mut keys = Zeroizing::new(vec![0; count * KEY]);
    SystemRandom::new()
        .fill(&mut keys)
        .map_err(|_| Error::Io("the system gives no random numbers".into()))?;
    for part in parts.iter().filter(|part| part.is_cleared) {
        zero(&mut keys, part.key);
    }
    connection
        .prepare_cached("INSERT INTO keys (position, key) VALUES (?1, ?2)")?
        .execute((position, keys.as_slice()))?;
    Ok(())
}

fn zero(keys: &mut [u8], number: usize) {
    if let Some(key) = keys.get_mut(number * KEY..(number + 1) * KEY) {
        key.fill(0);
    }
}

/// Overwrites the keys of a life where they stand, in the transaction under way.
pub fn erase(connection: &Connection, incarnation: i64) -> Result<()> {
    connection
        .prepare_cached("UPDATE keys SET key = zeroblob(length(key)) WHERE position = ?1")?
        .execute([incarnation])?;
    Ok(())
}

/// Overwrites the keys of a life's payloads that are cleared, likewise.
pub fn clear(connection: &Connection, kinds: &Kinds, incarnation: i64, seqs: &[u64]) -> Result<()> {
    let Some(parts) = rows::at(connection, incarnation)?
        .map(|first| parts(kinds, &first.borrow()))
        .transpose()?
        .flatten()
    else {
        return Ok(());
    };
    let found = connection
        .prepare_cached("SELECT key FROM keys WHERE position = ?1")?
        .query_row([incarnation], |row| row.get(0));
    let Some(keys) = found.optional()? else {
        return Ok(());
    };
    let mut keys: Zeroizing<Vec<u8>> = Zeroizing::new(keys);
    for part in parts.iter().filter(|part| seqs.contains(&part.seq)) {
        zero(&mut keys, part.key);
    }
    connection
        .prepare_cached("UPDATE keys SET key = ?2 WHERE position = ?1")?
        .execute((incarnation, keys.as_slice()))?;
    Ok(())
}

/// Calls `each` with the positions and the keys of the lives behind one position up to another, in order. The keys of a
/// life that was erased are zeros, unless the file was compacted since; what is no key is `Corrupt`. `after` = -1: the
/// shard's own key first.
pub fn between(
    connection: &Connection,
    (after, up_to): (i64, i64),
    mut each: impl FnMut(i64, Result<&[u8]>) -> Result<()>,
) -> Result<()> {
    let mut statement = connection.prepare_cached(
        "SELECT position, key FROM keys WHERE position > ?1 AND position <= ?2 ORDER BY position",
    )?;
    let mut found = statement.query((after, up_to))?;
    while let Some(row) = found.next()? {
        let position = row.get(0)?;
        let keys = row.get_ref(1)?.as_blob().ok();
        let keys = keys.filter(|keys| !keys.is_empty() && keys.len().is_multiple_of(KEY));
        each(position, keys.ok_or_else(|| broken(position, "no keys")))?;
    }
    Ok(())
}

/// Gives lives the keys that a backup knows of them, `None` for one that was erased, in the transaction under way. They are
/// all that begin in the log behind what has keys, up to a position.
pub fn restore<'k>(
    connection: &Connection,
    lives: impl Iterator<Item = (i64, &'k [Option<Key>])>,
    up_to: i64,
) -> Result<()> {
    if made(connection)?.is_none() {
        begin(connection)?;
    }
    let bytes_of = |keys: &[Option<Key>]| {
        let mut bytes = Zeroizing::new(vec![0; keys.len() * KEY]);
        for (place, key) in bytes.chunks_exact_mut(KEY).zip(keys) {
            if let Some(key) = key {
                place.copy_from_slice(key.expose());
            }
        }
        bytes
    };
    let mut all: Vec<_> = lives.map(|(at, keys)| (at, bytes_of(keys))).collect();
    all.sort_unstable_by_key(|(incarnation, _)| *incarnation);
    let insert = "INSERT OR REPLACE INTO keys (position, key)";
    insert_all(connection, insert, &all, |(incarnation, keys)| {
        [(*incarnation).into(), keys.as_slice().into()]
    })?;
    set_meta(connection, "keyed", up_to)?;
    Ok(())
}

/// Keys that are not what they have to be.
pub fn broken(position: i64, what: &str) -> Error {
    Error::corrupt(format!("the keys at position {position}: {what}"))
}

/// Deletes the keys of lives that were erased.
pub fn delete_erased(connection: &Connection) -> Result<()> {
    if made(connection)?.is_some() {
        connection.execute("DELETE FROM keys WHERE key = zeroblob(length(key))", [])?;
    }
    Ok(())
}
