//// Subscriptions: a process is sent the events of an entity or of a whole
//// context, those that are stored already and then each new one, as values of
//// your own type.
////
//// ```gleam
//// let assert Ok(payments) =
////   bank
////   |> subscription.to_context(account())
////   |> subscription.from_beginning
////   |> subscription.subscribe
////
//// case subscription.receive(payments, within: 5000) {
////   Ok(subscription.Events(events:)) -> {
////     list.each(events, book)
////     subscription.ack_all(payments, events)
////   }
////   Ok(_) | Error(Nil) -> Nil
//// }
//// ```
////
//// A subscription belongs to the process that made it, its subscriber, and ends
//// with it. An actor subscribes in its initialiser, and selects the messages
//// beside its own:
////
//// ```gleam
//// actor.new_with_initialiser(5000, fn(subject) {
////   let assert Ok(payments) =
////     subscription.to_context(bank, account()) |> subscription.subscribe
////   process.new_selector()
////   |> process.select(subject)
////   |> process.merge_selector(
////     subscription.selector(payments) |> process.map_selector(FromTheLog),
////   )
////   |> actor.selecting(actor.initialised(payments), _)
////   |> Ok
//// })
//// ```
////
//// Each event comes once, and those of an entity come in order. Only events that
//// are on disk come. A subscriber that does not keep up holds up nobody: what it
//// is not sent stays in the file and is read later, see `credit`.
////
//// A subscription with a name is durable: see `named`. The module
//// `warp/subscriber` has subscribers with names that Warp runs itself, which
//// retry what fails.

import gleam/dict.{type Dict}
import gleam/erlang/process.{type Monitor, type Selector}
import gleam/erlang/reference.{type Reference}
import gleam/list
import gleam/result
import warp/aggregate.{type Aggregate}
import warp/error.{type Error}
import warp/event.{type Event}
import warp/handle.{type Context, type Entity}

// Building.

/// A subscription to make: what it follows, where it begins, and which events it
/// lets through. See `to_entity` and `to_context`.
///
pub opaque type Builder(event) {
  Builder(source: Source, decode: Decode(event), settings: List(Setting))
}

/// An entity or a context.
///
type Source

type Decode(event) =
  fn(Event) -> Result(event, Error(Nil))

/// What the engine's maps of options are made of: the names are its keys.
///
@internal
pub type Setting {
  Aggregates(List(String))
  From(Start)
  Types(List(String))
  Prefix(String)
  Shard(Int)
  Name(String)
  Consumers(Int)
  Tries(Int)
  EffectsFrom(Start)
  Credit(Allowance)
  Tag(Reference)
}

@internal
pub type Start {
  Beginning
  Now
  Cursor(Cursor)
  Time(Int)
}

/// A number of events, or `demand`.
///
@internal
pub type Allowance

type Demand {
  Demand
}

/// Follows one entity: its events of this aggregate.
///
pub fn to_entity(
  entity: Entity,
  aggregate: Aggregate(state, event, reason),
) -> Builder(event) {
  new(source_entity(entity), aggregate)
}

/// Follows a whole context: the events of this aggregate, of all entities that
/// are there and that are still to come.
///
pub fn to_context(
  context: Context,
  aggregate: Aggregate(state, event, reason),
) -> Builder(event) {
  new(source_context(context), aggregate)
}

fn new(
  source: Source,
  aggregate: Aggregate(state, event, reason),
) -> Builder(event) {
  Builder(source:, decode: aggregate.decode(aggregate, _), settings: [
    Aggregates([aggregate.name(aggregate)]),
  ])
}

/// Begins with the first event.
///
pub fn from_beginning(builder: Builder(event)) -> Builder(event) {
  set(builder, From(Beginning))
}

/// Begins with the next event that is stored. This is the default.
///
pub fn from_now(builder: Builder(event)) -> Builder(event) {
  set(builder, From(Now))
}

/// Begins behind a cursor of the same entity or context: with what was not
/// acknowledged there.
///
pub fn from_cursor(builder: Builder(event), cursor: Cursor) -> Builder(event) {
  set(builder, From(Cursor(cursor)))
}

/// Begins with the first event that was recorded at this time or later, in
/// microseconds since 1970, UTC.
///
pub fn from_time(builder: Builder(event), microseconds: Int) -> Builder(event) {
  set(builder, From(Time(microseconds)))
}

/// Only events of these types come, as `migrate` gives them. By default those of
/// all types come.
///
pub fn types(builder: Builder(event), types: List(String)) -> Builder(event) {
  set(builder, Types(types))
}

/// Only events of entities whose ids begin with this text come. It is an option
/// of contexts: for a single entity `subscribe` returns `error.UnknownOption`.
///
pub fn prefix(builder: Builder(event), prefix: String) -> Builder(event) {
  set(builder, Prefix(prefix))
}

/// Only events of this shard come: see `warp.shard_of`. It is an option of contexts,
/// and of subscriptions without a name: otherwise `subscribe` returns
/// `error.UnknownOption` or `error.BadOption`.
///
pub fn shard(builder: Builder(event), number: Int) -> Builder(event) {
  set(builder, Shard(number))
}

/// Gives the subscription a name, of 1 to 200 bytes of text. What is acknowledged
/// is stored under it, on disk at most a second later, and whoever subscribes
/// with the name gets everything else, also after a restart of the context. A
/// place to begin at counts only when the name is new.
///
/// One subscriber consumes a name at a time, or as many as `consumers` says. The
/// others wait as standbys, and one takes over when a consumer ends: it gets
/// `Active` first.
///
/// It is an option of contexts: for a single entity `subscribe` returns
/// `error.UnknownOption`.
///
pub fn named(builder: Builder(event), name: String) -> Builder(event) {
  set(builder, Name(name))
}

/// Sets how many subscribers of the name split the shards between them, from 1 to
/// the number of shards. The default is 1. All subscribers of a name have to give
/// the same number: otherwise `subscribe` returns `error.OthersSay`.
///
pub fn consumers(builder: Builder(event), count: Int) -> Builder(event) {
  set(builder, Consumers(count))
}

/// Sets how many events may be sent and not acknowledged, from 1 to 100,000. The
/// default is 1000. `ack` and `ack_all` make room for others.
///
pub fn credit(builder: Builder(event), events: Int) -> Builder(event) {
  set(builder, Credit(so_many(events)))
}

/// No event is sent until the subscriber asks for it with `more`.
///
pub fn demand(builder: Builder(event)) -> Builder(event) {
  set(builder, Credit(on_demand(Demand)))
}

fn set(builder: Builder(event), setting: Setting) -> Builder(event) {
  Builder(..builder, settings: [setting, ..builder.settings])
}

// Subscribing.

/// A subscription of the process that made it.
///
pub opaque type Subscription(event) {
  Subscription(engine: Engine, tag: Reference, decode: Decode(event))
}

/// The engine's subscription.
///
type Engine

/// Subscribes the calling process. Waits for at most 5000 milliseconds.
///
/// Errors: `error.BadOption`, and `error.UnknownOption` for a prefix, a shard or a
/// name of a single entity; `error.BadCursor` for a cursor that is none, that belongs to
/// something else, or that is ahead of a log, which was replaced by an older copy,
/// also for a name that is ahead; `error.OthersSay`, `error.BadEntityId`,
/// `error.ContextStopped`, `error.ShardUnavailable`, `error.Timeout`,
/// `error.Interrupted`, and those of the disk.
///
pub fn subscribe(
  builder: Builder(event),
) -> Result(Subscription(event), Error(reason)) {
  let Builder(source:, decode:, settings:) = builder
  // A selector tells messages apart by their first elements: with one of its own
  // each, one process can have several subscriptions.
  let tag = reference.new()
  [Tag(tag), ..settings]
  |> to_map
  |> engine_subscribe(source, _)
  |> result.map(Subscription(engine: _, tag:, decode:))
}

/// The engine's map of options. Of two settings of one key the later one counts,
/// which stands first.
///
@internal
pub fn to_map(settings: List(Setting)) -> Map {
  settings |> list.reverse |> from_list
}

/// Ends a subscription. The calling process, which has to be the subscriber, gets
/// nothing of it any more, also not `Ended`, and has none of its messages in the
/// mailbox. Waits for at most 5000 milliseconds.
///
pub fn unsubscribe(subscription: Subscription(event)) -> Nil {
  engine_unsubscribe(subscription.engine)
}

// Receiving.

/// What a subscriber is sent.
///
pub type Message(event) {
  /// At most 1000 events. Among them the order of one entity's events, and of one
  /// shard's, means something.
  ///
  /// The data of each event is a value of your own type, or
  /// `error.UndecodableEvent`. An event that cannot be decoded holds up no other:
  /// acknowledge it like them.
  Events(events: List(Placed(Result(event, Error(Nil)))))
  /// All that was stored has been sent, and what follows is sent as it is stored.
  /// It comes again after the subscriber was behind.
  CaughtUp(cursor: Cursor)
  /// Everything up to this cursor is acknowledged, or was not for this
  /// subscription. It comes at most once a second.
  Checkpoint(cursor: Cursor)
  /// The entity was deleted: nothing of it is sent any more, also of what was on
  /// its way. If the entity begins a new life, its events follow. A subscription
  /// with a name gets it again until it is acknowledged: see `ack_erased`.
  Erased(entity: String)
  /// The subscriber consumes these shards of the name from now on: see `named`.
  Active(shards: List(Int))
  /// The subscription has ended, as when its context was stopped. Subscribe
  /// again, from the last cursor.
  Ended
}

/// An event with its place.
///
pub type Placed(data) {
  Placed(
    /// The id of the entity.
    entity: String,
    /// The number of the entity's shard, from 0.
    shard: Int,
    /// Where the append that the event came with stands in the shard's log.
    position: Int,
    /// The event as it is stored and migrated, with its seq, time and metadata.
    event: Event,
    /// The event as your aggregate decodes it.
    data: data,
  )
}

/// Selects the messages of a subscription, in the process that subscribed. Merge
/// it into an actor's own selector with `process.merge_selector`, after
/// `process.map_selector` has made an actor's message of each.
///
/// Events are decoded when they are received, by the subscriber.
///
pub fn selector(subscription: Subscription(event)) -> Selector(Message(event)) {
  let Subscription(engine:, tag:, decode:) = subscription
  process.new_selector()
  |> process.select_record(tag:, fields: 2, mapping: engine_message(_, decode))
  |> process.select_specific_monitor(engine_monitor(engine), fn(_) { Ended })
}

/// Waits for the next message of a subscription, for so many milliseconds, in the
/// process that subscribed. Returns `Error(Nil)` when none came.
///
pub fn receive(
  from subscription: Subscription(event),
  within milliseconds: Int,
) -> Result(Message(event), Nil) {
  process.selector_receive(selector(subscription), milliseconds)
}

/// Acknowledges an event, and with it all events of its shard that were sent
/// before it. One that was not sent, or was acknowledged before, changes nothing.
///
pub fn ack(subscription: Subscription(event), event: Placed(data)) -> Nil {
  ack_all(subscription, [event])
}

/// Acknowledges all events of a message, which may be of several shards.
///
pub fn ack_all(
  subscription: Subscription(event),
  events: List(Placed(data)),
) -> Nil {
  engine_ack(subscription.engine, events)
}

/// Acknowledges that what was made of an entity's events is erased. The name of
/// the subscription is not told of this erasure again.
///
pub fn ack_erased(subscription: Subscription(event), entity: String) -> Nil {
  engine_ack_erased(subscription.engine, entity)
}

/// Asks for so many more events: beside those that the subscriber has asked for
/// and was not sent yet, and beside those that acknowledging makes room for. A
/// number below 1 asks for none.
///
pub fn more(subscription: Subscription(event), events: Int) -> Nil {
  case events > 0 {
    True -> engine_more(subscription.engine, events)
    False -> Nil
  }
}

// Cursors.

/// Where a subscription stands: up to where everything was acknowledged. It stays
/// valid.
///
pub type Cursor

/// The cursor of a subscription. Waits for at most 5000 milliseconds. Errors:
/// `error.SubscriptionEnded` and `error.Timeout`.
///
pub fn cursor(
  subscription: Subscription(event),
) -> Result(Cursor, Error(reason)) {
  engine_cursor(subscription.engine)
}

/// The cursor as a short text of letters, digits, `-` and `_`, to be stored.
///
@external(erlang, "warp_ffi", "identity")
pub fn cursor_to_string(cursor: Cursor) -> String

/// The cursor of a text. For a text that is none, `subscribe` returns
/// `error.BadCursor`.
///
@external(erlang, "warp_ffi", "identity")
pub fn cursor_from_string(text: String) -> Cursor

/// Where a cursor of an entity stands.
///
pub type EntityPlace {
  EntityPlace(
    /// The life of the entity: the position of its first event, 0 without events.
    life: Int,
    /// The seq of the last event, 0 without events.
    seq: Int,
  )
}

/// Where a cursor of a context stands in one shard.
///
pub type ShardPlace {
  /// Everything up to this position was taken.
  UpTo(position: Int)
  /// Likewise, and the append at this position was taken up to the event of this
  /// seq.
  Within(position: Int, seq: Int)
}

/// What a cursor of an entity says, for programs that keep it in a form of their
/// own. Errors: `error.BadCursor`.
///
@external(erlang, "warp_subscription_ffi", "entity_place")
pub fn entity_place(
  entity: Entity,
  cursor: Cursor,
) -> Result(EntityPlace, Error(reason))

/// What a cursor of a context says, by the numbers of shards. Of those that are not
/// there nothing was taken. Errors: `error.BadCursor` and `error.ContextStopped`.
///
@external(erlang, "warp_subscription_ffi", "context_place")
pub fn context_place(
  context: Context,
  cursor: Cursor,
) -> Result(Dict(Int, ShardPlace), Error(reason))

/// The cursor of an entity at a place: `entity_place` the other way round. Whether
/// there is such a place is seen when somebody subscribes from it.
///
@external(erlang, "warp_subscription_ffi", "entity_cursor_at")
pub fn entity_cursor_at(entity: Entity, place: EntityPlace) -> Cursor

/// The cursor of a context at a place: `context_place` the other way round. Whether
/// there is such a place is seen when somebody subscribes from it. Errors:
/// `error.ContextStopped`.
///
@external(erlang, "warp_subscription_ffi", "context_cursor_at")
pub fn context_cursor_at(
  context: Context,
  place: Dict(Int, ShardPlace),
) -> Result(Cursor, Error(reason))

// Names.

/// An entity that waits, because a subscriber failed with an event of it: see
/// `warp/subscriber`. Its later events wait too.
///
pub type Waiting {
  Waiting(
    /// The id of the entity.
    entity: String,
    /// The seq of the event that failed.
    seq: Int,
    /// The number of the entity's shard, from 0.
    shard: Int,
    /// Whether the event is tried again without you.
    state: WaitingState,
    /// How many times the subscriber failed with the event.
    tries: Int,
    /// Why it failed the last time, in words.
    why: String,
    /// When it failed first, in microseconds since 1970, UTC.
    since: Int,
  )
}

/// Whether an event that failed is tried again without an operator.
///
pub type WaitingState {
  /// It is tried again, after pauses.
  Retrying
  /// It failed too often: see `retry` and `skip`.
  Parked
}

/// The entities that wait under a name, in the order in which they failed. Waits
/// for at most 5000 milliseconds, as `retry`, `skip` and `forget` do.
///
/// Returns `error.UnknownSubscription` if nobody has subscribed with the name.
/// Other errors: `error.ContextStopped`, `error.Timeout`, `error.Interrupted`, and
/// those of the disk.
///
@external(erlang, "warp_subscription_ffi", "parked")
pub fn parked(
  context: Context,
  name: String,
) -> Result(List(Waiting), Error(reason))

/// Hands the event of an entity that waits to its subscriber again, now or as soon
/// as there is one, and then the events behind it. Returns `error.NotWaiting` for
/// another entity. Other errors are those of `parked`.
///
@external(erlang, "warp_subscription_ffi", "retry")
pub fn retry(
  context: Context,
  name: String,
  entity: String,
) -> Result(Nil, Error(reason))

/// Gives up the event of an entity that waits, and goes on behind it. Errors are
/// those of `retry`.
///
@external(erlang, "warp_subscription_ffi", "skip")
pub fn skip(
  context: Context,
  name: String,
  entity: String,
) -> Result(Nil, Error(reason))

/// Forgets a name: how far it is, and what waits. The next subscriber with this
/// name begins anew. Returns `error.InUse` while somebody has subscribed. Other
/// errors are those of `parked`.
///
@external(erlang, "warp_subscription_ffi", "forget")
pub fn forget(context: Context, name: String) -> Result(Nil, Error(reason))

// Waiting for an event.

/// Waits until an entity has an event for which a function returns `True`, for at
/// most so many milliseconds, up to 2^32 - 1. Returns the seq of the event. To
/// wait for a seq see `warp.wait`.
///
/// ```gleam
/// subscription.wait_until(order, order(), within: 5000, has: fn(placed) {
///   placed.data == Paid
/// })
/// ```
///
/// The function is called with the entity's events of this aggregate in order,
/// those that are stored already first, in a process of its own.
///
/// Errors: `error.Timeout`; `error.UntilFailed` if the function crashed;
/// `error.UndecodableEvent` if the decoder failed on an event; and those of
/// reading.
///
pub fn wait_until(
  entity: Entity,
  aggregate: Aggregate(state, event, reason),
  within milliseconds: Int,
  has is_it: fn(Placed(event)) -> Bool,
) -> Result(Int, Error(other)) {
  engine_wait_until(
    entity,
    aggregate.name(aggregate),
    aggregate.read(aggregate, _),
    is_it,
    milliseconds,
  )
}

@internal
pub type Map

@external(erlang, "maps", "from_list")
fn from_list(settings: List(Setting)) -> Map

@external(erlang, "warp_ffi", "identity")
fn source_entity(entity: Entity) -> Source

@external(erlang, "warp_ffi", "identity")
fn source_context(context: Context) -> Source

@external(erlang, "warp_ffi", "identity")
fn so_many(events: Int) -> Allowance

@external(erlang, "warp_ffi", "identity")
fn on_demand(demand: Demand) -> Allowance

@external(erlang, "warp_subscription_ffi", "subscribe")
fn engine_subscribe(
  source: Source,
  options: Map,
) -> Result(Engine, Error(reason))

@external(erlang, "warp_subscription_ffi", "unsubscribe")
fn engine_unsubscribe(subscription: Engine) -> Nil

@external(erlang, "warp_subscription", "monitor_of")
fn engine_monitor(subscription: Engine) -> Monitor

@external(erlang, "warp_subscription_ffi", "message")
fn engine_message(message: message, decode: Decode(event)) -> Message(event)

@external(erlang, "warp_subscription_ffi", "ack")
fn engine_ack(subscription: Engine, events: List(Placed(data))) -> Nil

@external(erlang, "warp_subscription_ffi", "ack_erased")
fn engine_ack_erased(subscription: Engine, entity: String) -> Nil

@external(erlang, "warp_subscription_ffi", "more")
fn engine_more(subscription: Engine, events: Int) -> Nil

@external(erlang, "warp_subscription_ffi", "cursor")
fn engine_cursor(subscription: Engine) -> Result(Cursor, Error(reason))

@external(erlang, "warp_subscription_ffi", "wait_until")
fn engine_wait_until(
  entity: Entity,
  aggregate: String,
  read: fn(Event) -> event,
  is_it: fn(Placed(event)) -> Bool,
  milliseconds: Int,
) -> Result(Int, Error(reason))
