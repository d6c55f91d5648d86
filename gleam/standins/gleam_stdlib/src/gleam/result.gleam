//// Results of operations that can fail.

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

pub fn or(first: Result(a, e), second: Result(a, e)) -> Result(a, e) {
  try_recover(first, fn(_) { second })
}

pub fn replace(result: Result(a, e), value: b) -> Result(b, e) {
  map(result, fn(_) { value })
}

pub fn replace_error(result: Result(a, e), error: f) -> Result(a, f) {
  map_error(result, fn(_) { error })
}
