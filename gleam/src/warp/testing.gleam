//// Tests of aggregates without a database, and contexts for tests.
////
//// ```gleam
//// pub fn an_account_may_not_be_overdrawn_test() {
////   let account = testing.given(account(), [Credited(5)])
////   assert testing.append(account, Debited(9)) == Error(Refused(Missing(4)))
////   let assert Ok(account) = testing.append(account, Debited(2))
////   assert testing.state(account) == 3
//// }
//// ```

import gleam/list
import gleam/result
import warp
import warp/aggregate.{type Aggregate, type Engine}
import warp/context.{type WarpOptions}
import warp/error.{type Error}
import warp/event.{type Event}
import warp/internal/engine.{type Decision}
import warp/internal/settings.{type Settings}

/// An entity that has some events and is nowhere stored.
///
pub opaque type Given(state, event, reason) {
  Given(aggregate: Aggregate(state, event, reason), entity: Entity)
}

type Entity

/// An entity that has these events, as if it had stored them some time ago:
/// they are not validated. Panics if an event cannot be encoded or applied.
///
pub fn given(
  aggregate: Aggregate(state, event, reason),
  events: List(event),
) -> Given(state, event, reason) {
  let events =
    list.map(events, fn(event) {
      let assert Ok(event) = aggregate.encode(aggregate, event)
      event
    })
  let definition = aggregate.to_engine(aggregate.definition(aggregate))
  Given(aggregate:, entity: engine_given(definition, events))
}

/// The entity after an event was appended. Errors are those of
/// `aggregate.append`.
///
pub fn append(
  given: Given(state, event, reason),
  event: event,
) -> Result(Given(state, event, reason), Error(reason)) {
  append_batch(given, [event])
}

/// The entity after events were appended, of which all are stored or none.
/// Errors are those of `aggregate.append_batch`.
///
pub fn append_batch(
  given: Given(state, event, reason),
  events: List(event),
) -> Result(Given(state, event, reason), Error(reason)) {
  use events <- result.try(list.try_map(events, aggregate.encode(
    given.aggregate,
    _,
  )))
  engine_append(given.entity, events)
  |> engine.own_reason
  |> result.map(fn(entity) { Given(..given, entity:) })
}

/// The events that a function decides upon, and the entity after them. Errors
/// are those of `aggregate.decide`.
///
/// As in an entity, the function may run more than once.
///
pub fn decide(
  given: Given(state, event, reason),
  decide: fn(state) -> Result(List(event), reason),
) -> Result(#(List(event), Given(state, event, reason)), Error(reason)) {
  use entity <- result.try(
    engine_decide(given.entity, fn(state) {
      aggregate.decision(given.aggregate, decide(state))
    })
    |> engine.own_reason,
  )
  let assert Ok(events) = decide(state(given))
  Ok(#(events, Given(..given, entity:)))
}

/// The state of the entity.
///
pub fn state(given: Given(state, event, reason)) -> state {
  engine_state(given.entity)
}

/// Runs a function with a context in a folder of its own, and removes both,
/// whatever the function does. The context has one shard, and durability
/// `Normal`, so that it waits for no disk. Of the options, `data_dir`, `shards`
/// and `durability` do not count, and `context` may be left empty.
///
/// ```gleam
/// use bank <- testing.with_context(WarpOptions(..defaults(), aggregates:))
/// ```
///
/// Errors are those of `warp.start`.
///
pub fn with_context(
  options: WarpOptions,
  run: fn(warp.Context) -> a,
) -> Result(a, Error(reason)) {
  engine_with_context(settings.from_options(options), run)
}

/// Waits, for at most so many milliseconds, until all subscriptions with names have
/// handled everything that is stored, also what they appended themselves. Then a
/// test can look at what they did.
///
/// Fails with `error.Behind` when the time is over before, or when an event waits
/// that a subscriber failed with.
///
pub fn await_subscribers(
  context: warp.Context,
  within milliseconds: Int,
) -> Result(Nil, Error(reason)) {
  engine_await_subscribers(context, milliseconds)
}

@external(erlang, "warp_test_aggregate", "given")
fn engine_given(definition: Engine, events: List(Event)) -> Entity

@external(erlang, "warp_test_ffi", "append")
fn engine_append(
  entity: Entity,
  events: List(Event),
) -> Result(Entity, Error(reason))

@external(erlang, "warp_test_ffi", "decide")
fn engine_decide(
  entity: Entity,
  decide: fn(state) -> Decision,
) -> Result(Entity, Error(reason))

@external(erlang, "warp_test_aggregate", "state")
fn engine_state(entity: Entity) -> state

@external(erlang, "warp_test_ffi", "with_context")
fn engine_with_context(
  settings: Settings,
  run: fn(warp.Context) -> a,
) -> Result(a, Error(reason))

@external(erlang, "warp_test_ffi", "await_subscribers")
fn engine_await_subscribers(
  context: warp.Context,
  milliseconds: Int,
) -> Result(Nil, Error(reason))
