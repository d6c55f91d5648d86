//! The fields of an event as its caller gives them.

use rustler::types::map::MapIterator;
use rustler::{Atom, Term};

use crate::atoms;

/// An event's fields, by name.
#[derive(Default)]
pub struct Fields<'a> {
    /// Its type.
    pub kind: Option<Term<'a>>,
    /// Its payload.
    pub payload: Option<Term<'a>>,
    /// The name of its aggregate.
    pub aggregate: Option<Term<'a>>,
    /// Its id.
    pub id: Option<Term<'a>>,
    /// The version of the schema that it was made for.
    pub schema_vsn: Option<Term<'a>>,
    /// Its metadata.
    pub metadata: Option<Term<'a>>,
}

/// Why a term is no event.
pub enum NoEvent<'a> {
    /// It is no map.
    NotAMap,
    /// It has a key that events don't have.
    Unknown(Term<'a>),
}

impl<'a> Fields<'a> {
    /// The fields that stand in a map.
    pub fn of(event: Term<'a>) -> Result<Self, NoEvent<'a>> {
        let size = event.map_size().map_err(|_| NoEvent::NotAMap)?;
        let mut given = Self {
            kind: event.map_get(atoms::r#type()).ok(),
            payload: event.map_get(atoms::payload()).ok(),
            ..Self::default()
        };
        // Most events have no more than these.
        if size == 2 && given.kind.is_some() && given.payload.is_some() {
            return Ok(given);
        }
        for (key, value) in MapIterator::new(event).ok_or(NoEvent::NotAMap)? {
            let is = |name: Atom| name == key;
            let slot = if is(atoms::r#type()) {
                &mut given.kind
            } else if is(atoms::payload()) {
                &mut given.payload
            } else if is(atoms::aggregate()) {
                &mut given.aggregate
            } else if is(atoms::id()) {
                &mut given.id
            } else if is(atoms::schema_vsn()) {
                &mut given.schema_vsn
            } else if is(atoms::metadata()) {
                &mut given.metadata
            } else if is(atoms::seq()) || is(atoms::recorded_at()) {
                // An exported event can be given back as it is; both are assigned anew.
                continue;
            } else {
                return Err(NoEvent::Unknown(key));
            };
            *slot = Some(value);
        }
        Ok(given)
    }
}
