//! Values between Erlang and SQLite.

use rusqlite::Statement;
use rusqlite::types::ValueRef;
use rustler::{Atom, Binary, Encoder, Env, ListIterator, NewBinary, Term, TermType};

use crate::atoms;

/// The list of a term, if it is a proper one: going through any other would be a panic.
pub fn list<'a>(term: Term<'a>) -> Result<ListIterator<'a>, Bind> {
    let not_a_list = |_| Bind::Bad("not a proper list".into());
    term.list_length().map_err(not_a_list)?;
    term.decode().map_err(not_a_list)
}

/// Binds as many values as the statement has parameters. The error says what is wrong with them.
pub fn bind_all(statement: &mut Statement<'_>, values: ListIterator<'_>) -> Result<(), Bind> {
    let wanted = statement.parameter_count();
    let mut count = 0;
    for value in values {
        count += 1;
        if count <= wanted {
            bind(statement, count, value)?;
        }
    }
    if count == wanted {
        return Ok(());
    }
    Err(Bind::Bad(format!("{count} parameters for {wanted}")))
}

fn bind(statement: &mut Statement<'_>, index: usize, value: Term<'_>) -> Result<(), Bind> {
    match value.get_type() {
        TermType::Binary => {
            let binary: Binary<'_> = value.decode().map_err(|_| Bind::bad(index, "unreadable"))?;
            let text = std::str::from_utf8(binary.as_slice())
                .map_err(|_| Bind::bad(index, "text that is not UTF-8"))?;
            statement.raw_bind_parameter(index, text)?;
        }
        TermType::Integer => {
            let number: i64 = value
                .decode()
                .map_err(|_| Bind::bad(index, "an integer of more than 64 bits"))?;
            statement.raw_bind_parameter(index, number)?;
        }
        TermType::Float => {
            let number: f64 = value.decode().map_err(|_| Bind::bad(index, "unreadable"))?;
            statement.raw_bind_parameter(index, number)?;
        }
        TermType::Atom if value.decode::<Atom>().is_ok_and(|a| a == atoms::null()) => {
            statement.raw_bind_parameter(index, rusqlite::types::Null)?;
        }
        _ => return Err(Bind::bad(index, "no text, number or null")),
    }
    Ok(())
}

/// Why a value was not bound.
pub enum Bind {
    /// The value fits no parameter, described.
    Bad(String),
    /// SQLite refused it.
    Sqlite(rusqlite::Error),
}

impl Bind {
    fn bad(index: usize, what: &str) -> Self {
        Self::Bad(format!("parameter {index}: {what}"))
    }
}

impl From<rusqlite::Error> for Bind {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

/// A value that was read. None is an infinite one: the VM would end itself over such a float.
pub fn to_term<'a>(env: Env<'a>, value: ValueRef<'_>) -> Option<Term<'a>> {
    match value {
        ValueRef::Null => Some(atoms::null().encode(env)),
        ValueRef::Integer(number) => Some(number.encode(env)),
        ValueRef::Real(number) if number.is_finite() => Some(number.encode(env)),
        ValueRef::Real(_) => None,
        ValueRef::Text(bytes) if std::str::from_utf8(bytes).is_ok() => Some(binary(env, bytes)),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => {
            Some((atoms::blob(), binary(env, bytes)).encode(env))
        }
    }
}

/// How many bytes a value takes in a result, about.
pub fn size(value: ValueRef<'_>) -> usize {
    match value {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes.len() + 16,
        _ => 16,
    }
}

fn binary<'a>(env: Env<'a>, bytes: &[u8]) -> Term<'a> {
    NewBinary::from_slice(env, bytes).into()
}
