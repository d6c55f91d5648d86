//// Results of operations that can fail.

import gleam/list

pub fn is_ok(result: Result(a, e)) -> Bool {
  case result {
    Ok(_) -> True
    Error(_) -> False
  }
}

pub fn is_error(result: Result(a, e)) -> Bool {
  !is_ok(result)
}

pub fn map(over result: Result(a, e), with fun: fn(a) -> b) -> Result(b, e) {
  case result {
    Ok(value) -> Ok(fun(value))
    Error(error) -> Error(error)
  }
}

pub fn map_error(
  over result: Result(a, e),
  with fun: fn(e) -> f,
) -> Result(a, f) {
  case result {
    Ok(value) -> Ok(value)
    Error(error) -> Error(fun(error))
  }
}

pub fn try(
  result: Result(a, e),
  apply fun: fn(a) -> Result(b, e),
) -> Result(b, e) {
  case result {
    Ok(value) -> fun(value)
    Error(error) -> Error(error)
  }
}

pub fn try_recover(
  result: Result(a, e),
  with fun: fn(e) -> Result(a, f),
) -> Result(a, f) {
  case result {
    Ok(value) -> Ok(value)
    Error(error) -> fun(error)
  }
}

pub fn unwrap(result: Result(a, e), or default: a) -> a {
  case result {
    Ok(value) -> value
    Error(_) -> default
  }
}

pub fn lazy_unwrap(result: Result(a, e), or default: fn() -> a) -> a {
  case result {
    Ok(value) -> value
    Error(_) -> default()
  }
}

pub fn unwrap_error(result: Result(a, e), or default: e) -> e {
  case result {
    Ok(_) -> default
    Error(error) -> error
  }
}

pub fn flatten(result: Result(Result(a, e), e)) -> Result(a, e) {
  try(result, fn(inner) { inner })
}

pub fn or(first: Result(a, e), second: Result(a, e)) -> Result(a, e) {
  try_recover(first, fn(_) { second })
}

pub fn replace(result: Result(a, e), value: b) -> Result(b, e) {
  map(result, fn(_) { value })
}

pub fn replace_error(result: Result(a, e), error: f) -> Result(a, f) {
  map_error(result, fn(_) { error })
}

pub fn lazy_or(
  first: Result(a, e),
  second: fn() -> Result(a, e),
) -> Result(a, e) {
  try_recover(first, fn(_) { second() })
}

pub fn all(results: List(Result(a, e))) -> Result(List(a), e) {
  list.try_map(results, fn(result) { result })
}

/// Both lists in reverse order.
pub fn partition(results: List(Result(a, e))) -> #(List(a), List(e)) {
  list.fold(results, #([], []), fn(parts, result) {
    case result {
      Ok(value) -> #([value, ..parts.0], parts.1)
      Error(error) -> #(parts.0, [error, ..parts.1])
    }
  })
}

pub fn values(results: List(Result(a, e))) -> List(a) {
  list.filter_map(results, fn(result) { result })
}
