//// Pages of a context's entities, and of the events of all of them.
////
//// ```gleam
//// let assert Ok(page) =
////   listing.entities(context, listing.options() |> listing.prefix("user/"))
//// ```

import gleam/option.{type Option, None, Some}
import warp/error.{type Error}
import warp/event.{type Event}
import warp/handle.{type Context}

/// The options of a list. See `options`.
///
pub opaque type Options {
  Options(List(Setting))
}

/// What the engine's map of options is made of: the names are its keys.
///
type Setting {
  Prefix(String)
  Aggregate(String)
  Shard(Int)
  Limit(Int)
  Timeout(Int)
}

/// Some of a context's entities, in no order that means anything.
///
pub type Entities {
  Entities(
    entities: List(Listed),
    /// Where the next page goes on; `None` after the last one.
    next: Option(Place),
  )
}

/// An entity that has events, with the seq of its last one.
///
pub type Listed {
  Listed(id: String, seq: Int)
}

/// Where a page of entities ended.
///
pub type Place

/// Some of a context's events, shard by shard, in the order in which each shard
/// stored them.
///
pub type Events {
  Events(
    events: List(Placed),
    /// Where the next page goes on, also later, when more is stored.
    next: Positions,
    /// Whether there is more by now.
    more: Bool,
  )
}

/// An event with its entity, its shard, and its position: where the append that
/// it came with stands in the shard's log.
///
pub type Placed {
  Placed(entity: String, shard: Int, position: Int, event: Event)
}

/// Up to which position the log of each shard was read.
///
pub type Positions

/// The defaults: all entities, or the events of all shards, 1000 on a page, read
/// within 5000 milliseconds.
///
pub fn options() -> Options {
  Options([])
}

/// Only entities whose ids begin with this text.
///
pub fn prefix(options: Options, prefix: String) -> Options {
  set(options, Prefix(prefix))
}

/// Only entities that have events of this aggregate, by its name or an alias.
///
pub fn aggregate(options: Options, name: String) -> Options {
  set(options, Aggregate(name))
}

/// Only events of the shard with this number, from 0.
///
pub fn shard(options: Options, shard: Int) -> Options {
  set(options, Shard(shard))
}

/// How many entities or events a page has, from 1 to 10000. A page of events ends
/// where an append ends, so it may have as many more as that append.
///
pub fn limit(options: Options, limit: Int) -> Options {
  set(options, Limit(limit))
}

/// Sets how long a page may take, in milliseconds, from 0 to 2^32 - 1. After that
/// it ends with what was found, and `next` goes on.
///
pub fn timeout(options: Options, milliseconds: Int) -> Options {
  set(options, Timeout(milliseconds))
}

/// The first page of the entities of a context.
///
/// An entity that has events while all pages are read is listed once. One that is
/// deleted, or gets its first event, meanwhile may be listed or not. A page may
/// have fewer entities than its limit, or none, before the last.
///
/// Errors: `error.BadOption`, `error.UnknownOption` for an option that is not one
/// of entities, `error.ContextStopped`, `error.ShardUnavailable`, `error.Timeout`,
/// `error.Interrupted`, and those of the disk.
///
pub fn entities(
  context: Context,
  options: Options,
) -> Result(Entities, Error(reason)) {
  engine_entities(context, to_map(options), None)
}

/// The page of entities behind the one that ended there, with the same options.
///
pub fn more_entities(
  context: Context,
  options: Options,
  after place: Place,
) -> Result(Entities, Error(reason)) {
  engine_entities(context, to_map(options), Some(place))
}

/// The first page of the events of a context, migrated to the current schema.
/// Events of deleted entities are not there.
///
/// Errors are those of `entities`, and `error.MigrateFailed`.
///
pub fn events(
  context: Context,
  options: Options,
) -> Result(Events, Error(reason)) {
  engine_events(context, to_map(options), None)
}

/// The page of events behind the one that ended there, with the same options. For
/// work that has to be done once for each event, remember the positions together
/// with what was done.
///
pub fn more_events(
  context: Context,
  options: Options,
  after positions: Positions,
) -> Result(Events, Error(reason)) {
  engine_events(context, to_map(options), Some(positions))
}

fn set(options: Options, setting: Setting) -> Options {
  let Options(settings) = options
  Options([setting, ..settings])
}

type Map

/// The engine's map of options. The last of two equal settings counts.
///
fn to_map(options: Options) -> Map {
  let Options(settings) = options
  from_list(reverse(settings))
}

@external(erlang, "maps", "from_list")
fn from_list(settings: List(Setting)) -> Map

@external(erlang, "lists", "reverse")
fn reverse(settings: List(Setting)) -> List(Setting)

@external(erlang, "warp_listing_ffi", "entities")
fn engine_entities(
  context: Context,
  options: Map,
  after: Option(Place),
) -> Result(Entities, Error(reason))

@external(erlang, "warp_listing_ffi", "events")
fn engine_events(
  context: Context,
  options: Map,
  after: Option(Positions),
) -> Result(Events, Error(reason))
