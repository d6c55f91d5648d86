//// What several modules call of the engine.

import gleam/dynamic.{type Dynamic}
import gleam/option.{type Option}
import warp/append
import warp/error.{type Error, Refused, Rejected}
import warp/event.{type Event}
import warp/handle.{type Entity}
import warp/history.{type Point}
import warp/json.{type Json}

/// What the engine's `decide` takes from its function. See `decision` and
/// `failure`.
///
pub type Decision

/// A message to a process.
///
pub type Message

@external(erlang, "warp_ffi", "append")
pub fn append(entity: Entity, event: Event) -> Result(Int, Error(reason))

@external(erlang, "warp_ffi", "append_with")
pub fn append_with(
  entity: Entity,
  event: Event,
  options: #(append.Expected, Int, Option(String), Option(Json)),
) -> Result(Int, Error(reason))

@external(erlang, "warp_ffi", "append_batch")
pub fn append_batch(
  entity: Entity,
  events: List(Event),
) -> Result(#(Int, Int), Error(reason))

/// Runs a function in the entity's process, and waits for what comes of it, that
/// many milliseconds.
///
@external(erlang, "warp_ffi", "decide")
pub fn decide(
  entity: Entity,
  aggregate: String,
  timeout: Int,
  decide: fn(state) -> Decision,
) -> Result(List(Int), Error(reason))

/// Events to append, and messages to send once they are durable.
///
@external(erlang, "warp_ffi", "decision")
pub fn decision(events: List(Event), messages: List(Message)) -> Decision

/// Nothing of it: `decide` gives this error.
///
@external(erlang, "warp_ffi", "failure")
pub fn failure(error: Error(reason)) -> Decision

@external(erlang, "warp_ffi", "get")
pub fn get(entity: Entity, aggregate: String) -> Result(state, Error(reason))

@external(erlang, "warp_ffi", "state_at")
pub fn state_at(
  entity: Entity,
  aggregate: String,
  point: Point,
) -> Result(state, Error(reason))

/// What the validate of a typed aggregate refused with has its type back.
///
pub fn own_reason(
  result: Result(a, Error(reason)),
) -> Result(a, Error(reason)) {
  case result {
    Error(Rejected(reason)) -> Error(Refused(coerce(reason)))
    _ -> result
  }
}

@external(erlang, "warp_ffi", "identity")
fn coerce(reason: Dynamic) -> reason
