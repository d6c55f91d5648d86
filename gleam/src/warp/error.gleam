//// Everything that can go wrong, one variant per cause.
////
//// Of a refused append nothing is stored. `to_string` says what to do.

import gleam/dynamic.{type Dynamic}
import gleam/dynamic/decode.{type DecodeError, DecodeError}
import gleam/int
import gleam/list
import gleam/string

/// Why an operation came to nothing.
///
/// `reason` is the type of your own refusals: what a typed aggregate's
/// `validate` or a function given to `decide` says no with. Operations that
/// call neither never give `Refused`, so theirs fits any type.
///
pub type Error(reason) {
  // What you said no to.
  /// Your own function refused: `validate` of a typed aggregate, the function
  /// given to a `decide`, or an actor's `on_command`.
  Refused(reason: reason)
  /// `validate` of an aggregate whose types are not known here refused.
  Rejected(reason: Dynamic)

  // What is not as it was expected.
  /// The log ends at another seq than was expected. Read again, decide again.
  WrongExpectedSeq(actual: Int)
  /// The event's id belongs to another event of the entity, with another type
  /// or payload.
  IdConflict(seq: Int)
  /// An id was given to two events of one batch.
  DuplicateEventId(id: String)
  /// Ids of the form `ENTITY#SEQ` belong to events that were given none.
  ReservedId(id: String)

  // What is wrong with what was given.
  /// No entity can have this id.
  BadEntityId(problem: Problem)
  /// The event of that number, from 1, cannot be stored. `field` is `""` when
  /// it is about the whole event.
  BadEvent(number: Int, field: String, problem: Problem)
  /// The context was started without this aggregate.
  UnknownAggregate(name: String)
  /// A batch without events.
  EmptyBatch
  /// A batch of too many events.
  BatchTooLarge(events: Int, max: Int)
  /// A batch of too many bytes of JSON.
  BatchTooLargeBytes(bytes: Int, max: Int)

  // What your functions could not do.
  /// The decoder of a typed aggregate does not take this event.
  UndecodableEvent(type_: String, errors: List(DecodeError))
  /// The decoder given to a read does not take the state.
  UndecodableState(errors: List(DecodeError))
  /// The decoder of a step function does not take the arguments.
  UndecodableArguments(errors: List(DecodeError))
  /// The encoder of a typed aggregate crashed.
  EncodeFailed(crash: String)
  /// The aggregate's `apply` crashed. If it did on an event of the log, the
  /// entity can be neither read nor appended to until it no longer does.
  ApplyFailed(crash: String)
  /// The aggregate's `validate` crashed.
  ValidateFailed(crash: String)
  /// The aggregate's `migrate` crashed.
  MigrateFailed(crash: String)
  /// The function given to `decide`, or an actor's `on_command`, crashed.
  DecideFailed(crash: String)
  /// A function of the aggregate is not there any more: its module was reloaded
  /// while the context was running. Nothing was changed. Start the context
  /// again.
  StaleFunction(function: String)
  /// A function written in another language gave something that it should not.
  BadReturn(function: String, value: Dynamic)

  // What the system could not do.
  /// Too many requests are waiting. Nothing was stored: try again later, and
  /// slower.
  Overloaded
  /// No answer in time. An append may or may not be stored: with an event id,
  /// append again, and it is stored once.
  Timeout
  /// The process that was asked went down. Likewise.
  Interrupted
  /// The shard is being opened again. Try again.
  ShardUnavailable(shard: Int)
  /// The disk is full. The shard goes on by itself once there is room.
  DiskFull
  /// The operating system or SQLite refused.
  IoError(message: String)
  /// The file contradicts itself, and is not read further.
  Corrupt(message: String)
  /// The context is not running, or no longer.
  ContextStopped

  // What keeps a context from starting, or an operation from being tried.
  /// An option has to be given.
  MissingOption(option: String)
  /// There is no such option.
  UnknownOption(option: String)
  /// An option has no such value.
  BadOption(option: String, problem: Problem)
  /// An aggregate cannot be defined like that. `name` is `""` when that is
  /// what is wrong.
  BadAggregate(name: String, field: String, problem: Problem)
  /// Two aggregates of the context have the same name.
  DuplicateAggregate(name: String)
  /// Another context, of this VM or another one, has the folder open.
  DataDirInUse(dir: String)
  /// The process may not have as many files open as the context needs: raise
  /// its limit (`ulimit -n`) to `needed`, or start the context with fewer shards.
  TooFewFiles(limit: Int, needed: Int)
  /// The context was created with another number of shards.
  ShardCountMismatch(stored: Int, given: Int)
  /// The file is not one of Warp's.
  NotAShard(path: String)
  /// The file is another context's shard, or another shard of this one.
  WrongIdentity(path: String, found: String)
  /// The file was written by a newer version of Warp.
  NewerFormat(path: String, version: Int)
  /// The OTP application `warp_core` could not be started.
  ApplicationNotStarted(reason: String)

  // What projections could not do.
  /// The context was started without projections.
  NoProjections
  /// A query may only read.
  ReadOnly
  /// SQLite or rqlite does not take the query.
  SqlError(message: String)
  /// The query has more rows than were asked for.
  TooManyRows(max: Int)
  /// The parameter of that number, from 1, cannot be given to a query.
  BadParameter(number: Int, problem: Problem)
  /// The parameters do not fit the query, such as in their number.
  BadParameters(problem: Problem)
  /// The target of the projections cannot be reached.
  TargetAway(why: String)
  /// An event of the entity cannot be projected, and is set aside with those
  /// behind it: see `projector.set_aside`.
  SetAside(seq: Int)
  /// The tables have events that are not in the log, as after an older copy of a
  /// shard was put back: see `projector.rebuild`.
  RebuildDue
  /// Nothing of the entity is set aside.
  NotSetAside
  /// A rebuild is under way.
  AlreadyRunning
  /// No rebuild is under way.
  NotRunning
  /// The rebuild was cancelled.
  Cancelled
  /// The entity is gone from the log, and is still to be erased from these
  /// tables. Warp goes on trying by itself.
  StillToErase(tables: List(String), why: String)

  // What sagas could not do.
  /// No saga can have this id.
  BadSagaId(problem: Problem)
  /// The saga as a whole cannot be kept.
  BadSaga(problem: Problem)
  /// A saga without steps.
  EmptySaga
  /// A saga of too many steps.
  TooManySteps(steps: Int, max: Int)
  /// The step of that number, from 0, cannot be carried out.
  BadStep(number: Int, field: String, problem: Problem)
  /// A saga with that id has other steps.
  SagaConflict(id: String)
  /// There is no saga with that id.
  SagaNotFound
  /// The saga goes no further in this start of the context, which lacks what
  /// that step of it needs. It was not refused: the saga goes on once the context
  /// is started with it. See `saga.Waiting`.
  SagaWaits(step: Int, entity: String, why: Error(reason))
  /// The saga is not stuck, but in that state.
  NotStuck(state: String)
  /// The note cannot be kept.
  BadNote(problem: Problem)
  /// The entity was deleted while a saga was under way.
  EntityDeleted
  /// The context was started without this step function.
  UnknownStep(name: String)
  /// The step function of that name takes that many arguments, and is not one
  /// that the step can call: one that compensates cannot do a step.
  StepArity(name: String, arguments: Int)
  /// A reason that was too long to be kept with a saga, shortened.
  Shortened(text: String)

  /// A reason that this version of the package has no variant for: that of a
  /// newer `warp_core`.
  Unknown(reason: Dynamic)
}

/// What is wrong with a value.
///
pub type Problem {
  /// It has to be given.
  Missing
  /// It has to be given, since the context has more than one aggregate.
  Required
  /// There is no such field.
  UnknownField
  /// It has no characters, or no items.
  Empty
  /// It has too many bytes.
  TooLong(bytes: Int, max: Int)
  /// It has too many bytes of JSON.
  TooLarge(bytes: Int, max: Int)
  /// It nests deeper than this.
  TooDeep(max: Int)
  /// It is not JSON text. The message names line and column.
  InvalidJson(message: String)
  /// It has no form in JSON.
  NotJson(what: String)
  /// It is JSON, but not an object.
  NotAnObject
  /// It is not a string.
  NotABinary
  /// It is not UTF-8.
  NotUtf8
  /// It is not a list.
  NotAList
  /// It is not a map.
  NotAMap
  /// It is not a function of that many arguments.
  NotAFunction(arguments: Int)
  /// It is not a whole number from 1 on.
  NotAPositiveInteger
  /// It is not a whole number from `min` on.
  NotAnIntegerFrom(min: Int)
  /// It is not a whole number from `min` to `max`.
  NotAnIntegerBetween(min: Int, max: Int)
  /// It is none of these.
  NotOneOf(values: List(String))
  /// It has other characters than letters, digits, `_`, `.` and `-`, or begins
  /// with `.` or `-`.
  NotAName
  /// It is not a path.
  NotAPath
  /// It is kept for Warp itself.
  Reserved
  /// There is no step function of that name.
  NoSuchFunction(name: String)
  /// Said in words.
  Because(text: String)
}

/// What happened and what to do about it, in a sentence or two for people.
///
/// ```gleam
/// error.to_string(error.Overloaded)
/// // -> "Too many requests are waiting. Nothing was stored: try again later,
/// // and slower."
/// ```
///
pub fn to_string(error: Error(reason)) -> String {
  case error {
    Refused(reason) -> "Refused: " <> string.inspect(reason) <> "."
    Rejected(reason) ->
      "The aggregate's validate refused: " <> string.inspect(reason) <> "."

    WrongExpectedSeq(actual) ->
      "The log ends at seq "
      <> int.to_string(actual)
      <> ", not where it was expected to. Read again and decide again."
    IdConflict(seq) ->
      "The event's id belongs to event "
      <> int.to_string(seq)
      <> ", which has another content. Choose another id."
    DuplicateEventId(id) ->
      "Two events of the batch have the id " <> quote(id) <> "."
    ReservedId(id) ->
      "The id "
      <> quote(id)
      <> " has the form ENTITY#SEQ, which is kept for events without an id. "
      <> "Choose another one."

    BadEntityId(problem) -> "The entity's id " <> problem_to_string(problem)
    BadEvent(number, "", problem) ->
      "Event " <> int.to_string(number) <> " " <> problem_to_string(problem)
    BadEvent(number, field, problem) ->
      "The "
      <> field
      <> " of event "
      <> int.to_string(number)
      <> " "
      <> problem_to_string(problem)
    UnknownAggregate(name) ->
      "The context has no aggregate " <> quote(name) <> ". Give it to start."
    EmptyBatch -> "The batch has no events."
    BatchTooLarge(events, max) ->
      "The batch has "
      <> int.to_string(events)
      <> " events. It may have "
      <> int.to_string(max)
      <> ": make more batches of it."
    BatchTooLargeBytes(bytes, max) ->
      "The batch has "
      <> int.to_string(bytes)
      <> " bytes of JSON. It may have "
      <> int.to_string(max)
      <> ": make more batches of it."

    UndecodableEvent(type_, errors) ->
      "The aggregate's decoder does not take an event of type "
      <> quote(type_)
      <> ": "
      <> decode_errors(errors)
    UndecodableState(errors) ->
      "The decoder does not take the state: " <> decode_errors(errors)
    UndecodableArguments(errors) ->
      "The step function's decoder does not take the arguments: "
      <> decode_errors(errors)
    EncodeFailed(crash) -> "The aggregate's encoder crashed: " <> crash
    ApplyFailed(crash) ->
      "The aggregate's apply crashed: "
      <> crash
      <> ". If that was on an event of the log, mend apply and start again."
    ValidateFailed(crash) -> "The aggregate's validate crashed: " <> crash
    MigrateFailed(crash) -> "The aggregate's migrate crashed: " <> crash
    DecideFailed(crash) -> "The function that decides crashed: " <> crash
    StaleFunction(function) ->
      "A function is not there any more: "
      <> function
      <> ". Its module was reloaded. Nothing was changed: start the context again."
    BadReturn(function, value) ->
      "The function "
      <> function
      <> " gave what it should not: "
      <> string.inspect(value)

    Overloaded ->
      "Too many requests are waiting. Nothing was stored: try again later, "
      <> "and slower."
    Timeout ->
      "No answer in time. What was asked may still be done. An append with an "
      <> "event id can be repeated: it is stored once."
    Interrupted ->
      "The process that was asked went down. What was asked may have been "
      <> "done. An append with an event id can be repeated: it is stored once."
    ShardUnavailable(shard) ->
      "Shard " <> int.to_string(shard) <> " is being opened again. Try again."
    DiskFull -> "The disk is full. Make room: the shard goes on by itself."
    IoError(message) ->
      "The operating system or SQLite refused: "
      <> message
      <> ". See to the disk."
    Corrupt(message) ->
      "A file contradicts itself: " <> message <> ". Restore it from a backup."
    ContextStopped -> "The context is not running. Start it."

    MissingOption(option) -> "The option " <> option <> " has to be given."
    UnknownOption(option) -> "There is no option " <> option <> "."
    BadOption(option, problem) ->
      "The option " <> option <> " " <> problem_to_string(problem)
    BadAggregate("", field, problem) ->
      "The " <> field <> " of an aggregate " <> problem_to_string(problem)
    BadAggregate(name, field, problem) ->
      "The "
      <> field
      <> " of aggregate "
      <> quote(name)
      <> " "
      <> problem_to_string(problem)
    DuplicateAggregate(name) ->
      "Two aggregates have the name " <> quote(name) <> "."
    DataDirInUse(dir) ->
      dir
      <> " is open in another context, of this VM or another one. Stop that "
      <> "one, or give another data_dir."
    TooFewFiles(limit, needed) ->
      "This process may have "
      <> int.to_string(limit)
      <> " files open, and would need "
      <> int.to_string(needed)
      <> ". Raise the limit, such as with ulimit -n."
    ShardCountMismatch(stored, given) ->
      "The context was created with "
      <> int.to_string(stored)
      <> " shards, not "
      <> int.to_string(given)
      <> ". Give shards: "
      <> int.to_string(stored)
      <> "."
    NotAShard(path) ->
      path
      <> " is not a file of Warp's. Move it away, or give another data_dir."
    WrongIdentity(path, found) ->
      path <> " is " <> found <> ". Put each shard where it belongs."
    NewerFormat(path, version) ->
      path
      <> " has format "
      <> int.to_string(version)
      <> ", of a newer Warp. Use that one."
    ApplicationNotStarted(reason) ->
      "The application warp_core could not be started: " <> reason

    NoProjections ->
      "The context has no projections. Start it with Embedded or Rqlite."
    ReadOnly -> "A query may only read."
    SqlError(message) -> "The query is not good SQL: " <> message <> "."
    TooManyRows(max) ->
      "The query has more than "
      <> int.to_string(max)
      <> " rows. Ask for less, or raise the limit."
    BadParameter(number, problem) ->
      "Parameter " <> int.to_string(number) <> " " <> problem_to_string(problem)
    BadParameters(problem) ->
      "The list of parameters " <> problem_to_string(problem)
    TargetAway(why) ->
      "The target of the projections cannot be reached: "
      <> why
      <> ". Warp goes on by itself once it can."
    SetAside(seq) ->
      "Event "
      <> int.to_string(seq)
      <> " of the entity could not be projected, and waits with those behind "
      <> "it. Mend project, then retry, or skip the event."
    RebuildDue ->
      "The tables have events that are not in the log. Rebuild them, or put the "
      <> "right files back."
    NotSetAside -> "Nothing of the entity is set aside."
    AlreadyRunning -> "A rebuild is under way."
    NotRunning -> "No rebuild is under way."
    Cancelled -> "The rebuild was cancelled. Rebuild again to go on with it."
    StillToErase(tables, why) ->
      "The entity is gone from the log. Still to be erased from "
      <> string.join(tables, ", ")
      <> ": "
      <> why
      <> ". Warp goes on trying by itself."

    BadSagaId(problem) -> "The saga's id " <> problem_to_string(problem)
    BadSaga(problem) -> "The saga " <> problem_to_string(problem)
    EmptySaga -> "The saga has no steps."
    TooManySteps(steps, max) ->
      "The saga has "
      <> int.to_string(steps)
      <> " steps. It may have "
      <> int.to_string(max)
      <> "."
    BadStep(number, field, problem) ->
      "The "
      <> field
      <> " of step "
      <> int.to_string(number)
      <> " "
      <> problem_to_string(problem)
    SagaConflict(id) ->
      "There is a saga "
      <> quote(id)
      <> " with other steps. Give it another id."
    SagaNotFound -> "There is no saga with that id."
    SagaWaits(step, entity, why) ->
      "The saga waits at step "
      <> int.to_string(step)
      <> ", of "
      <> quote(entity)
      <> ", until the context is started with what that needs. "
      <> to_string(why)
    NotStuck(state) -> "The saga is not stuck: it is " <> state <> "."
    BadNote(problem) -> "The note " <> problem_to_string(problem)
    EntityDeleted -> "The entity was deleted while the saga was under way."
    UnknownStep(name) ->
      "There is no step function " <> quote(name) <> ". Give it to start."
    StepArity(name, arguments) ->
      "The step function "
      <> quote(name)
      <> " takes "
      <> int.to_string(arguments)
      <> " arguments, which its step cannot give. Give start another one."
    Shortened(text) -> text

    Unknown(reason) ->
      "warp_core gave a reason that this version of the package does not know: "
      <> string.inspect(reason)
  }
}

/// What is wrong, as the end of a sentence.
///
fn problem_to_string(problem: Problem) -> String {
  case problem {
    Missing -> "has to be given."
    Required -> "has to be given, as there is more than one."
    UnknownField -> "does not exist."
    Empty -> "is empty."
    TooLong(bytes, max) | TooLarge(bytes, max) ->
      "has "
      <> int.to_string(bytes)
      <> " bytes. It may have "
      <> int.to_string(max)
      <> "."
    TooDeep(max) -> "nests deeper than " <> int.to_string(max) <> "."
    InvalidJson(message) -> "is not JSON: " <> message <> "."
    NotJson(what) -> "has no form in JSON: " <> what <> "."
    NotAnObject -> "is not a JSON object."
    NotABinary -> "is not a string."
    NotUtf8 -> "is not UTF-8."
    NotAList -> "is not a list."
    NotAMap -> "is not a map."
    NotAFunction(arguments) ->
      "is not a function of " <> int.to_string(arguments) <> " arguments."
    NotAPositiveInteger -> "is not a whole number from 1 on."
    NotAnIntegerFrom(min) ->
      "is not a whole number from " <> int.to_string(min) <> " on."
    NotAnIntegerBetween(min, max) ->
      "is not a whole number from "
      <> int.to_string(min)
      <> " to "
      <> int.to_string(max)
      <> "."
    NotOneOf(values) -> "has to be one of: " <> string.join(values, ", ") <> "."
    NotAName ->
      "may have only letters, digits, _, . and -, and begins with none of the "
      <> "last two."
    NotAPath -> "is not a path."
    Reserved -> "is kept for Warp itself."
    NoSuchFunction(name) ->
      "runs the step function "
      <> quote(name)
      <> ", which there is none of. Give it to start."
    Because(text) -> "is not taken: " <> text <> "."
  }
}

fn decode_errors(errors: List(DecodeError)) -> String {
  list.map(errors, fn(error) {
    let DecodeError(expected:, found:, path:) = error
    let at = case path {
      [] -> ""
      _ -> " at " <> string.join(path, ".")
    }
    "expected " <> expected <> ", found " <> found <> at
  })
  |> string.join("; ")
}

fn quote(text: String) -> String {
  "\"" <> text <> "\""
}
