//! JSON text to Erlang terms, or to nothing at all when it only has to be valid.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;

use rustler::{BigInt, Encoder, Env, NewBinary, Term};
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{JsonError, MAX_DEPTH, MAX_DIGITS};
use crate::atoms;
use crate::hash::hash64;

/// What a parsed value is built into.
pub trait Build: Copy {
    /// One built value.
    type Value;
    fn null(self) -> Self::Value;
    fn boolean(self, value: bool) -> Self::Value;
    fn signed(self, value: i64) -> Self::Value;
    fn unsigned(self, value: u64) -> Self::Value;
    fn big(self, value: &BigInt) -> Self::Value;
    fn float(self, value: f64) -> Self::Value;
    fn string(self, value: &str) -> Self::Value;
    fn array(self, items: Vec<Self::Value>) -> Self::Value;
    /// `None` when a key stands twice.
    fn object(self, keys: Vec<Self::Value>, values: Vec<Self::Value>) -> Option<Self::Value>;
}

/// Builds Erlang terms in an environment.
#[derive(Clone, Copy)]
pub struct Terms<'a>(pub Env<'a>);

impl<'a> Build for Terms<'a> {
    type Value = Term<'a>;

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
    fn big(self, value: &BigInt) -> Term<'a> {
        value.encode(self.0)
    }
    fn float(self, value: f64) -> Term<'a> {
        value.encode(self.0)
    }
    fn string(self, value: &str) -> Term<'a> {
        NewBinary::from_slice(self.0, value.as_bytes()).into()
    }
    fn array(self, items: Vec<Term<'a>>) -> Term<'a> {
        items.encode(self.0)
    }
    fn object(self, keys: Vec<Term<'a>>, values: Vec<Term<'a>>) -> Option<Term<'a>> {
        Term::map_from_term_arrays(self.0, &keys, &values).ok()
    }
}

/// Builds nothing: parsing only checks the text. A string's value is its hash, by which keys that
/// stand twice are found.
#[derive(Clone, Copy)]
pub struct Validate;

impl Build for Validate {
    type Value = u64;

    fn null(self) -> u64 {
        0
    }
    fn boolean(self, _: bool) -> u64 {
        0
    }
    fn signed(self, _: i64) -> u64 {
        0
    }
    fn unsigned(self, _: u64) -> u64 {
        0
    }
    fn big(self, _: &BigInt) -> u64 {
        0
    }
    fn float(self, _: f64) -> u64 {
        0
    }
    fn string(self, value: &str) -> u64 {
        hash64(value.as_bytes())
    }
    fn array(self, _: Vec<u64>) -> u64 {
        0
    }
    fn object(self, mut keys: Vec<u64>, _: Vec<u64>) -> Option<u64> {
        keys.sort_unstable();
        keys.is_sorted_by(|a, b| a < b).then_some(0)
    }
}

const TWICE: &str = "a key stands twice in an object";

/// Parses a whole JSON text that must be an object.
///
/// Errors: text that is not JSON, not an object, nested too deep, or with a key that stands twice
/// in an object: readers do not agree on what that would mean.
pub fn parse<B: Build>(text: &str, build: B) -> Result<B::Value, JsonError> {
    if !text
        .trim_start_matches([' ', '\t', '\n', '\r'])
        .starts_with('{')
    {
        // The parser's own message where there is one: "not an object" only for valid JSON.
        return parse_any(text, build).and(Err(JsonError::NotAnObject));
    }
    parse_any(text, build)
}

fn parse_any<B: Build>(text: &str, build: B) -> Result<B::Value, JsonError> {
    let notes = Notes::default();
    let seed = Seed {
        build,
        depth: 0,
        notes: &notes,
    };
    let mut json = serde_json::Deserializer::from_str(text);
    json.disable_recursion_limit();
    let parsed = seed.deserialize(&mut json).and_then(|value| {
        json.end()?;
        Ok(value)
    });
    match parsed {
        Err(_) if notes.too_deep.get() => Err(JsonError::TooDeep),
        Err(error) => Err(JsonError::Invalid(error.to_string())),
        // serde_json gives integers past 64 bits as floats. They are rare: parse once more,
        // slower, keeping the text of each number.
        Ok(_) if notes.huge.get() => exact(text.trim(), build),
        Ok(value) => Ok(value),
    }
}

#[derive(Default)]
struct Notes {
    too_deep: Cell<bool>,
    huge: Cell<bool>,
}

#[derive(Clone, Copy)]
struct Seed<'n, B> {
    build: B,
    depth: usize,
    notes: &'n Notes,
}

impl<B: Build> Seed<'_, B> {
    fn deeper<E: de::Error>(self) -> Result<Self, E> {
        if self.depth >= MAX_DEPTH {
            self.notes.too_deep.set(true);
            return Err(E::custom("nested too deep"));
        }
        Ok(Self {
            depth: self.depth + 1,
            ..self
        })
    }
}

impl<'de, B: Build> DeserializeSeed<'de> for Seed<'_, B> {
    type Value = B::Value;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<B::Value, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de, B: Build> Visitor<'de> for Seed<'_, B> {
    type Value = B::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }
    fn visit_unit<E>(self) -> Result<B::Value, E> {
        Ok(self.build.null())
    }
    fn visit_bool<E>(self, value: bool) -> Result<B::Value, E> {
        Ok(self.build.boolean(value))
    }
    fn visit_i64<E>(self, value: i64) -> Result<B::Value, E> {
        Ok(self.build.signed(value))
    }
    fn visit_u64<E>(self, value: u64) -> Result<B::Value, E> {
        Ok(self.build.unsigned(value))
    }
    fn visit_f64<E>(self, value: f64) -> Result<B::Value, E> {
        if value.abs() >= i64::MAX as f64 {
            self.notes.huge.set(true);
        }
        Ok(self.build.float(value))
    }
    fn visit_str<E>(self, value: &str) -> Result<B::Value, E> {
        Ok(self.build.string(value))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<B::Value, A::Error> {
        let inner = self.deeper()?;
        let mut values = Vec::new();
        while let Some(value) = items.next_element_seed(inner)? {
            values.push(value);
        }
        Ok(self.build.array(values))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut pairs: A) -> Result<B::Value, A::Error> {
        let inner = self.deeper()?;
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        while let Some(key) = pairs.next_key_seed(inner)? {
            keys.push(key);
            values.push(pairs.next_value_seed(inner)?);
        }
        self.build
            .object(keys, values)
            .ok_or_else(|| de::Error::custom(TWICE))
    }
}

/// Builds a text that was found valid, and no deeper than allowed, number by number.
fn exact<B: Build>(text: &str, build: B) -> Result<B::Value, JsonError> {
    let invalid = |error: serde_json::Error| JsonError::Invalid(error.to_string());
    match text.as_bytes().first() {
        Some(b'{') => {
            let pairs: RawPairs<'_> = serde_json::from_str(text).map_err(invalid)?;
            let (mut keys, mut values) = (Vec::new(), Vec::new());
            for (key, value) in pairs.0 {
                keys.push(build.string(&key));
                values.push(exact(value.get(), build)?);
            }
            build
                .object(keys, values)
                .ok_or_else(|| JsonError::Invalid(TWICE.into()))
        }
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(text).map_err(invalid)?;
            let values: Result<Vec<_>, _> = items.iter().map(|v| exact(v.get(), build)).collect();
            Ok(build.array(values?))
        }
        Some(b'-' | b'0'..=b'9') if !text.contains(['.', 'e', 'E']) => integer(text, build),
        _ => {
            let notes = Notes::default();
            let seed = Seed {
                build,
                depth: 0,
                notes: &notes,
            };
            seed.deserialize(&mut serde_json::Deserializer::from_str(text))
                .map_err(invalid)
        }
    }
}

fn integer<B: Build>(text: &str, build: B) -> Result<B::Value, JsonError> {
    if let Ok(small) = text.parse::<i64>() {
        return Ok(build.signed(small));
    }
    let too_long = || JsonError::Invalid(format!("integer of more than {MAX_DIGITS} digits"));
    if text.trim_start_matches('-').len() > MAX_DIGITS {
        return Err(too_long());
    }
    let big: BigInt = text.parse().map_err(|_| too_long())?;
    Ok(build.big(&big))
}

/// An object's pairs in their order, with values left as text.
struct RawPairs<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> de::Deserialize<'de> for RawPairs<'de> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = RawPairs<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(RawPairs(pairs))
            }
        }
        json.deserialize_map(Pairs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(text: &str) -> Result<(), JsonError> {
        parse(text, Validate).map(drop)
    }

    #[test]
    fn objects_are_taken_and_other_values_named() {
        assert_eq!(check(" {\"a\":[1,2.5,null,true,\"x\"]} "), Ok(()));
        assert_eq!(check("[1]"), Err(JsonError::NotAnObject));
        assert_eq!(check("7"), Err(JsonError::NotAnObject));
        assert!(matches!(check(""), Err(JsonError::Invalid(_))));
        assert!(matches!(check("{\"a\":1} x"), Err(JsonError::Invalid(_))));
        assert!(matches!(check("{\"a\":1e400}"), Err(JsonError::Invalid(_))));
        assert!(matches!(
            check("{\"a\":\"\\ud800\"}"),
            Err(JsonError::Invalid(_))
        ));
    }

    #[test]
    fn keys_stand_once() {
        assert!(matches!(
            check("{\"a\":1,\"b\":{\"c\":1,\"c\":2}}"),
            Err(JsonError::Invalid(_))
        ));
        assert_eq!(check("{\"a\":1,\"b\":{\"a\":1}}"), Ok(()));
    }

    #[test]
    fn depth_is_limited_exactly() {
        let nested = |n: usize| format!("{{\"a\":{}{}}}", "[".repeat(n - 1), "]".repeat(n - 1));
        assert_eq!(check(&nested(MAX_DEPTH)), Ok(()));
        assert_eq!(check(&nested(MAX_DEPTH + 1)), Err(JsonError::TooDeep));
        assert_eq!(check(&nested(100_000)), Err(JsonError::TooDeep));
    }

    #[test]
    fn integers_of_any_size_are_taken_up_to_the_limit() {
        let number = |n: usize| format!("{{\"a\":{}}}", "9".repeat(n));
        assert_eq!(check(&number(MAX_DIGITS)), Ok(()));
        assert!(matches!(
            check(&number(MAX_DIGITS + 1)),
            Err(JsonError::Invalid(_))
        ));
        assert_eq!(check("{\"a\":{\"b\":[36893488147419103232, 1.5]}}"), Ok(()));
        assert!(matches!(check(&number(5000)), Err(JsonError::Invalid(_))));
    }

    proptest! {
        #[test]
        fn no_text_panics(text: String) {
            let _ = check(&text);
            let _ = check(&format!("{{{text}"));
        }
    }
}
