//! Files of earlier formats: brought to the present one in place, in one transaction.
//!
//! Format 1 had no journal. The index of format 2 does not say of which aggregates an entity has events.

use std::sync::Arc;

use rusqlite::Connection;

use crate::apply::index::Index;
use crate::erase::erasing;
use crate::error::{Error, Result};
use crate::event::{other_aggregates, parse_row};
use crate::index::aggregates::Names;
use crate::index::entities::{self, EntityInfo};
use crate::index::open_table;
use crate::log::kinds::{Changes, Kinds};
use crate::log::rows;
use crate::log::schema;
use crate::tail::found_row::found_row;

/// Brings a file of an earlier format to the present one, as a shard of the journal with this number. Before the commit
/// it is a whole file of its format, and after it one of the present format.
pub fn upgrade(connection: &Connection, version: u32, kinds: &Kinds, journal: u64) -> Result<()> {
    connection.execute_batch("PRAGMA synchronous = FULL; BEGIN IMMEDIATE")?;
    let done = upgrade_all(connection, version, kinds, journal)
        .and_then(|()| connection.execute_batch("COMMIT").map_err(Error::from));
    if done.is_err() && !connection.is_autocommit() {
        connection.execute_batch("ROLLBACK")?;
    }
    done
}

fn upgrade_all(connection: &Connection, version: u32, kinds: &Kinds, journal: u64) -> Result<()> {
    connection.execute_batch(schema::ADDED_AGGREGATES)?;
    name_aggregates(connection)?;
    if version < 2 {
        join_journal(connection, kinds, journal)?;
    }
    connection.pragma_update(None, "user_version", schema::FORMAT)?;
    Ok(())
}

/// Of the rows that are in the index.
fn name_aggregates(connection: &Connection) -> Result<()> {
    let mut names = Names::read(connection)?;
    rows::each_after(connection, 0, |_, row, _| {
        // A damaged row must not keep the others from being opened. Whoever reads its entity is told.
        let Ok(Some(row)) = row else {
            return Ok(true);
        };
        // One that is not found is not in the index yet, or is being erased.
        if let Some((hash, incarnation, before)) = entities::row_of(connection, &row)? {
            let others = other_aggregates(&parse_row(row.data)?);
            let of_row: Arc<str> = row.aggregate.into();
            let set = names.set_of(connection, std::iter::once(&of_row).chain(&others))?;
            if before & set != set {
                entities::add_aggregates(connection, (hash, incarnation), set)?;
            }
        }
        Ok(true)
    })
}

/// Format 1 had no journal: the index is brought up to its log, and it says from then on to which journal it belongs.
fn join_journal(connection: &Connection, kinds: &Kinds, journal: u64) -> Result<()> {
    connection.execute_batch(schema::ADDED)?;
    let flushed = schema::meta(connection, "flushed")?;
    let position = rows::last_position(connection)?;
    if !(0..=position).contains(&flushed) {
        let what = format!(
            "the log ends at position {position}, but {flushed} rows were indexed: rows are missing \
             at its end"
        );
        return Err(Error::corrupt(what));
    }
    let mut index = Index::default();
    let mut changes = Changes::default();
    let gone = erasing::behind(connection, flushed)?;
    rows::after(connection, flushed, |row| {
        if gone.contains(&row.position) {
            return Ok(());
        }
        let before: Option<EntityInfo> = match index.entity(&row.entity) {
            Some((info, _)) => Some(info),
            None => entities::find(connection, &row.entity)?.map(|(info, _)| info),
        };
        let row = found_row(row, before.as_ref(), kinds)?;
        if let Some(open) = row.open {
            changes.apply(row.info.incarnation, row.seq == 1, open);
        }
        index.row(connection, &row)
    })?;
    index.write(connection, &changes)?;
    for kind in kinds.all() {
        open_table::list_closed(connection, &kind.closing)?;
    }
    schema::set_meta(connection, "flushed", position)?;
    schema::join(connection, journal, position)?;
    Ok(())
}
