//// Keys with their values: on Erlang, a map.

import gleam/option.{type Option}

pub type Dict(key, value)

@external(erlang, "maps", "new")
pub fn new() -> Dict(k, v)

@external(erlang, "maps", "size")
pub fn size(dict: Dict(k, v)) -> Int

pub fn is_empty(dict: Dict(k, v)) -> Bool {
  size(dict) == 0
}

@external(erlang, "maps", "to_list")
pub fn to_list(dict: Dict(k, v)) -> List(#(k, v))

@external(erlang, "maps", "keys")
pub fn keys(dict: Dict(k, v)) -> List(k)

@external(erlang, "maps", "values")
pub fn values(dict: Dict(k, v)) -> List(v)

@external(erlang, "maps", "from_list")
pub fn from_list(list: List(#(k, v))) -> Dict(k, v)

@external(erlang, "gleam_stdlib_standin", "map_get")
pub fn get(from: Dict(k, v), get: k) -> Result(v, Nil)

@external(erlang, "gleam_stdlib_standin", "map_put")
pub fn insert(into dict: Dict(k, v), for key: k, insert value: v) -> Dict(k, v)

@external(erlang, "gleam_stdlib_standin", "map_remove")
pub fn delete(from dict: Dict(k, v), delete key: k) -> Dict(k, v)

@external(erlang, "gleam_stdlib_standin", "map_fold")
pub fn fold(
  over dict: Dict(k, v),
  from initial: acc,
  with fun: fn(acc, k, v) -> acc,
) -> acc

@external(erlang, "gleam_stdlib_standin", "map_has")
pub fn has_key(dict: Dict(k, v), key: k) -> Bool

@external(erlang, "maps", "map")
fn erlang_map(fun: fn(k, v) -> a, dict: Dict(k, v)) -> Dict(k, a)

pub fn map_values(in dict: Dict(k, v), with fun: fn(k, v) -> a) -> Dict(k, a) {
  erlang_map(fun, dict)
}

@external(erlang, "maps", "filter")
fn erlang_filter(predicate: fn(k, v) -> Bool, dict: Dict(k, v)) -> Dict(k, v)

pub fn filter(
  in dict: Dict(k, v),
  keeping predicate: fn(k, v) -> Bool,
) -> Dict(k, v) {
  erlang_filter(predicate, dict)
}

@external(erlang, "maps", "with")
fn erlang_with(keys: List(k), dict: Dict(k, v)) -> Dict(k, v)

pub fn take(
  from dict: Dict(k, v),
  keeping desired_keys: List(k),
) -> Dict(k, v) {
  erlang_with(desired_keys, dict)
}

@external(erlang, "maps", "without")
fn erlang_without(keys: List(k), dict: Dict(k, v)) -> Dict(k, v)

pub fn drop(
  from dict: Dict(k, v),
  drop disallowed_keys: List(k),
) -> Dict(k, v) {
  erlang_without(disallowed_keys, dict)
}

@external(erlang, "maps", "merge")
pub fn merge(into dict: Dict(k, v), from new_entries: Dict(k, v)) -> Dict(k, v)

pub fn upsert(
  in dict: Dict(k, v),
  update key: k,
  with fun: fn(Option(v)) -> v,
) -> Dict(k, v) {
  insert(dict, key, fun(option.from_result(get(dict, key))))
}

pub fn each(dict: Dict(k, v), fun: fn(k, v) -> a) -> Nil {
  fold(dict, Nil, fn(_, key, value) {
    fun(key, value)
    Nil
  })
}

pub fn combine(
  dict: Dict(k, v),
  other: Dict(k, v),
  with fun: fn(v, v) -> v,
) -> Dict(k, v) {
  fold(other, dict, fn(combined, key, value) {
    case get(combined, key) {
      Ok(before) -> insert(combined, key, fun(before, value))
      Error(_) -> insert(combined, key, value)
    }
  })
}
