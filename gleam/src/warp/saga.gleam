//// Sagas: operations over several entities. Each step appends an event to one
//// entity. If a step is refused, the saga compensates the steps before it.
////
//// ```gleam
//// import warp/saga.{Committed, StepEvent}
////
//// let assert Ok(Committed(..)) =
////   saga.new("xfr-001")
////   |> saga.step(
////     entity: "alice",
////     aggregate: "Account",
////     schema_vsn: 1,
////     forward: StepEvent("Debited", "{\"amount\":500}"),
////     compensate: StepEvent("Credited", "{\"amount\":500}"),
////   )
////   |> saga.step(
////     entity: "bob",
////     aggregate: "Account",
////     schema_vsn: 1,
////     forward: StepEvent("Credited", "{\"amount\":500}"),
////     compensate: StepEvent("Debited", "{\"amount\":500}"),
////   )
////   |> saga.commit(ctx)
//// ```
////
//// A saga is as durable as an entity: after a crash, the next start of the
//// context finishes it. Committing a saga again, with the same id and steps,
//// repeats no step and returns the outcome of the first commit.

import gleam/dict.{type Dict}
import gleam/dynamic.{type Dynamic}
import gleam/dynamic/decode.{type Decoder}
import gleam/list
import gleam/option.{type Option}
import gleam/result
import warp/aggregate.{type Aggregate}
import warp/error.{type Error}
import warp/event.{type Event}
import warp/handle.{type Context}
import warp/json.{type Json}

// Building.

/// A saga to commit. `commit` reports what is wrong with it.
///
pub type Saga

/// What a step does with its entity.
///
pub type Action {
  /// Appends an event with this type, and with JSON text of an object as its
  /// payload.
  StepEvent(type_: String, payload: String)
  /// Appends an event with the type and the payload of this event. See
  /// `aggregate.encode` for events of your own types.
  Append(event: Event)
  /// Appends the event that the step function with this name returns. The
  /// function gets the state and these arguments, a JSON object. See
  /// `function`.
  Run(name: String, arguments: Json)
}

/// A step of a group of steps that run in parallel. See `parallel`.
///
pub type Step {
  Step(
    /// The id of the entity.
    entity: String,
    /// The aggregate that its events belong to.
    aggregate: String,
    /// The version of the schema in which the payloads are written, from 1 on.
    schema_vsn: Int,
    /// What the step does.
    forward: Action,
    /// What reverses the step if another step is refused.
    compensate: Action,
  )
}

/// A saga with this id, of 1 to 500 bytes, and without steps.
///
@external(erlang, "warp_saga", "new")
pub fn new(id: String) -> Saga

/// Adds a step, which runs when all steps before it are applied. A saga has at
/// most 1000 steps.
///
pub fn step(
  saga: Saga,
  entity entity: String,
  aggregate aggregate: String,
  schema_vsn schema_vsn: Int,
  forward forward: Action,
  compensate compensate: Action,
) -> Saga {
  engine_step(
    saga,
    Step(entity:, aggregate:, schema_vsn:, forward:, compensate:),
  )
}

/// Adds steps that run in parallel, when all steps before them are applied.
///
@external(erlang, "warp_saga_ffi", "parallel")
pub fn parallel(saga: Saga, steps: List(Step)) -> Saga

// Running.

/// The outcome of a saga.
///
pub type Outcome {
  /// All steps are applied.
  Committed(id: String, steps: List(StepResult))
  /// A step was refused, or the saga was cancelled, or its deadline passed. All
  /// steps that were applied are reversed.
  Compensated(id: String, steps: List(StepResult), failed: Failure)
  /// A step was refused, and then a compensation was refused too. An operator
  /// has to act: see `retry` and `resolve`.
  Stuck(
    /// The id of the saga.
    id: String,
    /// The results of its steps.
    steps: List(StepResult),
    /// Why the saga was compensated.
    failed: Failure,
    /// Which compensation was refused.
    blocked: Failure,
    /// The note of the operator who resolved the saga.
    note: Option(String),
  )
}

/// Why a saga did not continue.
///
pub type Failure {
  /// The step with this number, counted from 0, was refused. See
  /// `aggregate.refusal` for the type of its reason.
  StepRefused(step: Int, entity: String, reason: Error(Dynamic))
  /// A step was refused. The log of the saga was removed since, see
  /// `keep_sagas` of `WarpOptions`, and which step it was is not known any more.
  UnknownStepRefused(reason: Error(Dynamic))
  /// The deadline of the saga passed.
  DeadlinePassed
  /// The saga was cancelled.
  WasCancelled
}

/// The result of a step.
///
pub type StepResult {
  StepResult(
    /// The number of the step, counted from 0.
    step: Int,
    /// The id of its entity.
    entity: String,
    /// The aggregate of its events.
    aggregate: String,
    /// What happened to the step.
    status: StepStatus,
  )
}

/// What happened to a step.
///
pub type StepStatus {
  /// The step is applied: its event has this seq.
  Applied(seq: Int)
  /// The step was applied, with the event `seq`, and then reversed, with the
  /// event `compensation_seq`.
  Reversed(seq: Int, compensation_seq: Int)
  /// The step was refused.
  StepNotTaken(reason: Error(Dynamic))
  /// The step did not run.
  NotRun
  /// The step is applied and was not reversed: its compensation was refused
  /// with this reason, or, without a reason, the compensation of another step
  /// was refused before.
  NotReversed(seq: Int, reason: Option(Error(Dynamic)))
}

/// The options of a commit. See `options`.
///
pub opaque type Options {
  Options(List(Setting))
}

type Setting {
  Timeout(Int)
  Retries(Int)
  Wait(Int)
}

/// The defaults: the saga has no deadline, tries a step again 10 times while its
/// entity is not available, and `commit_with` waits for as long as it takes.
///
pub fn options() -> Options {
  Options([])
}

/// Sets how long the saga may go forward, in milliseconds, from 0 to 2^32 - 1.
/// After that it is compensated.
///
pub fn deadline(options: Options, milliseconds: Int) -> Options {
  set(options, Timeout(milliseconds))
}

/// Sets how many times, from 0 to 1,000,000, the saga tries a step again while
/// its entity is not available, with pauses of 10 milliseconds to 1 second.
///
pub fn retries(options: Options, times: Int) -> Options {
  set(options, Retries(times))
}

/// Sets how long the caller waits for the outcome, in milliseconds, from 0 to
/// 2^32 - 1. After that the commit returns `error.Timeout`, and the saga
/// continues.
///
pub fn wait(options: Options, milliseconds: Int) -> Options {
  set(options, Wait(milliseconds))
}

fn set(options: Options, setting: Setting) -> Options {
  let Options(settings) = options
  Options([setting, ..settings])
}

/// Runs a saga, and waits for its outcome. A refused step is not an error of
/// the commit: the outcome is then `Compensated` or `Stuck`.
///
/// After an error the saga has not begun, with three exceptions: after
/// `error.Timeout` and `error.Interrupted` it may have begun, so commit it again
/// to learn its outcome; and `error.SagaWaits` is a saga that began and that
/// this start of the context cannot finish: see `Waiting`.
///
pub fn commit(saga: Saga, context: Context) -> Result(Outcome, Error(reason)) {
  commit_with(saga, context, options())
}

/// Runs a saga with options: see `options`.
///
pub fn commit_with(
  saga: Saga,
  context: Context,
  options: Options,
) -> Result(Outcome, Error(reason)) {
  let Options(settings) = options
  engine_commit(saga, context, from_list(list.reverse(settings)))
}

/// Compensates a saga that is running, unless all its steps are applied, and
/// waits for its outcome, for as long as it takes. Returns the outcome of a saga
/// that is finished, and `error.SagaNotFound` if no saga has this id.
///
@external(erlang, "warp_saga_ffi", "cancel")
pub fn cancel(context: Context, id: String) -> Result(Outcome, Error(reason))

/// How many sagas had which outcome. See `recover_pending`.
///
pub type Recovered {
  Recovered(
    /// How many are committed.
    committed: Int,
    /// How many are compensated.
    compensated: Int,
    /// How many are stuck.
    stuck: Int,
    /// How many wait for another start of the context: see `Waiting`.
    waiting: Int,
  )
}

/// Waits until all sagas that are running now are finished, or wait for another
/// start of the context, for as long as it takes. A started context finishes
/// the sagas of the previous start in the background, also without this call.
///
@external(erlang, "warp_saga_ffi", "recover_pending")
pub fn recover_pending(context: Context) -> Result(Recovered, Error(reason))

/// Tries the compensations of a stuck saga again, and waits for its outcome, for
/// as long as it takes. Returns `error.NotStuck` for another saga, and
/// `error.SagaNotFound` if no saga has this id.
///
@external(erlang, "warp_saga_ffi", "retry")
pub fn retry(context: Context, id: String) -> Result(Outcome, Error(reason))

/// Closes a stuck saga as it is. The note of the operator, of 1 to 4096 bytes,
/// says why, and is stored with the saga. Returns `error.NotStuck` for another
/// saga, and `error.SagaNotFound` if no saga has this id.
///
@external(erlang, "warp_saga_ffi", "resolve")
pub fn resolve(
  context: Context,
  id: String,
  note note: String,
) -> Result(Outcome, Error(reason))

// Status.

/// The status of a saga.
///
pub type Status {
  Status(
    /// The id of the saga.
    id: String,
    /// What the saga does now.
    state: State,
    /// The results of its steps. While the saga runs, a step whose result is not
    /// recorded yet is `NotRun`.
    steps: List(StepResult),
    /// Why the saga is compensated, if it is.
    failed: Option(Failure),
    /// Which compensation was refused, if one was.
    blocked: Option(Failure),
    /// The note of the operator who resolved the saga.
    note: Option(String),
    /// When the saga began, in microseconds since 1970, UTC.
    started_at: Int,
    /// When the last change of the saga was recorded, in microseconds since
    /// 1970, UTC.
    updated_at: Int,
  )
}

/// What a saga does.
///
pub type State {
  /// It runs its steps.
  Running
  /// It reverses its steps.
  Compensating
  /// It waits for another start of the context.
  IsWaiting(waiting: Waiting)
  /// A compensation was refused, and an operator has to act.
  IsStuck
  /// All its steps are applied.
  IsCommitted
  /// All its applied steps are reversed.
  IsCompensated
  /// It was stuck, and an operator closed it.
  IsResolved
}

/// What a saga waits for. The context was started without the aggregate or the
/// step function that a step names. No step was refused, so the saga is not
/// compensated: it continues once the context is started with what the step
/// names.
///
pub type Waiting {
  Waiting(
    /// The number of the step, counted from 0.
    step: Int,
    /// The id of its entity.
    entity: String,
    /// Whether the step waits to be applied or to be reversed.
    direction: Direction,
    /// What the context does not have: `UnknownAggregate`, `UnknownStep`,
    /// `StepArity`, `StepNotExported` or `StaleFunction`.
    reason: Error(Dynamic),
    /// Since when the saga has waited in this start of the context, in
    /// microseconds since 1970, UTC.
    since: Int,
  )
}

/// Whether a step waits to be applied or to be reversed.
///
pub type Direction {
  /// It waits to be applied.
  Forward
  /// It waits to be reversed.
  Backward
}

/// The status of the saga with this id. Returns `error.SagaNotFound` if no saga
/// has it.
///
@external(erlang, "warp_saga_ffi", "status")
pub fn status(context: Context, id: String) -> Result(Status, Error(reason))

/// A saga that is running.
///
pub type Pending {
  Pending(
    /// The id of the saga.
    id: String,
    /// What the saga does now: `Running`, `Compensating` or `IsWaiting`.
    state: State,
    /// When the saga began, in microseconds since 1970, UTC.
    started_at: Int,
  )
}

/// The sagas that are neither finished nor stuck, in no order.
///
@external(erlang, "warp_saga_ffi", "pending")
pub fn pending(context: Context) -> Result(List(Pending), Error(reason))

/// The sagas that are stuck, ordered by their ids.
///
@external(erlang, "warp_saga_ffi", "stuck")
pub fn stuck(context: Context) -> Result(List(Outcome), Error(reason))

// Step functions.

/// A function that steps name, for the option `steps` of `WarpOptions`. Steps
/// refer to it by name because another start of the VM may continue the saga.
///
pub opaque type StepFunction {
  StepFunction(name: String, function: Function)
}

/// The engine's form of a step function.
///
@internal
pub type Function

/// A step function with this name, of 1 to 512 bytes. From the state of the
/// entity's aggregate and the arguments of `Run`, `run` returns the event to
/// append, or refuses the step. It runs in the entity's own process, and may run
/// more than once: it should have no side effects, and must not call its own
/// entity.
///
/// ```gleam
/// saga.function(
///   "withdraw",
///   of: account(),
///   arguments: decode.at(["percent"], decode.int),
///   run: fn(balance, percent) { Ok(Debited(balance * percent / 100)) },
/// )
/// ```
///
/// Steps that run it have to name this aggregate. If the decoder fails on the
/// arguments, the step is refused with `error.UndecodableArguments`.
///
pub fn function(
  name: String,
  of aggregate: Aggregate(state, event, reason),
  arguments decoder: Decoder(arguments),
  run run: fn(state, arguments) -> Result(event, reason),
) -> StepFunction {
  use state, arguments <- engine_function_of(name)
  use arguments <- result.try(decode_arguments(arguments, decoder))
  use event <- result.try(refused(run(state, arguments)))
  aggregate.encode(aggregate, event)
}

/// A step function for `compensate`, which also gets the event that the step
/// appended.
///
pub fn compensation(
  name: String,
  of aggregate: Aggregate(state, event, reason),
  arguments decoder: Decoder(arguments),
  run run: fn(state, arguments, event) -> Result(event, reason),
) -> StepFunction {
  use state, arguments, forward <- engine_compensation_of(name)
  use arguments <- result.try(decode_arguments(arguments, decoder))
  use forward <- result.try(aggregate.decode(aggregate, forward))
  use event <- result.try(refused(run(state, arguments, forward)))
  aggregate.encode(aggregate, event)
}

/// A step function for an aggregate without types of your own. It gets the
/// state and the arguments.
///
pub fn dynamic_function(
  name: String,
  run run: fn(Dynamic, Dynamic) -> Result(Event, reason),
) -> StepFunction {
  use state, arguments <- engine_function_of(name)
  refused(run(state, arguments))
}

/// A step function for `compensate`, for an aggregate without types of your own.
/// It gets the state, the arguments, and the event that the step appended.
///
pub fn dynamic_compensation(
  name: String,
  run run: fn(Dynamic, Dynamic, Event) -> Result(Event, reason),
) -> StepFunction {
  use state, arguments, forward <- engine_compensation_of(name)
  refused(run(state, arguments, forward))
}

fn decode_arguments(
  arguments: Dynamic,
  decoder: Decoder(arguments),
) -> Result(arguments, Error(reason)) {
  decode.run(arguments, decoder)
  |> result.map_error(error.UndecodableArguments)
}

fn refused(result: Result(a, reason)) -> Result(a, Error(reason)) {
  result.map_error(result, error.Refused)
}

fn engine_function_of(
  name: String,
  run: fn(state, Dynamic) -> Result(Event, Error(reason)),
) -> StepFunction {
  StepFunction(name:, function: engine_function(run))
}

fn engine_compensation_of(
  name: String,
  run: fn(state, Dynamic, Event) -> Result(Event, Error(reason)),
) -> StepFunction {
  StepFunction(name:, function: engine_compensation(run))
}

/// The engine's map of step functions.
///
@internal
pub fn step_functions(steps: List(StepFunction)) -> Dict(String, Function) {
  list.map(steps, fn(step) { #(step.name, step.function) })
  |> dict.from_list
}

type OptionsMap

@external(erlang, "maps", "from_list")
fn from_list(settings: List(Setting)) -> OptionsMap

@external(erlang, "warp_saga_ffi", "step")
fn engine_step(saga: Saga, step: Step) -> Saga

@external(erlang, "warp_saga_ffi", "commit")
fn engine_commit(
  saga: Saga,
  context: Context,
  options: OptionsMap,
) -> Result(Outcome, Error(reason))

@external(erlang, "warp_saga_ffi", "function")
fn engine_function(
  run: fn(state, Dynamic) -> Result(Event, Error(reason)),
) -> Function

@external(erlang, "warp_saga_ffi", "compensation")
fn engine_compensation(
  run: fn(state, Dynamic, Event) -> Result(Event, Error(reason)),
) -> Function
