//! JSON between text and Erlang terms, through `serde_json`.
//!
//! Objects are maps with binary keys, strings binaries, `null` the atom `null`. Integers keep
//! every digit and floats their exact value, in both directions.

pub mod build;
pub mod compare;
pub mod decode;
pub mod encode;
pub mod float_texts;
pub mod floats;
pub mod notes;
pub mod parts;
pub mod repeats;
pub mod text;
pub mod word;

pub use build::{Terms, Validate};
pub use compare::same;
pub use decode::parse;
pub use encode::encode;
pub use floats::Floats;
pub use notes::Notes;
pub use parts::Parts;
pub use repeats::Repeats;
pub use text::put;

use rustler::{Encoder, Env, Term};

use crate::atoms;

/// How deep arrays and objects may nest.
pub const MAX_DEPTH: usize = 128;
/// How many digits an integer may have: what serde_json reads without leaving the range of floats.
pub const MAX_DIGITS: usize = 308;

/// Why a text or a term is not taken as JSON. Each becomes one Erlang term.
#[derive(Debug, PartialEq, Eq)]
pub enum JsonError {
    /// `{invalid_json, Message}`, with line and column.
    Invalid(String),
    /// `{too_deep, 128}`.
    TooDeep,
    /// `{too_large, Bytes, Max}`: at least so many bytes; what is behind them was not looked at.
    TooLarge(usize, usize),
    /// `not_an_object`.
    NotAnObject,
    /// `{not_json, Description}`: a term that JSON has no form for, and where it stands.
    NotJson(String, String),
    /// The text would have at least so many bytes, more than may be written.
    OverBudget(usize),
}

impl JsonError {
    /// A term that JSON has no form for.
    pub fn not_json(what: impl Into<String>) -> Self {
        Self::NotJson(what.into(), String::new())
    }

    /// The same error in a value that stands in another one, at the step `.key` or `[index]`.
    pub fn inside(self, step: impl FnOnce() -> String) -> Self {
        match self {
            Self::NotJson(what, path) => Self::NotJson(what, step() + &path),
            other => other,
        }
    }
}

impl Encoder for JsonError {
    fn encode<'a>(&self, env: Env<'a>) -> Term<'a> {
        match self {
            Self::Invalid(message) => (atoms::invalid_json(), message).encode(env),
            Self::TooDeep => (atoms::too_deep(), MAX_DEPTH).encode(env),
            Self::TooLarge(bytes, max) => (atoms::too_large(), bytes, max).encode(env),
            Self::NotAnObject => atoms::not_an_object().encode(env),
            Self::NotJson(what, path) => {
                let at = if path.is_empty() { "" } else { " at " };
                let path = path.strip_prefix('.').unwrap_or(path);
                (atoms::not_json(), format!("{what}{at}{path}")).encode(env)
            }
            Self::OverBudget(_) => atoms::dirty().encode(env),
        }
    }
}
