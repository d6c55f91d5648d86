//! Which aggregates a shard has events of: a number for each name, and for each entity the set of the numbers.

use std::collections::BTreeSet;
use std::sync::Arc;

use rusqlite::Connection;

use crate::error::Result;

/// The bit that aggregates from this number on share in the set of an entity.
const LAST: i64 = 62;

/// The aggregates of an entity, as the table `entities` has them: bit N stands for number N.
pub type Set = i64;

/// The names that a file has numbers for, in the order of these.
pub struct Names(Vec<Arc<str>>);

impl Names {
    /// Those of a file that may be of format 2, which has none.
    pub fn find(connection: &Connection) -> Result<Option<Self>> {
        let has_table = connection
            .prepare_cached(
                "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'aggregates'",
            )?
            .exists([])?;
        if has_table {
            Self::read(connection).map(Some)
        } else {
            Ok(None)
        }
    }

    /// Those of a file.
    pub fn read(connection: &Connection) -> Result<Self> {
        let mut statement =
            connection.prepare_cached("SELECT name FROM aggregates ORDER BY number")?;
        let names = statement.query_map([], |row| row.get::<_, String>(0))?;
        let names = names.map(|name| name.map(Arc::from));
        Ok(Self(names.collect::<rusqlite::Result<_>>()?))
    }

    /// The number of a name, if it has one.
    pub fn number(&self, name: &str) -> Option<i64> {
        let mut known = self.0.iter();
        let index = known.position(|known| known.as_ref() == name)?;
        i64::try_from(index).ok()
    }

    /// The set of these aggregates. One that has no number is given the next one, in the transaction under way.
    pub fn set_of<'a>(
        &mut self,
        connection: &Connection,
        aggregates: impl Iterator<Item = &'a Arc<str>>,
    ) -> Result<Set> {
        let mut set = 0;
        for name in aggregates {
            set |= self.bit_of(connection, name)?;
        }
        Ok(set)
    }

    /// The bit of this aggregate, likewise.
    pub fn bit_of(&mut self, connection: &Connection, name: &str) -> Result<Set> {
        Ok(bit(match self.number(name) {
            Some(number) => number,
            None => self.add(connection, name)?,
        }))
    }

    fn add(&mut self, connection: &Connection, name: &str) -> Result<i64> {
        let number = self.0.len() as i64;
        connection
            .prepare_cached("INSERT INTO aggregates (number, name) VALUES (?1, ?2)")?
            .execute((number, name))?;
        self.0.push(name.into());
        Ok(number)
    }

    /// The set of all aggregates whose names begin so, but for those that share their bit.
    pub fn set_of_prefix(&self, prefix: &str) -> Set {
        let own = (0..LAST).zip(&self.0);
        let found = own.filter(|(_, name)| name.starts_with(prefix));
        found.fold(0, |set, (number, _)| set | bit(number))
    }

    /// The names without these, each with how many entities have events of it, those left out that have none.
    pub fn others(&self, connection: &Connection, known: &[String]) -> Result<Vec<(String, u64)>> {
        let known: BTreeSet<&str> = known.iter().map(String::as_str).collect();
        let mut count =
            connection.prepare_cached("SELECT count(*) FROM entities WHERE aggregates & ?1")?;
        let mut found = Vec::new();
        for (name, number) in self.0.iter().zip(0..) {
            if !known.contains(name.as_ref()) {
                let entities: i64 = count.query_row([bit(number)], |row| row.get(0))?;
                if entities > 0 {
                    found.push((name.to_string(), entities.cast_unsigned()));
                }
            }
        }
        Ok(found)
    }
}

/// The bit of a number in the set of an entity.
pub fn bit(number: i64) -> Set {
    1 << number.min(LAST)
}

/// Whether several aggregates share the bit of this number.
pub fn is_shared(number: i64) -> bool {
    number >= LAST
}
