//! Clearing payloads from an entity's log, which keeps everything else of the events.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use rusqlite::Connection;

use crate::error::{Error, Result};
use crate::event::parse_row;
use crate::index::chain;
use crate::index::entities::{EntityInfo, Mark};
use crate::log::Row;
use crate::log::overwrite;

/// What the types of cleared events become, by which they are told from others. A type that is not
/// among them stays.
#[derive(Debug, Default)]
pub struct Retyping(Vec<(String, String)>);

impl Retyping {
    /// Pairs of a type and what it becomes. Error: `Internal` when the two differ in size, since a row
    /// keeps its size, or when one of them stands in JSON text otherwise than as it is.
    pub fn new(types: Vec<(String, String)>) -> Result<Self> {
        let is_plain = |name: &str| {
            let mut bytes = name.bytes();
            bytes.all(|byte| byte >= b' ' && byte != b'"' && byte != b'\\')
        };
        for (from, to) in &types {
            if from.len() != to.len() || !is_plain(from) || !is_plain(to) {
                let what = format!("an event of type {from:?} cannot become one of type {to:?}");
                return Err(Error::internal(what));
            }
        }
        Ok(Self(types))
    }

    /// Pairs of a type and what it becomes.
    pub fn pairs(&self) -> &[(String, String)] {
        &self.0
    }

    fn of(&self, kind: &str) -> Option<&str> {
        let mut types = self.0.iter();
        types.find_map(|(from, to)| (from == kind).then_some(to.as_str()))
    }
}

/// Which events of an entity are cleared.
pub struct Clearing {
    /// Their seqs.
    pub seqs: Vec<u64>,
    /// What becomes of their types.
    pub types: Arc<Retyping>,
}

/// Clears the payloads of an entity's events, in the transaction under way: each row keeps its
/// place and its size, as an erased one does; an event keeps all but its payload, and its type where
/// `types` has another for it. Events that are not there are left out. The positions of the rows.
pub fn clear(
    connection: &Connection,
    entity: &str,
    info: &EntityInfo,
    marks: &[Mark],
    seqs: &[u64],
    types: &Retyping,
) -> Result<Vec<i64>> {
    let mut overwritten = Vec::new();
    let mut left: BTreeSet<u64> = seqs.iter().copied().filter(|s| *s <= info.seq).collect();
    while let Some(seq) = left.pop_last() {
        let Some(row) = chain::row_of(connection, entity, info, marks, seq)? else {
            continue;
        };
        let mut of_row = left.split_off(&row.seq);
        of_row.insert(seq);
        let data = cleared(&row, &of_row, types)?;
        overwrite::data(connection, &row, &data)?;
        overwritten.push(row.position);
    }
    Ok(overwritten)
}

fn cleared(row: &Row, seqs: &BTreeSet<u64>, types: &Retyping) -> Result<String> {
    let mut bytes = row.data.clone().into_bytes();
    let start = row.data.as_ptr().addr();
    let mut write = |over: &str, text: &[u8]| {
        let at = over.as_ptr().addr().wrapping_sub(start);
        match bytes.get_mut(at..at + over.len()) {
            Some(place) if place.len() == text.len() => {
                place.copy_from_slice(text);
                Ok(())
            }
            _ => Err(Error::internal("an event outside of its row")),
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
        // A type that is written with escapes is never one of `types`.
        if let Cow::Borrowed(kind) = event.kind
            && let Some(other) = types.of(kind)
        {
            write(kind, other.as_bytes())?;
        }
    }
    String::from_utf8(bytes).map_err(|_| Error::internal("a cleared row that is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::row::testing::row;

    #[test]
    fn clearing_keeps_the_size_and_all_else() {
        let data = r#"[{"type":"Planned","payload":{"hash":1}},
            {"type":"Forward","payload":{"name": "Alice"}},{"type":"Reverse","payload":{}}]"#;
        let row = row(data);
        let pairs = vec![("Forward".into(), "Cleared".into())];
        let types = Retyping::new(pairs).expect("types");
        let after = cleared(&row, &BTreeSet::from([2, 3]), &types).expect("clears");
        assert_eq!(after.len(), data.len());
        assert!(after.starts_with(r#"[{"type":"Planned","payload":{"hash":1}}"#));
        assert!(!after.contains("Alice"));
        let events = parse_row(&after).expect("still a row");
        let kinds: Vec<_> = events.iter().map(|event| event.kind.as_ref()).collect();
        assert_eq!(kinds, ["Planned", "Cleared", "Reverse"]);
        let payload: serde_json::Value =
            serde_json::from_str(events[1].payload.get()).expect("JSON");
        assert_eq!(payload, serde_json::json!({}));
    }

    #[test]
    fn only_types_of_the_same_size_and_without_escapes_are_taken() {
        for (from, to) in [
            ("Long", "Short"),
            ("a\"b", "abc"),
            ("a\\b", "abc"),
            ("ab\n", "abc"),
        ] {
            for (from, to) in [(from, to), (to, from)] {
                let types = Retyping::new(vec![(from.into(), to.into())]);
                assert!(matches!(types, Err(Error::Internal(_))), "{from:?} {to:?}");
            }
        }
    }
}
