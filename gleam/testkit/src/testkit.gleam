//// Runs the tests of a package, and what tests of several packages share:
//// folders, killed processes, and files as the `sqlite3` shell reads them.

import gleam/erlang/process.{type Pid}

/// Runs every function `*_test` of every module `test/**/*_test.gleam`, prints
/// which failed and how many there were, and ends the VM, with status 1 when a
/// test failed. Modules named as arguments, as in `warp@saga_test`, run alone.
///
@external(erlang, "testkit_runner_ffi", "main")
pub fn main() -> Nil

/// Calls a function with the path of a fresh folder, which is removed
/// afterwards.
///
@external(erlang, "testkit_ffi", "with_dir")
pub fn with_dir(run: fn(String) -> a) -> a

/// Calls `run`, and then `clean_up`, whether or not `run` crashed.
///
@external(erlang, "testkit_ffi", "afterwards")
pub fn afterwards(clean_up: fn() -> Nil, run: fn() -> a) -> a

/// Kills a process, and waits until it is gone.
///
@external(erlang, "testkit_ffi", "kill")
pub fn kill(pid: Pid) -> Nil

/// Waits until a function gives `True`, and fails after 60 seconds.
///
@external(erlang, "testkit_ffi", "wait_until")
pub fn wait_until(condition: fn() -> Bool) -> Nil

/// Calls a function in that many processes at once, and gives their results.
///
@external(erlang, "testkit_ffi", "parallel")
pub fn parallel(times: Int, run: fn() -> a) -> List(a)

/// The lines that the sqlite3 shell prints for a query.
///
@external(erlang, "testkit_ffi", "sqlite")
pub fn sqlite(file: String, sql: String) -> List(String)

/// The paths of the files of shards below a folder, in order.
///
@external(erlang, "testkit_ffi", "shard_files")
pub fn shard_files(dir: String) -> List(String)
