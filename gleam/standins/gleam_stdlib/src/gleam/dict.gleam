//// Keys with their values: on Erlang, a map.

import gleam/option.{type Option, None, Some}

pub type Dict(key, value)

@external(erlang, "maps", "new")
pub fn new() -> Dict(k, v)

@external(erlang, "maps", "from_list")
pub fn from_list(list: List(#(k, v))) -> Dict(k, v)

@external(erlang, "maps", "to_list")
pub fn to_list(dict: Dict(k, v)) -> List(#(k, v))

@external(erlang, "maps", "size")
pub fn size(dict: Dict(k, v)) -> Int

pub fn is_empty(dict: Dict(k, v)) -> Bool {
  size(dict) == 0
}

@external(erlang, "gleam_stdlib_standin", "map_get")
pub fn get(from: Dict(k, v), get: k) -> Result(v, Nil)

@external(erlang, "gleam_stdlib_standin", "map_has")
pub fn has_key(dict: Dict(k, v), key: k) -> Bool

@external(erlang, "gleam_stdlib_standin", "map_put")
pub fn insert(into dict: Dict(k, v), for key: k, insert value: v) -> Dict(k, v)

@external(erlang, "gleam_stdlib_standin", "map_remove")
pub fn delete(from dict: Dict(k, v), delete key: k) -> Dict(k, v)

pub fn upsert(
  in dict: Dict(k, v),
  update key: k,
  with fun: fn(Option(v)) -> v,
) -> Dict(k, v) {
  let value = case get(dict, key) {
    Ok(value) -> fun(Some(value))
    Error(_) -> fun(None)
  }
  insert(dict, key, value)
}

@external(erlang, "maps", "merge")
pub fn merge(into dict: Dict(k, v), from new_entries: Dict(k, v)) -> Dict(k, v)

@external(erlang, "maps", "keys")
pub fn keys(dict: Dict(k, v)) -> List(k)

@external(erlang, "maps", "values")
pub fn values(dict: Dict(k, v)) -> List(v)

@external(erlang, "gleam_stdlib_standin", "map_map")
pub fn map_values(in dict: Dict(k, v), with fun: fn(k, v) -> a) -> Dict(k, a)

@external(erlang, "gleam_stdlib_standin", "map_filter")
pub fn filter(
  in dict: Dict(k, v),
  keeping predicate: fn(k, v) -> Bool,
) -> Dict(k, v)

@external(erlang, "gleam_stdlib_standin", "map_fold")
pub fn fold(
  over dict: Dict(k, v),
  from initial: acc,
  with fun: fn(acc, k, v) -> acc,
) -> acc
