//// Subscribers that Warp runs, of real contexts.

import gleam/dynamic/decode
import gleam/erlang/process.{type Subject}
import gleam/int
import gleam/list
import gleam/option.{None, Some}
import gleam/otp/actor
import gleam/otp/static_supervisor
import gleam/otp/supervision
import gleam/result
import gleam/string
import testkit.{kill, wait_until}
import warp
import warp/aggregate
import warp/context.{type WarpOptions, WarpOptions}
import warp/error
import warp/event
import warp/json
import warp/stats
import warp/subscriber.{type Subscriber}
import warp/subscription.{type Placed, Parked, Retrying, Waiting}
import warp/testing
import warp_testing.{
  type AccountEvent, type Failures, Credited, Debited, account, fails, failures,
  set_failures, with_context, with_options,
}

// Why a subscriber fails.

type Reason {
  MailIsDown(server: String)
}

/// What the subscriber of a test has done.
///
type Done {
  Handled(entity: String, amount: Int, sum: Int)
  HasCaughtUp
  HasErased(entity: String)
}

/// A subscriber that tells a test what it does, and fails as often as it says with
/// events of alice.
///
fn mail(
  failing: Failures,
  tell: Subject(Done),
) -> Subscriber(Int, AccountEvent, Reason) {
  subscriber.new(
    "mail",
    account(),
    initialise: fn(_context) { Ok(0) },
    on_event: fn(sum, placed: Placed(AccountEvent)) {
      case placed.entity == "alice" && fails(failing) {
        True -> Error(MailIsDown("a"))
        False -> {
          let sum = warp_testing.apply(sum, placed.data)
          process.send(tell, Handled(placed.entity, amount(placed.data), sum))
          Ok(sum)
        }
      }
    },
  )
  |> subscriber.from_beginning
  |> subscriber.tries(3)
}

fn amount(event: AccountEvent) -> Int {
  case event {
    Credited(amount:) -> amount
    Debited(amount:) -> -amount
  }
}

/// Options with the subscriber.
///
fn with_subscriber(
  subscriber: Subscriber(state, event, reason),
  run: fn(WarpOptions) -> a,
) -> a {
  use options <- with_options([aggregate.definition(account())])
  let subscribers = [subscriber.definition(subscriber)]
  run(WarpOptions(..options, subscribers:))
}

pub fn it_handles_everything_and_goes_on_after_a_restart_test() {
  let tell = process.new_subject()
  use options <- with_subscriber(mail(failures(0), tell))
  {
    use ctx <- with_context(options)
    credit(ctx, "alice", [1, 2])
    assert process.receive(tell, 5000) == Ok(Handled("alice", 1, 1))
    assert process.receive(tell, 5000) == Ok(Handled("alice", 2, 3))
    assert testing.await_subscribers(ctx, within: 5000) == Ok(Nil)
  }
  use ctx <- with_context(options)
  credit(ctx, "bob", [3])
  // The state begins anew.
  assert process.receive(tell, 5000) == Ok(Handled("bob", 3, 3))
  assert testing.await_subscribers(ctx, within: 5000) == Ok(Nil)
}

pub fn whoever_has_caught_up_goes_on_with_another_state_test() {
  let tell = process.new_subject()
  use options <- with_subscriber(
    mail(failures(0), tell)
    |> subscriber.on_caught_up(fn(_sum) {
      process.send(tell, HasCaughtUp)
      100
    }),
  )
  use ctx <- with_context(options)
  assert process.receive(tell, 5000) == Ok(HasCaughtUp)
  credit(ctx, "bob", [3])
  assert next(tell, but: HasCaughtUp) == Handled("bob", 3, 103)
}

pub fn an_event_that_fails_is_tried_again_and_others_go_on_test() {
  let tell = process.new_subject()
  use options <- with_subscriber(mail(failures(2), tell))
  use ctx <- with_context(options)
  credit(ctx, "alice", [1, 2])
  credit(ctx, "bob", [3])
  let assert Ok(Handled("bob", 3, 3)) = process.receive(tell, 5000)
  let assert Ok(Handled("alice", 1, 4)) = process.receive(tell, 5000)
  let assert Ok(Handled("alice", 2, 6)) = process.receive(tell, 5000)
  assert testing.await_subscribers(ctx, within: 5000) == Ok(Nil)
  assert subscription.parked(ctx, "mail") == Ok([])
}

pub fn a_parked_event_is_retried_by_hand_test() {
  let tell = process.new_subject()
  let failing = failures(1_000_000)
  use options <- with_subscriber(mail(failing, tell))
  use ctx <- with_context(options)
  credit(ctx, "alice", [1, 2])
  let assert [
    Waiting(entity: "alice", seq: 1, state: Retrying, tries: 1, ..),
  ] = waiting(ctx, fn(_) { True })
  let assert [Waiting(tries: 3, why:, shard:, since:, ..)] = parked(ctx)
  assert why == "MailIsDown(\"a\")"
  assert warp.shard_of(warp.entity(ctx, "alice")) == Ok(shard)
  let assert Ok([first, ..]) = warp.history(warp.entity(ctx, "alice"))
  assert since > event.recorded_at(first)
  assert testing.await_subscribers(ctx, within: 50)
    == Error(error.Behind(["mail"]))
  set_failures(failing, 0)
  assert process.receive(tell, 200) == Error(Nil)
  assert subscription.retry(ctx, "mail", "alice") == Ok(Nil)
  assert process.receive(tell, 5000) == Ok(Handled("alice", 1, 1))
  assert process.receive(tell, 5000) == Ok(Handled("alice", 2, 3))
  assert testing.await_subscribers(ctx, within: 5000) == Ok(Nil)
  assert subscription.retry(ctx, "mail", "alice") == Error(error.NotWaiting)
}

pub fn a_parked_event_is_skipped_by_hand_test() {
  let tell = process.new_subject()
  use options <- with_subscriber(mail(failures(3), tell))
  use ctx <- with_context(options)
  credit(ctx, "alice", [1, 2])
  let assert [Waiting(seq: 1, ..)] = parked(ctx)
  assert subscription.skip(ctx, "mail", "alice") == Ok(Nil)
  assert process.receive(tell, 5000) == Ok(Handled("alice", 2, 2))
  assert testing.await_subscribers(ctx, within: 5000) == Ok(Nil)
  let assert Error(error.InUse(_)) = subscription.forget(ctx, "mail")
}

pub fn an_event_that_cannot_be_decoded_is_parked_and_not_lost_test() {
  let tell = process.new_subject()
  let credits =
    aggregate.new("Account", initial: 0, apply: int.add)
    |> aggregate.codec(
      encode: fn(n) { #("Credited", json.object([#("amount", json.int(n))])) },
      decode: fn(type_) {
        case type_ {
          "Credited" -> decode.at(["amount"], decode.int)
          _ -> decode.failure(0, "Credited")
        }
      },
    )
  use options <- with_subscriber(
    subscriber.new(
      "mail",
      credits,
      initialise: fn(_) { Ok(Nil) },
      on_event: fn(state, placed) {
        process.send(tell, placed.data)
        Ok(state)
      },
    )
    |> subscriber.from_beginning
    |> subscriber.tries(2),
  )
  use ctx <- with_context(options)
  let assert Ok(_) =
    warp.entity(ctx, "alice")
    |> aggregate.append_batch(account(), [Credited(5), Debited(1), Credited(7)])
  let assert [Waiting(seq: 2, tries: 2, why:, ..)] = parked(ctx)
  assert string.starts_with(
    why,
    "The aggregate's decoder failed on an event of type \"Debited\": ",
  )
  assert process.receive(tell, 5000) == Ok(5)
  assert process.receive(tell, 50) == Error(Nil)
  assert subscription.skip(ctx, "mail", "alice") == Ok(Nil)
  assert process.receive(tell, 5000) == Ok(7)
}

pub fn a_panic_is_a_failure_test() {
  use options <- with_subscriber(
    subscriber.new(
      "mail",
      account(),
      initialise: fn(_) { Ok(Nil) },
      on_event: fn(state, placed: Placed(AccountEvent)) {
        let assert Credited(7) = placed.data
        Ok(state)
      },
    )
    |> subscriber.tries(1),
  )
  use ctx <- with_context(options)
  credit(ctx, "alice", [7, 8])
  let assert [Waiting(seq: 2, why:, ..)] = parked(ctx)
  assert string.starts_with(
    why,
    "let assert: Pattern match failed, no pattern matched the value. Got {credited,8}. (warp/subscriber_test.",
  )
}

pub fn an_erasure_is_handled_until_it_works_test() {
  let tell = process.new_subject()
  let failing = failures(2)
  let on_erased = fn(sum, entity) {
    case fails(failing) {
      True -> Error(MailIsDown(entity))
      False -> {
        process.send(tell, HasErased(entity))
        Ok(sum + 100)
      }
    }
  }
  use options <- with_subscriber(
    mail(failures(0), tell) |> subscriber.on_erased(on_erased),
  )
  {
    use ctx <- with_context(options)
    credit(ctx, "alice", [1])
    assert process.receive(tell, 5000) == Ok(Handled("alice", 1, 1))
    let assert Ok(Nil) = warp.delete(warp.entity(ctx, "alice"))
    assert process.receive(tell, 5000) == Ok(HasErased("alice"))
    assert !fails(failing)
    credit(ctx, "bob", [2])
    assert process.receive(tell, 5000) == Ok(Handled("bob", 2, 103))
    assert testing.await_subscribers(ctx, within: 5000) == Ok(Nil)
  }
  // It is acknowledged.
  use _ctx <- with_context(options)
  assert process.receive(tell, 100) == Error(Nil)
}

pub fn an_initialiser_that_fails_is_called_again_test() {
  let tell = process.new_subject()
  let failing = failures(3)
  use options <- with_subscriber(
    subscriber.new(
      "mail",
      account(),
      initialise: fn(ctx) {
        case fails(failing) {
          True -> Error("no server")
          False -> Ok(ctx)
        }
      },
      on_event: fn(ctx, placed) {
        let balance = aggregate.get(warp.entity(ctx, placed.entity), account())
        process.send(tell, balance)
        Ok(ctx)
      },
    )
    |> subscriber.from_beginning,
  )
  use ctx <- with_context(options)
  credit(ctx, "alice", [4])
  assert process.receive(tell, 5000) == Ok(Ok(4))
}

pub fn options_say_which_events_come_test() {
  let tell = process.new_subject()
  use options <- with_subscriber(
    mail(failures(0), tell)
    |> subscriber.from_now
    |> subscriber.types(["Debited"])
    |> subscriber.prefix("user/")
    |> subscriber.consumers(2),
  )
  use ctx <- with_context(options)
  list.each(["user/1", "order/1", "user/2"], fn(id) {
    let assert Ok(_) =
      warp.entity(ctx, id)
      |> aggregate.append_batch(account(), [Credited(2), Debited(1)])
  })
  assert testing.await_subscribers(ctx, within: 5000) == Ok(Nil)
  let done = [process.receive(tell, 0), process.receive(tell, 0)]
  assert list.map(done, result.map(_, fn(done) {
      case done {
        Handled(entity:, amount:, ..) -> #(entity, amount)
        _ -> #("", 0)
      }
    }))
    |> list.sort(fn(a, b) { string.compare(string.inspect(a), string.inspect(b)) })
    == [Ok(#("user/1", -1)), Ok(#("user/2", -1))]
  assert process.receive(tell, 0) == Error(Nil)
}

pub fn places_to_begin_at_test() {
  use options <- with_options([aggregate.definition(account())])
  use ctx <- with_context(options)
  credit(ctx, "alice", [1])
  let assert Ok(sub) =
    subscription.to_context(ctx, account()) |> subscription.subscribe
  let assert Ok(cursor) = subscription.cursor(sub)
  process.sleep(2)
  credit(ctx, "alice", [2])
  let assert Ok([_, second]) = warp.history(warp.entity(ctx, "alice"))
  let tell = process.new_subject()
  let first = fn(subscriber) {
    let assert Ok(actor.Started(pid:, data: Nil)) =
      subscriber.start(ctx, subscriber)
    let first = process.receive(tell, 5000)
    process.unlink(pid)
    kill(pid)
    wait_until(fn() { subscription.forget(ctx, "mail") == Ok(Nil) })
    first
  }
  let mail = mail(failures(0), tell)
  assert first(mail) == Ok(Handled("alice", 1, 1))
  assert process.receive(tell, 5000) == Ok(Handled("alice", 2, 3))
  assert first(mail |> subscriber.from_cursor(cursor))
    == Ok(Handled("alice", 2, 2))
  assert first(mail |> subscriber.from_time(event.recorded_at(second)))
    == Ok(Handled("alice", 2, 2))
  let second_on = [
    mail |> subscriber.effects_from_time(event.recorded_at(second)),
    mail |> subscriber.effects_from_cursor(cursor),
  ]
  list.each(second_on, fn(mail) {
    assert first(mail) == Ok(Handled("alice", 2, 2))
  })
}

// Under one's own supervisor.

pub fn a_subscriber_of_a_supervisor_is_restarted_with_its_context_test() {
  let tell = process.new_subject()
  use options <- with_options([aggregate.definition(account())])
  let options = WarpOptions(..options, context: "with_subscriber")
  let assert Ok(actor.Started(pid: supervisor, ..)) =
    static_supervisor.new(static_supervisor.RestForOne)
    |> static_supervisor.add(warp.supervised(options))
    |> static_supervisor.add(subscriber.supervised(
      "with_subscriber",
      mail(failures(0), tell),
    ))
    |> static_supervisor.start
  process.unlink(supervisor)
  let assert Ok(before) = warp.named("with_subscriber")
  credit(before, "alice", [1])
  assert process.receive(tell, 5000) == Ok(Handled("alice", 1, 1))
  assert testing.await_subscribers(before, within: 5000) == Ok(Nil)
  warp.stop(before)
  wait_until(fn() {
    case warp.named("with_subscriber") {
      Ok(ctx) -> ctx != before
      Error(_) -> False
    }
  })
  let assert Ok(ctx) = warp.named("with_subscriber")
  credit(ctx, "bob", [2])
  assert process.receive(tell, 5000) == Ok(Handled("bob", 2, 2))
  kill(supervisor)
  wait_until(fn() {
    warp.named("with_subscriber") == Error(error.ContextStopped)
  })
}

pub fn a_subscriber_that_cannot_start_says_why_test() {
  let mail = mail(failures(0), process.new_subject())
  use options <- with_options([aggregate.definition(account())])
  let refused = fn(subscribers, error) {
    assert warp.start(
        WarpOptions(
          ..options,
          subscribers: list.map(subscribers, subscriber.definition),
        ),
      )
      == Error(error)
  }
  refused(
    [mail |> subscriber.tries(0)],
    error.BadOption(
      "tries of the subscriber mail",
      error.NotAnIntegerBetween(1, 1_000_000),
    ),
  )
  refused(
    [mail, mail],
    error.BadOption("subscribers", error.Because("two have the name mail")),
  )
  let assert Ok(ctx) = warp.start(options)
  assert subscriber.start(ctx, mail |> subscriber.consumers(0))
    == Error(actor.InitFailed(
      "The option consumers is not an integer from 1 to 4096.",
    ))
  warp.stop(ctx)
  assert subscriber.start(ctx, mail)
    == Error(actor.InitFailed("The context is not running. Start it."))
  let supervision.ChildSpecification(start:, ..) =
    subscriber.supervised("nowhere", mail)
  assert start()
    == Error(actor.InitFailed("The context is not running. Start it."))
}

pub fn statistics_say_how_it_is_test() {
  use options <- with_options([aggregate.definition(account())])
  let broken =
    subscriber.new(
      "broken",
      account(),
      initialise: fn(_ctx) { Error("no mail server") },
      on_event: fn(state: Nil, _placed) { Ok(state) },
    )
  let assert Ok(ctx) =
    warp.start(
      WarpOptions(..options, subscribers: [subscriber.definition(broken)]),
    )
  credit(ctx, "ann", [1])
  wait_until(fn() {
    let assert Ok(stats.Stats(subscriptions: [is], ..)) = warp.stats(ctx)
    case is.why {
      Some(why) -> string.contains(why, "no mail server")
      None -> False
    }
  })
  let assert Ok(stats.Stats(subscriptions: [is], ..)) = warp.stats(ctx)
  assert is.name == Some("broken")
  assert is.entity == None
  assert is.state == stats.NoConsumer
  assert is.behind_positions == 1
  assert is.behind_seconds >. 0.0
  assert is.parked == 0
  let assert Ok(live) =
    warp.entity(ctx, "ann")
    |> subscription.to_entity(account())
    |> subscription.subscribe
  wait_until(fn() {
    let assert Ok(stats) = warp.stats(ctx)
    list.any(stats.subscriptions, fn(is) {
      is.entity == Some("ann") && is.state == stats.Live && is.name == None
    })
  })
  subscription.unsubscribe(live)
  warp.stop(ctx)
}

// Helpers.

fn credit(ctx: warp.Context, id: String, amounts: List(Int)) -> Nil {
  let assert Ok(_) =
    warp.entity(ctx, id)
    |> aggregate.append_batch(account(), list.map(amounts, Credited))
  Nil
}

/// The next thing that is not this one.
///
fn next(tell: Subject(Done), but other: Done) -> Done {
  case process.receive(tell, 5000) {
    Ok(done) if done == other -> next(tell, other)
    Ok(done) -> done
    Error(Nil) -> panic as "nothing more was done"
  }
}

/// What waits, once something does that is so.
///
fn waiting(
  ctx: warp.Context,
  is_so: fn(subscription.Waiting) -> Bool,
) -> List(subscription.Waiting) {
  wait_until(fn() {
    subscription.parked(ctx, "mail") |> result.unwrap([]) |> list.any(is_so)
  })
  let assert Ok(waiting) = subscription.parked(ctx, "mail")
  waiting
}

fn parked(ctx: warp.Context) -> List(subscription.Waiting) {
  waiting(ctx, fn(waiting) { waiting.state == Parked })
}
