//// Subscriptions with names, of real contexts.

import gleam/list
import warp
import warp/aggregate
import warp/error
import warp/subscription.{
  type Builder, type Message, type Subscription, Active, Erased, Events,
}
import warp_testing.{
  type AccountEvent, Credited, account, with_accounts, with_context,
  with_options,
}

fn mail(ctx: warp.Context) -> Builder(AccountEvent) {
  subscription.to_context(ctx, account())
  |> subscription.from_beginning
  |> subscription.named("mail")
}

pub fn a_name_goes_on_where_it_was_after_a_restart_test() {
  use options <- with_options([aggregate.definition(account())])
  {
    use ctx <- with_context(options)
    credit(ctx, "alice", [1, 2, 3])
    let assert Ok(sub) = subscription.subscribe(mail(ctx))
    assert next(sub) == Active([0, 1])
    let assert Events([first, second, _]) = next(sub)
    subscription.ack_all(sub, [first, second])
    // It is on disk when this returns.
    let assert Ok(_) = subscription.cursor(sub)
    Nil
  }
  use ctx <- with_context(options)
  let assert Ok(sub) = subscription.subscribe(mail(ctx))
  assert next(sub) == Active([0, 1])
  assert amounts(sub) == [3]
}

pub fn consumers_split_the_shards_and_a_standby_takes_over_test() {
  use ctx <- with_accounts
  let subscribe = fn() {
    mail(ctx) |> subscription.consumers(2) |> subscription.subscribe
  }
  let assert Ok(one) = subscribe()
  let assert Ok(two) = subscribe()
  assert next(one) == Active([0])
  assert next(two) == Active([1])
  let assert Ok(three) = subscribe()
  assert subscription.receive(three, within: 50) == Error(Nil)
  assert mail(ctx) |> subscription.subscribe == Error(error.OthersSay(2))
  subscription.unsubscribe(two)
  assert next(three) == Active([1])
}

pub fn an_erasure_comes_until_it_is_acknowledged_test() {
  use options <- with_options([aggregate.definition(account())])
  {
    use ctx <- with_context(options)
    credit(ctx, "alice", [1])
    let assert Ok(sub) = subscription.subscribe(mail(ctx))
    assert amounts(sub) == [1]
    subscription.unsubscribe(sub)
    let assert Ok(Nil) = warp.delete(warp.entity(ctx, "alice"))
    let assert Ok(sub) = subscription.subscribe(mail(ctx))
    assert erased(sub) == "alice"
  }
  {
    use ctx <- with_context(options)
    let assert Ok(sub) = subscription.subscribe(mail(ctx))
    assert erased(sub) == "alice"
    subscription.ack_erased(sub, "alice")
    let assert Ok(_) = subscription.cursor(sub)
    Nil
  }
  use ctx <- with_context(options)
  let assert Ok(sub) = subscription.subscribe(mail(ctx))
  credit(ctx, "bob", [7])
  // The erasure would have come first.
  assert next_of_log(sub) != Erased("alice")
}

pub fn a_name_is_forgotten_and_begins_anew_test() {
  use ctx <- with_accounts
  credit(ctx, "alice", [1])
  assert subscription.forget(ctx, "mail") == Error(error.UnknownSubscription)
  assert subscription.parked(ctx, "mail") == Error(error.UnknownSubscription)
  let assert Ok(sub) = subscription.subscribe(mail(ctx))
  assert amounts(sub) == [1]
  let assert Error(error.InUse(_)) = subscription.forget(ctx, "mail")
  assert subscription.retry(ctx, "mail", "alice") == Error(error.NotWaiting)
  assert subscription.skip(ctx, "mail", "alice") == Error(error.NotWaiting)
  assert subscription.parked(ctx, "mail") == Ok([])
  subscription.unsubscribe(sub)
  assert subscription.forget(ctx, "mail") == Ok(Nil)
  let assert Ok(sub) = subscription.subscribe(mail(ctx))
  assert amounts(sub) == [1]
}

pub fn what_is_wrong_with_a_name_is_said_test() {
  use ctx <- with_accounts
  assert mail(ctx) |> subscription.named("") |> subscription.subscribe
    == Error(error.BadOption("name", error.Empty))
  assert mail(ctx) |> subscription.consumers(3) |> subscription.subscribe
    == Error(error.BadOption("consumers", error.NotAnIntegerBetween(1, 2)))
  assert warp.entity(ctx, "alice")
    |> subscription.to_entity(account())
    |> subscription.named("mail")
    |> subscription.subscribe
    == Error(error.UnknownOption("name"))
}

fn credit(ctx: warp.Context, id: String, amounts: List(Int)) -> Nil {
  let assert Ok(_) =
    warp.entity(ctx, id)
    |> aggregate.append_batch(account(), list.map(amounts, Credited))
  Nil
}

fn next(sub: Subscription(event)) -> Message(event) {
  let assert Ok(message) = subscription.receive(sub, within: 5000)
  message
}

/// The next message that is of an event or of an erasure.
///
fn next_of_log(sub: Subscription(event)) -> Message(event) {
  case next(sub) {
    Events(_) as message | Erased(_) as message -> message
    _ -> next_of_log(sub)
  }
}

/// The amounts of the next message with events, which is acknowledged.
///
fn amounts(sub: Subscription(AccountEvent)) -> List(Int) {
  let assert Events(events) = next_of_log(sub)
  subscription.ack_all(sub, events)
  list.map(events, fn(placed) {
    let assert Ok(Credited(amount)) = placed.data
    amount
  })
}

fn erased(sub: Subscription(event)) -> String {
  let assert Erased(entity) = next_of_log(sub)
  entity
}
