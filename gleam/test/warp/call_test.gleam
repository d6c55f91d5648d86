//// How long calls wait: each ends by its timeout, and the default is enough.

import gleam/erlang/process.{type Subject}
import gleam/list
import gleam/string
import testkit
import warp
import warp/actor
import warp/aggregate.{type Aggregate}
import warp/append
import warp/call
import warp/error.{type Error}
import warp/event
import warp/history
import warp_testing.{
  Credited, account, monotonic_milliseconds, with_accounts, with_context,
  with_options,
}

fn within(milliseconds: Int) -> call.Options {
  call.options() |> call.timeout(milliseconds)
}

/// A command that holds the entity's process up until it is told to go on.
type Hold {
  Hold(begun: Subject(Subject(Nil)))
}

fn hold(alice: warp.Entity) -> Subject(Nil) {
  let holding =
    actor.new(account(), fn(_balance, command: Hold) {
      let go_on = process.new_subject()
      process.send(command.begun, go_on)
      process.receive_forever(go_on)
      actor.continue()
    })
  let begun = process.new_subject()
  let assert Ok(Nil) = alice |> actor.of(holding) |> actor.send(Hold(begun))
  let assert Ok(go_on) = process.receive(begun, 60_000)
  go_on
}

fn ends_by_its_timeout(run: fn() -> Result(a, Error(Nil))) -> Nil {
  let begun = monotonic_milliseconds()
  assert is_timeout(run())
  // Far below the default of 5000 milliseconds.
  assert monotonic_milliseconds() - begun < 3000
}

fn is_timeout(result: Result(a, Error(Nil))) -> Bool {
  case result {
    Error(error.Timeout) -> True
    _ -> False
  }
}

pub fn a_read_and_a_decision_of_a_busy_entity_time_out_test() {
  use ctx <- with_accounts
  let alice = warp.entity(ctx, "alice")
  let go_on = hold(alice)
  use <- ends_later(go_on)
  ends_by_its_timeout(fn() { warp.get_with(alice, "Account", within(50)) })
  ends_by_its_timeout(fn() { aggregate.get_with(alice, account(), within(50)) })
  ends_by_its_timeout(fn() {
    warp.decide_with(alice, "Account", fn(_) { Ok([]) }, within(50))
  })
  let assert Error(error.Timeout) =
    aggregate.decide_with(alice, account(), fn(_) { Ok([]) }, within(50))
  process.send(go_on, Nil)
  assert aggregate.get_with(alice, account(), within(60_000)) == Ok(0)
  assert warp.get_with(alice, "Account", within(60_000))
    == warp.get(alice, "Account")
  assert aggregate.decide_with(
      alice,
      account(),
      fn(_) { Ok([Credited(5)]) },
      within(60_000),
    )
    == Ok([1])
}

/// The entity's process has to end with its context.
fn ends_later(go_on: Subject(Nil), run: fn() -> a) -> a {
  testkit.afterwards(fn() { process.send(go_on, Nil) }, run)
}

/// Folds each event in a tenth of a second.
fn slow() -> Aggregate(Int, Int, Nil) {
  aggregate.new("Slow", initial: 0, apply: fn(sum, n) {
    process.sleep(100)
    sum + n
  })
}

pub fn a_read_of_the_past_times_out_test() {
  use options <- with_options([aggregate.definition(slow())])
  use ctx <- with_context(options)
  let alice = warp.entity(ctx, "alice")
  let assert Ok(_) = aggregate.append_batch(alice, slow(), [1, 2, 3])
  let point = history.Seq(3)
  ends_by_its_timeout(fn() {
    warp.state_at_with(alice, "Slow", point, within(20))
  })
  ends_by_its_timeout(fn() {
    aggregate.state_at_with(alice, slow(), point, within(20))
  })
  assert aggregate.state_at_with(alice, slow(), point, within(60_000)) == Ok(6)
  assert aggregate.state_at(alice, slow(), point) == Ok(6)
}

pub fn an_export_times_out_test() {
  use ctx <- with_accounts
  let alice = warp.entity(ctx, "alice")
  let credited = event.from_json("Credited", "{\"amount\":1}")
  let assert Ok(_) = warp.append_batch(alice, list.repeat(credited, 10_000))
  ends_by_its_timeout(fn() { warp.export_with(alice, within(1)) })
  let assert Ok(events) = warp.export_with(alice, within(60_000))
  assert list.length(events) == 10_000
}

pub fn a_timeout_that_is_none_is_refused_test() {
  use ctx <- with_accounts
  let alice = warp.entity(ctx, "alice")
  let refused = fn(error: Error(a)) {
    let assert error.BadOption("timeout", error.NotAnIntegerBetween(0, _)) =
      error
    Nil
  }
  let assert Error(get) = warp.get_with(alice, "Account", within(-1))
  refused(get)
  let assert Error(past) =
    warp.state_at_with(alice, "Account", history.Seq(0), within(-1))
  refused(past)
  let assert Error(export) = warp.export_with(alice, within(-1))
  refused(export)
  let assert Error(decide) =
    warp.decide_with(alice, "Account", fn(_) { Ok([]) }, within(-1))
  assert string.contains(error.to_string(decide), "timeout")
}

pub fn the_last_setting_of_an_append_counts_test() {
  use ctx <- with_accounts
  let alice = warp.entity(ctx, "alice")
  let credited = event.from_json("Credited", "{\"amount\":1}")
  let options =
    append.options()
    |> append.expect(append.Seq(7))
    |> append.timeout(-1)
    |> append.timeout(60_000)
    |> append.expect(append.NoStream)
  assert warp.append_with(alice, credited, options) == Ok(1)
  assert warp.append_with(alice, credited, options)
    == Error(error.WrongExpectedSeq(1))
  // 0 means the same as NoStream, and Any takes back what was expected.
  assert warp.append_with(
      alice,
      credited,
      options |> append.expect(append.Seq(0)),
    )
    == Error(error.WrongExpectedSeq(1))
  assert warp.append_with(alice, credited, options |> append.expect(append.Any))
    == Ok(2)
}
