//! Checks events given by a caller and writes them as the data of one row of the log.

use std::sync::Arc;

use rustler::types::tuple::make_tuple;
use rustler::{Atom, Binary, Encoder, Env, NewBinary, Term};

use super::fields::{Fields, NoEvent};
use super::ids::Ids;
use super::import::Returned;
use super::packed::Packed;
use super::refusal::PackError;
use super::row::{Row, Why};
use super::rules::{Aggregate, Rules};
use super::stored::derived_seq;
use super::{MAX_BATCH_BYTES, MAX_BATCH_EVENTS, MAX_ID_BYTES, MAX_NAME_BYTES, weight};
use crate::atoms;
use crate::json::Parts;

/// Events that were taken.
pub struct Done<'a> {
    /// The row.
    pub packed: Packed,
    /// When an aggregate among them judges, the events: `{Type, Payload, Aggregate, Id |
    /// undefined, Vsn, Metadata}`, normalised to what reading the row gives.
    pub terms: Option<Vec<Term<'a>>>,
    /// The binaries of these that may be parts of larger ones, which they keep in memory.
    pub parts: Parts<'a>,
}

/// Packs the events of one append to `entity`.
///
/// `default` names the aggregate of events that name none (else the context's only one). With `returned` they are
/// put back as they were: an id that is that of an event without one is left out again, and no other of that form
/// is taken. `budget` limits the bytes of JSON read and written.
pub fn pack<'a>(
    env: Env<'a>,
    rules: &Rules,
    entity: &str,
    default: Option<Binary<'a>>,
    events: Term<'a>,
    (returned, budget): (Option<Returned>, usize),
) -> Result<Done<'a>, PackError<'a>> {
    let is_small = budget < usize::MAX;
    if weight::is_enough() && !(rules.is_own && is_small) {
        return Err(PackError::Overloaded);
    }
    let mut packer = Packer {
        env,
        rules,
        entity,
        default,
        returned,
        only: rules.default().map(|only| Known::only(env, only)),
        last: None,
        n: 0,
        of_row: None,
        others: Vec::new(),
        row: Row::new(env, rules.judges, budget),
        ids: Ids::default(),
        terms: Vec::new(),
        any_judges: false,
        no_metadata: None,
    };
    match packer.events(events) {
        Ok(()) => packer.finish(),
        Err(error) => {
            packer.row.give_up();
            Err(error)
        }
    }
}

struct Packer<'a, 'r> {
    env: Env<'a>,
    rules: &'r Rules,
    entity: &'r str,
    default: Option<Binary<'a>>,
    returned: Option<Returned>,
    /// The aggregate of events that name none, where the append has no default.
    only: Option<Known<'a, 'r>>,
    /// The aggregate that was named last.
    last: Option<Known<'a, 'r>>,
    n: usize,
    /// The aggregate of the first event.
    of_row: Option<&'r Aggregate>,
    /// Those of other events, each once.
    others: Vec<Arc<str>>,
    row: Row<'a>,
    ids: Ids<'a>,
    terms: Vec<Term<'a>>,
    any_judges: bool,
    no_metadata: Option<Term<'a>>,
}

/// An aggregate of the context, and its name as a term for whoever judges.
#[derive(Clone, Copy)]
struct Known<'a, 'r> {
    aggregate: &'r Aggregate,
    name: Term<'a>,
}

impl<'a, 'r> Known<'a, 'r> {
    /// As the only aggregate of the context.
    fn only(env: Env<'a>, aggregate: &'r Aggregate) -> Self {
        let name = if aggregate.judges {
            NewBinary::from_slice(env, aggregate.name.as_bytes()).into()
        } else {
            atoms::undefined().encode(env)
        };
        Self { aggregate, name }
    }
}

impl<'a, 'r> Packer<'a, 'r> {
    fn events(&mut self, events: Term<'a>) -> Result<(), PackError<'a>> {
        self.row.put("[");
        let mut rest = events;
        // NOTE: cell by cell, since the list may be of any length and end in something else.
        while let Ok((event, tail)) = rest.list_get_cell() {
            rest = tail;
            self.n += 1;
            if self.n > MAX_BATCH_EVENTS {
                return Err(PackError::TooMany(self.n));
            }
            self.event(event)?;
            if self.row.len() > MAX_BATCH_BYTES {
                return Err(PackError::TooManyBytes(self.row.len()));
            }
            if self.row.is_over_budget() {
                return Err(PackError::OverBudget);
            }
        }
        if !rest.is_empty_list() {
            self.n += 1;
            return Err(self.bad(atoms::undefined(), atoms::not_a_list()));
        }
        self.row.put("]");
        Ok(())
    }

    fn finish(self) -> Result<Done<'a>, PackError<'a>> {
        let (data, parts) = self.row.finish();
        let (Some(aggregate), Some(data)) = (self.of_row, data) else {
            return Err(PackError::Empty);
        };
        let packed = Packed::new(Arc::clone(&aggregate.name), data, self.n, self.ids.given)
            .with_others(self.others)
            .with_earlier(self.rules.earlier.clone());
        Ok(if self.any_judges {
            Done {
                packed: packed.with_terms(),
                terms: Some(self.terms),
                parts,
            }
        } else {
            Done {
                packed,
                terms: None,
                parts: Parts::default(),
            }
        })
    }

    fn event(&mut self, event: Term<'a>) -> Result<(), PackError<'a>> {
        let given = Fields::of(event).map_err(|error| match error {
            NoEvent::NotAMap => self.bad(atoms::undefined(), atoms::not_a_map()),
            NoEvent::Unknown(key) => self.bad_term(key, atoms::unknown_field()),
        })?;
        let Known { aggregate, name } = self.aggregate(given.aggregate)?;
        self.any_judges |= aggregate.judges;

        self.row.put(if self.n > 1 { ",{" } else { "{" });
        // NOTE: in front of everything else, which is how such a row is told from others.
        if let Some(Returned { at, .. }) = self.returned
            && self.n == 1
        {
            self.row.put(&format!("\"imported\":{at},"));
        }
        let kind = self.required(given.kind, atoms::r#type())?;
        self.row.put("\"type\":");
        self.name(kind, atoms::r#type(), MAX_NAME_BYTES)?;
        let id = match (given.id, self.returned) {
            (Some(id), Some(Returned { first, .. })) => self.given_before(id, first)?,
            (id, _) => id,
        };
        if let Some(id) = id {
            self.row.put(",\"id\":");
            self.id(id)?;
        }
        if self.of_row.get_or_insert(aggregate).name != aggregate.name {
            self.row.put(",\"aggregate\":");
            self.row.put_name(&aggregate.name);
            if !self.others.contains(&aggregate.name) {
                self.others.push(Arc::clone(&aggregate.name));
            }
        }
        let schema_vsn = self.schema_vsn(given.schema_vsn, aggregate.version)?;
        if schema_vsn != 1 {
            self.row.put(&format!(",\"schema_vsn\":{schema_vsn}"));
        }
        let metadata = match given.metadata {
            None => None,
            Some(map) if map.map_size().is_ok_and(|size| size == 0) => Some(map),
            Some(term) => {
                self.row.put(",\"metadata\":");
                Some(self.object(term, atoms::metadata())?)
            }
        };
        let payload = self.required(given.payload, atoms::payload())?;
        self.row.put(",\"payload\":");
        let payload = self.object(payload, atoms::payload())?;
        self.row.put("}");

        if self.rules.judges {
            let env = self.env;
            let id = id.unwrap_or_else(|| atoms::undefined().encode(env));
            let vsn = schema_vsn.encode(env);
            let none = || Term::map_new(env);
            let metadata = metadata.unwrap_or_else(|| *self.no_metadata.get_or_insert_with(none));
            let fields = [kind, payload, name, id, vsn, metadata];
            self.terms.push(make_tuple(env, &fields));
        }
        Ok(())
    }

    fn aggregate(&mut self, given: Option<Term<'a>>) -> Result<Known<'a, 'r>, PackError<'a>> {
        let name = match (given, self.default) {
            (Some(term), _) => term
                .decode::<Binary<'a>>()
                .map_err(|_| self.bad(atoms::aggregate(), atoms::not_a_binary()))?,
            (None, Some(default)) => default,
            (None, None) => {
                let required = || self.bad(atoms::aggregate(), atoms::required());
                return self.only.ok_or_else(required);
            }
        };
        let bytes = name.as_slice();
        // Most events of an append name the same aggregate as the event before.
        let is_same = |last: &Known<'_, '_>| last.aggregate.name.as_bytes() == bytes;
        if let Some(last) = self.last.filter(is_same) {
            return Ok(last);
        }
        let name = name.to_term(self.env);
        self.row.note(name, bytes);
        let known = self.rules.find(bytes);
        self.last = known.map(|aggregate| Known { aggregate, name });
        self.last.ok_or(PackError::UnknownAggregate(name))
    }

    /// The id of an event that is put back, unless it is the one of an event without an id.
    fn given_before(&self, term: Term<'a>, first: u64) -> Result<Option<Term<'a>>, PackError<'a>> {
        let binary: Option<Binary<'a>> = term.decode().ok();
        let text = binary.and_then(|id| std::str::from_utf8(id.as_slice()).ok());
        match text.and_then(|text| derived_seq(self.entity, text)) {
            None => Ok(Some(term)),
            Some(seq) if seq == first + self.n as u64 - 1 => Ok(None),
            Some(_) => Err(PackError::ReservedId(term)),
        }
    }

    fn id(&mut self, term: Term<'a>) -> Result<(), PackError<'a>> {
        let text = self.name(term, atoms::id(), MAX_ID_BYTES)?;
        if self.ids.add(self.entity, self.n - 1, text) {
            Ok(())
        } else {
            Err(PackError::DuplicateId(term))
        }
    }

    fn schema_vsn(&self, given: Option<Term<'a>>, current: u64) -> Result<u64, PackError<'a>> {
        let Some(term) = given else {
            return Ok(current);
        };
        match term.decode::<u32>() {
            Ok(vsn) if vsn > 0 => Ok(u64::from(vsn)),
            _ => Err(self.bad(atoms::schema_vsn(), atoms::not_a_positive_integer())),
        }
    }

    fn name(&mut self, term: Term<'a>, field: Atom, max: usize) -> Result<&'a [u8], PackError<'a>> {
        let written = self.row.name(term, max);
        written.map_err(|why| self.because(field, why))
    }

    fn object(&mut self, term: Term<'a>, field: Atom) -> Result<Term<'a>, PackError<'a>> {
        let written = self.row.object(term);
        written.map_err(|why| self.because(field, why))
    }

    fn required(&self, given: Option<Term<'a>>, field: Atom) -> Result<Term<'a>, PackError<'a>> {
        given.ok_or_else(|| self.bad(field, atoms::missing()))
    }

    fn because(&self, field: Atom, why: Why<'a>) -> PackError<'a> {
        match why {
            Why::Bad(why) => self.bad(field, why),
            Why::OverBudget => PackError::OverBudget,
        }
    }

    fn bad(&self, field: Atom, why: impl Encoder) -> PackError<'a> {
        self.bad_term(field.encode(self.env), why)
    }

    fn bad_term(&self, field: Term<'a>, why: impl Encoder) -> PackError<'a> {
        let before = self.returned.map_or(0, |returned| returned.first - 1);
        PackError::Event(before + self.n as u64, field, why.encode(self.env))
    }
}
