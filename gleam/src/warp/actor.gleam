//// Entities as typed actors. An entity's own process carries out commands, one
//// at a time, and sends replies when the events of the command are durable.
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
//// An actor is an entity and not a process, so you do not start it, and it stays
//// valid while the entity's process leaves memory or is killed: the next command
//// starts the process again. For monitors and `sys` there is `pid`.

import gleam/erlang/process.{type Pid, type Subject}
import gleam/list
import gleam/result
import warp/aggregate.{type Aggregate}
import warp/call
import warp/error.{type Error, Refused}
import warp/handle.{type Entity}
import warp/internal/engine.{type Decision, type Message}

/// A kind of actor, which defines how entities carry out commands. See `new`.
///
pub opaque type Definition(command, reason) {
  Definition(name: String, decide: fn(command) -> fn(State) -> Decision)
}

/// A state whose type only the aggregate knows.
///
type State

/// An entity that carries out commands. See `of`.
///
pub opaque type Actor(command, reason) {
  Actor(entity: Entity, definition: Definition(command, reason))
}

/// The result of a command: events to append, and replies to send once the
/// events are durable, or a refusal. `append`, `continue` and `refuse` make one.
///
pub opaque type Next(event, reason) {
  Next(events: List(event), replies: List(Message))
  Refuse(reason: reason)
}

/// A kind of actor, from an aggregate and the function that carries out a
/// command on the current state.
///
/// `on_command` runs in the entity's process. It may run again for the same
/// command, with a newer state, if a commit before it failed: it should have no
/// side effects but its replies, and it must not call its own entity.
///
/// The context has to be started with this aggregate.
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

/// The entity as an actor of this kind. This sends no message and starts no
/// process.
///
pub fn of(
  entity: Entity,
  definition: Definition(command, reason),
) -> Actor(command, reason) {
  Actor(entity:, definition:)
}

/// The entity of the actor.
///
pub fn entity(actor: Actor(command, reason)) -> Entity {
  actor.entity
}

/// The command appends these events, as a batch.
///
pub fn append(events: List(event)) -> Next(event, reason) {
  Next(events:, replies: [])
}

/// The command appends nothing.
///
pub fn continue() -> Next(event, reason) {
  Next(events: [], replies: [])
}

/// The command is refused: Warp appends nothing and sends nothing, and `call`
/// returns `error.Refused` with the reason.
///
pub fn refuse(reason: reason) -> Next(event, reason) {
  Refuse(reason:)
}

/// Adds a reply to the command's result: Warp sends the message to the subject
/// once the command's events, and all events before them, are durable. Warp does
/// not send it if the events are refused or cannot be stored.
///
/// A command can have any number of replies, to subjects of any types. Warp
/// sends them in the order in which they were added. A reply to a name that no
/// process has is dropped.
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

/// Sends a command, and does not wait for its result. An actor carries out the
/// commands of one process in the order in which they were sent.
///
/// `Ok` means that the command is in the mailbox of the entity's process. To
/// learn that its events are durable, let it `reply`. Warp logs a command that
/// is refused or fails. A killed process loses the commands in its mailbox.
///
/// Errors are reasons for which the command was not sent, such as
/// `error.Overloaded` and `error.ContextStopped`.
///
pub fn send(
  actor: Actor(command, reason),
  command: command,
) -> Result(Nil, Error(reason)) {
  let Definition(name:, decide:) = actor.definition
  engine_cast(actor.entity, name, decide(command))
}

/// Sends a command that has a reply, and waits for the reply, for at most so
/// many milliseconds, up to 2^32 - 1.
///
/// ```gleam
/// actor.call(alice, 1000, Withdraw(1000, _))
/// ```
///
/// The reply arrives when the command's events are durable. Unlike
/// `process.call`, this does not panic, but returns an error. After
/// `error.Timeout` and `error.Interrupted` the actor may still carry out the
/// command, and its reply may still arrive in the caller's mailbox.
///
/// An `on_command` must not call its own actor.
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
    // The reply says that the events are durable, even if the call failed.
    _, Ok(reply) -> Ok(reply)
    Error(error), Error(Nil) -> Error(error)
    // The command gave the subject to another process, which will reply.
    Ok(_), Error(Nil) ->
      process.receive(subject, remaining(deadline))
      |> result.replace_error(error.Timeout)
  }
}

/// The entity's process, which Warp starts if there is none: for
/// `process.monitor` and for `sys`. The pid changes when the entity leaves
/// memory and returns, so keep the actor and not the pid.
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
