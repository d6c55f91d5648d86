//// Keys with their values: on Erlang, a map.

pub type Dict(key, value)

@external(erlang, "maps", "new")
pub fn new() -> Dict(k, v)

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
