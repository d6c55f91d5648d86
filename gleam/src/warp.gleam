//// Warp: an event-sourced database inside your BEAM application.
////
//// One entity is one process, one writer and one append-only log. An append
//// returns `Ok` when its event is on disk. Reads come from memory.
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
//// This module works on entities and on events without types of your own. The
//// module `warp/aggregate` has `append`, `decide` and `get` for your own types
//// of states and events, and `warp/actor` makes entities typed actors.
////
//// Every function can be called from any process. Every error is a variant of
//// `warp/error`, whose documentation says what to do about it.
////
//// Erlang and Elixir code can call this module as `warp`, as in
//// `warp:append_batch(Alice, Events)`: contexts, entities and events are the
//// terms of `warp_core`, results are `{ok, Value}` or `{error, Error}`, and an
//// error is an atom or a tuple named as in `warp/error`, such as
//// `{wrong_expected_seq, 3}`.

import gleam/dynamic.{type Dynamic}
import gleam/dynamic/decode.{type Decoder}
import gleam/erlang/process.{type Pid}
import gleam/otp/actor
import gleam/otp/supervision.{type ChildSpecification}
import gleam/result
import warp/append
import warp/call
import warp/cluster
import warp/context.{type WarpOptions}
import warp/error.{type Error}
import warp/event.{type Event}
import warp/handle
import warp/history
import warp/internal/engine
import warp/internal/settings.{type Settings}
import warp/pipeline
import warp/projection
import warp/stats.{type Stats}

/// A context that was started.
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
/// The context runs under Warp's own supervisors until it is stopped. To run it
/// under a supervisor of your own see `supervised`.
///
/// Errors: those of the section "The context cannot start" of `warp/error`,
/// `error.DiskFull`, `error.IoError` and `error.Corrupt`.
///
pub fn start(options: WarpOptions) -> Result(Context, Error(reason)) {
  engine_start(settings.from_options(options))
}

/// A context as a child of your supervisor, which starts it, stops it, and
/// restarts it when it fails. If the supervisor is killed, the context stops
/// too, and its folder can be opened again.
///
/// ```gleam
/// static_supervisor.new(static_supervisor.OneForOne)
/// |> static_supervisor.add(warp.supervised(options))
/// |> static_supervisor.start
/// ```
///
/// A restart makes a new `Context`. `named` returns the one that runs now, so
/// keep the name of the context, and make the handles of entities when you need
/// them.
///
pub fn supervised(options: WarpOptions) -> ChildSpecification(Context) {
  supervision.worker(fn() {
    case engine_start_link(settings.from_options(options)) {
      Ok(#(pid, context)) -> Ok(actor.Started(pid:, data: context))
      Error(error) -> Error(actor.InitFailed(error.to_string(error)))
    }
  })
  // The context finishes the commits under way before it closes its files.
  |> supervision.timeout(ms: 60_000)
}

/// The context with this name that runs under a supervisor: see `supervised`.
/// Returns `error.ContextStopped` while there is none.
///
/// ```gleam
/// use ctx <- result.try(warp.named("banking"))
/// warp.entity(ctx, "alice") |> warp.export
/// ```
///
@external(erlang, "warp_ffi", "named")
pub fn named(context: String) -> Result(Context, Error(reason))

/// Stops a context. Everything that was acknowledged is on disk; callers that
/// wait for an answer get an error. A supervisor restarts a supervised context.
///
pub fn stop(context: Context) -> Nil {
  engine_stop(context)
}

/// The entity with this id, of 1 to 512 bytes. The entity need not exist: its
/// first event creates it. With an invalid id every operation returns
/// `error.BadEntityId`.
///
@external(erlang, "warp_core", "entity")
pub fn entity(context: Context, id: String) -> Entity

/// The number of the shard that the entity lives in, from 0. Its events are in
/// the file `shard-NNNN.db` of the context's folder, with the number in four
/// digits. Waits for nothing. Errors: `error.BadEntityId` and
/// `error.ContextStopped`.
///
@external(erlang, "warp_ffi", "shard_of")
pub fn shard_of(entity: Entity) -> Result(Int, Error(reason))

/// Appends an event, and returns its seq when it is durable. Waits for at most
/// 5000 milliseconds.
///
/// If the entity already has an event with this event's id, nothing is stored:
/// the append returns the seq of the stored event.
///
/// ```gleam
/// alice |> warp.append(event.new("Credited", json.object([#("amount", json.int(5000))])))
/// ```
///
@external(erlang, "warp_ffi", "append")
pub fn append(entity: Entity, event: Event) -> Result(Int, Error(reason))

/// Appends an event with options, such as the expected seq, an id, metadata or
/// a timeout: see `warp/append`.
///
pub fn append_with(
  entity: Entity,
  event: Event,
  options: append.Options,
) -> Result(Int, Error(reason)) {
  engine.append_with(entity, event, options)
}

/// Appends events as a batch, of which all are stored or none: at most 10,000
/// events and 16 MiB of JSON. Returns the seqs of the first and the last event,
/// when all are durable. Waits for at most 5000 milliseconds.
///
pub fn append_batch(
  entity: Entity,
  events: List(Event),
) -> Result(#(Int, Int), Error(reason)) {
  engine.append_batch(entity, events, append.options())
}

/// Appends events as a batch, with options: see `warp/append`.
///
pub fn append_batch_with(
  entity: Entity,
  events: List(Event),
  options: append.Options,
) -> Result(#(Int, Int), Error(reason)) {
  engine.append_batch(entity, events, options)
}

/// Appends an event, and does not wait for the answer: see `warp/pipeline`.
/// Whatever goes wrong is the answer to the request, such as
/// `error.Overloaded`.
///
/// The call waits only where the entity's process has to be started, usually for
/// some ten microseconds, or is just leaving memory, and for at most 5000
/// milliseconds.
///
pub fn append_request(
  entity: Entity,
  event: Event,
) -> pipeline.Request(Int, reason) {
  append_request_with(entity, event, append.options())
}

/// Makes a request to append an event with options: see `warp/append`. The
/// timeout limits how long making the request waits, and not how long the append
/// takes.
///
pub fn append_request_with(
  entity: Entity,
  event: Event,
  options: append.Options,
) -> pipeline.Request(Int, reason) {
  pipeline.append(entity, event, options, pipeline.untyped)
}

/// Appends events as a batch, as `append_batch` does, and does not wait for the
/// answer: see `warp/pipeline`.
///
pub fn append_batch_request(
  entity: Entity,
  events: List(Event),
) -> pipeline.Request(#(Int, Int), reason) {
  append_batch_request_with(entity, events, append.options())
}

/// Makes a request to append a batch with options, as `append_request_with`
/// does.
///
pub fn append_batch_request_with(
  entity: Entity,
  events: List(Event),
  options: append.Options,
) -> pipeline.Request(#(Int, Int), reason) {
  pipeline.append_batch(entity, events, options, pipeline.untyped)
}

/// Decides on the state of an aggregate, and appends the events that the
/// decision returns. The function runs in the entity's own process, so no other
/// append comes between. Events that name no aggregate belong to this one.
/// Returns the seqs of the events. Waits for at most 5000 milliseconds.
///
/// An `Error` of the function is returned as `error.Refused`. The function may
/// run again, with a newer state, if a commit before it failed: it should have
/// no side effects, and it must not call its own entity.
///
/// For states and events with types of your own see `aggregate.decide`.
///
pub fn decide(
  entity: Entity,
  aggregate: String,
  decide: fn(Dynamic) -> Result(List(Event), reason),
) -> Result(List(Int), Error(reason)) {
  decide_with(entity, aggregate, decide, call.options())
}

/// Decides as `decide` does, with a timeout: see `warp/call`.
///
pub fn decide_with(
  entity: Entity,
  aggregate: String,
  decide: fn(Dynamic) -> Result(List(Event), reason),
  options: call.Options,
) -> Result(List(Int), Error(reason)) {
  engine.decide(entity, aggregate, options, fn(state) {
    case decide(state) {
      Ok(events) -> engine.decision(events, [])
      Error(reason) -> engine.failure(error.Refused(reason))
    }
  })
}

/// The state of an aggregate, after every event that was acknowledged. The
/// state of an entity without events is the initial state. Waits for at most
/// 5000 milliseconds.
///
@external(erlang, "warp_ffi", "get")
pub fn get(entity: Entity, aggregate: String) -> Result(Dynamic, Error(reason))

/// The state of an aggregate, read with a timeout: see `warp/call`.
///
pub fn get_with(
  entity: Entity,
  aggregate: String,
  options: call.Options,
) -> Result(Dynamic, Error(reason)) {
  engine.get_with(entity, aggregate, options)
}

/// The state of an aggregate, decoded. If the decoder fails, the call returns
/// `error.UndecodableState`. For states with types of your own see
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

/// The state of an aggregate at a point in the past. Waits for at most 5000
/// milliseconds.
///
/// ```gleam
/// alice |> warp.state_at("Todo", history.Seq(3))
/// ```
///
pub fn state_at(
  entity: Entity,
  aggregate: String,
  point: history.Point,
) -> Result(Dynamic, Error(reason)) {
  engine.state_at(entity, aggregate, point, call.options())
}

/// The state of an aggregate at a point in the past, read with a timeout: see
/// `warp/call`.
///
pub fn state_at_with(
  entity: Entity,
  aggregate: String,
  point: history.Point,
  options: call.Options,
) -> Result(Dynamic, Error(reason)) {
  engine.state_at(entity, aggregate, point, options)
}

/// The first 1000 events of an entity, oldest first, migrated to the current
/// schema. Waits for at most 5000 milliseconds.
///
pub fn history(entity: Entity) -> Result(List(Event), Error(reason)) {
  history_with(entity, history.options())
}

/// Another part of an entity's events, or another timeout: see `warp/history`.
///
pub fn history_with(
  entity: Entity,
  options: history.Options,
) -> Result(List(Event), Error(reason)) {
  engine_history(entity, history.to_map(options))
}

/// Every event of an entity, oldest first, as it was stored. An entity without
/// events has an empty export. Waits for as long as it takes.
///
/// `import_events` puts them back as they were, in this context or in another.
///
pub fn export(entity: Entity) -> Result(List(Event), Error(reason)) {
  export_with(entity, call.options())
}

/// Every event of an entity, read with a timeout: see `warp/call`.
///
pub fn export_with(
  entity: Entity,
  options: call.Options,
) -> Result(List(Event), Error(reason)) {
  engine_export(entity, call.to_map(options))
}

/// Puts the events of an entity that has none back as they were, such as those
/// that `export` gave of a context that was restored from a backup: with their
/// seqs, ids, types, versions, payloads, metadata and times. Returns the seq of
/// the last one when all of them are durable. Waits for as long as it takes.
///
/// The list has all events from the first one on, up to 100,000, and 32 MiB as
/// JSON. All are stored or none. Aggregates fold them, and projections and
/// subscribers get them as new events; the validate of an aggregate is not
/// called. An import that is made again answers as it did the first time.
///
/// Errors: `error.EntityNotEmpty` if the entity has other events,
/// `error.BadEvent`, `error.ImportTooLarge`, `error.ImportTooLargeBytes`, those
/// of the functions of an aggregate, and those of appending.
///
pub fn import_events(
  entity: Entity,
  events: List(Event),
) -> Result(Int, Error(reason)) {
  import_events_with(entity, events, call.options())
}

/// Puts events back with a timeout: see `import_events` and `warp/call`. After
/// `error.Timeout` the events may still be stored, and the import can be made
/// again.
///
pub fn import_events_with(
  entity: Entity,
  events: List(Event),
  options: call.Options,
) -> Result(Int, Error(reason)) {
  engine_import(entity, events, call.to_map(options))
}

/// Waits until the entity has the event with this seq, for at most so many
/// milliseconds, up to 2^32 - 1. Returns the seq. Another process may wait for
/// what this one appends. To wait for an event of your own type see
/// `subscription.wait_until`.
///
/// Errors: `error.Timeout`, `error.BadOption` for a negative seq or a wrong
/// number of milliseconds, and those of reading.
///
@external(erlang, "warp_subscription_ffi", "wait")
pub fn wait(
  entity: Entity,
  seq seq: Int,
  within milliseconds: Int,
) -> Result(Int, Error(reason))

/// Deletes an entity: its process, its events, snapshots and ids, its rows in
/// the tables of projections, and its bytes in the files. Deleting an entity
/// without events succeeds. A new entity may use the id afterwards.
///
/// In a context without projections the call waits for as long as it takes, and
/// in a context with projections for at most ten seconds once all shards are
/// open. After `error.StillToErase` Warp erases the remaining rows by itself, and
/// after `error.BackupStillToErase` what a backup has of the entity, once it can
/// back up to it again. After any other error, call `delete` again.
///
@external(erlang, "warp_ffi", "delete")
pub fn delete(entity: Entity) -> Result(Nil, Error(reason))

/// What a deletion erased, and from where.
pub type Receipt {
  Receipt(
    entity: String,
    shard: Int,
    /// How many events were erased: 0 for an entity that had none.
    events: Int,
    /// In microseconds since 1970.
    erased_at: Int,
    /// The parts of Warp that hold nothing of the entity any more, such as
    /// `"log"` and `"embedded"`, the database of the projections.
    erased_from: List(String),
    /// The nodes that have done their part.
    nodes: List(String),
    /// The backups in which the entity is dead data: see `warp/backup`.
    backups: List(ReceiptBackup),
  )
}

/// A backup in which a deleted entity is dead data.
pub type ReceiptBackup {
  ReceiptBackup(
    /// Its folder.
    to: String,
    /// Its last cut: no cut up to this one has anything of the entity that can be
    /// read.
    cut: Int,
  )
}

/// Deletes an entity as `delete` does, and gives the receipt. Warp does not keep
/// it, since it names the entity. Called again after an error, the receipt has
/// the events that were left.
///
@external(erlang, "warp_ffi", "delete_with_receipt")
pub fn delete_with_receipt(entity: Entity) -> Result(Receipt, Error(reason))

/// Overwrites the time of an event that was recorded while the clock was wrong,
/// and the time of the events that were appended in the same batch. The time is
/// in microseconds since 1970, UTC, from 1974 on. Nothing else of the log
/// changes. This is for operators. Waits for at most 5000 milliseconds.
///
/// Returns `error.NoEvent` if the entity has no event with this seq.
///
/// States and tables that were computed from the wrong time keep it: raise the
/// version of the aggregate to compute its states again, and rebuild the
/// projection (`projector.rebuild`) to compute its tables again.
///
@external(erlang, "warp_ffi", "correct_time")
pub fn correct_time(
  entity: Entity,
  seq seq: Int,
  recorded_at recorded_at: Int,
) -> Result(Nil, Error(reason))

/// Waits until each shard of a clustered context is on the node where it should
/// be, as after nodes were added: see `cluster.migrate`.
///
pub fn migrate(context: Context) -> Result(Nil, Error(reason)) {
  cluster.migrate(context)
}

/// Runs one SQL statement that reads the tables of projections, with a `?` for
/// each parameter.
///
/// ```gleam
/// ctx
/// |> warp.query("SELECT id FROM balances WHERE amount > ?", [projection.int(1000)])
/// ```
///
/// Returns at most 10,000 rows, and waits for at most 5000 milliseconds. For
/// other limits see `projection.query_with`.
///
@external(erlang, "warp_projection_ffi", "query")
pub fn query(
  context: Context,
  sql: String,
  parameters: List(projection.Value),
) -> Result(projection.Rows, Error(reason))

/// The counters of a context, from its start on.
///
@external(erlang, "warp_stats_ffi", "context")
pub fn stats(context: Context) -> Result(Stats, Error(reason))

@external(erlang, "warp_ffi", "start")
fn engine_start(settings: Settings) -> Result(Context, Error(reason))

@external(erlang, "warp_ffi", "start_link")
fn engine_start_link(
  settings: Settings,
) -> Result(#(Pid, Context), Error(reason))

@external(erlang, "warp_ffi", "stop")
fn engine_stop(context: Context) -> Nil

@external(erlang, "warp_ffi", "history")
fn engine_history(
  entity: Entity,
  options: history.Map,
) -> Result(List(Event), Error(reason))

@external(erlang, "warp_ffi", "import_events")
fn engine_import(
  entity: Entity,
  events: List(Event),
  options: call.Map,
) -> Result(Int, Error(reason))

@external(erlang, "warp_ffi", "export")
fn engine_export(
  entity: Entity,
  options: call.Map,
) -> Result(List(Event), Error(reason))
