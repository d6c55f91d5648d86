//! What JSON becomes, compared with what serde_json reads in it.

#[path = "../../tests/common/term.rs"]
#[allow(dead_code, clippy::missing_docs_in_private_items)]
mod term;

use super::{Calls, Reason, body, message};
use proptest::prelude::*;
use serde_json::Value;
use term::Term;

/// What is written for a body.
fn written(json: &str) -> Result<Term, Reason> {
    let mut out = vec![131];
    body(json, &mut out)
        .map(|()| Term::read(&out))
        .map_err(|fault| fault.reason)
}

/// What should be written for what serde_json has read.
fn expected(value: &Value) -> Term {
    match value {
        Value::Null => Term::Atom("null".into()),
        Value::Bool(value) => Term::Atom(value.to_string()),
        Value::Number(number) => match (number.as_i128(), number.as_f64()) {
            (Some(integer), _) => Term::Integer(integer),
            (None, Some(float)) => Term::Float(float),
            _ => unreachable!(),
        },
        Value::String(text) => Term::text(text),
        Value::Array(elements) => Term::List(elements.iter().map(expected).collect()),
        Value::Object(members) => Term::Map(members.iter().map(member).collect()),
    }
}

/// A member of an object, whose text may be kept.
fn member((name, value): (&String, &Value)) -> (Term, Term) {
    let is_kept = matches!(name.as_str(), "payload" | "metadata" | "input");
    (
        Term::text(name),
        if is_kept {
            Term::text(&value.to_string())
        } else {
            expected(value)
        },
    )
}

/// Any value, with names that mean something among others.
fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i8>().prop_map(Value::from),
        any::<f64>()
            .prop_filter("JSON has none such", |float| float.is_finite())
            .prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    let name = prop_oneof![any::<String>(), "(payload|metadata|input|id|a|b)"];
    leaf.prop_recursive(6, 64, 20, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..20).prop_map(Value::from),
            prop::collection::btree_map(name.clone(), inner, 0..20)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// What texts are made of that are nearly JSON.
const PIECES: &[&str] = &[
    "[",
    "]",
    "{",
    "}",
    ":",
    ",",
    "\"",
    "\\",
    "e",
    "E",
    "+",
    ".",
    "-",
    "0",
    "1",
    "27",
    "9",
    "a",
    "f",
    "true",
    "false",
    "null",
    "l",
    " ",
    "\"a\":",
    "\"b\":1",
    "\"payload\":",
    "\\u0041",
    "\\ud83d",
    "\\udE00",
    "\\D9",
    "\n",
    "ä",
    "\u{2028}",
    "\u{1f600}",
    "[1,",
    "{\"c\":",
    "\"x\"",
];

/// Texts that are nearly JSON.
fn nearly_json() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(PIECES), 0..40).prop_map(|pieces| pieces.concat())
}

/// How many inputs a test tries.
fn cases() -> ProptestConfig {
    let cases = if std::env::var_os("WARP_LONG").is_some() {
        300_000
    } else {
        500
    };
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn a_value_becomes_its_term(value in any_value()) {
        prop_assert_eq!(written(&value.to_string()).unwrap(), expected(&value));
        let pretty = serde_json::to_string_pretty(&value).unwrap();
        if !pretty.contains("payload") && !pretty.contains("metadata") && !pretty.contains("input") {
            prop_assert_eq!(written(&pretty).unwrap(), expected(&value));
        }
    }

    #[test]
    fn what_is_no_json_is_refused(text in nearly_json()) {
        let ours = written(&text);
        match serde_json::from_str::<Value>(&text) {
            Ok(value) => match ours {
                // There -0 is a float, and what is kept is written anew.
                Ok(term) if !text.contains("payload") && !text.contains("-0") => {
                    prop_assert_eq!(term, expected(&value));
                }
                Ok(_) => {}
                Err(Reason::Twice | Reason::NumberTooLarge) => {}
                Err(reason) => prop_assert!(false, "{reason:?} of {text}"),
            },
            // In a text that is kept half of a surrogate pair may stand alone, and numbers may have any size.
            Err(_) => prop_assert!(ours.is_err() || text.contains("payload"), "{text} was read"),
        }
    }

    #[test]
    fn any_bytes_are_survived(text in any::<String>(), cut in any::<prop::sample::Index>()) {
        let _ = written(&text);
        let mut calls = Calls::default();
        let _ = message(&text, &mut calls, 5);
        let json = format!("{{\"payload\":[{{\"a\":\"\\ud800{text}\"}}],\"b\":\"\\ud800\\udc00\"}}");
        let end = (0..=cut.index(json.len())).rev().find(|end| json.is_char_boundary(*end)).unwrap();
        let _ = written(&json[..end]);
    }
}

#[test]
fn members_that_are_kept_keep_their_text() {
    let json = r#"{"a":{"payload":  {"b" : 1e400, "c":[99999999999999999999999, "\ud800"]} , "input":"\u0041"}}"#;
    let term = written(json).unwrap();
    let inner = term.get("a").unwrap();
    assert_eq!(
        inner.get("payload").unwrap().as_text(),
        r#"{"b" : 1e400, "c":[99999999999999999999999, "\ud800"]}"#
    );
    assert_eq!(inner.get("input").unwrap().as_text(), r#""\u0041""#);
    assert_eq!(
        written(r#"{"p\u0061yload": 1}"#)
            .unwrap()
            .get("payload")
            .unwrap()
            .as_text(),
        "1"
    );
    for wrong in [
        r#"{"payload":}"#,
        r#"{"payload":{"a"}}"#,
        r#"{"payload":01}"#,
        r#"{"payload":"\x"}"#,
        r#"{"payload":1"#,
    ] {
        assert!(matches!(written(wrong), Err(Reason::Syntax(_))), "{wrong}");
    }
}

#[test]
fn depth_has_a_limit() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(written(&nested(128)).is_ok());
    assert_eq!(written(&nested(129)), Err(Reason::TooDeep));
    assert_eq!(written(&"[".repeat(1_000_000)), Err(Reason::TooDeep));
    assert!(written(&format!("{{\"payload\":{}}}", nested(128))).is_ok());
    assert_eq!(
        written(&format!("{{\"payload\":{}}}", nested(129))),
        Err(Reason::TooDeep)
    );
    assert_eq!(written(&"{\"a\":".repeat(129)), Err(Reason::TooDeep));
}

#[test]
fn numbers_beyond_64_bits_are_refused() {
    for (json, value) in [
        ("18446744073709551615", i128::from(u64::MAX)),
        ("-9223372036854775808", i128::from(i64::MIN)),
        ("-0", 0),
        ("255", 255),
        ("256", 256),
        ("2147483648", 1 << 31),
        ("-2147483648", -(1 << 31)),
        ("-2147483649", -(1 << 31) - 1),
    ] {
        assert_eq!(written(json), Ok(Term::Integer(value)), "{json}");
    }
    for json in [
        "18446744073709551616",
        "-9223372036854775809",
        "1e309",
        "-1e309",
    ] {
        assert_eq!(written(json), Err(Reason::NumberTooLarge), "{json}");
    }
    assert_eq!(written("1e-400"), Ok(Term::Float(0.0)));
}

#[test]
fn a_member_may_not_stand_twice() {
    assert_eq!(written(r#"{"a":1,"\u0061":2}"#), Err(Reason::Twice));
    let many = |last: usize| {
        let members: Vec<_> = (0..100)
            .chain([last])
            .map(|at| format!("\"{at}\":0"))
            .collect();
        format!("[{{\"a\":{{{}}}}}]", members.join(","))
    };
    assert!(written(&many(100)).is_ok());
    assert_eq!(written(&many(50)), Err(Reason::Twice));
    assert!(written(r#"[{"a":{"a":1}},{"a":1}]"#).is_ok());
}

#[test]
fn a_fault_says_where() {
    let fault = body("{\n \"ä\": x}", &mut Vec::new()).unwrap_err();
    assert_eq!((fault.line, fault.column), (2, 7));
    assert_eq!(fault.to_string(), "no value at line 2, column 7");
}

#[test]
fn messages_are_gathered_in_one_list() {
    let mut calls = Calls::default();
    message(r#"{"id":1,"payload":[1]}"#, &mut calls, 10).unwrap();
    message(r#" [ {"id":2} , {"op":"ack"} ] "#, &mut calls, 10).unwrap();
    message("[]", &mut calls, 10).unwrap();
    assert_eq!(
        message("[{\"id\":4},{", &mut calls, 10).unwrap_err().reason,
        Reason::Syntax("no string")
    );
    assert_eq!(
        message("[{\"id\":4}] x", &mut calls, 10).unwrap_err().line,
        1
    );
    assert_eq!((calls.count(), calls.answered()), (3, 2));
    let term = Term::read(&calls.take());
    assert_eq!(term.elements()[0].get("payload").unwrap().as_text(), "[1]");
    let others = ["{\"id\":2}", "{\"op\":\"ack\"}"].map(|json| expected(&json.parse().unwrap()));
    assert_eq!(term.elements()[1..], others);
    assert!(calls.is_empty());

    message("{}", &mut calls, 10).unwrap();
    assert_eq!(
        Term::read(&calls.take()),
        Term::List(vec![Term::Map(vec![])])
    );
}

#[test]
fn what_is_no_call_is_told_from_what_is_no_json() {
    let reason = |json: &str| message(json, &mut Calls::default(), 2).unwrap_err().reason;
    for json in ["1", "\"a\"", "null", "[1]", "[[{}]]", "[{},true]"] {
        assert_eq!(reason(json), Reason::NoCall, "{json}");
    }
    for json in ["", " ", "nul", "[", "[{}", "[{},]", "{}{}", "[nul]"] {
        assert!(matches!(reason(json), Reason::Syntax(_)), "{json}");
    }
    assert_eq!(reason("[{},{},{}]"), Reason::TooMany);
    let mut calls = Calls::default();
    assert!(message("[{},{}]", &mut calls, 2).is_ok());
    assert!(message("[{},{}]", &mut calls, 2).is_ok());
}
