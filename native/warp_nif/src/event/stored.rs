//! Events as they stand in a row of the log, and as Erlang gets them.

use std::borrow::Cow;
use std::sync::Arc;

use rustler::{Encoder, Env, NewBinary, Term};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::rules::Earlier;
use crate::atoms;
use crate::error::{Error, Result};
use crate::json::{self, Terms};

/// One element of a row's `data`. What equals its default is not written.
#[derive(Deserialize)]
pub struct StoredEvent<'a> {
    /// The event's type.
    #[serde(borrow, rename = "type")]
    pub kind: Cow<'a, str>,
    /// The payload's JSON text.
    #[serde(borrow)]
    pub payload: &'a RawValue,
    /// The id that the caller gave, if any.
    #[serde(borrow, default)]
    pub id: Option<Cow<'a, str>>,
    /// The aggregate, where it is not the row's.
    #[serde(borrow, default)]
    pub aggregate: Option<Cow<'a, str>>,
    /// The schema version, where it is not 1.
    #[serde(default)]
    pub schema_vsn: Option<u64>,
    /// The metadata's JSON text, where there is any.
    #[serde(borrow, default)]
    pub metadata: Option<&'a RawValue>,
}

/// The events of a row's `data`. Error: `Corrupt` when it is not what Warp writes.
pub fn parse_row(data: &str) -> Result<Vec<StoredEvent<'_>>> {
    elements(data)
}

/// The elements of a row's `data`, each read as a `T`. Error: `Corrupt`, as above.
pub fn elements<'a, T: Deserialize<'a>>(data: &'a str) -> Result<Vec<T>> {
    let mut json = serde_json::Deserializer::from_str(data);
    json.disable_recursion_limit();
    Vec::deserialize(&mut json).map_err(|error| Error::corrupt(format!("row data: {error}")))
}

/// The aggregates of events that have another one than their row, each once.
pub fn other_aggregates(events: &[StoredEvent<'_>]) -> Vec<Arc<str>> {
    let mut found: Vec<Arc<str>> = Vec::new();
    for name in events.iter().filter_map(|event| event.aggregate.as_deref()) {
        if !found.iter().any(|known| known.as_ref() == name) {
            found.push(name.into());
        }
    }
    found
}

/// The id of an event whose caller gave none.
pub fn derived_id(entity: &str, seq: u64) -> String {
    format!("{entity}#{seq}")
}

/// The seq in `id` when it has the form of a derived id of `entity`.
pub fn derived_seq(entity: &str, id: &str) -> Option<u64> {
    let digits = id.strip_prefix(entity)?.strip_prefix('#')?;
    if digits.starts_with('0') || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

/// Whether two events say the same: aggregate, by the name that it has now, type and payload, as values.
pub fn same_content(
    (a, a_row): (&StoredEvent<'_>, &str),
    (b, b_row): (&StoredEvent<'_>, &str),
    earlier: Option<&Earlier>,
) -> bool {
    let a_name = a.aggregate.as_deref().unwrap_or(a_row);
    let b_name = b.aggregate.as_deref().unwrap_or(b_row);
    let is_renamed = || earlier.is_some_and(|names| names.current(a_name) == names.current(b_name));
    (a_name == b_name || is_renamed())
        && a.kind == b.kind
        && json::same(a.payload.get(), b.payload.get())
}

/// The event with sequence number `seq` of a row as an Erlang map with all eight fields.
pub fn to_term<'a>(
    env: Env<'a>,
    event: &StoredEvent<'_>,
    entity: &str,
    row_aggregate: &str,
    seq: u64,
    recorded_at: i64,
) -> Result<Term<'a>> {
    let bin = |text: &str| -> Term<'a> { NewBinary::from_slice(env, text.as_bytes()).into() };
    let object = |raw: &RawValue| {
        json::parse(raw.get(), Terms(env))
            .map_err(|error| Error::corrupt(format!("event {entity}#{seq}: {error:?}")))
    };
    let id = match &event.id {
        Some(id) => bin(id),
        None => bin(&derived_id(entity, seq)),
    };
    let metadata = match event.metadata {
        Some(raw) => object(raw)?,
        None => Term::map_new(env),
    };
    Ok(event_map(
        env,
        [
            bin(&event.kind),
            object(event.payload)?,
            bin(event.aggregate.as_deref().unwrap_or(row_aggregate)),
            id,
            event.schema_vsn.unwrap_or(1).encode(env),
            metadata,
            seq.encode(env),
            recorded_at.encode(env),
        ],
    ))
}

/// An outgoing event: type, payload, aggregate, id, schema_vsn, metadata, seq, recorded_at.
pub fn event_map<'a>(env: Env<'a>, values: [Term<'a>; 8]) -> Term<'a> {
    let keys = [
        atoms::r#type(),
        atoms::payload(),
        atoms::aggregate(),
        atoms::id(),
        atoms::schema_vsn(),
        atoms::metadata(),
        atoms::seq(),
        atoms::recorded_at(),
    ]
    .map(|atom| atom.encode(env));
    Term::map_from_term_arrays(env, &keys, &values).unwrap_or_else(|_| Term::map_new(env))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn content_is_compared_as_values() {
        let row = r#"[{"type":"A","payload":{"x":1,"y":[2]}},
                      {"type":"A","payload":{"y":[2], "x":1},"id":"k"},
                      {"type":"A","payload":{"x":2,"y":[2]}},
                      {"type":"A","payload":{"x":1,"y":[2]},"aggregate":"Other"}]"#;
        let events = parse_row(row).expect("valid row");
        let same = |b: usize| same_content((&events[0], "Row"), (&events[b], "Row"), None);
        assert_eq!(
            (same(0), same(1), same(2), same(3)),
            (true, true, false, false)
        );
    }

    #[test]
    fn broken_rows_are_corrupt() {
        for data in [
            "",
            "{}",
            "[{\"type\":1,\"payload\":{}}]",
            "[{\"type\":\"A\"}]",
        ] {
            assert!(matches!(parse_row(data), Err(Error::Corrupt(_))), "{data}");
        }
    }

    proptest! {
        #[test]
        fn derived_ids_are_recognised(entity: String, seq in 1u64..) {
            prop_assert_eq!(derived_seq(&entity, &derived_id(&entity, seq)), Some(seq));
            prop_assert_eq!(derived_seq(&entity, &format!("{entity}#0{seq}")), None);
        }
    }
}
