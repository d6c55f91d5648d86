//! Why events are not taken.

use rustler::{Encoder, Env, Term};

use super::{MAX_BATCH_BYTES, MAX_BATCH_EVENTS};
use crate::atoms;

/// Why a list of events is not taken. Each becomes one Erlang term.
pub enum PackError<'a> {
    /// `{bad_event, N, Field, Why}`, N counting from 1.
    Event(u64, Term<'a>, Term<'a>),
    /// `{unknown_aggregate, Name}`.
    UnknownAggregate(Term<'a>),
    /// `{duplicate_event_id, Id}`: twice in the same append.
    DuplicateId(Term<'a>),
    /// `{reserved_id, Id}`: of an event that is put back.
    ReservedId(Term<'a>),
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
            Self::ReservedId(id) => (atoms::reserved_id(), id.in_env(env)).encode(env),
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
