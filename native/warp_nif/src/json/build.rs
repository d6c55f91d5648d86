//! What JSON text is parsed into: Erlang terms, or nothing at all when it only has to be valid.

use std::borrow::Cow;

use rustler::{BigInt, Encoder, Env, NewBinary, Term};

use crate::atoms;

/// What a parsed value is built into.
pub trait Build<'de>: Copy {
    /// One built value.
    type Value;
    /// An object's key.
    type Key;
    /// `null`.
    fn null(self) -> Self::Value;
    /// `true` or `false`.
    fn boolean(self, value: bool) -> Self::Value;
    /// A negative integer that fits.
    fn signed(self, value: i64) -> Self::Value;
    /// Any other integer that fits.
    fn unsigned(self, value: u64) -> Self::Value;
    /// An integer of more than 64 bits.
    fn big(self, value: BigInt) -> Self::Value;
    /// A float that is finite.
    fn float(self, value: f64) -> Self::Value;
    /// A string, with its escapes resolved.
    fn string(self, value: &str) -> Self::Value;
    /// The key of a member of an object.
    fn key(self, value: Cow<'de, str>) -> Self::Key;
    /// An array.
    fn array(self, items: Vec<Self::Value>) -> Self::Value;
    /// `None` when a key stands twice.
    fn object(self, keys: Vec<Self::Key>, values: Vec<Self::Value>) -> Option<Self::Value>;
}

/// Builds Erlang terms in an environment.
#[derive(Clone, Copy)]
pub struct Terms<'a>(pub Env<'a>);

impl<'a, 'de> Build<'de> for Terms<'a> {
    type Value = Term<'a>;
    type Key = Term<'a>;

    fn null(self) -> Term<'a> {
        atoms::null().encode(self.0)
    }
    fn boolean(self, value: bool) -> Term<'a> {
        value.encode(self.0)
    }
    fn signed(self, value: i64) -> Term<'a> {
        value.encode(self.0)
    }
    fn unsigned(self, value: u64) -> Term<'a> {
        value.encode(self.0)
    }
    fn big(self, value: BigInt) -> Term<'a> {
        value.encode(self.0)
    }
    fn float(self, value: f64) -> Term<'a> {
        value.encode(self.0)
    }
    fn string(self, value: &str) -> Term<'a> {
        NewBinary::from_slice(self.0, value.as_bytes()).into()
    }
    fn key(self, value: Cow<'de, str>) -> Term<'a> {
        self.string(&value)
    }
    fn array(self, items: Vec<Term<'a>>) -> Term<'a> {
        items.encode(self.0)
    }
    fn object(self, keys: Vec<Term<'a>>, values: Vec<Term<'a>>) -> Option<Term<'a>> {
        Term::map_from_term_arrays(self.0, &keys, &values).ok()
    }
}

/// Builds nothing: parsing only checks the text.
#[derive(Clone, Copy)]
pub struct Validate;

impl<'de> Build<'de> for Validate {
    type Value = ();
    type Key = Cow<'de, str>;

    fn null(self) {}
    fn boolean(self, _: bool) {}
    fn signed(self, _: i64) {}
    fn unsigned(self, _: u64) {}
    fn big(self, _: BigInt) {}
    fn float(self, _: f64) {}
    fn string(self, _: &str) {}
    fn key(self, value: Cow<'de, str>) -> Cow<'de, str> {
        value
    }
    fn array(self, _: Vec<()>) {}
    fn object(self, mut keys: Vec<Cow<'de, str>>, _: Vec<()>) -> Option<()> {
        keys.sort_unstable();
        keys.is_sorted_by(|a, b| a < b).then_some(())
    }
}
