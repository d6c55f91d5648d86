//// Aggregates: how the events of an entity fold into a state.
////
//// An aggregate is defined over your own types:
////
//// ```gleam
//// pub fn account() -> Aggregate(Int, AccountEvent, Overdraft) {
////   aggregate.new("Account", initial: 0, apply:)
////   |> aggregate.codec(encode:, decode:)
////   |> aggregate.validate(no_overdraft)
//// }
//// ```
////
//// and then used to append and to read them:
////
//// ```gleam
//// let assert Ok(1) = alice |> aggregate.append(account(), Credited(5000))
//// let assert Ok(5000) = alice |> aggregate.get(account())
//// ```
////
//// A context takes a list of `AggregateDefinition`s, which `definition` makes
//// of it. The record `AggregateDefinition` is the other way to define one, for
//// states and events that have no types of their own.

import gleam/dynamic.{type Dynamic}
import gleam/dynamic/decode.{type DecodeError, type Decoder}
import gleam/list
import gleam/option.{type Option, None, Some}
import gleam/result
import warp/append
import warp/call
import warp/error.{type Error}
import warp/event.{type Event}
import warp/handle.{type Entity}
import warp/history.{type Point}
import warp/internal/engine
import warp/json.{type Json}
import warp/projection.{type Command}

/// An aggregate as a context takes it.
///
pub type AggregateDefinition {
  /// An aggregate without types of its own: states are `Dynamic`, and events
  /// come as they are in the log.
  AggregateDefinition(
    /// The name, 1 to 512 bytes. One context has each name once.
    name: String,
    /// The state before the first event.
    initial_state: Dynamic,
    /// Gives the state after an event.
    apply: fn(Dynamic, Event) -> Dynamic,
    /// Gives what is to be written to the tables of projections, from the
    /// entity's id, the state after the event, and the event.
    project: fn(String, Dynamic, Event) -> List(Command),
    /// Gives the event as the current schema has it. It is called with every
    /// event and the version it was written in, before `apply` sees it.
    migrate: fn(Event, Int) -> Event,
  )
  /// An aggregate over types of your own. See `definition`.
  Typed(TypedDefinition)
}

/// What `definition` makes of an aggregate: the engine's form of it.
///
pub type TypedDefinition

/// An aggregate over your own types of states and events, and of reasons for
/// which `validate` refuses an event.
///
pub opaque type Aggregate(state, event, reason) {
  Aggregate(
    name: String,
    initial: state,
    apply: fn(state, event) -> state,
    codec: Codec(event),
    validate: Option(fn(state, event) -> Result(Nil, reason)),
    project: Option(fn(String, state, event) -> List(Command)),
    migrate: Option(fn(Event, Int) -> Event),
    version: Int,
  )
}

type Codec(event) {
  Codec(
    encode: fn(event) -> #(String, Json),
    decode: fn(Event) -> Result(event, List(DecodeError)),
  )
}

/// An aggregate of that name, with the state before the first event and the
/// function that gives the state after each.
///
/// `apply` runs whenever events are appended or read, so it has to be pure. A
/// state is also what snapshots keep: see `version`.
///
/// Until it is given a `codec`, events are stored in Erlang's term format,
/// inside a JSON object: `{"term":"g2gC..."}`. That takes no code, but only
/// the BEAM can read it, and a change to the event type can make what is stored
/// unreadable. The type of an event is then the name of its constructor. A
/// value that holds a pid, a subject or a function cannot be stored.
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
    codec: Codec(encode: term_encode, decode: term_decode),
    validate: None,
    project: None,
    migrate: None,
    version: 1,
  )
}

/// Stores events as JSON, with an event type that names what happened.
///
/// `encode` gives the event's type and its payload, a JSON object. `decode`
/// gives the decoder of the payload of events of a type.
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
/// An event that the decoder does not take is refused before it is stored,
/// with `error.UndecodableEvent`.
///
pub fn codec(
  aggregate: Aggregate(state, event, reason),
  encode encode: fn(event) -> #(String, Json),
  decode decoder: fn(String) -> Decoder(event),
) -> Aggregate(state, event, reason) {
  let decode = fn(event) {
    decode.run(event.payload(event), decoder(event.type_(event)))
  }
  Aggregate(..aggregate, codec: Codec(encode:, decode:))
}

/// Sets the rule that each event has to keep before it is stored, given the
/// state that it would come to. With an `Error` it is refused, and `append`
/// gives `error.Refused` with the reason.
///
pub fn validate(
  aggregate: Aggregate(state, event, reason),
  validate: fn(state, event) -> Result(Nil, reason),
) -> Aggregate(state, event, reason) {
  Aggregate(..aggregate, validate: Some(validate))
}

/// Sets what is written to the tables of projections, given the entity's id,
/// the state after the event, and the event.
///
pub fn project(
  aggregate: Aggregate(state, event, reason),
  project: fn(String, state, event) -> List(Command),
) -> Aggregate(state, event, reason) {
  Aggregate(..aggregate, project: Some(project))
}

/// Sets the function that brings events of older versions up to date, before
/// they are decoded. It is called with every event and the version of the
/// schema it was written in. See `event.with_type` and `event.with_payload`.
///
pub fn migrate(
  aggregate: Aggregate(state, event, reason),
  migrate: fn(Event, Int) -> Event,
) -> Aggregate(state, event, reason) {
  Aggregate(..aggregate, migrate: Some(migrate))
}

/// Sets the version, 1 by default, which new events carry. Raise it whenever
/// payloads are written differently, the state's type is another one, or
/// `apply` folds differently: snapshots of older versions are thrown away.
///
pub fn version(
  aggregate: Aggregate(state, event, reason),
  version: Int,
) -> Aggregate(state, event, reason) {
  Aggregate(..aggregate, version:)
}

/// The name of the aggregate.
///
pub fn name(aggregate: Aggregate(state, event, reason)) -> String {
  aggregate.name
}

/// The aggregate as a context takes it.
///
/// ```gleam
/// WarpOptions(..defaults(), aggregates: [aggregate.definition(account())])
/// ```
///
pub fn definition(
  aggregate: Aggregate(state, event, reason),
) -> AggregateDefinition {
  let Aggregate(apply:, codec:, ..) = aggregate
  [
    Name(aggregate.name),
    InitialState(aggregate.initial),
    Apply(fn(state, event) { apply(state, read(codec.decode, event)) }),
    Version(aggregate.version),
  ]
  |> with_validate(aggregate)
  |> with_project(aggregate)
  |> with_migrate(aggregate)
  |> typed_definition
  |> Typed
}

/// Appends an event, and answers with its seq when it is durable.
///
/// Give the aggregate that the context was started with.
///
pub fn append(
  entity: Entity,
  aggregate: Aggregate(state, event, reason),
  event: event,
) -> Result(Int, Error(reason)) {
  use event <- result.try(encode(aggregate, event))
  engine.append(entity, event) |> engine.own_reason
}

/// Appends an event in another way than by default: see `warp/append`.
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

/// Appends events as one: all of them are stored, or none. Answers with the
/// seqs of the first and the last.
///
pub fn append_batch(
  entity: Entity,
  aggregate: Aggregate(state, event, reason),
  events: List(event),
) -> Result(#(Int, Int), Error(reason)) {
  use events <- result.try(list.try_map(events, encode(aggregate, _)))
  engine.append_batch(entity, events, append.options()) |> engine.own_reason
}

/// Looks at the state and appends what follows from it, with nobody in between:
/// the function runs in the entity's own process. Its events are appended as a
/// batch; its `Error` comes back as `error.Refused`. Answers with the seqs.
///
/// The function may run again, on a newer state, when a commit before it
/// failed. So it should have no effects of its own, and it must not call its
/// own entity.
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
    case decide(state) {
      Ok(events) ->
        case list.try_map(events, encode(aggregate, _)) {
          Ok(events) -> engine.decision(events, [])
          Error(error) -> engine.failure(error)
        }
      Error(reason) -> engine.failure(error.Refused(reason))
    }
  })
  |> engine.own_reason
}

/// The state, with everything acknowledged in it. Without events it is the
/// initial one.
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

/// The state as it was.
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

/// Decodes an event of the log, as `warp.history` gives it. Events of other
/// aggregates are not decoded: see `event.aggregate`.
///
pub fn decode(
  aggregate: Aggregate(state, event, reason),
  event: Event,
) -> Result(event, Error(other)) {
  use errors <- result.map_error(aggregate.codec.decode(event))
  error.UndecodableEvent(event.type_(event), errors)
}

/// What a step of a saga on this aggregate was refused with, with its type: the
/// reason that `validate` gave is in `error.Refused`.
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

/// The event as it goes to the log: for what takes events without their types,
/// such as `warp.append_batch` over several aggregates.
///
pub fn encode(
  aggregate: Aggregate(state, event, reason),
  event: event,
) -> Result(Event, Error(other)) {
  engine_encode(aggregate.name, aggregate.codec.encode, event)
}

// The engine's form of an aggregate. Constructors are named so that they are
// its terms: `Version(1)` is `{version, 1}`.

type Setting(state) {
  Name(String)
  InitialState(state)
  Apply(fn(state, Event) -> state)
  Validate(fn(state, Event) -> Verdict)
  Project(fn(String, state, Event) -> List(Command))
  Migrate(fn(Event, Int) -> Event)
  Version(Int)
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
  let Aggregate(codec:, ..) = aggregate
  case aggregate.validate {
    None -> settings
    Some(validate) -> [
      Validate(fn(state, event) {
        verdict(validate(state, read(codec.decode, event)))
      }),
      ..settings
    ]
  }
}

fn with_project(
  settings: List(Setting(state)),
  aggregate: Aggregate(state, event, reason),
) -> List(Setting(state)) {
  let Aggregate(codec:, ..) = aggregate
  case aggregate.project {
    None -> settings
    Some(project) -> [
      Project(fn(id, state, event) {
        project(id, state, read(codec.decode, event))
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

/// Decodes an event where the engine calls: it takes a crash for an answer, of
/// which `warp_error_ffi` makes `error.UndecodableEvent`.
///
fn read(
  decode: fn(Event) -> Result(event, List(DecodeError)),
  event: Event,
) -> event {
  case decode(event) {
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
