//! Checking the keys of lives and the edits of a shard that has such, for some rows of the log at a time.

use std::collections::BTreeMap;

use rusqlite::Connection;

use crate::error::{Error, Result};
use crate::journal::RowRef;
use crate::log::edits::{self, Edit, What};
use crate::log::keys::{self, KEY, OF_SHARD};
use crate::log::kinds::Kinds;
use crate::log::{rows, schema};

/// What is known of the lives that begin among these rows.
#[derive(Default)]
pub struct Lives {
    /// How many keys each has to have, and which of them are of payloads that are cleared. 0: it has none of its own.
    sound: BTreeMap<i64, (usize, Vec<usize>)>,
    /// Rows that are damaged.
    unknown: Vec<i64>,
}

impl Lives {
    /// Notes a row that is sound, and not being erased.
    pub fn row(&mut self, kinds: &Kinds, row: &RowRef<'_>) {
        if row.prev != 0 {
            return;
        }
        match keys::parts(kinds, row) {
            Ok(Some(parts)) => {
                let cleared = parts.iter().filter(|part| part.is_cleared);
                let cleared = cleared.map(|part| part.key).collect();
                let count = keys::count(&parts);
                self.sound.insert(row.position, (count, cleared));
            }
            Ok(None) => drop(self.sound.insert(row.position, (0, Vec::new()))),
            Err(_) => self.unknown.push(row.position),
        }
    }

    /// Notes a row that is damaged.
    pub fn damaged(&mut self, position: i64) {
        self.unknown.push(position);
    }

    /// Compares them with the keys and the edits that the file has behind one position, or from the start, up to another:
    /// what is wrong.
    pub fn check(
        mut self,
        connection: &Connection,
        (after, up_to): (i64, i64),
    ) -> Result<Vec<Error>> {
        let mut wrong = Vec::new();
        let Some(made) = keys::made(connection)? else {
            return Ok(wrong);
        };
        let is_first = after == 0;
        if is_first {
            self.sound.insert(OF_SHARD, (1, Vec::new()));
            if made > schema::meta(connection, "flushed")? {
                wrong.push(keys::broken(made, "behind the end of the log"));
            }
        }
        let range = (if is_first { -1 } else { after }, up_to);
        keys::between(connection, range, |position, keys| {
            let sound = self.sound.remove(&position);
            let what = match (keys, sound) {
                (Err(error), _) => {
                    wrong.push(error);
                    None
                }
                (Ok(keys), None) if is_zero(keys) || self.unknown.contains(&position) => None,
                (Ok(_), None) => Some("of no life that there is"),
                (Ok(keys), Some((count, _))) if keys.len() != count * KEY => {
                    Some("not as many as its life has")
                }
                (Ok(keys), Some((_, cleared))) => wrong_among(keys, &cleared),
            };
            wrong.extend(what.map(|what| keys::broken(position, what)));
            Ok(())
        })?;
        let missing = self.sound.into_iter();
        let missing = missing.filter(|(position, (count, _))| *count > 0 && *position <= made);
        wrong.extend(missing.map(|(position, _)| keys::broken(position, "missing")));
        edits::between(connection, range, |edit| {
            let Edit {
                position, what, of, ..
            } = edit;
            let what = if exists(connection, "log", "position", position)? {
                Some("a row stands there")
            } else if of <= 0 || of >= position || of > made {
                Some("of what no backup can have")
            } else if what == What::Erased
                && matches!(rows::at(connection, of), Ok(Some(_)))
                && !exists(connection, "erasing", "incarnation", of)?
            {
                Some("its life is not erased")
            } else {
                None
            };
            wrong.extend(what.map(|what| edits::broken(position, what)));
            Ok(())
        })?;
        Ok(wrong)
    }
}

fn is_zero(key: &[u8]) -> bool {
    key.iter().all(|byte| *byte == 0)
}

/// What is wrong with the keys of a life, of which these are of payloads that are cleared.
fn wrong_among(keys: &[u8], cleared: &[usize]) -> Option<&'static str> {
    for (number, key) in keys.chunks_exact(KEY).enumerate() {
        match (is_zero(key), cleared.contains(&number)) {
            (true, false) if number == 0 => return Some("erased, and its life is not"),
            (false, true) => return Some("that of a payload which is cleared is there still"),
            _ => {}
        }
    }
    None
}

fn exists(connection: &Connection, table: &str, column: &str, value: i64) -> Result<bool> {
    let sql = format!("SELECT 1 FROM {table} WHERE {column} = ?1");
    Ok(connection.prepare_cached(&sql)?.exists([value])?)
}
