//// Entities as typed actors: commands go to an entity, are decided on in its
//// own process, one at a time, and what they come to is durable before anybody
//// hears of it.
////
//// ```gleam
//// pub type Command {
////   Deposit(amount: Int)
////   Withdraw(amount: Int, reply_to: Subject(Result(Int, Overdraft)))
//// }
////
//// fn on_command(
////   balance: Int,
////   command: Command,
//// ) -> actor.Next(AccountEvent, reason) {
////   case command {
////     Deposit(amount:) -> actor.append([Credited(amount:)])
////     Withdraw(amount:, reply_to:) if amount > balance ->
////       actor.continue()
////       |> actor.reply(to: reply_to, with: Error(Overdraft(by: amount - balance)))
////     Withdraw(amount:, reply_to:) ->
////       actor.append([Debited(amount:)])
////       |> actor.reply(to: reply_to, with: Ok(balance - amount))
////   }
//// }
////
//// pub fn main() {
////   let account = actor.new(account(), on_command)
////   let alice = warp.entity(ctx, "alice") |> actor.of(account)
////
////   let assert Ok(Nil) = actor.send(alice, Deposit(5000))
////   let assert Ok(Ok(4000)) = actor.call(alice, 1000, Withdraw(1000, _))
//// }
//// ```
////
//// An actor is an entity and not a process, so nothing has to be started, and
//// it stays good while the entity's process leaves memory or is killed: the
//// next command brings it back. For monitors and `sys` there is `pid`.

import gleam/erlang/process.{type Pid, type Subject}
import gleam/list
import gleam/result
import warp/aggregate.{type Aggregate}
import warp/call
import warp/error.{type Error, Refused}
import warp/handle.{type Entity}
import warp/internal/engine.{type Decision, type Message}

/// How entities of a kind carry out commands. See `new`.
///
pub opaque type Definition(command, reason) {
  Definition(name: String, decide: fn(command) -> fn(State) -> Decision)
}

/// A state whose type only the aggregate knows.
///
type State

/// An entity that takes commands. See `of`.
///
pub opaque type Actor(command, reason) {
  Actor(entity: Entity, definition: Definition(command, reason))
}

/// What a command comes to: events to append and replies to send once they are
/// durable, or a refusal. Made with `append`, `continue` and `refuse`.
///
pub opaque type Next(event, reason) {
  Next(events: List(event), replies: List(Message))
  Refuse(reason: reason)
}

/// A kind of actor, from an aggregate and the function that carries out
/// commands, given the state.
///
/// `on_command` runs in the entity's process. It may run again for the same
/// command, on a newer state, when a commit before it failed. So leave effects
/// to `reply`, and do not call the same entity from it.
///
/// The aggregate has to be among those that the context was started with.
///
pub fn new(
  aggregate: Aggregate(state, event, reason),
  on_command: fn(state, command) -> Next(event, reason),
) -> Definition(command, reason) {
  Definition(name: aggregate.name(aggregate), decide: fn(command) {
    fn(state) {
      case on_command(coerce(state), command) {
        Next(events:, replies:) ->
          case list.try_map(events, aggregate.encode(aggregate, _)) {
            Ok(events) -> engine.decision(events, list.reverse(replies))
            Error(error) -> engine.failure(error)
          }
        Refuse(reason:) -> engine.failure(Refused(reason))
      }
    }
  })
}

/// The entity as an actor of that kind. It costs nothing, so make it where you
/// need it.
///
pub fn of(
  entity: Entity,
  definition: Definition(command, reason),
) -> Actor(command, reason) {
  Actor(entity:, definition:)
}

/// The entity that the actor is.
///
pub fn entity(actor: Actor(command, reason)) -> Entity {
  actor.entity
}

/// The command comes to these events. They are appended as a batch.
///
pub fn append(events: List(event)) -> Next(event, reason) {
  Next(events:, replies: [])
}

/// The command changes nothing.
///
pub fn continue() -> Next(event, reason) {
  Next(events: [], replies: [])
}

/// The command is refused: nothing is appended, nothing is sent, and `call`
/// gives `error.Refused` with the reason.
///
pub fn refuse(reason: reason) -> Next(event, reason) {
  Refuse(reason:)
}

/// Sends a message to a subject once the events are durable, or at once if
/// there are none and nothing before them is under way. When they are refused or
/// can't be stored it is not sent.
///
/// A command can have any number of replies, to subjects of any types. They are
/// sent in the order they were added. A reply to a name that no process has is
/// dropped.
///
pub fn reply(
  next: Next(event, reason),
  to subject: Subject(message),
  with message: message,
) -> Next(event, reason) {
  case next {
    Next(events:, replies:) ->
      case process.subject_owner(subject) {
        Ok(owner) ->
          Next(events:, replies: [
            engine_message(owner, subject, message),
            ..replies
          ])
        Error(Nil) -> next
      }
    Refuse(..) -> next
  }
}

/// Sends a command, and does not wait for it. Commands that one process sends
/// to one actor are carried out in that order.
///
/// `Ok` means that the entity's process has the command, not that what it
/// comes to is durable: have a `reply` sent for that. A command that is refused
/// or fails is logged. One that the entity's process has not come to when it is
/// killed is lost.
///
/// The error is what keeps the command from being sent, such as
/// `error.Overloaded` and `error.ContextStopped`.
///
pub fn send(
  actor: Actor(command, reason),
  command: command,
) -> Result(Nil, Error(reason)) {
  let Definition(name:, decide:) = actor.definition
  engine_cast(actor.entity, name, decide(command))
}

/// Sends a command that has a reply, and waits for it, that many milliseconds.
///
/// ```gleam
/// actor.call(alice, 1000, Withdraw(1000, _))
/// ```
///
/// The reply comes when the command's events are durable. Unlike
/// `process.call` this does not panic: what can keep the command from being
/// carried out is in `warp/error`. After `error.Timeout` and
/// `error.Interrupted` it may be carried out all the same, and the reply may
/// still arrive, as a message that nobody waits for.
///
/// Never call an actor from its own `on_command`.
///
pub fn call(
  actor: Actor(command, reason),
  waiting timeout: Int,
  sending make_command: fn(Subject(reply)) -> command,
) -> Result(reply, Error(reason)) {
  let Actor(entity:, definition: Definition(name:, decide:)) = actor
  let subject = process.new_subject()
  let deadline = monotonic_milliseconds() + timeout
  let decided =
    decide(make_command(subject))
    |> engine.decide(entity, name, call.options() |> call.timeout(timeout), _)
    |> engine.own_reason
  case decided, process.receive(subject, 0) {
    // It is durable, whatever became of the answer.
    _, Ok(reply) -> Ok(reply)
    Error(error), Error(Nil) -> Error(error)
    // The command left it to someone else to reply.
    Ok(_), Error(Nil) ->
      process.receive(subject, remaining(deadline))
      |> result.replace_error(error.Timeout)
  }
}

/// The entity's process, started if there is none: for `process.monitor`,
/// `sys` and supervisors' tools. It is another one after the entity left memory
/// and came back, so keep the actor and not the pid.
///
pub fn pid(actor: Actor(command, reason)) -> Result(Pid, Error(other)) {
  engine_pid(actor.entity)
}

fn remaining(deadline: Int) -> Int {
  case deadline - monotonic_milliseconds() {
    left if left > 0 -> left
    _ -> 0
  }
}

@external(erlang, "warp_ffi", "identity")
fn coerce(state: State) -> state

@external(erlang, "warp_ffi", "message")
fn engine_message(
  owner: Pid,
  subject: Subject(message),
  message: message,
) -> Message

@external(erlang, "warp_ffi", "cast")
fn engine_cast(
  entity: Entity,
  name: String,
  decide: fn(State) -> Decision,
) -> Result(Nil, Error(reason))

@external(erlang, "warp_ffi", "pid")
fn engine_pid(entity: Entity) -> Result(Pid, Error(reason))

@external(erlang, "warp_ffi", "monotonic_milliseconds")
fn monotonic_milliseconds() -> Int
