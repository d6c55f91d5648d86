//// Many appends under way from one process.
////
//// `warp.append` waits for its answer, so one process has one append under way.
//// `warp.append_request` and `aggregate.append_request` return at once, with a
//// `Request`, whose answer you receive later. A pipeline keeps up to so many
//// requests under way:
////
//// ```gleam
//// let failed =
////   pipeline.new(limit: 1000)
////   |> pipeline.fold(
////     over: readings,
////     from: [],
////     request: fn(reading) {
////       sensor(reading) |> aggregate.append_request(thermometer(), Measured(reading.celsius))
////     },
////     with: fn(failed, reading, answer) {
////       case answer {
////         Ok(_seq) -> failed
////         Error(_) -> [reading, ..failed]
////       }
////     },
////   )
//// ```
////
//// The requests of one process to one entity are carried out in their order. If
//// one fails, nothing of it is stored, and later ones may be stored.
//// `append.expect` makes a request depend on an earlier one.
////
//// Only the process that made a request receives its answer.

import gleam/list
import warp/append
import warp/error.{type Error}
import warp/event.{type Event}
import warp/handle.{type Entity}
import warp/internal/engine

/// An append under way. Its answer is what the append would have returned.
///
pub opaque type Request(answer, reason) {
  Request(id: Id, correct: Correct(answer, reason))
  Failed(error: Error(reason))
}

/// Gives an error of the engine the types of the caller.
///
type Correct(answer, reason) =
  fn(Result(answer, Error(reason))) -> Result(answer, Error(reason))

/// A request of the engine.
///
@internal
pub type Id

/// Requests of the engine, each with a label.
///
type Ids(label)

/// A request of an append that knows no types of your own.
///
@internal
pub fn untyped(id: Id) -> Request(answer, reason) {
  Request(id:, correct: fn(answer) { answer })
}

/// A request of an append to a typed aggregate, whose `validate` may refuse.
///
@internal
pub fn typed(id: Id) -> Request(answer, reason) {
  Request(id:, correct: engine.own_reason)
}

/// A request that could not be made. Its answer is this error.
///
@internal
pub fn failed(error: Error(reason)) -> Request(answer, reason) {
  Failed(error:)
}

@internal
pub fn append(
  entity: Entity,
  event: Event,
  options: append.Options,
  of: fn(Id) -> Request(Int, reason),
) -> Request(Int, reason) {
  append.to_event(options, event)
  |> engine_append(entity, _, append.to_map(options))
  |> of
}

@internal
pub fn append_batch(
  entity: Entity,
  events: List(Event),
  options: append.Options,
  of: fn(Id) -> Request(#(Int, Int), reason),
) -> Request(#(Int, Int), reason) {
  case append.to_events(options, events) {
    Ok(events) ->
      of(engine_append_batch(entity, events, append.to_map(options)))
    Error(error) -> Failed(error:)
  }
}

/// Waits for the answer to a request for so many milliseconds, from 0 to
/// 2^32 - 1. After `error.Timeout` the request is given up: its answer never
/// comes, and the events may still be stored. An answer can be received once.
///
pub fn receive(
  request: Request(answer, reason),
  within milliseconds: Int,
) -> Result(answer, Error(reason)) {
  case request {
    Request(id:, correct:) -> correct(engine_receive(id, milliseconds))
    Failed(error:) -> Error(error)
  }
}

/// Keeps requests under way, each with a label that tells them apart.
///
pub opaque type Pipeline(label, answer, reason) {
  Pipeline(
    limit: Int,
    timeout: Int,
    ids: Ids(#(label, Correct(answer, reason))),
  )
}

/// The answer to a request of a pipeline, with the label of the request.
///
pub type Answer(label, answer, reason) =
  #(label, Result(answer, Error(reason)))

/// A pipeline that keeps at most `limit` requests under way; with a limit below
/// 1 it keeps one. 1000 are enough to keep a disk busy. When no answer has come
/// for 5000 milliseconds, it gives up the requests that are under way.
///
pub fn new(limit limit: Int) -> Pipeline(label, answer, reason) {
  Pipeline(limit:, timeout: 5000, ids: new_ids())
}

/// Sets how long the pipeline waits for the next answer, in milliseconds, from 0
/// to 2^32 - 1. After that the answer to all requests under way is
/// `error.Timeout`: their events may still be stored.
///
pub fn timeout(
  pipeline: Pipeline(label, answer, reason),
  milliseconds: Int,
) -> Pipeline(label, answer, reason) {
  Pipeline(..pipeline, timeout: milliseconds)
}

/// How many requests are under way.
///
pub fn size(pipeline: Pipeline(label, answer, reason)) -> Int {
  ids_size(pipeline.ids)
}

/// Makes a request, as soon as fewer than the limit are under way. Returns the
/// answers that it had to wait for, in the order in which they came.
///
/// ```gleam
/// let #(pipeline, answers) =
///   pipeline |> pipeline.add("a-17", fn() { warp.append_request(alice, event) })
/// ```
///
pub fn add(
  pipeline: Pipeline(label, answer, reason),
  label: label,
  request: fn() -> Request(answer, reason),
) -> #(Pipeline(label, answer, reason), List(Answer(label, answer, reason))) {
  let #(pipeline, answers) = make_room(pipeline)
  case request() {
    Request(id:, correct:) -> {
      let ids = add_id(id, #(label, correct), pipeline.ids)
      #(Pipeline(..pipeline, ids:), answers)
    }
    Failed(error:) -> #(
      pipeline,
      list.append(answers, [#(label, Error(error))]),
    )
  }
}

fn make_room(
  pipeline: Pipeline(label, answer, reason),
) -> #(Pipeline(label, answer, reason), List(Answer(label, answer, reason))) {
  case size(pipeline) >= pipeline.limit {
    True -> next(pipeline)
    False -> #(pipeline, [])
  }
}

/// The next answer, or those of all requests when none comes in time.
///
fn next(
  pipeline: Pipeline(label, answer, reason),
) -> #(Pipeline(label, answer, reason), List(Answer(label, answer, reason))) {
  case engine_receive_any(pipeline.ids, pipeline.timeout) {
    NoRequest -> #(pipeline, [])
    Answered(#(label, correct), answer, ids) -> #(Pipeline(..pipeline, ids:), [
      #(label, correct(answer)),
    ])
    GivenUp(labels, error) -> #(
      Pipeline(..pipeline, ids: new_ids()),
      list.map(labels, fn(of) { #(of.0, Error(error)) }),
    )
  }
}

/// Waits for the answers to all requests under way, and returns them in the
/// order in which they came.
///
pub fn finish(
  pipeline: Pipeline(label, answer, reason),
) -> List(Answer(label, answer, reason)) {
  finish_loop(pipeline, []) |> list.reverse
}

fn finish_loop(
  pipeline: Pipeline(label, answer, reason),
  done: List(Answer(label, answer, reason)),
) -> List(Answer(label, answer, reason)) {
  case next(pipeline) {
    #(_, []) -> done
    #(pipeline, answers) ->
      finish_loop(pipeline, list.append(list.reverse(answers), done))
  }
}

/// Makes a request for each item, keeps as many under way as the pipeline may
/// have, and folds their answers in the order in which they come, which need not
/// be the order of the items. Returns when all are answered, also those that the
/// pipeline had before with items as labels.
///
pub fn fold(
  pipeline: Pipeline(item, answer, reason),
  over items: List(item),
  from initial: acc,
  request request: fn(item) -> Request(answer, reason),
  with fun: fn(acc, item, Result(answer, Error(reason))) -> acc,
) -> acc {
  let fold_answers = fn(acc, answers) {
    list.fold(answers, acc, fn(acc, answer: Answer(item, answer, reason)) {
      fun(acc, answer.0, answer.1)
    })
  }
  let #(pipeline, acc) =
    list.fold(items, #(pipeline, initial), fn(state, item) {
      let #(pipeline, acc) = state
      let #(pipeline, answers) = add(pipeline, item, fn() { request(item) })
      #(pipeline, fold_answers(acc, answers))
    })
  drain(pipeline, acc, fold_answers)
}

fn drain(
  pipeline: Pipeline(item, answer, reason),
  acc: acc,
  fold_answers: fn(acc, List(Answer(item, answer, reason))) -> acc,
) -> acc {
  case next(pipeline) {
    #(_, []) -> acc
    #(pipeline, answers) ->
      drain(pipeline, fold_answers(acc, answers), fold_answers)
  }
}

/// What came of waiting for the next answer.
///
type Next(label, answer, reason) {
  NoRequest
  Answered(
    label: label,
    answer: Result(answer, Error(reason)),
    left: Ids(label),
  )
  GivenUp(labels: List(label), error: Error(reason))
}

@external(erlang, "warp_pipeline_ffi", "receive_one")
fn engine_receive(id: Id, milliseconds: Int) -> Result(answer, Error(reason))

@external(erlang, "warp_pipeline_ffi", "receive_any")
fn engine_receive_any(
  ids: Ids(label),
  milliseconds: Int,
) -> Next(label, answer, reason)

@external(erlang, "warp_core", "reqids_new")
fn new_ids() -> Ids(label)

@external(erlang, "warp_core", "reqids_add")
fn add_id(id: Id, label: label, ids: Ids(label)) -> Ids(label)

@external(erlang, "warp_core", "reqids_size")
fn ids_size(ids: Ids(label)) -> Int

@external(erlang, "warp_core", "append_request")
fn engine_append(entity: Entity, event: Event, options: append.Map) -> Id

@external(erlang, "warp_core", "append_batch_request")
fn engine_append_batch(
  entity: Entity,
  events: List(Event),
  options: append.Map,
) -> Id
