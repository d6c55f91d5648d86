//! JSON as values that can be compared.

use std::borrow::Cow;
use std::collections::BTreeMap;

use rustler::BigInt;

use super::build::Build;
use super::decode::parse;

/// A JSON value. Integers and floats differ: 1 is not 1.0, and every digit counts.
#[derive(PartialEq)]
enum Value {
    Null,
    Boolean(bool),
    Integer(BigInt),
    Float(f64),
    String(String),
    Array(Vec<Value>),
    Object(BTreeMap<String, Value>),
}

/// Whether two texts are objects of the same value.
pub fn same(a: &str, b: &str) -> bool {
    a == b || matches!((parse(a, Values), parse(b, Values)), (Ok(a), Ok(b)) if a == b)
}

#[derive(Clone, Copy)]
struct Values;

impl<'de> Build<'de> for Values {
    type Value = Value;
    type Key = String;

    fn null(self) -> Value {
        Value::Null
    }
    fn boolean(self, value: bool) -> Value {
        Value::Boolean(value)
    }
    fn signed(self, value: i64) -> Value {
        Value::Integer(value.into())
    }
    fn unsigned(self, value: u64) -> Value {
        Value::Integer(value.into())
    }
    fn big(self, value: BigInt) -> Value {
        Value::Integer(value)
    }
    fn float(self, value: f64) -> Value {
        Value::Float(value)
    }
    fn string(self, value: &str) -> Value {
        Value::String(value.to_owned())
    }
    fn key(self, value: Cow<'de, str>) -> String {
        value.into_owned()
    }
    fn array(self, items: Vec<Value>) -> Value {
        Value::Array(items)
    }
    fn object(self, keys: Vec<String>, values: Vec<Value>) -> Option<Value> {
        let count = keys.len();
        let object: BTreeMap<_, _> = keys.into_iter().zip(values).collect();
        (object.len() == count).then_some(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_compared_to_the_last_digit() {
        assert!(same(
            r#"{"a":[1,{"b":2}]}"#,
            r#"{ "a" : [1, {"\u0062": 2}] }"#
        ));
        for (a, b) in [
            ("36893488147419103232", "36893488147419103233"),
            ("1", "1.0"),
            ("1", "\"1\""),
            ("null", "false"),
            ("{\"$serde_json::private::RawValue\":\"1\"}", "1"),
        ] {
            let object = |value| format!("{{\"a\":{value}}}");
            assert!(!same(&object(a), &object(b)), "{a} {b}");
            assert!(same(&object(a), &format!("{} ", object(a))), "{a}");
        }
    }
}
