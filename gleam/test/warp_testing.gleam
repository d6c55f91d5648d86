//// Helpers of the tests: a bank account, contexts in fresh folders, and failures.

import gleam/dynamic/decode.{type Decoder}
import gleam/erlang/process.{type Pid}
import testkit.{afterwards, kill, with_dir}
import warp.{type Context, type Entity}
import warp/aggregate.{type Aggregate}
import warp/context.{type WarpOptions, WarpOptions, defaults}
import warp/error.{type Error}
import warp/json.{type Json}

// An account that may not be overdrawn.

pub type AccountEvent {
  Credited(amount: Int)
  Debited(amount: Int)
}

pub type Overdraft {
  Overdraft(by: Int)
}

pub type Account =
  Aggregate(Int, AccountEvent, Overdraft)

pub fn account() -> Account {
  aggregate.new("Account", initial: 0, apply: apply)
  |> aggregate.codec(encode:, decode:)
  |> aggregate.validate(no_overdraft)
}

pub fn apply(balance: Int, event: AccountEvent) -> Int {
  case event {
    Credited(amount:) -> balance + amount
    Debited(amount:) -> balance - amount
  }
}

pub fn encode(event: AccountEvent) -> #(String, Json) {
  case event {
    Credited(amount:) -> #("Credited", amount_json(amount))
    Debited(amount:) -> #("Debited", amount_json(amount))
  }
}

fn amount_json(amount: Int) -> Json {
  json.object([#("amount", json.int(amount))])
}

pub fn decode(type_: String) -> Decoder(AccountEvent) {
  use amount <- decode.field("amount", decode.int)
  case type_ {
    "Credited" -> decode.success(Credited(amount:))
    "Debited" -> decode.success(Debited(amount:))
    _ -> decode.failure(Credited(0), "AccountEvent")
  }
}

fn no_overdraft(balance: Int, event: AccountEvent) -> Result(Nil, Overdraft) {
  case event {
    Debited(amount:) if amount > balance -> Error(Overdraft(amount - balance))
    _ -> Ok(Nil)
  }
}

// Contexts.

/// Runs a test with a context of accounts in a fresh folder.
///
pub fn with_accounts(run: fn(Context) -> a) -> a {
  use options <- with_options([aggregate.definition(account())])
  with_context(options, run)
}

/// Options with a fresh folder, which is removed afterwards.
///
pub fn with_options(
  aggregates: List(aggregate.AggregateDefinition),
  run: fn(WarpOptions) -> a,
) -> a {
  use dir <- with_dir
  run(
    WarpOptions(
      ..defaults(),
      context: "test",
      aggregates:,
      shards: 2,
      data_dir: dir,
    ),
  )
}

/// Starts a context, and stops it afterwards.
///
pub fn with_context(options: WarpOptions, run: fn(Context) -> a) -> a {
  let assert Ok(ctx) = warp.start(options)
  use <- afterwards(fn() { warp.stop(ctx) })
  run(ctx)
}

// Failures.

/// Kills the entity's process, and waits until it is gone. Gives the pid it had.
///
pub fn kill_entity(entity: Entity) -> Pid {
  let assert Ok(pid) = pid(entity)
  kill(pid)
  pid
}

/// The entity's process, started if there is none.
///
@external(erlang, "warp_ffi", "pid")
pub fn pid(entity: Entity) -> Result(Pid, Error(reason))

/// Makes the entity leave memory, and waits until it has left.
///
@external(erlang, "warp_testing_ffi", "passivate")
pub fn passivate(entity: Entity) -> Nil

/// How often something fails still, which a test sets.
///
pub type Failures

@external(erlang, "warp_testing_ffi", "failures")
pub fn failures(times: Int) -> Failures

@external(erlang, "warp_testing_ffi", "set_failures")
pub fn set_failures(failures: Failures, times: Int) -> Nil

/// Whether it fails, once more.
///
@external(erlang, "warp_testing_ffi", "fails")
pub fn fails(failures: Failures) -> Bool

@external(erlang, "warp_testing_ffi", "write_file")
pub fn write_file(path: String, bytes: BitArray) -> Nil

/// Writes a file that only its owner may read.
///
@external(erlang, "warp_testing_ffi", "write_private_file")
pub fn write_private_file(path: String, bytes: BitArray) -> Nil

/// Sets a variable of the environment.
///
@external(erlang, "warp_testing_ffi", "set_variable")
pub fn set_variable(name: String, value: String) -> Nil

@external(erlang, "warp_testing_ffi", "read_file")
pub fn read_file(path: String) -> BitArray

@external(erlang, "warp_testing_ffi", "rename")
pub fn rename(path: String, to: String) -> Nil

@external(erlang, "warp_testing_ffi", "remove")
pub fn remove(path: String) -> Nil

/// Replaces all occurrences of bytes in a file, and returns how many there were.
///
@external(erlang, "warp_testing_ffi", "overwrite")
pub fn overwrite(path: String, from: BitArray, to: BitArray) -> Int

/// Writes a file that fills the disk.
///
@external(erlang, "warp_testing_ffi", "fill")
pub fn fill(path: String) -> Nil

/// Whether a process waits for a message.
///
@external(erlang, "warp_testing_ffi", "is_waiting")
pub fn is_waiting(pid: Pid) -> Bool

/// How many messages the calling process has not received.
///
@external(erlang, "warp_testing_ffi", "messages")
pub fn messages() -> Int

/// Runs a test with a file system of a few megabytes. Where none can be mounted, it
/// prints why and runs nothing.
///
@external(erlang, "warp_testing_ffi", "with_small_disk")
pub fn with_small_disk(run: fn(String) -> Nil) -> Nil

/// A VM of its own with a name.
///
pub type Node

/// Runs a test with VMs of these names, which find each other on this machine,
/// whatever the addresses in their names. They end with the test.
///
@external(erlang, "warp_testing_nodes_ffi", "with_nodes")
pub fn with_nodes(names: List(String), run: fn(List(Node)) -> a) -> a

/// Calls a function in a VM. If it crashes there, it crashes here.
///
@external(erlang, "warp_testing_nodes_ffi", "on_node")
pub fn on_node(node: Node, run: fn() -> a) -> a

/// Any term as any type.
///
@external(erlang, "warp_ffi", "identity")
pub fn coerce(value: a) -> b

@external(erlang, "warp_ffi", "monotonic_milliseconds")
pub fn monotonic_milliseconds() -> Int
