//// Warp: an event-sourced database inside your BEAM application.
////
//// One entity is one process, one writer and one append-only log. What an
//// append answers `Ok` to is on disk; reads come from memory.
////
//// ```gleam
//// let assert Ok(ctx) =
////   warp.start(
////     WarpOptions(
////       ..defaults(),
////       context: "banking",
////       data_dir: "/data",
////       aggregates: [aggregate.definition(account())],
////     ),
////   )
////
//// let alice = warp.entity(ctx, "alice")
//// let assert Ok(1) = alice |> aggregate.append(account(), Credited(5000))
//// let assert Ok(5000) = alice |> aggregate.get(account())
//// ```
////
//// This module works on entities and events as they are. `warp/aggregate` does
//// over your own types what `append`, `decide` and `get` do here, and
//// `warp/actor` makes entities typed actors.
////
//// Any process may call any of it. From Erlang and Elixir this module is
//// `warp`, as in `warp:append_batch(Alice, Events)`: contexts, entities and
//// events are the terms of `warp_core`, results are `{ok, Value}` or
//// `{error, Error}`, where an error is an atom or a tuple named as in
//// `warp/error`, such as `{wrong_expected_seq, 3}`.

import gleam/dynamic.{type Dynamic}
import gleam/dynamic/decode.{type Decoder}
import gleam/erlang/process.{type Pid}
import gleam/option.{type Option}
import gleam/otp/actor
import gleam/otp/supervision.{type ChildSpecification}
import gleam/result
import warp/append
import warp/context.{type WarpOptions}
import warp/error.{type Error}
import warp/event.{type Event}
import warp/handle
import warp/history
import warp/internal/engine
import warp/internal/settings.{type Settings}
import warp/json.{type Json}
import warp/projection
import warp/stats.{type Stats}

/// A started context.
///
pub type Context =
  handle.Context

/// One entity of a context.
///
pub type Entity =
  handle.Entity

/// Starts a context, and waits until all its shards are open. After an error
/// nothing is left running.
///
/// The context runs under Warp's own supervisors until it is stopped. To have
/// it under one of yours see `supervised`.
///
pub fn start(options: WarpOptions) -> Result(Context, Error(reason)) {
  engine_start(settings.from_options(options))
}

/// A context as a child of a supervisor of yours: it is started with it,
/// stopped with it, and started again when it goes down. Should the supervisor
/// be killed the context goes down too, and its folder can be opened again.
///
/// ```gleam
/// static_supervisor.new(static_supervisor.OneForOne)
/// |> static_supervisor.add(warp.supervised(options))
/// |> static_supervisor.start
/// ```
///
/// After a restart it is a new `Context`. `named` gives the one that runs, so
/// keep the name, and ask for entities when you need them.
///
pub fn supervised(options: WarpOptions) -> ChildSpecification(Context) {
  supervision.worker(fn() {
    case engine_start_link(settings.from_options(options), options.context) {
      Ok(#(pid, context)) -> Ok(actor.Started(pid:, data: context))
      Error(error) -> Error(actor.InitFailed(error.to_string(error)))
    }
  })
  // To close the files takes as long as what is under way.
  |> supervision.timeout(ms: 60_000)
}

/// The context of that name that runs under a supervisor: see `supervised`.
/// Gives `error.ContextStopped` while there is none.
///
/// ```gleam
/// use ctx <- result.try(warp.named("banking"))
/// warp.entity(ctx, "alice") |> warp.export
/// ```
///
@external(erlang, "warp_context_ffi", "named")
pub fn named(context: String) -> Result(Context, Error(reason))

/// Stops a context. What was acknowledged is on disk; whoever waits for an
/// answer gets an error. A supervised context is started again.
///
pub fn stop(context: Context) -> Nil {
  engine_stop(context)
}

/// The entity with that id: 1 to 512 bytes. Any other id gives
/// `error.BadEntityId` with the first operation.
///
@external(erlang, "warp_core", "entity")
pub fn entity(context: Context, id: String) -> Entity

/// Appends an event, and answers with its seq when it is durable.
///
/// An event whose id the entity already has is not written again: the answer is
/// the seq of the first one.
///
/// ```gleam
/// alice |> warp.append(event.new("Credited", json.object([#("amount", json.int(5000))])))
/// ```
///
@external(erlang, "warp_ffi", "append")
pub fn append(entity: Entity, event: Event) -> Result(Int, Error(reason))

/// Appends an event in another way than by default: at an expected seq, with an
/// id, with metadata. See `warp/append`.
///
pub fn append_with(
  entity: Entity,
  event: Event,
  options: append.Options,
) -> Result(Int, Error(reason)) {
  engine.append_with(entity, event, append.parts(options))
}

/// Appends events as one: all of them are stored, or none. At most 10,000
/// events and 16 MiB of JSON. Answers with the seqs of the first and the last.
///
@external(erlang, "warp_ffi", "append_batch")
pub fn append_batch(
  entity: Entity,
  events: List(Event),
) -> Result(#(Int, Int), Error(reason))

/// Appends events as one, in another way than by default: see `warp/append`.
///
pub fn append_batch_with(
  entity: Entity,
  events: List(Event),
  options: append.Options,
) -> Result(#(Int, Int), Error(reason)) {
  engine_append_batch_with(entity, events, append.parts(options))
}

/// Looks at the state of an aggregate and appends what follows from it, with
/// nobody in between: the function runs in the entity's own process. Events
/// that name no aggregate belong to that one. Answers with the seqs.
///
/// An `Error` of the function comes back as `error.Refused`. It may run again,
/// on a newer state, when a commit before it failed: it should have no effects
/// of its own, and must not call its own entity.
///
/// For states and events with types see `aggregate.decide`.
///
pub fn decide(
  entity: Entity,
  aggregate: String,
  decide: fn(Dynamic) -> Result(List(Event), reason),
) -> Result(List(Int), Error(reason)) {
  engine.decide(entity, aggregate, 5000, fn(state) {
    case decide(state) {
      Ok(events) -> engine.decision(events, [])
      Error(reason) -> engine.failure(error.Refused(reason))
    }
  })
}

/// The state of an aggregate, with everything acknowledged in it. Without
/// events it is the initial one.
///
@external(erlang, "warp_ffi", "get")
pub fn get(entity: Entity, aggregate: String) -> Result(Dynamic, Error(reason))

/// The state of an aggregate, read with a decoder. For states with types see
/// `aggregate.get`.
///
/// ```gleam
/// alice |> warp.get_as("Todo", decode.list(decode.string))
/// ```
///
pub fn get_as(
  entity: Entity,
  aggregate: String,
  decoder: Decoder(state),
) -> Result(state, Error(reason)) {
  use state <- result.try(get(entity, aggregate))
  decode.run(state, decoder) |> result.map_error(error.UndecodableState)
}

/// The state of an aggregate as it was.
///
/// ```gleam
/// alice |> warp.state_at("Todo", history.Seq(3))
/// ```
///
@external(erlang, "warp_ffi", "state_at")
pub fn state_at(
  entity: Entity,
  aggregate: String,
  point: history.Point,
) -> Result(Dynamic, Error(reason))

/// The first 1000 events of an entity, oldest first, migrated to the current
/// schema.
///
pub fn history(entity: Entity) -> Result(List(Event), Error(reason)) {
  history_with(entity, history.options())
}

/// Another part of an entity's events: see `warp/history`.
///
pub fn history_with(
  entity: Entity,
  options: history.Options,
) -> Result(List(Event), Error(reason)) {
  engine_history(entity, history.to_map(options))
}

/// Every event ever stored for an entity, first to last, as it was stored. None
/// for an entity without events.
///
/// They can be appended, as they are, to an empty entity of the same id
/// elsewhere.
///
@external(erlang, "warp_ffi", "export")
pub fn export(entity: Entity) -> Result(List(Event), Error(reason))

/// Deletes an entity: from memory, the log, snapshots, ids and projections, and
/// from the bytes of the files. Deleting one without events is fine, and one of
/// that id may begin anew.
///
/// Waits as long as it takes. After an error, call it again.
///
@external(erlang, "warp_ffi", "delete")
pub fn delete(entity: Entity) -> Result(Nil, Error(reason))

/// Runs SQL that reads on the tables of projections: one statement, with a `?`
/// for each parameter.
///
/// ```gleam
/// ctx
/// |> warp.query("SELECT id FROM balances WHERE amount > ?", [projection.int(1000)])
/// ```
///
/// Gives at most 10,000 rows, and takes at most 5 seconds. For other limits see
/// `projection.query_with`.
///
@external(erlang, "warp_projection_ffi", "query")
pub fn query(
  context: Context,
  sql: String,
  parameters: List(projection.Value),
) -> Result(projection.Rows, Error(reason))

/// Counters of a context since it was started.
///
@external(erlang, "warp_ffi", "stats")
pub fn stats(context: Context) -> Result(Stats, Error(reason))

@external(erlang, "warp_ffi", "start")
fn engine_start(settings: Settings) -> Result(Context, Error(reason))

@external(erlang, "warp_context_ffi", "start_link")
fn engine_start_link(
  settings: Settings,
  name: String,
) -> Result(#(Pid, Context), Error(reason))

@external(erlang, "warp_ffi", "stop")
fn engine_stop(context: Context) -> Nil

@external(erlang, "warp_ffi", "append_batch_with")
fn engine_append_batch_with(
  entity: Entity,
  events: List(Event),
  options: #(append.Expected, Int, Option(String), Option(Json)),
) -> Result(#(Int, Int), Error(reason))

@external(erlang, "warp_ffi", "history")
fn engine_history(
  entity: Entity,
  options: history.Map,
) -> Result(List(Event), Error(reason))
