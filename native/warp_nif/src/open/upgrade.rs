//! Files of format 1, which had no journal: brought to format 2 in place, in one transaction.

use rusqlite::Connection;

use crate::apply::index::Index;
use crate::erase::erasing;
use crate::error::{Error, Result};
use crate::index::entities::{self, EntityInfo};
use crate::index::open_table;
use crate::log::kinds::{Changes, Kinds};
use crate::log::rows;
use crate::log::schema;
use crate::tail::found_row::found_row;

/// Brings the file to format 2, as a shard of the journal with this number: its index is brought up to
/// its log, and it says from then on what it is. Before the commit it is a whole file of format 1, and
/// after it one of format 2.
pub fn upgrade(connection: &Connection, kinds: &Kinds, journal: u64) -> Result<()> {
    connection.execute_batch("PRAGMA synchronous = FULL; BEGIN IMMEDIATE")?;
    let done = upgrade_all(connection, kinds, journal)
        .and_then(|()| connection.execute_batch("COMMIT").map_err(Error::from));
    if done.is_err() && !connection.is_autocommit() {
        connection.execute_batch("ROLLBACK")?;
    }
    done
}

fn upgrade_all(connection: &Connection, kinds: &Kinds, journal: u64) -> Result<()> {
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
        index.row(&row);
        Ok(())
    })?;
    index.write(connection, &changes)?;
    for kind in kinds.all() {
        open_table::list_closed(connection, &kind.closing)?;
    }
    schema::set_meta(connection, "flushed", position)?;
    schema::join(connection, journal, position)?;
    connection.pragma_update(None, "user_version", schema::FORMAT)?;
    Ok(())
}
