//// Assertions as functions. The language's own `assert` says more when it fails.

import gleam/option.{type Option, None, Some}
import gleam/string

pub fn equal(a: t, b: t) -> Nil {
  case a == b {
    True -> Nil
    False -> fail_with(a, "should equal", b)
  }
}

pub fn not_equal(a: t, b: t) -> Nil {
  case a != b {
    True -> Nil
    False -> fail_with(a, "should not equal", b)
  }
}

pub fn be_ok(a: Result(a, e)) -> a {
  case a {
    Ok(value) -> value
    Error(_) -> fail_as(a, "should be Ok")
  }
}

pub fn be_error(a: Result(a, e)) -> e {
  case a {
    Error(error) -> error
    Ok(_) -> fail_as(a, "should be an Error")
  }
}

pub fn be_some(a: Option(a)) -> a {
  case a {
    Some(value) -> value
    None -> fail_as(a, "should be Some")
  }
}

pub fn be_none(a: Option(a)) -> Nil {
  case a {
    None -> Nil
    Some(_) -> fail_as(a, "should be None")
  }
}

pub fn be_true(actual: Bool) -> Nil {
  equal(actual, True)
}

pub fn be_false(actual: Bool) -> Nil {
  equal(actual, False)
}

pub fn fail() -> Nil {
  be_true(False)
}

fn fail_with(a: t, what: String, b: t) -> Nil {
  fail_as(a, what <> "\n" <> string.inspect(b))
}

fn fail_as(a: t, what: String) -> anything {
  panic as { "\n" <> string.inspect(a) <> "\n" <> what }
}
