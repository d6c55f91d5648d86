//! Checks events given by a caller and writes them as the data of one row of the log.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};

use rustler::types::map::MapIterator;
use rustler::types::tuple::make_tuple;
use rustler::{Binary, Encoder, Env, NewBinary, Resource, Term, TermType};

use super::stored::derived_seq;
use super::weight::{self, Weight};
use super::{MAX_BATCH_BYTES, MAX_BATCH_EVENTS, MAX_ID_BYTES, MAX_JSON_BYTES, MAX_NAME_BYTES};
use crate::atoms;
use crate::hash::hash64;
use crate::json::{self, Floats, JsonError, Terms, Validate};
use crate::sync::relock;

/// From how many bytes on what an append holds is looked at more closely.
const LARGE: usize = 64 * 1024;
/// A cell of a list and a word or two of its own.
const BYTES_PER_VALUE: usize = 24;

/// What a context knows about its aggregates.
pub struct Rules {
    /// By name: the current schema version, and whether it judges events before they are stored.
    pub aggregates: HashMap<String, (u64, bool)>,
    /// The aggregate of events that name none, when there is just one.
    pub default: Option<String>,
    /// Whether its events are Warp's own. Small ones are packed however much memory is held: they
    /// finish what was begun.
    pub is_own: bool,
}

#[rustler::resource_impl]
impl Resource for Rules {}

/// How an event id that the caller gave is looked up.
#[derive(Clone, Copy)]
pub enum GivenId {
    /// Through the index of ids, by its hash.
    Hash(u64),
    /// It has the form of this entity's derived id with that seq.
    Derived(u64),
}

/// One append, ready to be written as one row.
pub struct Packed {
    /// The aggregate of the row: that of its first event.
    pub aggregate: String,
    /// A JSON array with one element per event.
    pub data: String,
    /// Where each element stands in `data`.
    pub spans: Vec<(usize, usize)>,
    /// Index of the event and its id, for each id given.
    pub ids: Vec<(usize, GivenId)>,
    weight: Weight,
}

/// A packed append as Erlang holds it, until it is stored or given up.
///
/// Processes that have finished with it may keep it as garbage for long. So what it holds can go
/// before it does.
pub struct PackedHandle(Mutex<Option<Arc<Packed>>>);

#[rustler::resource_impl]
impl Resource for PackedHandle {}

impl PackedHandle {
    /// Holds an append that was just packed.
    pub fn new(packed: Packed) -> Self {
        Self(Mutex::new(Some(Arc::new(packed))))
    }

    /// The append; `None` once it was released.
    pub fn get(&self) -> Option<Arc<Packed>> {
        self.lock().clone()
    }

    /// Nobody will ask for it any more.
    pub fn release(&self) {
        self.lock().take();
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<Packed>>> {
        relock(&self.0)
    }
}

impl Packed {
    /// An append of these parts.
    pub fn new(
        aggregate: String,
        mut data: String,
        spans: Vec<(usize, usize)>,
        ids: Vec<(usize, GivenId)>,
    ) -> Self {
        // It grew by doubling: up to half of it can be unused.
        data.shrink_to_fit();
        let bytes = data.capacity()
            + spans.capacity() * size_of::<(usize, usize)>()
            + ids.capacity() * size_of::<(usize, GivenId)>();
        Self {
            aggregate,
            data,
            spans,
            ids,
            weight: Weight::of(bytes),
        }
    }

    /// Counts, with it, what the terms of its events take on the way to whoever judges them: about
    /// so much for each value. Of small ones that is little.
    fn with_terms(mut self) -> Self {
        if self.data.len() >= LARGE {
            let begins = |byte: &u8| matches!(byte, b',' | b'[' | b'{');
            let values = self.data.bytes().filter(|byte| begins(byte)).count();
            self.weight.add(values * BYTES_PER_VALUE);
        }
        self
    }

    /// How many events.
    pub fn count(&self) -> usize {
        self.spans.len()
    }

    /// The same append with only the events at `indexes`, which are in order.
    pub fn keep(&self, indexes: &[usize]) -> Self {
        let mut data = String::from("[");
        let (mut spans, mut ids) = (Vec::new(), Vec::new());
        for &index in indexes {
            let Some(text) = self
                .spans
                .get(index)
                .and_then(|&(from, to)| self.data.get(from..to))
            else {
                continue;
            };
            if !spans.is_empty() {
                data.push(',');
            }
            let from = data.len();
            data.push_str(text);
            let of_event = self.ids.iter().filter(|(at, _)| *at == index);
            ids.extend(of_event.map(|(_, id)| (spans.len(), *id)));
            spans.push((from, data.len()));
        }
        data.push(']');
        Self::new(self.aggregate.clone(), data, spans, ids)
    }
}

/// Why a list of events is not taken. Each becomes one Erlang term.
pub enum PackError<'a> {
    /// `{bad_event, N, Field, Why}`, N counting from 1.
    Event(usize, Term<'a>, Term<'a>),
    /// `{unknown_aggregate, Name}`.
    UnknownAggregate(Term<'a>),
    /// `{duplicate_event_id, Id}`: twice in the same append.
    DuplicateId(Term<'a>),
    /// `empty_batch`.
    Empty,
    /// `{batch_too_large, Count, Max}`.
    TooMany(usize),
    /// `{batch_too_large_bytes, Bytes, Max}`.
    TooManyBytes(usize),
    /// `overloaded`: appends that were packed before hold too much memory.
    Overloaded,
    /// `dirty`: too much for a normal scheduler.
    OverBudget,
}

impl Encoder for PackError<'_> {
    fn encode<'b>(&self, env: Env<'b>) -> Term<'b> {
        match self {
            Self::Event(n, field, why) => {
                (atoms::bad_event(), n, field.in_env(env), why.in_env(env)).encode(env)
            }
            Self::UnknownAggregate(name) => {
                (atoms::unknown_aggregate(), name.in_env(env)).encode(env)
            }
            Self::DuplicateId(id) => (atoms::duplicate_event_id(), id.in_env(env)).encode(env),
            Self::Empty => atoms::empty_batch().encode(env),
            Self::TooMany(n) => (atoms::batch_too_large(), n, MAX_BATCH_EVENTS).encode(env),
            Self::TooManyBytes(n) => {
                (atoms::batch_too_large_bytes(), n, MAX_BATCH_BYTES).encode(env)
            }
            Self::Overloaded => atoms::overloaded().encode(env),
            Self::OverBudget => atoms::dirty().encode(env),
        }
    }
}

/// Packs the events of one append to `entity`.
///
/// `default` names the aggregate of events that name none (else the context's only one).
/// `budget` limits the bytes of JSON read and written. Returns the row and, when an aggregate
/// among them judges, the events: `{Type, Payload, Aggregate, Id | undefined, Vsn, Metadata}`,
/// normalised to what reading the row gives.
pub fn pack<'a>(
    env: Env<'a>,
    rules: &Rules,
    entity: &str,
    default: Option<Binary<'a>>,
    events: Term<'a>,
    budget: usize,
) -> Result<(Packed, Option<Vec<Term<'a>>>), PackError<'a>> {
    let is_small = budget < usize::MAX;
    if weight::is_enough() && !(rules.is_own && is_small) {
        return Err(PackError::Overloaded);
    }
    let mut packer = Packer {
        env,
        rules,
        entity,
        default: default.or_else(|| {
            let only = rules.default.as_ref()?;
            Some(NewBinary::from_slice(env, only.as_bytes()).into())
        }),
        last: None,
        budget,
        left_out: 0,
        n: 0,
        row_aggregate: None,
        out: Vec::with_capacity(256),
        spans: Vec::new(),
        ids: Vec::new(),
        seen: HashSet::new(),
        judges: rules.aggregates.values().any(|(_, judges)| *judges),
        any_judges: false,
        no_metadata: Term::map_new(env),
    };
    packer.out.push(b'[');
    let mut terms = Vec::new();
    let mut rest = events;
    // NOTE: cell by cell, since the list may be of any length and end in something else.
    while let Ok((event, tail)) = rest.list_get_cell() {
        rest = tail;
        packer.n += 1;
        if packer.n > MAX_BATCH_EVENTS {
            return Err(PackError::TooMany(packer.n));
        }
        let term = packer.event(event)?;
        terms.extend(term);
        if packer.out.len() > MAX_BATCH_BYTES {
            return Err(PackError::TooManyBytes(packer.out.len()));
        }
        if packer.out.len() + packer.left_out > budget {
            return Err(PackError::OverBudget);
        }
    }
    if !rest.is_empty_list() {
        packer.n += 1;
        return Err(packer.bad(atoms::undefined(), atoms::not_a_list()));
    }
    if packer.n == 0 {
        return Err(PackError::Empty);
    }
    packer.out.push(b']');
    let any_judges = packer.any_judges;
    let packed = packer.finish()?;
    Ok((packed, any_judges.then_some(terms)))
}

struct Packer<'a, 'r> {
    env: Env<'a>,
    rules: &'r Rules,
    entity: &'r str,
    default: Option<Binary<'a>>,
    last: Option<Known<'a>>,
    budget: usize,
    /// Bytes that were read and not written: blanks around JSON text.
    left_out: usize,
    n: usize,
    row_aggregate: Option<&'a [u8]>,
    out: Vec<u8>,
    spans: Vec<(usize, usize)>,
    ids: Vec<(usize, GivenId)>,
    seen: HashSet<&'a [u8]>,
    judges: bool,
    any_judges: bool,
    no_metadata: Term<'a>,
}

/// An aggregate of the context.
#[derive(Clone, Copy)]
struct Known<'a> {
    name: Binary<'a>,
    version: u64,
    judges: bool,
}

/// The fields of an event as given.
#[derive(Default)]
struct Fields<'a> {
    kind: Option<Term<'a>>,
    payload: Option<Term<'a>>,
    aggregate: Option<Term<'a>>,
    id: Option<Term<'a>>,
    schema_vsn: Option<Term<'a>>,
    metadata: Option<Term<'a>>,
}

impl<'a> Packer<'a, '_> {
    fn finish(self) -> Result<Packed, PackError<'a>> {
        let lossless = |bytes: Vec<u8>| String::from_utf8(bytes).map_err(|_| PackError::Empty);
        let packed = Packed::new(
            lossless(self.row_aggregate.unwrap_or_default().to_vec())?,
            lossless(self.out)?,
            self.spans,
            self.ids,
        );
        Ok(if self.any_judges {
            packed.with_terms()
        } else {
            packed
        })
    }

    fn event(&mut self, event: Term<'a>) -> Result<Option<Term<'a>>, PackError<'a>> {
        let given = self.fields(event)?;
        let Known {
            name: aggregate,
            version,
            judges,
        } = self.aggregate(given.aggregate)?;
        self.any_judges |= judges;

        if !self.spans.is_empty() {
            self.out.push(b',');
        }
        let from = self.out.len();
        self.out.extend_from_slice(b"{\"type\":");
        let kind = given
            .kind
            .ok_or_else(|| self.bad(atoms::r#type(), atoms::missing()))?;
        self.name(kind, atoms::r#type())?;
        if let Some(id) = given.id {
            self.out.extend_from_slice(b",\"id\":");
            let text = self.name(id, atoms::id())?;
            self.given_id(id, text)?;
        }
        match self.row_aggregate {
            None => self.row_aggregate = Some(aggregate.as_slice()),
            Some(of_row) if of_row == aggregate.as_slice() => {}
            Some(_) => {
                self.out.extend_from_slice(b",\"aggregate\":");
                self.name(aggregate.to_term(self.env), atoms::aggregate())?;
            }
        }
        let schema_vsn = self.schema_vsn(given.schema_vsn, version)?;
        if schema_vsn != 1 {
            self.out
                .extend_from_slice(format!(",\"schema_vsn\":{schema_vsn}").as_bytes());
        }
        let metadata = match given.metadata {
            None => self.no_metadata,
            Some(map) if map.is_map() && map.map_size().is_ok_and(|size| size == 0) => map,
            Some(term) => {
                self.out.extend_from_slice(b",\"metadata\":");
                self.object(term, atoms::metadata())?
            }
        };
        self.out.extend_from_slice(b",\"payload\":");
        let payload = given
            .payload
            .ok_or_else(|| self.bad(atoms::payload(), atoms::missing()))?;
        let payload = self.object(payload, atoms::payload())?;
        self.out.push(b'}');
        self.spans.push((from, self.out.len()));

        Ok(self.judges.then(|| {
            let id = given
                .id
                .unwrap_or_else(|| atoms::undefined().encode(self.env));
            let vsn = schema_vsn.encode(self.env);
            let aggregate = aggregate.to_term(self.env);
            make_tuple(self.env, &[kind, payload, aggregate, id, vsn, metadata])
        }))
    }

    fn fields(&self, event: Term<'a>) -> Result<Fields<'a>, PackError<'a>> {
        let size = event
            .map_size()
            .map_err(|_| self.bad(atoms::undefined(), atoms::not_a_map()))?;
        let mut given = Fields {
            kind: event.map_get(atoms::r#type()).ok(),
            payload: event.map_get(atoms::payload()).ok(),
            ..Fields::default()
        };
        // Most events have no more than these.
        if size == 2 && given.kind.is_some() && given.payload.is_some() {
            return Ok(given);
        }
        let pairs = MapIterator::new(event)
            .ok_or_else(|| self.bad(atoms::undefined(), atoms::not_a_map()))?;
        for (key, value) in pairs {
            let slot = if atoms::r#type() == key {
                &mut given.kind
            } else if atoms::payload() == key {
                &mut given.payload
            } else if atoms::aggregate() == key {
                &mut given.aggregate
            } else if atoms::id() == key {
                &mut given.id
            } else if atoms::schema_vsn() == key {
                &mut given.schema_vsn
            } else if atoms::metadata() == key {
                &mut given.metadata
            } else if atoms::seq() == key || atoms::recorded_at() == key {
                // An exported event can be given back as it is; both are assigned anew.
                continue;
            } else {
                return Err(self.bad_term(key, atoms::unknown_field()));
            };
            *slot = Some(value);
        }
        Ok(given)
    }

    fn aggregate(&mut self, given: Option<Term<'a>>) -> Result<Known<'a>, PackError<'a>> {
        let name = match (given, self.default) {
            (Some(term), _) => term
                .decode::<Binary<'a>>()
                .map_err(|_| self.bad(atoms::aggregate(), atoms::not_a_binary()))?,
            (None, Some(default)) => default,
            (None, None) => return Err(self.bad(atoms::aggregate(), atoms::required())),
        };
        // Most events of an append name the same aggregate as the event before.
        if let Some(last) = self
            .last
            .filter(|last| last.name.as_slice() == name.as_slice())
        {
            return Ok(last);
        }
        let known = Some(name.as_slice())
            .filter(|bytes| bytes.len() <= MAX_NAME_BYTES)
            .and_then(|bytes| std::str::from_utf8(bytes).ok())
            .and_then(|text| self.rules.aggregates.get(text))
            .map(|&(version, judges)| Known {
                name,
                version,
                judges,
            });
        self.last = known;
        known.ok_or_else(|| PackError::UnknownAggregate(name.to_term(self.env)))
    }

    /// Writes a non-empty UTF-8 binary of limited length as a JSON string.
    fn name(&mut self, term: Term<'a>, field: rustler::Atom) -> Result<&'a [u8], PackError<'a>> {
        let binary: Binary<'a> = term
            .decode()
            .map_err(|_| self.bad(field, atoms::not_a_binary()))?;
        let bytes = binary.as_slice();
        if bytes.is_empty() {
            return Err(self.bad(field, atoms::empty()));
        }
        let max = if field == atoms::id() {
            MAX_ID_BYTES
        } else {
            MAX_NAME_BYTES
        };
        if bytes.len() > max {
            return Err(self.bad(field, (atoms::too_long(), bytes.len(), max)));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| self.bad(field, atoms::not_utf8()))?;
        serde_json::to_writer(&mut self.out, text)
            .map_err(|_| self.bad(field, atoms::not_utf8()))?;
        Ok(bytes)
    }

    fn given_id(&mut self, term: Term<'a>, bytes: &'a [u8]) -> Result<(), PackError<'a>> {
        if !self.seen.insert(bytes) {
            return Err(PackError::DuplicateId(term));
        }
        let derived = std::str::from_utf8(bytes)
            .ok()
            .and_then(|text| derived_seq(self.entity, text));
        let id = derived.map_or_else(|| GivenId::Hash(hash64(bytes)), GivenId::Derived);
        self.ids.push((self.spans.len(), id));
        Ok(())
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

    /// Writes a JSON object given as a map or as text. Returns it as a term with binary keys.
    fn object(&mut self, term: Term<'a>, field: rustler::Atom) -> Result<Term<'a>, PackError<'a>> {
        let from = self.out.len();
        let written = match term.get_type() {
            TermType::Binary => self.object_text(term),
            TermType::Map => self
                .object_map(term, Floats::Shortest)
                .or_else(|error| match error {
                    // A text of the size allowed has to fit again when a caller gives back what it read.
                    JsonError::OverBudget(size) if size - from > MAX_JSON_BYTES => {
                        self.out.truncate(from);
                        self.object_map(term, Floats::Compact)
                    }
                    error => Err(error),
                }),
            _ => Err(JsonError::NotAnObject),
        };
        written.map_err(|error| match error {
            JsonError::OverBudget(size) if size - from > MAX_JSON_BYTES => {
                self.bad(field, JsonError::TooLarge(size - from, MAX_JSON_BYTES))
            }
            JsonError::OverBudget(_) => PackError::OverBudget,
            error => self.bad(field, error),
        })
    }

    fn object_map(&mut self, term: Term<'a>, floats: Floats) -> Result<Term<'a>, JsonError> {
        let from = self.out.len();
        let limit = self.budget.min(from + MAX_JSON_BYTES);
        if json::encode(term, &mut self.out, limit, floats)?.canonical {
            return Ok(term);
        }
        let text = std::str::from_utf8(self.out.get(from..).unwrap_or_default());
        self.parse(text.unwrap_or_default(), term)
    }

    fn object_text(&mut self, term: Term<'a>) -> Result<Term<'a>, JsonError> {
        let binary: Binary<'a> = term.decode().map_err(|_| JsonError::NotAnObject)?;
        let bytes = binary.as_slice();
        if bytes.len() > MAX_JSON_BYTES {
            return Err(JsonError::TooLarge(bytes.len(), MAX_JSON_BYTES));
        }
        let size = self.out.len() + bytes.len();
        if size + self.left_out > self.budget {
            return Err(JsonError::OverBudget(size));
        }
        let text = std::str::from_utf8(bytes)
            .map_err(|error| JsonError::Invalid(format!("not UTF-8: {error}")))?;
        let value = self.parse(text, term)?;
        let trimmed = text.trim();
        self.left_out += text.len() - trimmed.len();
        self.out.extend_from_slice(trimmed.as_bytes());
        Ok(value)
    }

    /// The object as a term, if anyone will look at it; else whatever term was given for it.
    fn parse(&self, text: &str, given: Term<'a>) -> Result<Term<'a>, JsonError> {
        if self.judges {
            json::parse(text, Terms(self.env))
        } else {
            json::parse(text, Validate).map(|_| given)
        }
    }

    fn bad(&self, field: rustler::Atom, why: impl Encoder) -> PackError<'a> {
        self.bad_term(field.encode(self.env), why)
    }

    fn bad_term(&self, field: Term<'a>, why: impl Encoder) -> PackError<'a> {
        PackError::Event(self.n, field, why.encode(self.env))
    }
}
