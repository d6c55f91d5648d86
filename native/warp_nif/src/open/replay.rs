//! Opening a shard: brings its file up to the journal.

use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;

use crate::apply::store::Store;
use crate::erase::compact;
use crate::error::{Error, Result};
use crate::index::entities::{self, EntityInfo};
use crate::journal::{Header, Kind, Segments, Stored};
use crate::log::kinds::Kinds;
use crate::log::rows::{self, Row};
use crate::log::schema;
use crate::shard::background::Task;
use crate::tail::found_row::found_row;
use crate::tail::memory::Tail;
use crate::tail::stretch::Step;
use crate::writer::steps::{self, Written};

/// How much of the journal one transaction brings into the file.
const STEPS: usize = 8192;
const BYTES: usize = 16 * 1024 * 1024;

/// Brings an open file up to the journal.
///
/// Errors: `Corrupt` when a record that it lacks is damaged or missing, or does not follow on what is in
/// the file; those of the disk.
pub fn open(
    connection: Connection,
    segments: &Segments,
    shard: u16,
    kinds: &Kinds,
    run: i64,
) -> Result<(Store, Tail)> {
    // A shard opens although its room could not be given back.
    let compacted = compact::compact_if_worth(&connection);
    let applied = applied(&connection)?;
    let mut store = Store::new(connection, kinds.clone(), applied)?;
    store.background.note(Task::Compaction, &compacted);
    let records = segments.behind(shard, applied)?;
    let mut records = records.into_iter().peekable();
    while let Some(of) = records.peek().map(|record| record.run()) {
        let mut tail = Tail::new(store.applied(), of);
        while tail.steps() < STEPS
            && tail.bytes() < BYTES
            && let Some(record) = records.next_if(|record| record.run() == of)
        {
            let step = step(store.connection(), &tail, kinds, &record)?;
            tail.publish([step]);
        }
        if let Some(stretch) = tail.begin_apply() {
            for (position, error) in store.apply(Some(&stretch), &[])? {
                // An erasure that met a broken row goes on, and says so.
                store.background.note::<()>(Task::Erase, &Err(error));
                let _ = position;
            }
        }
    }
    segments.know(shard, store.applied());
    // A kill may have come right after an erasure. If this fails, it is tried again later.
    let _ = store.settle(Duration::ZERO);
    let tail = Tail::new(store.applied(), run);
    Ok((store, tail))
}

/// Up to which position all is in the file. Error: `Corrupt` when its numbers contradict each other.
pub fn applied(connection: &Connection) -> Result<i64> {
    let applied: i64 = schema::meta(connection, "flushed")?;
    let ends_at: i64 = schema::meta(connection, "last_row")?;
    let last = rows::last_position(connection)?;
    if last != ends_at || last > applied {
        return Err(Error::corrupt(format!(
            "the log ends at position {last}, and the file says that it ends at {ends_at}, brought up \
             to {applied}: rows are missing at its end, or another program has written to it"
        )));
    }
    Ok(applied)
}

fn step(file: &Connection, tail: &Tail, kinds: &Kinds, record: &Stored) -> Result<Step> {
    let (header, body) = record.read()?;
    let known = |entity: &str| -> Result<Option<EntityInfo>> {
        match tail.entity(entity) {
            Some(active) => Ok(active.info.clone()),
            None => Ok(entities::find(file, entity)?.map(|(info, _)| info)),
        }
    };
    Ok(match steps::read(&header, &body)? {
        Written::Row => {
            let row = row_of(&header, &body)?;
            let before = known(&row.entity)?;
            Step::Row(found_row(row, before.as_ref(), kinds)?)
        }
        Written::Erase(entity) => Step::Erase {
            info: known(&entity)?,
            entity: entity.into(),
        },
        Written::Clear(entity, seqs, types) => Step::Clear {
            entity: entity.into(),
            seqs,
            types: Arc::new(types),
        },
        Written::Retime(entity, seq, recorded_at) => Step::Retime {
            entity: entity.into(),
            seq,
            recorded_at,
        },
    })
}

fn row_of(header: &Header, body: &[u8]) -> Result<Row> {
    let row = header.row(body).filter(|_| header.kind == Kind::Row);
    let row = row.ok_or_else(|| rows::broken(header.position, "not a row in the journal"))?;
    Ok(Row {
        position: row.position,
        entity: row.entity.to_owned(),
        aggregate: row.aggregate.to_owned(),
        seq: row.seq,
        count: row.count,
        recorded_at: row.recorded_at,
        prev: row.prev,
        data: row.data.to_owned(),
    })
}
