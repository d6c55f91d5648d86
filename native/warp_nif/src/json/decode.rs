//! Parsing JSON text into what a [`Build`] makes of it.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::build::Build;
use super::float_texts::FloatTexts;
use super::{JsonError, MAX_DEPTH, MAX_DIGITS};

const TWICE: &str = "a key stands twice in an object";

/// Parses a whole JSON text that must be an object.
///
/// Errors: text that is not JSON, not an object, nested too deep, or with a key that stands twice
/// in an object: readers do not agree on what that would mean.
pub fn parse<'de, B: Build<'de>>(text: &'de str, build: B) -> Result<B::Value, JsonError> {
    if !text
        .trim_start_matches([' ', '\t', '\n', '\r'])
        .starts_with('{')
    {
        // The parser's own message where there is one: "not an object" only for valid JSON.
        return parse_any(text, build).and(Err(JsonError::NotAnObject));
    }
    parse_any(text, build)
}

fn parse_any<'de, B: Build<'de>>(text: &'de str, build: B) -> Result<B::Value, JsonError> {
    let notes = Notes::default();
    match run(text, build, &notes) {
        // serde_json gives integers past 64 bits as floats. They are rare: parse once more, with
        // the text of each.
        Ok(_) if notes.huge.get() => {
            let notes = Notes {
                floats: Some(RefCell::new(FloatTexts(text))),
                ..Notes::default()
            };
            run(text, build, &notes)
        }
        parsed => parsed,
    }
}

fn run<'de, B: Build<'de>>(
    text: &'de str,
    build: B,
    notes: &Notes<'_>,
) -> Result<B::Value, JsonError> {
    let seed = Seed {
        build,
        depth: 0,
        notes,
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
        Ok(value) => Ok(value),
    }
}

#[derive(Default)]
struct Notes<'t> {
    too_deep: Cell<bool>,
    huge: Cell<bool>,
    /// In the second parse: the text of what serde_json gives as floats.
    floats: Option<RefCell<FloatTexts<'t>>>,
}

#[derive(Clone, Copy)]
struct Seed<'n, 't, B> {
    build: B,
    depth: usize,
    notes: &'n Notes<'t>,
}

impl<B> Seed<'_, '_, B> {
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

impl<'de, B: Build<'de>> DeserializeSeed<'de> for Seed<'_, '_, B> {
    type Value = B::Value;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<B::Value, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de, B: Build<'de>> Visitor<'de> for Seed<'_, '_, B> {
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
    fn visit_f64<E: de::Error>(self, value: f64) -> Result<B::Value, E> {
        let Some(floats) = &self.notes.floats else {
            if value.abs() >= i64::MAX as f64 {
                self.notes.huge.set(true);
            }
            return Ok(self.build.float(value));
        };
        let text = floats.borrow_mut().next();
        let is_integer = |text: &&str| *text != "-0" && !text.contains(['.', 'e', 'E']);
        match text.filter(is_integer) {
            Some(text) if text.trim_start_matches('-').len() > MAX_DIGITS => {
                let what = format!("integer of more than {MAX_DIGITS} digits");
                Err(E::custom(what))
            }
            Some(text) => {
                let big = text.parse().map_err(|_| E::custom("not an integer"))?;
                Ok(self.build.big(big))
            }
            None => Ok(self.build.float(value)),
        }
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
        while let Some(key) = pairs.next_key_seed(KeySeed(self.build))? {
            keys.push(key);
            values.push(pairs.next_value_seed(inner)?);
        }
        self.build
            .object(keys, values)
            .ok_or_else(|| de::Error::custom(TWICE))
    }
}

struct KeySeed<B>(B);

impl<'de, B: Build<'de>> DeserializeSeed<'de> for KeySeed<B> {
    type Value = B::Key;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<B::Key, D::Error> {
        json.deserialize_str(self)
    }
}

impl<'de, B: Build<'de>> Visitor<'de> for KeySeed<B> {
    type Value = B::Key;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }
    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<B::Key, E> {
        Ok(self.0.key(Cow::Borrowed(value)))
    }
    fn visit_str<E>(self, value: &str) -> Result<B::Key, E> {
        Ok(self.0.key(Cow::Owned(value.to_owned())))
    }
}

#[cfg(test)]
mod tests {
    use super::super::build::Validate;
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

    #[test]
    fn keys_are_compared_themselves() {
        let many: Vec<_> = (0..100).map(|n| format!("\"key {n}\":{n}")).collect();
        assert_eq!(check(&format!("{{{}}}", many.join(","))), Ok(()));
        let twice = check(r#"{"\u0061b":1,"ab":2}"#);
        assert!(matches!(twice, Err(JsonError::Invalid(_))));
    }

    proptest! {
        #[test]
        fn no_text_panics(text: String) {
            let _ = check(&text);
            let _ = check(&format!("{{{text}"));
        }
    }
}
