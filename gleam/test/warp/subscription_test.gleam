//// Subscriptions of real contexts.

import gleam/dict
import gleam/dynamic/decode
import gleam/erlang/process.{type Subject}
import gleam/int
import gleam/list
import gleam/otp/actor
import testkit.{wait_until}
import warp
import warp/aggregate.{type Aggregate}
import warp/context.{WarpOptions}
import warp/error
import warp/event
import warp/json
import warp/subscription.{
  type Builder, type Message, type Placed, type Subscription, CaughtUp,
  Checkpoint, Ended, Erased, Events, Placed,
}
import warp_testing.{
  type AccountEvent, Credited, Debited, account, messages, with_accounts,
  with_context, with_options,
}

// What comes.

pub fn what_is_stored_comes_and_then_what_is_new_test() {
  use ctx <- with_accounts
  let alice = warp.entity(ctx, "alice")
  let assert Ok(_) =
    aggregate.append_batch(alice, account(), [Credited(5000), Debited(1000)])
  let assert Ok(of_context) =
    subscription.to_context(ctx, account())
    |> subscription.from_beginning
    |> subscription.subscribe
  let assert Ok(of_alice) =
    alice |> subscription.to_entity(account()) |> subscription.subscribe

  let assert Ok(Events([first, second])) = next(of_context)
  let assert Placed(entity: "alice", data: Ok(Credited(5000)), ..) = first
  assert event.type_(first.event) == "Credited"
  assert event.seq(first.event) == 1
  assert first.shard == second.shard
  assert warp.shard_of(alice) == Ok(first.shard)
  assert second.data == Ok(Debited(1000))
  let assert Ok(CaughtUp(_)) = next(of_context)
  // By default only what is new comes.
  let assert Ok(CaughtUp(_)) = next(of_alice)

  // `receive` takes the messages of its own subscription.
  let assert Ok(3) = aggregate.append(alice, account(), Credited(7))
  let assert Ok(1) =
    aggregate.append(warp.entity(ctx, "bob"), account(), Credited(8))
  let both = data(events(of_context, 2))
  assert list.contains(both, Ok(Credited(7)))
  assert list.contains(both, Ok(Credited(8)))
  let assert Ok(Events([third])) = next(of_alice)
  assert third.data == Ok(Credited(7))
  assert third.position > second.position
  assert subscription.receive(of_alice, within: 50) == Error(Nil)
}

pub fn only_what_the_filter_lets_through_comes_test() {
  use options <- with_options([
    aggregate.definition(account()),
    aggregate.definition(notes()),
  ])
  use ctx <- with_context(options)
  list.each(["user/1", "order/1"], fn(id) {
    let entity = warp.entity(ctx, id)
    let assert Ok(1) = aggregate.append(entity, notes(), id)
    let assert Ok(_) =
      aggregate.append_batch(entity, account(), [Credited(2), Debited(1)])
  })
  let of_accounts = stored(subscription.to_context(ctx, account()), 4)
  assert list.all(of_accounts, fn(placed) {
    event.aggregate(placed.event) == "Account"
  })
  assert stored(subscription.to_context(ctx, notes()), 2)
    |> list.all(fn(placed) { placed.data == Ok(placed.entity) })
  assert subscription.to_context(ctx, account())
    |> subscription.types(["Debited"])
    |> stored(2)
    |> data
    == [Ok(Debited(1)), Ok(Debited(1))]
  assert subscription.to_context(ctx, account())
    |> subscription.prefix("user/")
    |> stored(2)
    |> list.map(fn(placed) { placed.entity })
    == ["user/1", "user/1"]
  assert warp.entity(ctx, "order/1")
    |> subscription.to_entity(account())
    |> stored(2)
    |> data
    == [Ok(Credited(2)), Ok(Debited(1))]
}

pub fn an_event_that_cannot_be_decoded_comes_with_the_error_test() {
  use ctx <- with_accounts
  let alice = warp.entity(ctx, "alice")
  let assert Ok(_) =
    aggregate.append_batch(alice, account(), [
      Credited(3),
      Debited(1),
      Credited(5),
    ])
  let assert Ok(sub) =
    alice
    |> subscription.to_entity(credits())
    |> subscription.from_beginning
    |> subscription.credit(2)
    |> subscription.subscribe
  let assert [credited, debited] = events(sub, 2)
  assert credited.data == Ok(3)
  let assert Error(error.UndecodableEvent("Debited", [_])) = debited.data
  assert event.decode(debited.event, decode.at(["amount"], decode.int)) == Ok(1)
  // It holds up nothing that is behind it.
  subscription.ack(sub, debited)
  assert data(events(sub, 1)) == [Ok(5)]
}

// Credit.

pub fn no_more_comes_than_there_is_credit_for_test() {
  use ctx <- with_accounts
  list.each(["a", "b", "c", "d", "e", "f", "g", "h"], fn(id) {
    let assert Ok(1) =
      aggregate.append(warp.entity(ctx, id), account(), Credited(1))
  })
  let assert Ok(sub) =
    subscription.to_context(ctx, account())
    |> subscription.from_beginning
    |> subscription.credit(6)
    |> subscription.subscribe
  let first = events(sub, 6)
  // They are of both shards, and all are acknowledged.
  assert list.any(first, fn(placed) { placed.shard == 0 })
  assert list.any(first, fn(placed) { placed.shard == 1 })
  assert subscription.receive(sub, within: 50) == Error(Nil)
  subscription.ack_all(sub, first)
  let assert [seventh, eighth] = events(sub, 2)
  let assert Ok(CaughtUp(_)) = next(sub)
  subscription.ack(sub, seventh)
  subscription.ack(sub, eighth)
  let assert Ok(Checkpoint(cursor)) = next(sub)
  assert subscription.cursor(sub) == Ok(cursor)
  let assert Ok(then) =
    subscription.to_context(ctx, account())
    |> subscription.from_cursor(cursor)
    |> subscription.subscribe
  let assert Ok(CaughtUp(_)) = next(then)
}

pub fn whoever_asks_gets_that_many_test() {
  use ctx <- with_accounts
  let alice = warp.entity(ctx, "alice")
  let assert Ok(_) =
    aggregate.append_batch(alice, account(), list.repeat(Credited(1), 9))
  let assert Ok(sub) =
    alice
    |> subscription.to_entity(account())
    |> subscription.from_beginning
    |> subscription.demand
    |> subscription.subscribe
  subscription.more(sub, 0)
  subscription.more(sub, -1)
  assert subscription.receive(sub, within: 50) == Error(Nil)
  subscription.more(sub, 2)
  assert list.length(events(sub, 2)) == 2
  assert subscription.receive(sub, within: 50) == Error(Nil)
  subscription.more(sub, 100)
  assert list.length(events(sub, 7)) == 7
}

// Where it begins.

pub fn a_cursor_goes_on_later_test() {
  use options <- with_options([aggregate.definition(account())])
  let cursor = {
    use ctx <- with_context(options)
    let alice = warp.entity(ctx, "alice")
    let assert Ok(_) =
      aggregate.append_batch(alice, account(), [Credited(1), Credited(2)])
    let assert Ok(sub) =
      subscription.to_context(ctx, account())
      |> subscription.from_beginning
      |> subscription.subscribe
    let assert [first, _] = events(sub, 2)
    subscription.ack(sub, first)
    let assert Ok(cursor) = subscription.cursor(sub)
    subscription.cursor_to_string(cursor)
  }
  use ctx <- with_context(options)
  let assert Ok(3) =
    aggregate.append(warp.entity(ctx, "alice"), account(), Credited(3))
  let assert Ok(sub) =
    subscription.to_context(ctx, account())
    |> subscription.from_cursor(subscription.cursor_from_string(cursor))
    |> subscription.subscribe
  assert data(events(sub, 2)) == [Ok(Credited(2)), Ok(Credited(3))]
}

pub fn a_time_is_a_beginning_too_and_the_last_one_counts_test() {
  use ctx <- with_accounts
  let alice = warp.entity(ctx, "alice")
  let assert Ok(1) = aggregate.append(alice, account(), Credited(1))
  process.sleep(2)
  let assert Ok(2) = aggregate.append(alice, account(), Credited(2))
  let assert Ok([_, second]) = warp.history(alice)
  let assert Ok(sub) =
    subscription.to_entity(alice, account())
    |> subscription.from_beginning
    |> subscription.from_time(event.recorded_at(second))
    |> subscription.subscribe
  assert data(events(sub, 1)) == [Ok(Credited(2))]
  let assert Ok(sub) =
    subscription.to_entity(alice, account())
    |> subscription.from_beginning
    |> subscription.from_now
    |> subscription.subscribe
  let assert Ok(CaughtUp(_)) = next(sub)
}

// What ends.

pub fn an_entity_that_was_deleted_is_told_test() {
  use ctx <- with_accounts
  let alice = warp.entity(ctx, "alice")
  let assert Ok(_) =
    aggregate.append_batch(alice, account(), list.repeat(Credited(1), 5))
  let assert Ok(sub) =
    subscription.to_context(ctx, account())
    |> subscription.from_beginning
    |> subscription.credit(2)
    |> subscription.subscribe
  let before = events(sub, 2)
  let assert Ok(Nil) = warp.delete(alice)
  subscription.ack_all(sub, before)
  let assert Ok(Erased("alice")) = next(sub)
  let assert Ok(1) = aggregate.append(alice, account(), Credited(9))
  assert data(events(sub, 1)) == [Ok(Credited(9))]
}

pub fn a_subscription_ends_with_its_context_test() {
  use options <- with_options([aggregate.definition(account())])
  let assert Ok(ctx) = warp.start(options)
  let assert Ok(sub) =
    subscription.to_context(ctx, account()) |> subscription.subscribe
  let assert Ok(CaughtUp(_)) = next(sub)
  warp.stop(ctx)
  assert next(sub) == Ok(Ended)
  assert subscription.cursor(sub) == Error(error.SubscriptionEnded)
  assert subscription.to_context(ctx, account()) |> subscription.subscribe
    == Error(error.ContextStopped)
  // Nobody is there, and nobody is missed.
  subscription.more(sub, 1)
  subscription.unsubscribe(sub)
}

pub fn nothing_is_left_of_one_that_was_ended_test() {
  use ctx <- with_accounts
  let alice = warp.entity(ctx, "alice")
  let assert Ok(1) = aggregate.append(alice, account(), Credited(1))
  let assert Ok(sub) =
    subscription.to_context(ctx, account())
    |> subscription.from_beginning
    |> subscription.subscribe
  // The event, and that it has caught up.
  wait_until(fn() { messages() >= 2 })
  subscription.unsubscribe(sub)
  let assert Ok(2) = aggregate.append(alice, account(), Credited(2))
  assert subscription.receive(sub, within: 50) == Error(Nil)
  assert messages() == 0
}

// Errors.

pub fn what_is_wrong_with_a_subscription_is_said_test() {
  use ctx <- with_accounts
  let alice = warp.entity(ctx, "alice")
  let of_context = subscription.to_context(ctx, account())
  let of_alice = subscription.to_entity(alice, account())
  let refused = fn(builder, error) {
    assert subscription.subscribe(builder) == Error(error)
  }
  list.each([0, -1, 100_001], fn(events) {
    refused(
      of_context |> subscription.credit(events),
      error.BadOption("credit", error.NotAnIntegerBetween(1, 100_000)),
    )
  })
  refused(
    of_context |> subscription.types([]),
    error.BadOption("types", error.Because("it is not a list of names")),
  )
  refused(
    of_context |> subscription.from_time(int.bitwise_shift_left(1, 80)),
    error.BadOption("from", error.Because("it is no place to begin at")),
  )
  refused(of_alice |> subscription.prefix("a"), error.UnknownOption("prefix"))
  refused(
    warp.entity(ctx, "") |> subscription.to_entity(account()),
    error.BadEntityId(error.Empty),
  )
}

pub fn a_cursor_of_something_else_is_refused_test() {
  use options <- with_options([aggregate.definition(account())])
  let of = fn(builder) {
    let assert Ok(sub) = subscription.subscribe(builder)
    let assert Ok(cursor) = subscription.cursor(sub)
    cursor
  }
  let refused = fn(builder, cursor, why) {
    assert builder
      |> subscription.from_cursor(cursor)
      |> subscription.subscribe
      == Error(error.BadCursor(error.Because(why)))
  }
  let ahead = {
    use ctx <- with_context(options)
    let alice = warp.entity(ctx, "alice")
    let bob = warp.entity(ctx, "bob")
    let assert Ok(1) = aggregate.append(alice, account(), Credited(1))
    let of_context = of(subscription.to_context(ctx, account()))
    let of_alice = of(subscription.to_entity(alice, account()))
    refused(
      subscription.to_context(ctx, account()),
      of_alice,
      "it is that of an entity",
    )
    refused(
      subscription.to_entity(alice, account()),
      of_context,
      "it is that of a context",
    )
    refused(
      subscription.to_entity(bob, account()),
      of_alice,
      "it is that of another entity",
    )
    refused(
      subscription.to_context(ctx, account()),
      subscription.cursor_from_string("a text"),
      "it is none",
    )
    let assert Ok(shard) = warp.shard_of(alice)
    #(of_context, shard)
  }
  use fresh <- with_options([aggregate.definition(account())])
  {
    use ctx <- with_context(fresh)
    refused(
      subscription.to_context(ctx, account()),
      ahead.0,
      "it is ahead of the log of shard " <> int.to_string(ahead.1),
    )
  }
  use fresh <- with_options([aggregate.definition(account())])
  use ctx <- with_context(WarpOptions(..fresh, shards: 3))
  refused(
    subscription.to_context(ctx, account()),
    ahead.0,
    "it is that of a context with 2 shards",
  )
}

// Places.

pub fn only_one_shard_comes_test() {
  use ctx <- with_accounts
  let ids = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"]
  list.each(ids, fn(id) {
    let assert Ok(1) =
      aggregate.append(warp.entity(ctx, id), account(), Credited(1))
  })
  let in_shard = fn(number) {
    list.filter(ids, fn(id) { warp.shard_of(warp.entity(ctx, id)) == Ok(number) })
  }
  list.each([0, 1], fn(number) {
    let expected = in_shard(number)
    let came =
      subscription.to_context(ctx, account())
      |> subscription.shard(number)
      |> stored(list.length(expected))
    assert list.map(came, fn(placed) { placed.entity }) == expected
  })
  let assert Error(error.BadOption("shard", _)) =
    subscription.to_context(ctx, account())
    |> subscription.shard(2)
    |> subscription.subscribe
  let assert Error(error.BadOption("shard", _)) =
    subscription.to_context(ctx, account())
    |> subscription.named("mail")
    |> subscription.shard(0)
    |> subscription.subscribe
  let assert Error(error.UnknownOption("shard")) =
    subscription.to_entity(warp.entity(ctx, "a"), account())
    |> subscription.shard(0)
    |> subscription.subscribe
}

pub fn a_cursor_is_a_place_and_back_test() {
  use ctx <- with_accounts
  let alice = warp.entity(ctx, "alice")
  let assert Ok(_) =
    aggregate.append_batch(alice, account(), [
      Credited(1),
      Credited(2),
      Credited(3),
    ])
  let assert Ok(shard) = warp.shard_of(alice)
  let assert Ok(sub) =
    subscription.to_context(ctx, account())
    |> subscription.from_beginning
    |> subscription.subscribe
  let assert [_, second, _] = events(sub, 3)
  subscription.ack(sub, second)
  let assert Ok(cursor) = subscription.cursor(sub)
  let assert Ok(place) = subscription.context_place(ctx, cursor)
  assert dict.get(place, shard)
    == Ok(subscription.Within(position: second.position, seq: 2))
  assert subscription.context_cursor_at(ctx, place) == Ok(cursor)
  assert data(from(subscription.to_context(ctx, account()), cursor, 1))
    == [Ok(Credited(3))]
  let whole = dict.from_list([#(shard, subscription.UpTo(second.position))])
  let assert Ok(behind) = subscription.context_cursor_at(ctx, whole)
  assert subscription.context_place(ctx, behind) == Ok(whole)
  let assert Ok(4) = aggregate.append(alice, account(), Credited(4))
  assert data(from(subscription.to_context(ctx, account()), behind, 1))
    == [Ok(Credited(4))]

  let at =
    subscription.entity_cursor_at(
      alice,
      subscription.EntityPlace(life: second.position, seq: 3),
    )
  assert data(from(subscription.to_entity(alice, account()), at, 1))
    == [Ok(Credited(4))]
  assert subscription.entity_place(alice, at)
    == Ok(subscription.EntityPlace(life: second.position, seq: 3))
  let assert Error(error.BadCursor(_)) = subscription.context_place(ctx, at)
  let assert Error(error.BadCursor(_)) =
    subscription.entity_place(alice, behind)
}

fn from(builder: Builder(event), cursor, count: Int) {
  let assert Ok(sub) =
    builder |> subscription.from_cursor(cursor) |> subscription.subscribe
  let came = events(sub, count)
  subscription.unsubscribe(sub)
  came
}

// In an actor.

type Command {
  FromAccounts(Message(AccountEvent))
  FromNotes(Message(String))
  Get(reply_to: Subject(#(Int, List(String))))
}

type Teller {
  Teller(
    accounts: Subscription(AccountEvent),
    notes: Subscription(String),
    sum: Int,
    texts: List(String),
  )
}

fn teller(ctx: warp.Context) {
  actor.new_with_initialiser(5000, fn(subject) {
    let assert Ok(accounts) =
      subscription.to_context(ctx, account()) |> subscription.subscribe
    let assert Ok(notes) =
      subscription.to_context(ctx, notes()) |> subscription.subscribe
    let selector =
      process.new_selector()
      |> process.select(subject)
      |> process.merge_selector(
        subscription.selector(accounts) |> process.map_selector(FromAccounts),
      )
      |> process.merge_selector(
        subscription.selector(notes) |> process.map_selector(FromNotes),
      )
    actor.initialised(Teller(accounts:, notes:, sum: 0, texts: []))
    |> actor.selecting(selector)
    |> actor.returning(subject)
    |> Ok
  })
  |> actor.on_message(on_message)
}

fn on_message(teller: Teller, command: Command) -> actor.Next(Teller, Command) {
  case command {
    FromAccounts(Events(events)) -> {
      subscription.ack_all(teller.accounts, events)
      let sum =
        list.fold(events, teller.sum, fn(sum, placed) {
          let assert Ok(event) = placed.data
          warp_testing.apply(sum, event)
        })
      actor.continue(Teller(..teller, sum:))
    }
    FromNotes(Events(events)) -> {
      subscription.ack_all(teller.notes, events)
      let texts =
        list.fold(events, teller.texts, fn(texts, placed) {
          let assert Ok(text) = placed.data
          [text, ..texts]
        })
      actor.continue(Teller(..teller, texts:))
    }
    FromAccounts(Ended) -> actor.stop()
    FromAccounts(_) | FromNotes(_) -> actor.continue(teller)
    Get(reply_to:) -> {
      process.send(reply_to, #(teller.sum, teller.texts))
      actor.continue(teller)
    }
  }
}

pub fn an_actor_selects_two_subscriptions_beside_its_own_messages_test() {
  use options <- with_options([
    aggregate.definition(account()),
    aggregate.definition(notes()),
  ])
  let assert Ok(ctx) = warp.start(options)
  let assert Ok(actor.Started(pid:, data: teller)) = actor.start(teller(ctx))
  let alice = warp.entity(ctx, "alice")
  let assert Ok(_) =
    aggregate.append_batch(alice, account(), [Credited(50), Debited(8)])
  let assert Ok(_) = aggregate.append(alice, notes(), "hello")
  wait_until(fn() { actor.call(teller, 5000, Get) == #(42, ["hello"]) })
  warp.stop(ctx)
  wait_until(fn() { !process.is_alive(pid) })
}

// Helpers.

/// Notes, which are events of texts.
///
fn notes() -> Aggregate(Int, String, Nil) {
  aggregate.new("Notes", initial: 0, apply: fn(count, _) { count + 1 })
  |> aggregate.codec(
    encode: fn(text) {
      #("Noted", json.object([#("text", json.string(text))]))
    },
    decode: fn(_type) { decode.at(["text"], decode.string) },
  )
}

/// The accounts of a program that knows credits only.
///
fn credits() -> Aggregate(Int, Int, Nil) {
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
}

type Sent(event) =
  Placed(Result(event, error.Error(Nil)))

fn next(sub: Subscription(event)) -> Result(Message(event), Nil) {
  subscription.receive(sub, within: 5000)
}

/// The events that are stored, exactly so many.
///
fn stored(builder: Builder(event), count: Int) -> List(Sent(event)) {
  let assert Ok(sub) =
    builder |> subscription.from_beginning |> subscription.subscribe
  let stored = events(sub, count)
  let assert Ok(CaughtUp(_)) = next(sub)
  stored
}

/// The next events, exactly so many.
///
fn events(sub: Subscription(event), count: Int) -> List(Sent(event)) {
  case count {
    0 -> []
    _ -> {
      let assert Ok(Events(first)) = next_of_events(sub)
      assert list.length(first) <= count
      list.append(first, events(sub, count - list.length(first)))
    }
  }
}

/// Where one waits for events, the subscription may say how it is.
///
fn next_of_events(sub: Subscription(event)) -> Result(Message(event), Nil) {
  case next(sub) {
    Ok(CaughtUp(_)) | Ok(Checkpoint(_)) -> next_of_events(sub)
    other -> other
  }
}

fn data(events: List(Sent(event))) -> List(Result(event, error.Error(Nil))) {
  list.map(events, fn(placed) { placed.data })
}
