//// Subscribers with names, which Warp runs: each event is handled at least once,
//// what fails is tried again, and a restart goes on where the subscriber was.
////
//// ```gleam
//// fn welcome() -> Subscriber(Server, UserEvent, MailError) {
////   subscriber.new(
////     "welcome",
////     user(),
////     initialise: fn(_context) { Ok(mail_server()) },
////     on_event: fn(server, placed) {
////       use Nil <- result.map(mail.send(server, to: placed.data.email))
////       server
////     },
////   )
////   |> subscriber.types(["SignedUp"])
//// }
////
//// warp.start(
////   WarpOptions(..options, subscribers: [subscriber.definition(welcome())]),
//// )
//// ```
////
//// A subscriber has one process, or as many as `consumers` says, which split the
//// shards. It follows one aggregate. How far it is, is stored under its name.
////
//// When `on_event` fails, with an `Error` or by a panic, Warp calls it again with
//// that event after 100 milliseconds, and after pauses that double, up to a
//// minute. The same happens when the aggregate's decoder fails on an event, so
//// that no event is lost. Meanwhile later events of that entity wait, and all
//// others go on. After `tries` failures the event is parked:
//// `subscription.parked` lists it, `subscription.retry` tries it again, and
//// `subscription.skip` goes on behind it. While 1000 entities wait, the
//// subscriber takes no other events.
////
//// An event that was handled can come once more after a crash. For what a
//// subscriber does in Warp itself there is `warp/policy`, which does it once.

import gleam/erlang/process.{type Pid}
import gleam/otp/actor
import gleam/otp/supervision.{type ChildSpecification}
import gleam/result
import gleam/string
import warp/aggregate.{type Aggregate}
import warp/error.{type Error}
import warp/event.{type Event}
import warp/handle.{type Context}
import warp/subscription.{
  type Cursor, type Map, type Placed, type Setting, Aggregates, Beginning,
  Consumers, EffectsFrom, From, Now, Placed, Prefix, Time, Tries, Types,
}

/// A subscriber to start: its name, what it follows, and its functions. See `new`
/// and `policy.new`.
///
pub opaque type Subscriber(state, event, reason) {
  Subscriber(
    name: String,
    functions: Functions(state, event),
    settings: List(Setting),
  )
}

/// What `warp_subscriber_ffi` calls. Why a function failed is a text, which
/// operators see.
///
type Functions(state, event) {
  Functions(
    decode: fn(Event) -> Result(event, Error(Nil)),
    initialise: fn(Context) -> Result(state, String),
    on_event: fn(state, Placed(Result(event, Error(Nil)))) ->
      Result(state, String),
    on_caught_up: fn(state) -> state,
    on_erased: fn(state, String) -> Result(state, String),
  )
}

/// A subscriber in the form in which `WarpOptions` has it. See `definition`.
///
pub type SubscriberDefinition

/// A subscriber with this name, of 1 to 200 bytes of text, which follows the
/// events of this aggregate, of all entities of a context.
///
/// `initialise` returns the state before the first event. After an `Error` Warp
/// calls it again, with pauses. `on_event` handles one event and returns the next
/// state. The state is in memory only: what has to outlive a restart belongs into
/// a database, or into events.
///
/// `warp.start` reports what is wrong with a subscriber, as
/// `error.BadOption`.
///
pub fn new(
  name: String,
  aggregate: Aggregate(state, event, other),
  initialise initialise: fn(Context) -> Result(own, reason),
  on_event on_event: fn(own, Placed(event)) -> Result(own, reason),
) -> Subscriber(own, event, reason) {
  new_with(name, aggregate, string.inspect, initialise:, on_event:)
}

/// A subscriber, and how its reasons are shown.
///
@internal
pub fn new_with(
  name: String,
  aggregate: Aggregate(state, event, other),
  show: fn(reason) -> String,
  initialise initialise: fn(Context) -> Result(own, reason),
  on_event on_event: fn(own, Placed(event)) -> Result(own, reason),
) -> Subscriber(own, event, reason) {
  let functions =
    Functions(
      decode: aggregate.decode(aggregate, _),
      initialise: fn(context) {
        initialise(context) |> result.map_error(show)
      },
      on_event: fn(state, placed) {
        let Placed(entity:, shard:, position:, event:, data:) = placed
        case data {
          Ok(data) ->
            on_event(state, Placed(entity:, shard:, position:, event:, data:))
            |> result.map_error(show)
          Error(error) -> Error(error.to_string(error))
        }
      },
      on_caught_up: fn(state) { state },
      on_erased: fn(state, _entity) { Ok(state) },
    )
  Subscriber(name:, functions:, settings: [
    Aggregates([aggregate.name(aggregate)]),
  ])
}

/// Sets a function that is called when everything that was stored has been
/// handled, but for what waits, and again after the subscriber was behind. By
/// default nothing happens then.
///
pub fn on_caught_up(
  subscriber: Subscriber(state, event, reason),
  on_caught_up: fn(state) -> state,
) -> Subscriber(state, event, reason) {
  let functions = Functions(..subscriber.functions, on_caught_up:)
  Subscriber(..subscriber, functions:)
}

/// Sets a function that is called with the id of an entity that was deleted, of
/// this aggregate or of another one: whatever was made of its events is to be
/// erased. It is called again until it returns `Ok`, and nothing else is handled
/// before. By default nothing happens.
///
pub fn on_erased(
  subscriber: Subscriber(state, event, reason),
  on_erased: fn(state, String) -> Result(state, reason),
) -> Subscriber(state, event, reason) {
  let on_erased = fn(state, entity) {
    on_erased(state, entity) |> result.map_error(string.inspect)
  }
  let functions = Functions(..subscriber.functions, on_erased:)
  Subscriber(..subscriber, functions:)
}

// Options.

/// Begins with the first event, if the name is new.
///
pub fn from_beginning(
  subscriber: Subscriber(state, event, reason),
) -> Subscriber(state, event, reason) {
  set(subscriber, From(Beginning))
}

/// Begins with the next event that is stored, if the name is new. This is the
/// default.
///
pub fn from_now(
  subscriber: Subscriber(state, event, reason),
) -> Subscriber(state, event, reason) {
  set(subscriber, From(Now))
}

/// Begins behind a cursor of the same context, if the name is new.
///
pub fn from_cursor(
  subscriber: Subscriber(state, event, reason),
  cursor: Cursor,
) -> Subscriber(state, event, reason) {
  set(subscriber, From(subscription.Cursor(cursor)))
}

/// Begins with the first event that was recorded at this time or later, in
/// microseconds since 1970, UTC, if the name is new.
///
pub fn from_time(
  subscriber: Subscriber(state, event, reason),
  microseconds: Int,
) -> Subscriber(state, event, reason) {
  set(subscriber, From(Time(microseconds)))
}

/// Only events of these types come, as `migrate` gives them. By default those of
/// all types come.
///
pub fn types(
  subscriber: Subscriber(state, event, reason),
  types: List(String),
) -> Subscriber(state, event, reason) {
  set(subscriber, Types(types))
}

/// Only events of entities whose ids begin with this text come.
///
pub fn prefix(
  subscriber: Subscriber(state, event, reason),
  prefix: String,
) -> Subscriber(state, event, reason) {
  set(subscriber, Prefix(prefix))
}

/// Sets how many processes split the shards between them, from 1 to 4096, of which
/// there are at most as many as shards. The default is 1. Each has a state of its
/// own.
///
pub fn consumers(
  subscriber: Subscriber(state, event, reason),
  count: Int,
) -> Subscriber(state, event, reason) {
  set(subscriber, Consumers(count))
}

/// Sets how many times `on_event` may fail with an event before the event is
/// parked, from 1 to 1,000,000. The default is 10, which takes 51 seconds.
///
pub fn tries(
  subscriber: Subscriber(state, event, reason),
  count: Int,
) -> Subscriber(state, event, reason) {
  set(subscriber, Tries(count))
}

/// For a past that is not to have effects, or not again: `on_event` is not called
/// for events that were recorded before this time, in microseconds since 1970, UTC.
/// They are acknowledged as if they had been handled, also those that waited. By
/// default `on_event` is called for all events.
///
pub fn effects_from_time(
  subscriber: Subscriber(state, event, reason),
  microseconds: Int,
) -> Subscriber(state, event, reason) {
  set(subscriber, EffectsFrom(Time(microseconds)))
}

/// As `effects_from_time`, for events that are not behind a cursor of the same
/// context. `warp.start` fails with `error.BadCursor` if it is a cursor of something
/// else; a subscriber that `start` started does not go on then, and `warp.stats`
/// says why.
///
pub fn effects_from_cursor(
  subscriber: Subscriber(state, event, reason),
  cursor: Cursor,
) -> Subscriber(state, event, reason) {
  set(subscriber, EffectsFrom(subscription.Cursor(cursor)))
}

fn set(
  subscriber: Subscriber(state, event, reason),
  setting: Setting,
) -> Subscriber(state, event, reason) {
  Subscriber(..subscriber, settings: [setting, ..subscriber.settings])
}

// Starting.

/// The subscriber in the form in which `WarpOptions` has it. Warp starts it with
/// the context, and restarts it.
///
/// ```gleam
/// WarpOptions(..defaults(), subscribers: [subscriber.definition(welcome())])
/// ```
///
pub fn definition(
  subscriber: Subscriber(state, event, reason),
) -> SubscriberDefinition {
  let Subscriber(name:, functions:, settings:) = subscriber
  engine_new(name, functions, subscription.to_map(settings))
}

/// Starts a subscriber of a running context, linked to the calling process. With
/// several `consumers` this is one of them. It ends with its context.
///
/// Fails with `actor.InitFailed` when something is wrong with the subscriber, and
/// when the context is stopped.
///
pub fn start(
  context: Context,
  subscriber: Subscriber(state, event, reason),
) -> actor.StartResult(Nil) {
  started(engine_start_link(context, definition(subscriber)))
}

fn started(result: Result(Pid, Error(Nil))) -> actor.StartResult(Nil) {
  case result {
    Ok(pid) -> Ok(actor.Started(pid:, data: Nil))
    Error(error) -> Error(actor.InitFailed(error.to_string(error)))
  }
}

/// A subscriber as a child of your supervisor, of the context with this name,
/// which runs under the same supervisor: see `warp.supervised`. When the context
/// ends, the subscriber ends too, and a supervisor with the strategy `RestForOne`
/// starts both again. For another context give `start` to `supervision.worker`.
///
/// ```gleam
/// static_supervisor.new(static_supervisor.RestForOne)
/// |> static_supervisor.add(warp.supervised(options))
/// |> static_supervisor.add(subscriber.supervised("shop", welcome()))
/// |> static_supervisor.start
/// ```
///
pub fn supervised(
  context: String,
  subscriber: Subscriber(state, event, reason),
) -> ChildSpecification(Nil) {
  supervision.worker(fn() {
    started({
      use context <- result.try(engine_named(context))
      engine_start_link(context, definition(subscriber))
    })
  })
  // It ends with its context, and cannot start before that runs again.
  |> supervision.restart(supervision.Transient)
}

@external(erlang, "warp_subscriber_ffi", "new")
fn engine_new(
  name: String,
  functions: Functions(state, event),
  options: Map,
) -> SubscriberDefinition

@external(erlang, "warp_subscriber_ffi", "start_link")
fn engine_start_link(
  context: Context,
  subscriber: SubscriberDefinition,
) -> Result(Pid, Error(reason))

@external(erlang, "warp_ffi", "named")
fn engine_named(context: String) -> Result(Context, Error(reason))
