//// Kuma: a small API for entities with your own types of state and events.
////
//// An entity's log stores its events; the function that you give to `fold`
//// computes its state from them. Kuma is built on the package `warp`, which has
//// more: several aggregates, sagas, projections and actors.
////
//// ```gleam
//// pub fn main() {
////   let assert Ok(ctx) =
////     kuma.start(kuma.Config(path: "/data/accounts", shards: 16))
////   let ctx = kuma.fold(ctx, apply)
////
////   let assert Ok(account) =
////     kuma.spawn(ctx, "acc_001", Account(balance: 0, name: "Savings"))
////   let assert Ok(_) = kuma.append(account, Deposited(amount: 1000))
////   let assert Ok(state) = kuma.read(account)
//// }
////
//// fn apply(account: Account, event: AccountEvent) -> Account {
////   case event {
////     Deposited(amount:) ->
////       Account(..account, balance: account.balance + amount)
////     Renamed(name:) -> Account(..account, name:)
////   }
//// }
//// ```
////
//// A folder holds entities of one type. Call `fold` once, right after `start`.
////
//// Every error is a variant of `warp/error`, whose documentation says what to do
//// about it.

import gleam/list
import gleam/result
import kuma/codec.{type Codec, type Entry, Happened, Spawned}
import kuma/entity.{
  type Entity, type EntityAggregate, type Life, type NotSpawned, Alive,
  NotSpawned, Unborn,
}
import kuma/event.{type Event, Event}
import warp
import warp/aggregate
import warp/context.{WarpOptions}
import warp/error
import warp/event as warp_event
import warp/history

/// Where Kuma stores entities.
///
pub type Config {
  Config(
    /// The path of the folder for the files, which Kuma creates if it does not
    /// exist.
    path: String,
    /// How many shards store the entities, from 1 to 4096: each is a file with a
    /// writer of its own. Kuma stores the number when it creates the folder, and
    /// it cannot be changed: another number returns `error.ShardCountMismatch`.
    /// 16 suits most programs.
    shards: Int,
  )
}

/// Why an operation failed: see `warp/error`. `Refused(NotSpawned)` says that the
/// entity was not spawned, or was deleted.
///
pub type Error =
  error.Error(NotSpawned)

/// An open folder of entities whose events cannot be folded yet: see `fold`.
///
pub opaque type Kuma(state, event) {
  Kuma(
    warp: warp.Context,
    key: Key(state, event),
    aggregate: EntityAggregate(state, event),
  )
}

/// An open folder of entities with these types of state and of events.
///
pub opaque type Context(state, event) {
  Context(kuma: Kuma(state, event))
}

/// Everything that is stored of an entity.
///
pub type Export(state, event) {
  Export(
    /// The id of the entity.
    id: String,
    /// The state with which the entity was spawned.
    initial: state,
    /// When the entity was spawned, in microseconds since 1970, UTC.
    spawned_at: Int,
    /// All events that were appended to the entity, oldest first.
    events: List(Event(event)),
  )
}

/// Opens the folder, and waits until all its shards are open. After an error
/// nothing is left running.
///
/// Kuma stores no snapshots: it folds an entity from its first event on, so the
/// function given to `fold` may change from one start to the next. For entities
/// with very many events see `start_with_snapshots`.
///
pub fn start(config: Config) -> Result(Kuma(state, event), Error) {
  open(config, version: 1, snapshot_every: never)
}

/// Opens the folder as `start` does, and stores a snapshot of an entity every
/// 1000 events, so that the first read of the entity does not fold all its
/// events. This pays off for entities with more than about 10,000 events.
///
/// Raise the version, from 1 on, whenever the function given to `fold` or the
/// type of the state changes: Kuma then ignores snapshots of older versions.
///
pub fn start_with_snapshots(
  config: Config,
  version version: Int,
) -> Result(Kuma(state, event), Error) {
  open(config, version:, snapshot_every: 1000)
}

/// More events than an entity can have.
///
const never = 1_000_000_000_000

fn open(
  config: Config,
  version version: Int,
  snapshot_every snapshot_every: Int,
) -> Result(Kuma(state, event), Error) {
  let key = new_key()
  let aggregate = define(key) |> aggregate.version(version)
  let options =
    WarpOptions(
      ..context.defaults(),
      context: "kuma",
      data_dir: config.path,
      shards: config.shards,
      aggregates: [aggregate.definition(aggregate)],
      snapshot_every:,
    )
  use warp <- result.map(warp.start(options))
  Kuma(warp:, key:, aggregate:)
}

/// Sets how events fold: `apply` returns the state after an event. Kuma calls it
/// whenever it appends or reads events, so it has to be pure.
///
/// Kuma stores states and events in Erlang's term format. You write no code for
/// it, but the types of states and events must not change afterwards: see
/// `kuma/codec`.
///
/// If `apply` crashes on an event, Kuma does not store the event, and the append
/// returns `error.ApplyFailed`. Call `fold` once; after a second call Kuma uses
/// the functions of that call.
///
pub fn fold(
  kuma: Kuma(state, event),
  apply: fn(state, event) -> state,
) -> Context(state, event) {
  fold_with(kuma, codec.terms(), apply)
}

/// Sets how events fold, as `fold` does, and how Kuma stores states and events:
/// see `kuma/codec`.
///
pub fn fold_with(
  kuma: Kuma(state, event),
  codec: Codec(state, event),
  apply: fn(state, event) -> state,
) -> Context(state, event) {
  put_fold(kuma.key, Fold(codec:, apply:))
  Context(kuma:)
}

/// Closes the folder. Everything that was acknowledged is on disk. Operations on
/// entities of the context return `error.ContextStopped` afterwards.
///
pub fn stop(context: Context(state, event)) -> Nil {
  warp.stop(context.kuma.warp)
  forget_fold(context.kuma.key)
}

/// The entity with this id, of 1 to 512 bytes. If it does not exist, Kuma creates
/// it with this state, and returns when it is durable. An entity that exists
/// keeps its own state. Waits for at most about 10 seconds.
///
pub fn spawn(
  context: Context(state, event),
  id: String,
  initial initial: state,
) -> Result(Entity(state, event), Error) {
  let Kuma(warp:, aggregate:, ..) = context.kuma
  let entity = entity.new(id, warp.entity(warp, id), aggregate)
  case life(entity) {
    Ok(Alive(_)) -> Ok(entity)
    Ok(Unborn) -> create(entity, initial)
    Error(error) -> Error(error)
  }
}

fn create(
  entity: Entity(state, event),
  initial: state,
) -> Result(Entity(state, event), Error) {
  entity.warp(entity)
  |> aggregate.decide(entity.aggregate(entity), fn(life) {
    case life {
      Unborn -> Ok([Spawned(initial)])
      // Another process has spawned it meanwhile.
      Alive(_) -> Ok([])
    }
  })
  |> result.replace(entity)
}

/// Appends an event, and returns its seq when it is durable. Seq 1 is the
/// spawning, so the first event has seq 2. Waits for at most 5 seconds.
///
pub fn append(
  entity: Entity(state, event),
  event: event,
) -> Result(Int, Error) {
  entity.warp(entity)
  |> aggregate.append(entity.aggregate(entity), Happened(event))
}

/// The state, after every event that was acknowledged. It comes from memory.
/// Waits for at most 5 seconds.
///
pub fn read(entity: Entity(state, event)) -> Result(state, Error) {
  result.try(life(entity), alive)
}

/// The state after the event with this seq, or at this time. Waits for at most 5
/// seconds.
///
/// ```gleam
/// kuma.read_at(account, history.Seq(2))
/// ```
///
pub fn read_at(
  entity: Entity(state, event),
  point: history.Point,
) -> Result(state, Error) {
  entity.warp(entity)
  |> aggregate.state_at(entity.aggregate(entity), point)
  |> result.try(alive)
}

/// Everything that is stored of the entity, for example to give it to the person
/// whom it describes. Waits for as long as it takes.
///
pub fn export(
  entity: Entity(state, event),
) -> Result(Export(state, event), Error) {
  use events <- result.try(warp.export(entity.warp(entity)))
  use entries <- result.try(
    list.try_map(events, fn(event) {
      use entry <- result.map(aggregate.decode(entity.aggregate(entity), event))
      #(event, entry)
    }),
  )
  case entries {
    [#(first, Spawned(initial)), ..rest] ->
      Ok(Export(
        id: entity.id,
        initial:,
        spawned_at: warp_event.recorded_at(first),
        events: list.filter_map(rest, event_of),
      ))
    _ -> Error(error.Refused(NotSpawned))
  }
}

/// Deletes the entity: its process, its events and snapshots, and its bytes in
/// the files. The entity can be spawned again. After an error, call `delete`
/// again. Waits for as long as it takes.
///
pub fn delete(entity: Entity(state, event)) -> Result(Nil, Error) {
  warp.delete(entity.warp(entity))
}

fn life(entity: Entity(state, event)) -> Result(Life(state), Error) {
  entity.warp(entity) |> aggregate.get(entity.aggregate(entity))
}

fn alive(life: Life(state)) -> Result(state, Error) {
  case life {
    Alive(state) -> Ok(state)
    Unborn -> Error(error.Refused(NotSpawned))
  }
}

fn event_of(
  stored: #(warp_event.Event, Entry(state, event)),
) -> Result(Event(event), Nil) {
  case stored {
    #(event, Happened(happened)) ->
      Ok(Event(
        seq: warp_event.seq(event),
        recorded_at: warp_event.recorded_at(event),
        event: happened,
      ))
    #(_, Spawned(_)) -> Error(Nil)
  }
}

/// The engine needs its aggregates when it starts, and `fold` is called after
/// that. So the functions of the aggregate look up what `fold` was given.
///
fn define(key: Key(state, event)) -> EntityAggregate(state, event) {
  aggregate.new("Entity", initial: Unborn, apply: fn(life, entry) {
    case life, entry {
      _, Spawned(state) -> Alive(state)
      Alive(state), Happened(event) -> Alive(get_fold(key).apply(state, event))
      Unborn, Happened(_) -> life
    }
  })
  |> aggregate.codec(
    encode: fn(entry) { codec.encode(get_fold(key).codec, entry) },
    decode: fn(type_) { codec.decoder(get_fold(key).codec, type_) },
  )
  |> aggregate.validate(fn(life, entry) {
    case life, entry {
      Unborn, Happened(_) -> Error(NotSpawned)
      _, _ -> Ok(Nil)
    }
  })
}

/// What `fold` was given.
///
type Fold(state, event) {
  Fold(codec: Codec(state, event), apply: fn(state, event) -> state)
}

type Key(state, event)

@external(erlang, "kuma_ffi", "new_key")
fn new_key() -> Key(state, event)

@external(erlang, "kuma_ffi", "put_fold")
fn put_fold(key: Key(state, event), fold: Fold(state, event)) -> Nil

@external(erlang, "kuma_ffi", "fold")
fn get_fold(key: Key(state, event)) -> Fold(state, event)

@external(erlang, "kuma_ffi", "forget_fold")
fn forget_fold(key: Key(state, event)) -> Nil
