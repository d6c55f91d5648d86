//// Kuma: entities with your own types of state and events, and nothing else to
//// learn. It is Warp's engine with a smaller face: see `warp` for the rest.
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
//// One folder holds entities of one type. How events fold into a state is said
//// once, with `fold`, right after `start`.

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

/// Where entities are kept.
///
pub type Config {
  Config(
    /// The folder for the files. It is made if it is not there.
    path: String,
    /// In how many files, 1 to 4096. For good: it is stored, and starting with
    /// another number is an error. More of them let more entities be written to
    /// at once; 16 is a good number.
    shards: Int,
  )
}

/// Why an operation came to nothing: see `warp/error`. `Refused(NotSpawned)` is
/// for an entity that was not spawned, or was deleted.
///
pub type Error =
  error.Error(NotSpawned)

/// A folder of entities that is open, but for which nobody has said yet how
/// events fold: see `fold`.
///
pub opaque type Kuma(state, event) {
  Kuma(
    warp: warp.Context,
    key: Key(state, event),
    aggregate: EntityAggregate(state, event),
  )
}

/// A folder of entities with this type of state and of events.
///
pub opaque type Context(state, event) {
  Context(kuma: Kuma(state, event))
}

/// Everything that was ever stored of an entity.
///
pub type Export(state, event) {
  Export(
    id: String,
    /// The state that it was spawned with.
    initial: state,
    /// When it was spawned, in microseconds since 1970, UTC.
    spawned_at: Int,
    /// All events since, first to last.
    events: List(Event(event)),
  )
}

/// Opens the folder, and waits until all its shards are open.
///
/// Entities are always folded from their first event on, so a function given to
/// `fold` may change from one start to the next. For entities with very many
/// events there is `start_with_snapshots`.
///
pub fn start(config: Config) -> Result(Kuma(state, event), Error) {
  open(config, version: 1, snapshot_every: never)
}

/// Opens the folder as `start` does, and keeps a snapshot of an entity every
/// 1000 events, so that the first read after a start does not fold all of them:
/// worth it from some 10,000 events on.
///
/// Raise the version, from 1, whenever the function given to `fold` or the type
/// of the state changes. Snapshots of older versions are not used.
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

/// Says how events fold: `apply` gives the state after an event. It has to be
/// pure, since it runs whenever events are appended or read.
///
/// States and events are stored in Erlang's term format. That takes no code,
/// but their types then have to stay as they are: see `kuma/codec`.
///
/// An event on which `apply` crashes is refused, with `error.ApplyFailed`. Give
/// `apply` once; when it is given again, the last one counts from then on.
///
pub fn fold(
  kuma: Kuma(state, event),
  apply: fn(state, event) -> state,
) -> Context(state, event) {
  fold_with(kuma, codec.terms(), apply)
}

/// Says how events fold, as `fold` does, and how states and events are written:
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

/// Closes the folder. What was acknowledged is on disk. Entities of the context
/// give `error.ContextStopped` from then on.
///
pub fn stop(context: Context(state, event)) -> Nil {
  warp.stop(context.kuma.warp)
  forget_fold(context.kuma.key)
}

/// The entity with that id, 1 to 512 bytes. One that is not there yet is
/// created with that state; one that is keeps the state that it has.
///
pub fn spawn(
  context: Context(state, event),
  id: String,
  initial: state,
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
      // Somebody else was faster.
      Alive(_) -> Ok([])
    }
  })
  |> result.replace(entity)
}

/// Appends an event, and answers when it is durable, with its place in the
/// entity's log. The spawning is in place 1.
///
pub fn append(
  entity: Entity(state, event),
  event: event,
) -> Result(Int, Error) {
  entity.warp(entity)
  |> aggregate.append(entity.aggregate(entity), Happened(event))
}

/// The state, with everything acknowledged in it. It comes from memory.
///
pub fn read(entity: Entity(state, event)) -> Result(state, Error) {
  result.try(life(entity), alive)
}

/// The state as it was after the event in that place, or at that time.
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

/// Everything that was ever stored of the entity, to be handed to whom it is
/// about.
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

/// Deletes the entity: from memory, the log and snapshots, and from the bytes
/// of the files. It can be spawned anew. After an error, call it again.
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

/// The engine takes its aggregates when it starts, and `fold` comes after that.
/// So the engine's aggregate looks up what it was given, whenever it is called.
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

/// What `fold` was given, and the name under which it is found.
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
