//! Snapshots: the last state of an aggregate, to spare a read the events before it.
//!
//! A snapshot lives in a slot whose size is a power of two. It is overwritten in place, and a
//! slot that is given up is zeroed and used again: rows that hold states are never moved nor
//! deleted, so that nothing of an erased entity can stay behind in the file.

use rusqlite::{Connection, OptionalExtension};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::error::{Error, Result};
use crate::hash::hash64;

const HEADER: usize = 16;
const MIN_SLOT: usize = 256;
/// A larger state is not kept: folding its events again is the cheaper evil.
const MAX_SLOT: usize = 16 * 1024 * 1024;
/// The `incarnation` of a free slot.
const FREE: i64 = 0;

/// A state to be kept.
pub struct SnapshotRow {
    /// The aggregate whose state it is.
    pub aggregate: String,
    /// The version of the aggregate that folded it.
    pub version: u64,
    /// The seq of the last event in it.
    pub seq: u64,
    /// That event's time.
    pub recorded_at: i64,
    /// The state, as Erlang's external term format.
    pub image: Vec<u8>,
}

/// A state read back.
pub struct Stored {
    /// The version of the aggregate that folded it: another one cannot use it.
    pub version: u64,
    /// The seq of the last event in it.
    pub seq: u64,
    /// That event's time.
    pub recorded_at: i64,
    /// The state, as Erlang's external term format.
    pub image: Vec<u8>,
}

struct Slot {
    number: i64,
    size: i64,
}

/// Keeps a snapshot in place of the aggregate's last one. A too large one is dropped, and one that
/// is older than what is kept: a read that takes long keeps what it has folded so far, beside the
/// entity's process.
pub fn save(connection: &Connection, incarnation: i64, row: &SnapshotRow) -> Result<()> {
    let size = (row.image.len() + HEADER).next_power_of_two().max(MIN_SLOT);
    if size > MAX_SLOT {
        return Ok(());
    }
    let size = i64::try_from(size).unwrap_or(i64::MAX);
    let aggregate = key(&row.aggregate);
    let held = slot_of(connection, incarnation, aggregate)?;
    if held.is_some() && has_newer(connection, incarnation, row)? {
        return Ok(());
    }
    let slot = match held {
        Some(slot) if slot.size == size => slot.number,
        Some(slot) => {
            release(connection, incarnation, aggregate, &slot)?;
            take(connection, size)?
        }
        None => take(connection, size)?,
    };
    connection
        .prepare_cached("UPDATE snapshots SET image = ?2 WHERE slot = ?1")?
        .execute((slot, to_image(row, incarnation, size)))?;
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO snapshot_slots
               (incarnation, aggregate, slot, size, seq, version, recorded_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute((
            incarnation,
            aggregate,
            slot,
            size,
            row.seq.cast_signed(),
            row.version.cast_signed(),
            row.recorded_at,
        ))?;
    Ok(())
}

/// Reads an aggregate's snapshot. One that cannot be read is as good as none.
pub fn load(connection: &Connection, incarnation: i64, aggregate: &str) -> Result<Option<Stored>> {
    let found = connection
        .prepare_cached(
            "SELECT seq, version, recorded_at, image
             FROM snapshot_slots JOIN snapshots USING (slot)
             WHERE incarnation = ?1 AND aggregate = ?2",
        )?
        .query_row((incarnation, key(aggregate)), |row| {
            Ok(Stored {
                seq: row.get::<_, i64>(0)?.cast_unsigned(),
                version: row.get::<_, i64>(1)?.cast_unsigned(),
                recorded_at: row.get(2)?,
                image: row.get(3)?,
            })
        })
        .optional();
    Ok(found.unwrap_or(None).and_then(|stored| {
        let image = from_image(&stored, incarnation)?;
        Some(Stored { image, ..stored })
    }))
}

/// Reads all snapshots of an entity: how many there are. Error: `Corrupt` when one is not what was kept.
pub fn check(connection: &Connection, incarnation: i64) -> Result<u64> {
    let mut statement = connection.prepare_cached(
        "SELECT seq, version, recorded_at, image, slot FROM snapshot_slots LEFT JOIN snapshots USING (slot)
         WHERE incarnation = ?1",
    )?;
    let mut found = statement.query([incarnation])?;
    let mut count = 0;
    while let Some(row) = found.next()? {
        let stored = Stored {
            seq: row.get::<_, i64>(0)?.cast_unsigned(),
            version: row.get::<_, i64>(1)?.cast_unsigned(),
            recorded_at: row.get(2)?,
            image: row.get::<_, Option<_>>(3)?.unwrap_or_default(),
        };
        if from_image(&stored, incarnation).is_none() {
            let slot: i64 = row.get(4)?;
            return Err(Error::corrupt(format!(
                "the snapshot in slot {slot} is damaged"
            )));
        }
        count += 1;
    }
    Ok(count)
}

/// Zeroes and frees one slot of an entity, if there is one: how many bytes that were.
pub fn erase_one(connection: &Connection, incarnation: i64) -> Result<Option<usize>> {
    let held = connection
        .prepare_cached(
            "SELECT aggregate, slot, size FROM snapshot_slots WHERE incarnation = ?1 LIMIT 1",
        )?
        .query_row([incarnation], |row| {
            let slot = Slot {
                number: row.get(1)?,
                size: row.get(2)?,
            };
            Ok((row.get::<_, i64>(0)?, slot))
        })
        .optional()?;
    let Some((aggregate, slot)) = held else {
        return Ok(None);
    };
    release(connection, incarnation, aggregate, &slot)?;
    Ok(Some(usize::try_from(slot.size).unwrap_or(0)))
}

fn key(aggregate: &str) -> i64 {
    hash64(aggregate.as_bytes()).cast_signed()
}

/// Whether what is kept is of the same version, from a later seq, and can be read.
fn has_newer(connection: &Connection, incarnation: i64, row: &SnapshotRow) -> Result<bool> {
    let newer = connection
        .prepare_cached(
            "SELECT 1 FROM snapshot_slots
             WHERE incarnation = ?1 AND aggregate = ?2 AND version = ?3 AND seq > ?4",
        )?
        .exists((
            incarnation,
            key(&row.aggregate),
            row.version.cast_signed(),
            row.seq.cast_signed(),
        ))?;
    Ok(newer && load(connection, incarnation, &row.aggregate)?.is_some())
}

fn slot_of(connection: &Connection, incarnation: i64, aggregate: i64) -> Result<Option<Slot>> {
    Ok(connection
        .prepare_cached(
            "SELECT slot, size FROM snapshot_slots WHERE incarnation = ?1 AND aggregate = ?2",
        )?
        .query_row((incarnation, aggregate), |row| {
            Ok(Slot {
                number: row.get(0)?,
                size: row.get(1)?,
            })
        })
        .optional()?)
}

/// A free slot of that size, or a new one at the end.
fn take(connection: &Connection, size: i64) -> Result<i64> {
    let free: Option<i64> = connection
        .prepare_cached(
            "DELETE FROM snapshot_slots WHERE (incarnation, aggregate) IN
               (SELECT incarnation, aggregate FROM snapshot_slots
                WHERE incarnation = ?1 AND size = ?2 LIMIT 1)
             RETURNING slot",
        )?
        .query_row((FREE, size), |row| row.get(0))
        .optional()?;
    if let Some(slot) = free {
        return Ok(slot);
    }
    connection
        .prepare_cached("INSERT INTO snapshots (image) VALUES (zeroblob(?1))")?
        .execute([size])?;
    Ok(connection.last_insert_rowid())
}

fn release(connection: &Connection, incarnation: i64, aggregate: i64, slot: &Slot) -> Result<()> {
    connection
        .prepare_cached("UPDATE snapshots SET image = zeroblob(?2) WHERE slot = ?1")?
        .execute((slot.number, slot.size))?;
    // A free slot's `aggregate` is its own number, which makes the key unique.
    connection
        .prepare_cached(
            "UPDATE snapshot_slots SET incarnation = ?3, aggregate = slot, seq = 0, version = 0,
                                       recorded_at = 0
             WHERE incarnation = ?1 AND aggregate = ?2",
        )?
        .execute((incarnation, aggregate, FREE))?;
    Ok(())
}

/// Length, checksum, state, zeros up to the slot's size.
fn to_image(row: &SnapshotRow, incarnation: i64, size: i64) -> Vec<u8> {
    let mut image = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
    image.extend_from_slice(&(row.image.len() as u64).to_le_bytes());
    image.extend_from_slice(&sum(&row.image, incarnation, row.seq).to_le_bytes());
    image.extend_from_slice(&row.image);
    image.resize(usize::try_from(size).unwrap_or(image.len()), 0);
    image
}

fn from_image(stored: &Stored, incarnation: i64) -> Option<Vec<u8>> {
    let (length, rest) = stored.image.split_at_checked(8)?;
    let (checksum, rest) = rest.split_at_checked(8)?;
    let length = usize::try_from(u64::from_le_bytes(length.try_into().ok()?)).ok()?;
    let state = rest.get(..length)?;
    let fits = sum(state, incarnation, stored.seq).to_le_bytes() == checksum;
    fits.then(|| state.to_vec())
}

fn sum(state: &[u8], incarnation: i64, seq: u64) -> u64 {
    xxh3_64_with_seed(state, incarnation.cast_unsigned() ^ seq.rotate_left(32))
}
