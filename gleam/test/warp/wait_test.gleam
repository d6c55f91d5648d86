//// Waiting for an event of an entity.

import gleam/erlang/process
import gleam/int
import gleam/string
import warp
import warp/aggregate
import warp/error
import warp/event
import warp/subscription.{type Placed}
import warp_testing.{
  type AccountEvent, Credited, Debited, account, with_accounts,
}

pub fn a_seq_that_is_there_is_not_waited_for_test() {
  use ctx <- with_accounts
  let alice = warp.entity(ctx, "alice")
  let assert Ok(1) = aggregate.append(alice, account(), Credited(1))
  assert warp.wait(alice, seq: 1, within: 5000) == Ok(1)
  assert warp.wait(alice, seq: 2, within: 20) == Error(error.Timeout)
  let assert Error(error.BadOption("until", error.Because(_))) =
    warp.wait(alice, seq: -1, within: 20)
  let assert Error(error.BadOption("timeout", _)) =
    warp.wait(alice, seq: 1, within: -1)
}

pub fn whoever_waits_is_told_of_what_another_process_appends_test() {
  use ctx <- with_accounts
  let alice = warp.entity(ctx, "alice")
  process.spawn(fn() {
    process.sleep(50)
    let assert Ok(_) =
      aggregate.append_batch(alice, account(), [Credited(5), Debited(3)])
  })
  assert warp.wait(alice, seq: 1, within: 5000) == Ok(1)
  assert subscription.wait_until(alice, account(), within: 5000, has: debit)
    == Ok(2)
}

fn debit(placed: Placed(AccountEvent)) -> Bool {
  placed.entity == "alice" && placed.data == Debited(3)
}

pub fn events_of_other_aggregates_do_not_count_test() {
  use options <- warp_testing.with_options([
    aggregate.definition(account()),
    aggregate.definition(texts()),
  ])
  use ctx <- warp_testing.with_context(options)
  let alice = warp.entity(ctx, "alice")
  let assert Ok(1) = aggregate.append(alice, texts(), "hello")
  let assert Ok(2) = aggregate.append(alice, account(), Credited(7))
  assert subscription.wait_until(alice, account(), within: 5000, has: is_any)
    == Ok(2)
  assert subscription.wait_until(alice, texts(), within: 5000, has: is_any)
    == Ok(1)
}

fn is_any(_placed: Placed(event)) -> Bool {
  True
}

fn texts() -> aggregate.Aggregate(String, String, Nil) {
  aggregate.new("Texts", initial: "", apply: fn(_, text) { text })
}

pub fn what_goes_wrong_in_the_function_is_said_test() {
  use ctx <- with_accounts
  let alice = warp.entity(ctx, "alice")
  let assert Ok(1) = aggregate.append(alice, account(), Credited(1))
  let assert Error(error.UntilFailed(crash)) =
    subscription.wait_until(alice, account(), within: 5000, has: fn(placed) {
      panic as { "seq " <> int.to_string(event.seq(placed.event)) }
    })
  assert string.starts_with(crash, "panic: seq 1 (warp/wait_test.")
  assert subscription.wait_until(alice, texts_of_accounts(), 5000, is_any)
    |> is_undecodable
}

/// An aggregate that cannot decode the events of accounts.
///
fn texts_of_accounts() -> aggregate.Aggregate(String, String, Nil) {
  aggregate.new("Account", initial: "", apply: fn(_, text) { text })
}

fn is_undecodable(result: Result(Int, error.Error(Nil))) -> Bool {
  case result {
    Error(error.UndecodableEvent("Credited", _)) -> True
    _ -> False
  }
}
