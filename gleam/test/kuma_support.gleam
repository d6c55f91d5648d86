//// What the tests of Kuma share.

import gleam/string
import warp.{type Entity}

pub type Dir =
  String

/// Runs a test on a fresh folder.
pub fn with_dir(run: fn(Dir) -> Nil) -> Nil {
  let dir = new_dir()
  run(dir)
  remove_dir(dir)
}

pub fn lines(text: String) -> List(String) {
  string.split(text, "\n")
}

@external(erlang, "kuma_test_ffi", "new_dir")
pub fn new_dir() -> Dir

@external(erlang, "kuma_test_ffi", "remove_dir")
pub fn remove_dir(dir: Dir) -> Nil

/// Kills an entity's process, and waits until it is gone.
@external(erlang, "kuma_test_ffi", "kill")
pub fn kill(entity: Entity) -> Nil

/// What any sqlite3 shell says of each shard, one after the other.
@external(erlang, "kuma_test_ffi", "sql")
pub fn sql(dir: Dir, query: String) -> String

/// Makes logs that Kuma did not write, in a folder with one shard: by the
/// entity's id, types and payloads as JSON text.
@external(erlang, "kuma_test_ffi", "foreign_logs")
pub fn foreign_logs(
  dir: Dir,
  logs: List(#(String, List(#(String, String)))),
) -> Nil

/// Waits until a function gives True.
@external(erlang, "kuma_test_ffi", "wait_until")
pub fn wait_until(condition: fn() -> Bool) -> Nil

/// Calls a function so many times at once.
@external(erlang, "kuma_test_ffi", "parallel")
pub fn parallel(times: Int, run: fn() -> a) -> List(a)

/// A process, which no file can hold.
pub type Process

@external(erlang, "erlang", "self")
pub fn process() -> Process

/// Payloads that stand for terms and must not become any.
@external(erlang, "kuma_test_ffi", "hostile")
pub fn hostile() -> List(String)

/// How many atoms the VM has.
@external(erlang, "kuma_test_ffi", "atoms")
pub fn atoms() -> Int

/// The payload of an event whose constructor is in no loaded module, but in one
/// on the code path.
@external(erlang, "kuma_test_ffi", "late_constructor")
pub fn late_constructor() -> String
