//// The engine's calls that several modules make.

import gleam/dynamic.{type Dynamic}
import gleam/result
import warp/append
import warp/call
import warp/error.{type Error, Refused, Rejected}
import warp/event.{type Event}
import warp/handle.{type Entity}
import warp/history.{type Point}

/// What a function given to the engine's `decide` returns. See `decision` and
/// `failure`.
///
pub type Decision

/// A message to a process.
///
pub type Message

@external(erlang, "warp_ffi", "append")
pub fn append(entity: Entity, event: Event) -> Result(Int, Error(reason))

pub fn append_with(
  entity: Entity,
  event: Event,
  options: append.Options,
) -> Result(Int, Error(reason)) {
  engine_append(entity, append.to_event(options, event), append.to_map(options))
}

pub fn append_batch(
  entity: Entity,
  events: List(Event),
  options: append.Options,
) -> Result(#(Int, Int), Error(reason)) {
  use events <- result.try(append.to_events(options, events))
  engine_append_batch(entity, events, append.to_map(options))
}

/// Runs a function in the entity's process, and waits for the result.
///
pub fn decide(
  entity: Entity,
  aggregate: String,
  options: call.Options,
  decide: fn(state) -> Decision,
) -> Result(List(Int), Error(reason)) {
  engine_decide(entity, aggregate, decide, call.to_map(options))
}

/// The decision to append these events, and to send these messages once the
/// events are durable.
///
@external(erlang, "warp_ffi", "decision")
pub fn decision(events: List(Event), messages: List(Message)) -> Decision

/// The decision to do nothing, and to return this error.
///
@external(erlang, "warp_ffi", "failure")
pub fn failure(error: Error(reason)) -> Decision

@external(erlang, "warp_ffi", "get")
pub fn get(entity: Entity, aggregate: String) -> Result(state, Error(reason))

pub fn get_with(
  entity: Entity,
  aggregate: String,
  options: call.Options,
) -> Result(state, Error(reason)) {
  engine_get(entity, aggregate, call.to_map(options))
}

pub fn state_at(
  entity: Entity,
  aggregate: String,
  point: Point,
  options: call.Options,
) -> Result(state, Error(reason)) {
  engine_state_at(entity, aggregate, point, call.to_map(options))
}

/// Gives the reason with which the `validate` of a typed aggregate refused its
/// type again.
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

@external(erlang, "warp_ffi", "append")
fn engine_append(
  entity: Entity,
  event: Event,
  options: append.Map,
) -> Result(Int, Error(reason))

@external(erlang, "warp_ffi", "append_batch")
fn engine_append_batch(
  entity: Entity,
  events: List(Event),
  options: append.Map,
) -> Result(#(Int, Int), Error(reason))

@external(erlang, "warp_ffi", "decide")
fn engine_decide(
  entity: Entity,
  aggregate: String,
  decide: fn(state) -> Decision,
  options: call.Map,
) -> Result(List(Int), Error(reason))

@external(erlang, "warp_ffi", "get")
fn engine_get(
  entity: Entity,
  aggregate: String,
  options: call.Map,
) -> Result(state, Error(reason))

@external(erlang, "warp_ffi", "state_at")
fn engine_state_at(
  entity: Entity,
  aggregate: String,
  point: Point,
  options: call.Map,
) -> Result(state, Error(reason))
