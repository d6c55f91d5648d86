//// Values that may be missing.

pub type Option(a) {
  Some(a)
  None
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
  case option {
    Some(value) -> value
    None -> default
  }
}

pub fn lazy_unwrap(option: Option(a), or default: fn() -> a) -> a {
  case option {
    Some(value) -> value
    None -> default()
  }
}

pub fn map(over option: Option(a), with fun: fn(a) -> b) -> Option(b) {
  case option {
    Some(value) -> Some(fun(value))
    None -> None
  }
}

pub fn then(option: Option(a), apply fun: fn(a) -> Option(b)) -> Option(b) {
  case option {
    Some(value) -> fun(value)
    None -> None
  }
}
