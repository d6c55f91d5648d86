//// Policies of real contexts.

import gleam/erlang/process
import gleam/int
import gleam/list
import gleam/result
import gleam/string
import testkit.{wait_until}
import warp
import warp/aggregate
import warp/context.{type WarpOptions, WarpOptions}
import warp/error
import warp/event
import warp/policy.{type Command, type Policy}
import warp/saga.{type Saga, Append}
import warp/subscriber
import warp/subscription.{type Placed, Waiting}
import warp/testing
import warp_testing.{
  type AccountEvent, Credited, Debited, account, coerce, with_context,
  with_options,
}

/// A log without a state.
///
fn notes() -> aggregate.Aggregate(List(String), String, Nil) {
  aggregate.new("Notes", initial: [], apply: fn(notes, note) { [note, ..notes] })
}

/// For each credit to a user two notes, and as much to all.
///
fn audit() -> Policy(AccountEvent) {
  policy.new("audit", account(), fn(placed: Placed(AccountEvent)) {
    case placed.data {
      Credited(amount:) -> [
        policy.append_batch("notes", notes(), [
          placed.entity,
          int.to_string(amount),
        ]),
        policy.append("all", account(), Credited(amount:)),
      ]
      Debited(..) -> []
    }
  })
  |> subscriber.prefix("user/")
  |> subscriber.from_beginning
}

fn with_accounts_and_notes(run: fn(WarpOptions) -> a) -> a {
  with_options(
    [aggregate.definition(account()), aggregate.definition(notes())],
    run,
  )
}

fn with_policies(
  options: WarpOptions,
  policies: List(Policy(AccountEvent)),
) -> WarpOptions {
  let subscribers = list.map(policies, subscriber.definition)
  WarpOptions(..options, subscribers:)
}

pub fn what_follows_from_an_event_is_done_once_test() {
  use options <- with_accounts_and_notes
  {
    use ctx <- with_context(with_policies(options, [audit()]))
    list.each([1, 2, 3, 4], fn(amount) { credit(ctx, "user/1", amount) })
    let assert Ok(_) =
      aggregate.append(warp.entity(ctx, "user/1"), account(), Debited(1))
    is_right(ctx)
  }
  {
    // All is read again.
    use ctx <- with_context(options)
    assert subscription.forget(ctx, "audit") == Ok(Nil)
  }
  use ctx <- with_context(with_policies(options, [audit()]))
  is_right(ctx)
}

fn is_right(ctx: warp.Context) -> Nil {
  assert testing.await_subscribers(ctx, within: 10_000) == Ok(Nil)
  assert subscription.parked(ctx, "audit") == Ok([])
  assert warp.entity(ctx, "all") |> aggregate.get(account()) == Ok(10)
  let assert Ok(notes) = warp.entity(ctx, "notes") |> aggregate.get(notes())
  assert notes == ["4", "user/1", "3", "user/1", "2", "user/1", "1", "user/1"]
}

fn bonus(id: String) -> Saga {
  let assert Ok(forward) = aggregate.encode(account(), Credited(5))
  let assert Ok(compensate) = aggregate.encode(account(), Debited(5))
  saga.new(id)
  |> saga.step(
    entity: "bonus",
    aggregate: "Account",
    schema_vsn: 1,
    forward: Append(forward),
    compensate: Append(compensate),
  )
}

pub fn a_saga_follows_from_an_event_test() {
  let policy =
    policy.new("bonus", account(), fn(placed: Placed(AccountEvent)) {
      let seq = int.to_string(event.seq(placed.event))
      [policy.commit(bonus(placed.entity <> "/" <> seq))]
    })
    |> subscriber.prefix("user/")
  use options <- with_accounts_and_notes
  use ctx <- with_context(with_policies(options, [policy]))
  list.each([1, 2, 3], fn(amount) { credit(ctx, "user/1", amount) })
  assert testing.await_subscribers(ctx, within: 10_000) == Ok(Nil)
  assert warp.entity(ctx, "bonus") |> aggregate.get(account()) == Ok(15)
  let assert Ok(saga.Status(state: saga.IsCommitted, ..)) =
    saga.status(ctx, "user/1/2")
}

pub fn effects_begin_at_a_time_test() {
  use options <- with_accounts_and_notes
  let time = {
    use ctx <- with_context(options)
    credit(ctx, "user/1", 1)
    process.sleep(2)
    credit(ctx, "user/1", 2)
    let assert Ok([_, second]) = warp.history(warp.entity(ctx, "user/1"))
    event.recorded_at(second)
  }
  let policies = [audit() |> subscriber.effects_from_time(time)]
  use ctx <- with_context(with_policies(options, policies))
  assert testing.await_subscribers(ctx, within: 10_000) == Ok(Nil)
  assert warp.entity(ctx, "all") |> aggregate.get(account()) == Ok(2)
}

pub fn a_policy_says_which_command_failed_test() {
  let policy =
    policy.new("audit", account(), fn(_) {
      [
        policy.append("notes", notes(), "first"),
        policy.append("all", account(), Debited(7)),
        policy.append("notes", notes(), "third"),
      ]
    })
    |> subscriber.prefix("user/")
    |> subscriber.tries(2)
  use options <- with_accounts_and_notes
  use ctx <- with_context(with_policies(options, [policy]))
  credit(ctx, "user/1", 1)
  wait_until(fn() {
    case subscription.parked(ctx, "audit") {
      Ok([Waiting(state: subscription.Parked, ..)]) -> True
      _ -> False
    }
  })
  let assert Ok([Waiting(why:, ..)]) = subscription.parked(ctx, "audit")
  assert string.starts_with(why, "Command 2 failed, and those before it were ")
  assert string.contains(why, "Overdraft")
  // Once the cause is gone, all of it is done, and nothing twice.
  credit(ctx, "all", 10)
  assert subscription.retry(ctx, "audit", "user/1") == Ok(Nil)
  assert testing.await_subscribers(ctx, within: 10_000) == Ok(Nil)
  assert warp.entity(ctx, "all") |> aggregate.get(account()) == Ok(3)
  assert warp.entity(ctx, "notes") |> aggregate.get(notes())
    == Ok(["third", "first"])
}

pub fn a_transaction_of_a_subscriber_happens_once_test() {
  use options <- with_accounts_and_notes
  use ctx <- with_context(options)
  credit(ctx, "user/1", 1)
  let assert Ok(sub) =
    subscription.to_context(ctx, account())
    |> subscription.from_beginning
    |> subscription.subscribe
  let assert Ok(subscription.Events([placed])) =
    subscription.receive(sub, within: 5000)
  let carry_out = fn(commands: List(Command)) {
    policy.transaction(ctx, "mine", placed, commands)
  }
  let note = policy.append("notes", notes(), "noted")
  assert carry_out([note]) == Ok(Nil)
  assert carry_out([note]) == Ok(Nil)
  assert notes_of(ctx) == ["noted"]
  assert carry_out([policy.append("notes", notes(), "other")])
    == Error(error.CommandFailed(1, error.IdConflict(1)))
  let assert Error(error.BadCommand(_)) =
    carry_out([policy.append_batch("notes", notes(), [])])
  // What cannot be encoded: nothing is carried out.
  let assert Error(error.EncodeFailed(_)) =
    carry_out([
      policy.append("x", notes(), "x"),
      policy.append("y", notes(), coerce(process.self())),
    ])
  assert warp.entity(ctx, "x") |> warp.history == Ok([])
}

fn notes_of(ctx: warp.Context) -> List(String) {
  warp.entity(ctx, "notes") |> aggregate.get(notes()) |> result.unwrap([])
}

fn credit(ctx: warp.Context, id: String, amount: Int) -> Nil {
  let assert Ok(_) =
    warp.entity(ctx, id) |> aggregate.append(account(), Credited(amount:))
  Nil
}
