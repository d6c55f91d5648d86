//// The compiled modules as Erlang and Elixir call them, and terms that pass
//// between them and Gleam.

import gleam/erlang/process.{type Pid, type Subject}
import gleam/option.{type Option, Some}
import testkit
import warp
import warp/aggregate
import warp/error
import warp/event
import warp_testing.{Credited, account, with_accounts}

/// Calls the module `warp` from Erlang, and checks each result there.
///
@external(erlang, "warp_interop_ffi", "calls")
fn erlang_calls(context: warp.Context) -> Nil

pub fn erlang_calls_the_module_warp_test() {
  use ctx <- with_accounts
  erlang_calls(ctx)
}

@external(erlang, "warp_interop_ffi", "start")
fn erlang_starts(dir: String) -> Nil

pub fn erlang_starts_a_context_through_the_module_warp_test() {
  use dir <- testkit.with_dir
  erlang_starts(dir)
}

pub fn entities_and_contexts_pass_to_erlang_and_back_test() {
  use ctx <- with_accounts
  let alice = warp.entity(ctx, "alice")
  // warp_core and Gleam see each other's appends.
  assert core_append(alice, event.from_json("Credited", "{\"amount\":3}"))
    == Ok(1)
  assert alice |> aggregate.append(account(), Credited(4)) == Ok(2)
  assert core_get(alice, "Account") == Ok(7)
  assert core_entity(ctx, "alice") == alice
  assert alice |> aggregate.get(account()) == Ok(7)
}

@external(erlang, "warp_core", "append")
fn core_append(
  entity: warp.Entity,
  event: event.Event,
) -> Result(Int, error.Error(Nil))

@external(erlang, "warp_core", "get")
fn core_get(
  entity: warp.Entity,
  aggregate: String,
) -> Result(Int, error.Error(Nil))

@external(erlang, "warp_core", "entity")
fn core_entity(context: warp.Context, id: String) -> warp.Entity

pub fn subjects_and_pids_pass_to_erlang_and_back_test() {
  use ctx <- with_accounts
  let alice = warp.entity(ctx, "alice")
  // Erlang decides, and sends a message to a subject of Gleam.
  let subject = process.new_subject()
  assert erlang_decides(alice, subject, 5) == Ok([1])
  assert process.receive(subject, 60_000) == Ok(Some(5))
  assert alice |> aggregate.get(account()) == Ok(5)
  // A pid of the engine is a pid of Gleam.
  let assert Ok(pid) = warp_testing.pid(alice)
  assert erlang_pid(alice) == Ok(pid)
  assert process.is_alive(pid)
}

@external(erlang, "warp_interop_ffi", "decide")
fn erlang_decides(
  entity: warp.Entity,
  subject: Subject(Option(Int)),
  amount: Int,
) -> Result(List(Int), Nil)

@external(erlang, "warp_core", "pid")
fn erlang_pid(entity: warp.Entity) -> Result(Pid, Nil)
