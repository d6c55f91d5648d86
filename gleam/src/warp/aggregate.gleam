//// Aggregates, which fold the events of an entity into a state.
////
//// You define an aggregate over your own types:
////
//// ```gleam
//// pub fn account() -> Aggregate(Int, AccountEvent, Overdraft) {
////   aggregate.new("Account", initial: 0, apply:)
////   |> aggregate.with_codec(events())
////   |> aggregate.validate(no_overdraft)
//// }
//// ```
////
//// Then you append events and read states of these types:
////
//// ```gleam
//// let assert Ok(1) = alice |> aggregate.append(account(), Credited(5000))
//// let assert Ok(5000) = alice |> aggregate.get(account())
//// ```
////
//// A context is started with a list of `AggregateDefinition`s: `definition`
//// converts an aggregate to one. For states and events without types of your
//// own, write an `AggregateDefinition` record instead.

import gleam/dynamic.{type Dynamic}
import gleam/dynamic/decode.{type DecodeError, type Decoder}
import gleam/list
import gleam/option.{type Option, None, Some}
import gleam/result
import warp/append
import warp/call
import warp/codec
import warp/error.{type Error}
import warp/event.{type Event}
import warp/handle.{type Entity}
import warp/history.{type Point}
import warp/internal/engine
import warp/json.{type Json}
import warp/pipeline
import warp/projection.{type Command}

/// An aggregate in the form in which `WarpOptions` has it.
///
pub type AggregateDefinition {
  /// An aggregate without types of your own: states are `Dynamic`, and the
  /// functions get events as the log has them.
  AggregateDefinition(
    /// The name, of 1 to 512 bytes. The aggregates of a context have different
    /// names.
    name: String,
    /// The state before the first event.
    initial_state: Dynamic,
    /// Returns the state after an event.
    apply: fn(Dynamic, Event) -> Dynamic,
    /// Returns the commands that write to the tables of projections, from the
    /// entity's id, the state after the event, and the event.
    project: fn(String, Dynamic, Event) -> List(Command),
    /// Returns the event in the current schema. Warp calls it with every event,
    /// and with the version of the schema in which the event was written, before
    /// it calls `apply`.
    migrate: fn(Event, Int) -> Event,
  )
  /// An aggregate over types of your own. See `definition`.
  Typed(TypedDefinition)
}

/// An aggregate over types of your own, in the engine's form.
///
pub type TypedDefinition

/// An aggregate over your own types of states, of events, and of the reasons
/// with which `validate` refuses an event.
///
pub opaque type Aggregate(state, event, reason) {
  Aggregate(
    name: String,
    initial: state,
    apply: fn(state, event) -> state,
    codec: Functions(event),
    validate: Option(fn(state, event) -> Result(Nil, reason)),
    project: Option(fn(String, state, event) -> List(Command)),
    migrate: Option(fn(Event, Int) -> Event),
    version: Int,
    aliases: List(String),
  )
}

type Functions(event) {
  Functions(
    encode: fn(event) -> #(String, Json),
    decode: fn(Event) -> Result(event, List(DecodeError)),
  )
}

/// An aggregate with this name, of 1 to 512 bytes, the state before the first
/// event, and the function that returns the state after each event.
///
/// Warp calls `apply` whenever it appends or reads events, so `apply` has to be
/// pure. Snapshots store states: see `version`.
///
/// Without a codec, Warp stores events in Erlang's term format, inside a JSON
/// object: `{"term":"g2gC..."}`. You write no code for it, and it costs you this:
///
/// - The stored events have the constructors of today. Once you rename one, or
///   add, remove or reorder its fields, an entity with an event of the old form
///   cannot be read: each call returns `error.ApplyFailed` or
///   `error.UndecodableEvent`, until the old type is there again. Where fields
///   only changed places, the event is read wrongly, without an error.
/// - Only programs on the BEAM can read the events: not `sqlite3`, and no other
///   language.
/// - An event that holds a pid, a subject or a function cannot be stored: its
///   append returns `error.EncodeFailed`.
///
/// So it is for trying things out. Give events that you mean to keep a codec from
/// the first one on: see `with_codec`. The type of an event in the term format is
/// the name of its constructor.
///
pub fn new(
  name: String,
  initial initial: state,
  apply apply: fn(state, event) -> state,
) -> Aggregate(state, event, reason) {
  Aggregate(
    name:,
    initial:,
    apply:,
    codec: Functions(encode: term_encode, decode: term_decode),
    validate: None,
    project: None,
    migrate: None,
    version: 1,
    aliases: [],
  )
}

/// Stores events as JSON, in the form that a codec describes: see `warp/codec`.
///
/// ```gleam
/// aggregate.new("Account", initial: 0, apply:)
/// |> aggregate.with_codec(
///   codec.new()
///   |> codec.event1("Credited", Credited, codec.int("amount"))
///   |> codec.event1("Debited", Debited, codec.int("amount")),
/// )
/// ```
///
pub fn with_codec(
  aggregate: Aggregate(state, event, reason),
  events: codec.Codec(event),
) -> Aggregate(state, event, reason) {
  codec(
    aggregate,
    encode: codec.encode(events, _),
    decode: codec.decode(events, _),
  )
}

/// Stores events as JSON, with functions of your own, where `with_codec` is not
/// enough.
///
/// `encode` returns the event's type and its payload, a JSON object. `decode`
/// returns the decoder for the payloads of events with a type.
///
/// ```gleam
/// fn encode(event: AccountEvent) -> #(String, Json) {
///   case event {
///     Credited(amount:) -> #("Credited", json.object([#("amount", json.int(amount))]))
///     Debited(amount:) -> #("Debited", json.object([#("amount", json.int(amount))]))
///   }
/// }
///
/// fn decode(type_: String) -> Decoder(AccountEvent) {
///   use amount <- decode.field("amount", decode.int)
///   case type_ {
///     "Credited" -> decode.success(Credited(amount:))
///     "Debited" -> decode.success(Debited(amount:))
///     _ -> decode.failure(Credited(0), "AccountEvent")
///   }
/// }
/// ```
///
/// If the decoder fails on an event, Warp does not store the event, and the
/// append returns `error.UndecodableEvent`.
///
pub fn codec(
  aggregate: Aggregate(state, event, reason),
  encode encode: fn(event) -> #(String, Json),
  decode decoder: fn(String) -> Decoder(event),
) -> Aggregate(state, event, reason) {
  let decode = fn(event) {
    decode.run(event.payload(event), decoder(event.type_(event)))
  }
  Aggregate(..aggregate, codec: Functions(encode:, decode:))
}

/// Sets a function that Warp calls with the current state and an event before
/// it stores the event. If the function returns an `Error`, Warp does not store
/// the event, and the append returns `error.Refused` with the reason.
///
pub fn validate(
  aggregate: Aggregate(state, event, reason),
  validate: fn(state, event) -> Result(Nil, reason),
) -> Aggregate(state, event, reason) {
  Aggregate(..aggregate, validate: Some(validate))
}

/// Sets the function that returns the commands that write to the tables of
/// projections, from the entity's id, the state after the event, and the event.
///
/// It must do nothing else: a rebuild calls it for every event of the log
/// again, and a mail that it sends would be sent again. What has an effect
/// belongs into a `warp/subscriber`.
///
pub fn project(
  aggregate: Aggregate(state, event, reason),
  project: fn(String, state, event) -> List(Command),
) -> Aggregate(state, event, reason) {
  Aggregate(..aggregate, project: Some(project))
}

/// Sets the function that converts events of older versions of the schema to
/// the current version. Warp calls it with every event, and with the version in
/// which the event was written, before it decodes the event. See
/// `event.with_type` and `event.with_payload`.
///
pub fn migrate(
  aggregate: Aggregate(state, event, reason),
  migrate: fn(Event, Int) -> Event,
) -> Aggregate(state, event, reason) {
  Aggregate(..aggregate, migrate: Some(migrate))
}

/// Sets the version of the schema, from 1 on, with which new events are stored.
/// The default is 1. Raise it whenever `encode`, the type of the state or
/// `apply` changes: Warp then ignores snapshots of older versions.
///
pub fn version(
  aggregate: Aggregate(state, event, reason),
  version: Int,
) -> Aggregate(state, event, reason) {
  Aggregate(..aggregate, version:)
}

/// A name that the aggregate had earlier: events that were stored under it are read
/// as its own. It must not be the name or an alias of another aggregate.
///
pub fn alias(
  aggregate: Aggregate(state, event, reason),
  earlier: String,
) -> Aggregate(state, event, reason) {
  Aggregate(..aggregate, aliases: [earlier, ..aggregate.aliases])
}

/// The name of the aggregate.
///
pub fn name(aggregate: Aggregate(state, event, reason)) -> String {
  aggregate.name
}

/// The aggregate in the form in which `WarpOptions` has it.
///
/// ```gleam
/// WarpOptions(..defaults(), aggregates: [aggregate.definition(account())])
/// ```
///
pub fn definition(
  aggregate: Aggregate(state, event, reason),
) -> AggregateDefinition {
  let Aggregate(apply:, ..) = aggregate
  [
    Name(aggregate.name),
    InitialState(aggregate.initial),
    Apply(fn(state, event) { apply(state, read(aggregate, event)) }),
    Version(aggregate.version),
    Aliases(aggregate.aliases),
  ]
  |> with_validate(aggregate)
  |> with_project(aggregate)
  |> with_migrate(aggregate)
  |> typed_definition
  |> Typed
}

/// Appends an event, and returns its seq when it is durable. Waits for at most
/// 5000 milliseconds.
///
/// The context has to be started with this aggregate. Otherwise the append
/// returns `error.UnknownAggregate`.
///
pub fn append(
  entity: Entity,
  aggregate: Aggregate(state, event, reason),
  event: event,
) -> Result(Int, Error(reason)) {
  use event <- result.try(encode(aggregate, event))
  engine.append(entity, event) |> engine.own_reason
}

/// Appends an event with options, such as the expected seq, an id, metadata or
/// a timeout: see `warp/append`.
///
pub fn append_with(
  entity: Entity,
  aggregate: Aggregate(state, event, reason),
  event: event,
  options: append.Options,
) -> Result(Int, Error(reason)) {
  use event <- result.try(encode(aggregate, event))
  engine.append_with(entity, event, options) |> engine.own_reason
}

/// Appends events as a batch, of which all are stored or none: at most 10,000
/// events and 16 MiB of JSON. Returns the seqs of the first and the last event,
/// when all are durable. Waits for at most 5000 milliseconds.
///
pub fn append_batch(
  entity: Entity,
  aggregate: Aggregate(state, event, reason),
  events: List(event),
) -> Result(#(Int, Int), Error(reason)) {
  use events <- result.try(list.try_map(events, encode(aggregate, _)))
  engine.append_batch(entity, events, append.options()) |> engine.own_reason
}

/// Appends an event, and does not wait for the answer: see `warp/pipeline`.
/// Whatever goes wrong is the answer to the request. Waits as little as
/// `warp.append_request`.
///
pub fn append_request(
  entity: Entity,
  aggregate: Aggregate(state, event, reason),
  event: event,
) -> pipeline.Request(Int, reason) {
  append_request_with(entity, aggregate, event, append.options())
}

/// Makes a request to append an event with options, as
/// `warp.append_request_with` does.
///
pub fn append_request_with(
  entity: Entity,
  aggregate: Aggregate(state, event, reason),
  event: event,
  options: append.Options,
) -> pipeline.Request(Int, reason) {
  case encode(aggregate, event) {
    Ok(event) -> pipeline.append(entity, event, options, pipeline.typed)
    Error(error) -> pipeline.failed(error)
  }
}

/// Appends events as a batch, as `append_batch` does, and does not wait for the
/// answer: see `warp/pipeline`.
///
pub fn append_batch_request(
  entity: Entity,
  aggregate: Aggregate(state, event, reason),
  events: List(event),
) -> pipeline.Request(#(Int, Int), reason) {
  case list.try_map(events, encode(aggregate, _)) {
    Ok(events) ->
      pipeline.append_batch(entity, events, append.options(), pipeline.typed)
    Error(error) -> pipeline.failed(error)
  }
}

/// Decides on the state, and appends the events that the decision returns, as a
/// batch. The function runs in the entity's own process, so no other append
/// comes between. Returns the seqs of the events. Waits for at most 5000
/// milliseconds.
///
/// An `Error` of the function is returned as `error.Refused`. The function may
/// run again, with a newer state, if a commit before it failed: it should have
/// no side effects, and it must not call its own entity.
///
/// ```gleam
/// alice
/// |> aggregate.decide(account(), fn(balance) {
///   case balance >= 500 {
///     True -> Ok([Debited(500)])
///     False -> Error(Overdraft(by: 500 - balance))
///   }
/// })
/// ```
///
pub fn decide(
  entity: Entity,
  aggregate: Aggregate(state, event, reason),
  decide: fn(state) -> Result(List(event), reason),
) -> Result(List(Int), Error(reason)) {
  decide_with(entity, aggregate, decide, call.options())
}

/// Decides as `decide` does, with a timeout: see `warp/call`.
///
pub fn decide_with(
  entity: Entity,
  aggregate: Aggregate(state, event, reason),
  decide: fn(state) -> Result(List(event), reason),
  options: call.Options,
) -> Result(List(Int), Error(reason)) {
  engine.decide(entity, aggregate.name, options, fn(state) {
    decision(aggregate, decide(state))
  })
  |> engine.own_reason
}

/// The engine's form of what a function has decided.
///
@internal
pub fn decision(
  aggregate: Aggregate(state, event, reason),
  decided: Result(List(event), reason),
) -> engine.Decision {
  case decided {
    Ok(events) ->
      case list.try_map(events, encode(aggregate, _)) {
        Ok(events) -> engine.decision(events, [])
        Error(error) -> engine.failure(error)
      }
    Error(reason) -> engine.failure(error.Refused(reason))
  }
}

/// The state, after every event that was acknowledged. The state of an entity
/// without events is the initial state. Waits for at most 5000 milliseconds.
///
pub fn get(
  entity: Entity,
  aggregate: Aggregate(state, event, reason),
) -> Result(state, Error(other)) {
  engine.get(entity, aggregate.name)
}

/// The state, read with a timeout: see `warp/call`.
///
pub fn get_with(
  entity: Entity,
  aggregate: Aggregate(state, event, reason),
  options: call.Options,
) -> Result(state, Error(other)) {
  engine.get_with(entity, aggregate.name, options)
}

/// The state at a point in the past. Waits for at most 5000 milliseconds.
///
/// ```gleam
/// alice |> aggregate.state_at(account(), history.Seq(1))
/// ```
///
pub fn state_at(
  entity: Entity,
  aggregate: Aggregate(state, event, reason),
  point: Point,
) -> Result(state, Error(other)) {
  state_at_with(entity, aggregate, point, call.options())
}

/// The state at a point in the past, read with a timeout: see `warp/call`.
///
pub fn state_at_with(
  entity: Entity,
  aggregate: Aggregate(state, event, reason),
  point: Point,
  options: call.Options,
) -> Result(state, Error(other)) {
  engine.state_at(entity, aggregate.name, point, options)
}

/// Decodes an event that `warp.history` or `warp.export` returned. If the
/// decoder fails, this returns `error.UndecodableEvent`. The event has to belong
/// to this aggregate, which is not checked: see `event.aggregate`.
///
pub fn decode(
  aggregate: Aggregate(state, event, reason),
  event: Event,
) -> Result(event, Error(other)) {
  use errors <- result.map_error(aggregate.codec.decode(event))
  error.UndecodableEvent(event.type_(event), errors)
}

/// The error with which a step of a saga on this aggregate was refused, with the
/// types of this aggregate: `error.Refused` has the reason of `validate`.
///
/// ```gleam
/// let assert Ok(Compensated(failed: StepRefused(reason:, ..), ..)) =
///   saga.commit(transfer, ctx)
/// let assert Refused(Overdraft(by: 200)) =
///   aggregate.refusal(account(), reason)
/// ```
///
pub fn refusal(
  _aggregate: Aggregate(state, event, reason),
  error: Error(Dynamic),
) -> Error(reason) {
  case error {
    error.Refused(reason) | error.Rejected(reason) ->
      error.Refused(coerce(reason))
    _ -> coerce(error)
  }
}

/// Encodes an event for functions on events without types of your own, such as
/// `warp.append_batch` with events of several aggregates. If the encoder
/// crashes, this returns `error.EncodeFailed`.
///
pub fn encode(
  aggregate: Aggregate(state, event, reason),
  event: event,
) -> Result(Event, Error(other)) {
  engine_encode(aggregate.name, aggregate.codec.encode, event)
}

// The engine's form of an aggregate. The constructors have names that make them
// the engine's terms: `Version(1)` is `{version, 1}`.

type Setting(state) {
  Name(String)
  InitialState(state)
  Apply(fn(state, Event) -> state)
  Validate(fn(state, Event) -> Verdict)
  Project(fn(String, state, Event) -> List(Command))
  Migrate(fn(Event, Int) -> Event)
  Version(Int)
  Aliases(List(String))
}

type Verdict

/// The engine's map of an aggregate.
///
@internal
pub type Engine

@internal
pub fn to_engine(definition: AggregateDefinition) -> Engine {
  case definition {
    AggregateDefinition(name:, initial_state:, apply:, project:, migrate:) ->
      engine_definition([
        Name(name),
        InitialState(initial_state),
        Apply(apply),
        Project(project),
        Migrate(migrate),
      ])
    Typed(definition) -> engine_typed(definition)
  }
}

fn with_validate(
  settings: List(Setting(state)),
  aggregate: Aggregate(state, event, reason),
) -> List(Setting(state)) {
  case aggregate.validate {
    None -> settings
    Some(validate) -> [
      Validate(fn(state, event) {
        verdict(validate(state, read(aggregate, event)))
      }),
      ..settings
    ]
  }
}

fn with_project(
  settings: List(Setting(state)),
  aggregate: Aggregate(state, event, reason),
) -> List(Setting(state)) {
  case aggregate.project {
    None -> settings
    Some(project) -> [
      Project(fn(id, state, event) {
        project(id, state, read(aggregate, event))
      }),
      ..settings
    ]
  }
}

fn with_migrate(
  settings: List(Setting(state)),
  aggregate: Aggregate(state, event, reason),
) -> List(Setting(state)) {
  case aggregate.migrate {
    None -> settings
    Some(migrate) -> [Migrate(migrate), ..settings]
  }
}

/// Decodes an event in a function that the engine calls. The function can report
/// a failure only by a crash, which `warp_error_ffi` converts to
/// `error.UndecodableEvent`.
///
@internal
pub fn read(
  aggregate: Aggregate(state, event, reason),
  event: Event,
) -> event {
  case aggregate.codec.decode(event) {
    Ok(event) -> event
    Error(errors) -> raise_undecodable(event.type_(event), errors)
  }
}

@external(erlang, "maps", "from_list")
fn typed_definition(settings: List(Setting(state))) -> TypedDefinition

@external(erlang, "maps", "from_list")
fn engine_definition(settings: List(Setting(Dynamic))) -> Engine

@external(erlang, "warp_ffi", "identity")
fn engine_typed(definition: TypedDefinition) -> Engine

@external(erlang, "warp_ffi", "identity")
fn coerce(value: a) -> b

@external(erlang, "warp_ffi", "verdict")
fn verdict(result: Result(Nil, reason)) -> Verdict

@external(erlang, "warp_ffi", "raise_undecodable")
fn raise_undecodable(type_: String, errors: List(DecodeError)) -> event

@external(erlang, "warp_ffi", "encode")
fn engine_encode(
  name: String,
  encode: fn(event) -> #(String, Json),
  event: event,
) -> Result(Event, Error(reason))

// Events in Erlang's term format.

@external(erlang, "warp_term_ffi", "encode")
fn term_encode(event: event) -> #(String, Json)

@external(erlang, "warp_term_ffi", "decode")
fn term_decode(event: Event) -> Result(event, List(DecodeError))
