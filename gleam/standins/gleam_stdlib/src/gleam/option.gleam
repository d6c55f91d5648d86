//// Values that may be missing.

pub type Option(a) {
  Some(a)
  None
}

/// Nothing when one of them is missing.
pub fn all(list: List(Option(a))) -> Option(List(a)) {
  case list {
    [] -> Some([])
    [None, ..] -> None
    [Some(value), ..rest] -> map(all(rest), fn(values) { [value, ..values] })
  }
}

pub fn is_some(option: Option(a)) -> Bool {
  option != None
}

pub fn is_none(option: Option(a)) -> Bool {
  option == None
}

pub fn to_result(option: Option(a), e) -> Result(a, e) {
  case option {
    Some(value) -> Ok(value)
    None -> Error(e)
  }
}

pub fn from_result(result: Result(a, e)) -> Option(a) {
  case result {
    Ok(value) -> Some(value)
    Error(_) -> None
  }
}

pub fn unwrap(option: Option(a), or default: a) -> a {
  lazy_unwrap(option, fn() { default })
}

pub fn lazy_unwrap(option: Option(a), or default: fn() -> a) -> a {
  case option {
    Some(value) -> value
    None -> default()
  }
}

pub fn map(over option: Option(a), with fun: fn(a) -> b) -> Option(b) {
  then(option, fn(value) { Some(fun(value)) })
}

pub fn flatten(option: Option(Option(a))) -> Option(a) {
  then(option, fn(inner) { inner })
}

pub fn then(option: Option(a), apply fun: fn(a) -> Option(b)) -> Option(b) {
  case option {
    Some(value) -> fun(value)
    None -> None
  }
}

pub fn or(first: Option(a), second: Option(a)) -> Option(a) {
  lazy_or(first, fn() { second })
}

pub fn lazy_or(first: Option(a), second: fn() -> Option(a)) -> Option(a) {
  case first {
    Some(_) -> first
    None -> second()
  }
}

pub fn values(options: List(Option(a))) -> List(a) {
  case options {
    [] -> []
    [Some(value), ..rest] -> [value, ..values(rest)]
    [None, ..rest] -> values(rest)
  }
}
