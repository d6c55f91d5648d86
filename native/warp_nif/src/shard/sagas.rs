//! What the shard knows of sagas: which of them are open, which steps left events in an entity's
//! log, and how payloads are cleared from a log.
//!
//! A saga is an entity of its own. It is open from its first row on until the first one of the
//! aggregate [`END`].

use std::collections::{BTreeSet, HashMap};

use rusqlite::Connection;
use serde::Deserialize;

use super::chain;
use super::entities::EntityInfo;
use super::rows::{self, Row};
use super::schema;
use super::tail::Mark;
use crate::error::{Error, Result};
use crate::event::parse_row;

/// What the ids of all sagas' entities begin with.
const PREFIX: &str = "$warp/saga/";
/// The aggregate of the row that closes a saga.
const END: &str = "$warp/saga/end";
/// The type of a cleared event; only types as long as it are replaced by it.
const CLEARED: &str = "Cleared";

/// Whether a row leaves its saga open; `None` for rows of other entities.
pub fn leaves_open(entity: &str, aggregate: &str) -> Option<bool> {
    entity.starts_with(PREFIX).then(|| aggregate != END)
}

/// What was not yet written behind of one saga.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Begun since, and open.
    Begun,
    /// Begun before, and open.
    Open,
    Closed,
}

/// Changes of sagas, by incarnation.
#[derive(Default)]
pub struct Changes(HashMap<i64, Change>);

impl Changes {
    /// Notes a row of a saga.
    pub fn apply(&mut self, incarnation: i64, is_first: bool, open: bool) {
        match (open, self.0.get(&incarnation)) {
            (true, None) if is_first => {
                self.0.insert(incarnation, Change::Begun);
            }
            (true, None) => {
                self.0.insert(incarnation, Change::Open);
            }
            (true, Some(_)) => {}
            // Nothing of it was written behind.
            (false, Some(Change::Begun)) => {
                self.0.remove(&incarnation);
            }
            (false, None) if is_first => {}
            (false, _) => {
                self.0.insert(incarnation, Change::Closed);
            }
        }
    }

    /// All are written behind.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    fn sorted(&self) -> Vec<(i64, Change)> {
        let mut changes: Vec<_> = self.0.iter().map(|(at, change)| (*at, *change)).collect();
        changes.sort_unstable_by_key(|(at, _)| *at);
        changes
    }
}

/// Brings the table of open sagas up to date.
pub fn flush(connection: &Connection, changes: &Changes) -> rusqlite::Result<()> {
    if !is_made(connection)? {
        connection.execute_batch(schema::ADDED)?;
    }
    let mut insert =
        connection.prepare_cached("INSERT OR IGNORE INTO open_sagas (incarnation) VALUES (?1)")?;
    let mut delete = connection.prepare_cached("DELETE FROM open_sagas WHERE incarnation = ?1")?;
    for (incarnation, change) in changes.sorted() {
        match change {
            Change::Begun | Change::Open => insert.execute([incarnation])?,
            Change::Closed => delete.execute([incarnation])?,
        };
    }
    Ok(())
}

/// Whether there is a table of them. A file of an earlier version has none for as long as its disk
/// is full.
fn is_made(connection: &Connection) -> rusqlite::Result<bool> {
    connection
        .prepare_cached("SELECT count(*) FROM sqlite_master WHERE name = 'open_sagas'")?
        .query_row([], |row| row.get(0))
}

/// The incarnations of all open sagas, given what was not yet written behind.
pub fn open(connection: &Connection, changes: &[(i64, Change)]) -> Result<BTreeSet<i64>> {
    let mut found = BTreeSet::new();
    if is_made(connection)? {
        let mut statement = connection.prepare_cached("SELECT incarnation FROM open_sagas")?;
        for incarnation in statement.query_map([], |row| row.get(0))? {
            found.insert(incarnation?);
        }
    }
    for (incarnation, change) in changes {
        match change {
            Change::Begun | Change::Open => found.insert(*incarnation),
            Change::Closed => found.remove(incarnation),
        };
    }
    Ok(found)
}

impl Changes {
    /// A copy, to be read beside the writer.
    pub fn list(&self) -> Vec<(i64, Change)> {
        self.sorted()
    }
}

#[derive(Deserialize)]
struct Metadata<'a> {
    #[serde(borrow, default)]
    correlation: Option<std::borrow::Cow<'a, str>>,
}

/// The steps, as saga and number, that the events of a row come from.
pub fn steps_of(row: &Row) -> Result<Vec<(String, u64)>> {
    let mut steps = Vec::new();
    for event in parse_row(&row.data)? {
        let (Some(id), Some(metadata)) = (&event.id, event.metadata) else {
            continue;
        };
        let metadata: Metadata<'_> = match serde_json::from_str(metadata.get()) {
            Ok(metadata) => metadata,
            // A correlation of some other kind: not of a saga.
            Err(_) => continue,
        };
        let step = metadata.correlation.and_then(|saga| {
            let rest = id.strip_prefix(saga.as_ref())?;
            let number = rest
                .strip_prefix("/fwd/")
                .or_else(|| rest.strip_prefix("/comp/"))?;
            Some((saga.into_owned(), number.parse().ok()?))
        });
        steps.extend(step);
    }
    Ok(steps)
}

/// Clears the payloads of an entity's events, in the transaction under way: each row keeps its
/// place and its size, as an erased one does. Events that are not there are left out.
pub fn clear(
    connection: &Connection,
    entity: &str,
    info: &EntityInfo,
    marks: &[Mark],
    seqs: &[u64],
) -> Result<()> {
    let mut left: BTreeSet<u64> = seqs.iter().copied().filter(|s| *s <= info.seq).collect();
    while let Some(seq) = left.pop_last() {
        let Some(row) = chain::row_of(connection, entity, info, marks, seq)? else {
            continue;
        };
        let mut of_row = left.split_off(&row.seq);
        of_row.insert(seq);
        let data = cleared(&row, &of_row)?;
        rows::overwrite(connection, &row, &data)?;
    }
    Ok(())
}

fn cleared(row: &Row, seqs: &BTreeSet<u64>) -> Result<String> {
    let mut bytes = row.data.clone().into_bytes();
    let start = row.data.as_ptr().addr();
    let mut write = |over: &str, text: &[u8]| {
        let at = over.as_ptr().addr().wrapping_sub(start);
        match bytes.get_mut(at..at + over.len()) {
            Some(place) if place.len() == text.len() => {
                place.copy_from_slice(text);
                Ok(())
            }
            _ => Err(Error::corrupt("an event outside of its row")),
        }
    };
    for (seq, event) in (row.seq..).zip(parse_row(&row.data)?) {
        if !seqs.contains(&seq) {
            continue;
        }
        let payload = event.payload.get();
        let mut blank = vec![b' '; payload.len()];
        if let (Some(first), true) = (blank.first_mut(), payload.len() > 1) {
            *first = b'{';
        }
        if let Some(last) = blank.last_mut() {
            *last = b'}';
        }
        write(payload, &blank)?;
        if let std::borrow::Cow::Borrowed(kind) = event.kind
            && kind.len() == CLEARED.len()
        {
            write(kind, CLEARED.as_bytes())?;
        }
    }
    String::from_utf8(bytes).map_err(|_| Error::corrupt("a cleared row"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(data: &str) -> Row {
        Row {
            position: 1,
            entity: "$warp/saga/s".into(),
            aggregate: "$warp/saga".into(),
            seq: 1,
            count: 3,
            recorded_at: 0,
            prev: 0,
            data: data.into(),
        }
    }

    #[test]
    fn clearing_keeps_the_size_and_all_else() {
        let data = r#"[{"type":"Planned","payload":{"hash":1}},
            {"type":"Forward","payload":{"name": "Alice"}},{"type":"Reverse","payload":{}}]"#;
        let row = row(data);
        let after = cleared(&row, &BTreeSet::from([2, 3])).expect("clears");
        assert_eq!(after.len(), data.len());
        assert!(after.starts_with(r#"[{"type":"Planned","payload":{"hash":1}}"#));
        assert!(!after.contains("Alice"));
        let events = parse_row(&after).expect("still a row");
        let kinds: Vec<_> = events.iter().map(|event| event.kind.as_ref()).collect();
        assert_eq!(kinds, ["Planned", "Cleared", "Cleared"]);
        let payload: serde_json::Value =
            serde_json::from_str(events[1].payload.get()).expect("JSON");
        assert_eq!(payload, serde_json::json!({}));
    }

    #[test]
    fn steps_are_known_by_id_and_correlation() {
        let row = row(
            r#"[{"type":"A","id":"x/y/fwd/12","metadata":{"correlation":"x/y"},"payload":{}},
                {"type":"A","id":"x/comp/0","metadata":{"correlation":"x"},"payload":{}},
                {"type":"A","id":"x/fwd/1","metadata":{"correlation":"y"},"payload":{}},
                {"type":"A","id":"x/fwd/1","metadata":{"correlation":7},"payload":{}},
                {"type":"A","id":"x/fwd/1","payload":{}}]"#,
        );
        let found = steps_of(&row).expect("reads");
        assert_eq!(found, [("x/y".into(), 12), ("x".into(), 0)]);
    }

    #[test]
    fn what_was_begun_and_closed_since_is_never_written_behind() {
        let mut changes = Changes::default();
        changes.apply(1, true, true);
        changes.apply(2, true, true);
        changes.apply(1, false, false);
        changes.apply(9, false, true);
        changes.apply(8, false, false);
        let open: Vec<_> = changes.list().into_iter().map(|(at, _)| at).collect();
        assert_eq!(open, [2, 8, 9]);
        assert!(matches!(changes.list()[1], (8, Change::Closed)));
    }
}
