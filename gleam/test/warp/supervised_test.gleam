//// Contexts under a user's supervisors.

import gleam/erlang/process.{type Pid}
import gleam/otp/actor
import gleam/otp/static_supervisor
import gleam/otp/supervision
import testkit.{kill, wait_until}
import warp
import warp/aggregate
import warp/context.{type WarpOptions, WarpOptions}
import warp/error
import warp_testing.{Credited, account, with_options}

/// Each test has a context with a name of its own, since `named` finds it.
///
fn with_named(name: String, run: fn(WarpOptions) -> a) -> a {
  use options <- with_options([aggregate.definition(account())])
  run(WarpOptions(..options, context: name))
}

fn start(options: WarpOptions) -> Pid {
  let assert Ok(started) =
    static_supervisor.new(static_supervisor.OneForOne)
    |> static_supervisor.add(warp.supervised(options))
    |> static_supervisor.start
  process.unlink(started.pid)
  started.pid
}

/// Stops a supervisor as its own supervisor would, and waits for it.
///
fn shut_down(pid: Pid) -> Nil {
  let monitor = process.monitor(pid)
  shutdown(pid)
  let assert Ok(_) =
    process.new_selector()
    |> process.select_specific_monitor(monitor, fn(down) { down })
    |> process.selector_receive(60_000)
  Nil
}

@external(erlang, "warp_testing_ffi", "shutdown")
fn shutdown(pid: Pid) -> Nil

fn is_open(options: WarpOptions) -> Bool {
  case warp.start(options) {
    Ok(ctx) -> {
      warp.stop(ctx)
      False
    }
    Error(error.DataDirInUse(_)) -> True
    Error(other) -> panic as error.to_string(other)
  }
}

pub fn a_context_starts_and_stops_with_its_supervisor_test() {
  use options <- with_named("starts_and_stops")
  assert warp.named("starts_and_stops") == Error(error.ContextStopped)
  let supervisor = start(options)
  let assert Ok(ctx) = warp.named("starts_and_stops")
  assert warp.entity(ctx, "alice") |> aggregate.append(account(), Credited(5))
    == Ok(1)
  assert is_open(options)

  shut_down(supervisor)
  assert warp.named("starts_and_stops") == Error(error.ContextStopped)
  assert warp.entity(ctx, "alice") |> aggregate.get(account())
    == Error(error.ContextStopped)
  // The folder is free as soon as the supervisor is gone.
  assert !is_open(options)
}

pub fn a_context_goes_when_its_supervisor_is_killed_test() {
  use options <- with_named("supervisor_killed")
  let supervisor = start(options)
  let assert Ok(ctx) = warp.named("supervisor_killed")
  let alice = warp.entity(ctx, "alice")
  assert alice |> aggregate.append(account(), Credited(5)) == Ok(1)

  kill(supervisor)
  wait_until(fn() {
    alice |> aggregate.get(account()) == Error(error.ContextStopped)
  })
  wait_until(fn() { !is_open(options) })
  // Nothing acknowledged is lost.
  let supervisor = start(options)
  let assert Ok(ctx) = warp.named("supervisor_killed")
  assert warp.entity(ctx, "alice") |> aggregate.get(account()) == Ok(5)
  shut_down(supervisor)
}

pub fn a_context_whose_child_is_killed_is_started_again_test() {
  use options <- with_named("child_killed")
  let supervisor = start(options)
  let assert Ok(before) = warp.named("child_killed")
  assert warp.entity(before, "alice")
    |> aggregate.append(account(), Credited(5))
    == Ok(1)

  let assert [child] = children(supervisor)
  kill(child)
  wait_until(fn() {
    case warp.named("child_killed") {
      Ok(ctx) -> ctx != before
      Error(_) -> False
    }
  })
  let assert Ok(ctx) = warp.named("child_killed")
  assert warp.entity(ctx, "alice") |> aggregate.get(account()) == Ok(5)
  // Handles of the previous context say that it was stopped.
  assert warp.entity(before, "alice") |> aggregate.get(account())
    == Error(error.ContextStopped)
  assert process.is_alive(supervisor)
  shut_down(supervisor)
}

pub fn a_context_that_goes_down_is_started_again_test() {
  use options <- with_named("goes_down")
  let supervisor = start(options)
  let assert Ok(before) = warp.named("goes_down")
  assert warp.entity(before, "alice")
    |> aggregate.append(account(), Credited(5))
    == Ok(1)
  warp.stop(before)
  wait_until(fn() {
    case warp.named("goes_down") {
      Ok(ctx) -> ctx != before
      Error(_) -> False
    }
  })
  let assert Ok(ctx) = warp.named("goes_down")
  assert warp.entity(ctx, "alice") |> aggregate.get(account()) == Ok(5)
  shut_down(supervisor)
}

pub fn what_keeps_a_context_from_starting_is_said_test() {
  use options <- with_named("cannot_start")
  process.trap_exits(True)
  let spec = warp.supervised(WarpOptions(..options, shards: 0))
  assert spec.start()
    == Error(actor.InitFailed(
      "The option shards is not an integer from 1 to 4096.",
    ))
  let assert Error(actor.InitFailed(_)) =
    static_supervisor.new(static_supervisor.OneForOne)
    |> static_supervisor.add(spec)
    |> static_supervisor.start
  assert warp.named("cannot_start") == Error(error.ContextStopped)
  assert !is_open(options)
}

pub fn the_context_is_the_data_of_the_child_test() {
  use options <- with_named("data")
  let spec = warp.supervised(options)
  let assert supervision.ChildSpecification(
    restart: supervision.Permanent,
    child_type: supervision.Worker(_),
    ..,
  ) = spec
  let assert Ok(actor.Started(pid:, data: ctx)) = spec.start()
  assert warp.named("data") == Ok(ctx)
  assert warp.entity(ctx, "alice") |> aggregate.append(account(), Credited(5))
    == Ok(1)
  process.unlink(pid)
  shut_down(pid)
  assert !is_open(options)
}

pub fn two_contexts_under_one_supervisor_test() {
  use first <- with_named("first_of_two")
  use second <- with_named("second_of_two")
  let assert Ok(supervisor) =
    static_supervisor.new(static_supervisor.RestForOne)
    |> static_supervisor.add(warp.supervised(first))
    |> static_supervisor.add(warp.supervised(second))
    |> static_supervisor.start
  process.unlink(supervisor.pid)
  let assert Ok(one) = warp.named("first_of_two")
  let assert Ok(two) = warp.named("second_of_two")
  assert one != two
  shut_down(supervisor.pid)
  assert !is_open(first)
  assert !is_open(second)
}

@external(erlang, "warp_testing_ffi", "children")
fn children(supervisor: Pid) -> List(Pid)
