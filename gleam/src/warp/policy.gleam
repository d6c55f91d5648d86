//// Policies: whenever there is an event, something follows from it, once.
////
//// ```gleam
//// fn bonus() -> Policy(UserEvent) {
////   use placed <- policy.new("bonus", user())
////   case placed.data {
////     SignedUp(..) -> [policy.append("bonus/" <> placed.entity, account(), Credited(5))]
////     _ -> []
////   }
//// }
////
//// warp.start(
////   WarpOptions(..options, subscribers: [subscriber.definition(bonus())]),
//// )
//// ```
////
//// A policy is a subscriber: see `warp/subscriber` for its options, and for what
//// happens when it fails.

import gleam/list
import gleam/result
import warp/aggregate.{type Aggregate}
import warp/error.{type Error}
import warp/event.{type Event}
import warp/handle.{type Context}
import warp/saga.{type Saga}
import warp/subscriber.{type Subscriber}
import warp/subscription.{type Placed}

/// A policy on events of this type.
///
pub type Policy(event) =
  Subscriber(Context, event, Error(Nil))

/// What follows from an event. See `append`, `append_batch` and `commit`.
///
pub opaque type Command {
  Command(Result(EngineCommand, Error(Nil)))
}

/// The engine's commands. The constructors have names that make them its terms.
///
type EngineCommand {
  Append(entity: String, events: List(Event))
  Saga(saga: Saga)
}

/// A policy with this name, of 1 to 200 bytes of text: for each event of the
/// aggregate, of all entities of a context, the commands that the function returns
/// are carried out, exactly once.
///
/// The function may be called more than once for an event. Its commands have to
/// follow from the event alone, and it has no effects of its own.
///
/// The name says which events were handled, and makes the ids of those that
/// follow: under another name everything follows once more.
///
/// `subscriber.effects_from_time` and `subscriber.effects_from_cursor` are for
/// reading events again: nothing follows from events before that.
///
pub fn new(
  name: String,
  aggregate: Aggregate(state, event, reason),
  react: fn(Placed(event)) -> List(Command),
) -> Policy(event) {
  subscriber.new_with(
    name,
    aggregate,
    error.to_string,
    initialise: Ok,
    on_event: fn(context, placed) {
      use Nil <- result.map(transaction(context, name, placed, react(placed)))
      context
    },
  )
}

/// Appends an event to the entity with this id. The event gets an id that is made
/// of the name of the policy and of the place of the event that it follows from, so
/// that it is stored once.
///
pub fn append(
  to entity: String,
  of aggregate: Aggregate(state, event, reason),
  event event: event,
) -> Command {
  append_batch(entity, aggregate, [event])
}

/// Appends events to the entity with this id, as a batch, of which all are stored
/// or none.
///
pub fn append_batch(
  to entity: String,
  of aggregate: Aggregate(state, event, reason),
  events events: List(event),
) -> Command {
  list.try_map(events, aggregate.encode(aggregate, _))
  |> result.map(Append(entity, _))
  |> Command
}

/// Commits a saga, and waits for its outcome. The id of the saga has to follow from
/// the event too, so that the saga runs once. One that was compensated or is stuck
/// counts as carried out.
///
pub fn commit(saga: Saga) -> Command {
  Command(Ok(Saga(saga)))
}

/// Carries out what follows from an event, in order, and once, however often this
/// is called for the same event under the same name. For a subscriber of your own,
/// which does other things too.
///
/// ```gleam
/// fn on_event(context, placed) {
///   let commands = [policy.append("audit", notes(), placed.entity)]
///   use Nil <- result.map(policy.transaction(context, "audit", placed, commands))
///   context
/// }
/// ```
///
/// An error ends it, and the commands before it were carried out:
/// `error.CommandFailed` for a command that failed, and `error.BadCommand` for an
/// append without events. If an event cannot be encoded, this returns
/// `error.EncodeFailed` and carries out nothing.
///
pub fn transaction(
  context: Context,
  name: String,
  placed: Placed(data),
  commands: List(Command),
) -> Result(Nil, Error(Nil)) {
  use commands <- result.try(
    list.try_map(commands, fn(command) {
      let Command(command) = command
      command
    }),
  )
  engine_transaction(context, name, placed, commands)
}

@external(erlang, "warp_subscription_ffi", "transaction")
fn engine_transaction(
  context: Context,
  name: String,
  placed: Placed(data),
  commands: List(EngineCommand),
) -> Result(Nil, Error(reason))
