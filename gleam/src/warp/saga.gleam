//// Sagas: operations over several entities. Each step appends an event to one
//// of them; should a step be refused, those before it are compensated.
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
//// A saga is as durable as any entity: after a crash what is unfinished goes on
//// by itself when the context is started. Running it again, with the same id
//// and steps, repeats nothing and gives what it came to.

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

/// A saga to be run. Mistakes in it are told by `commit`.
///
pub type Saga

/// What a step does to its entity.
///
pub type Action {
  /// Appends an event of that type, whose payload is JSON text: an object.
  StepEvent(type_: String, payload: String)
  /// Appends this event, of which type and payload count. See
  /// `aggregate.encode` for events of your own types.
  Append(event: Event)
  /// Appends the event that a step function gives, which looks at the state
  /// first. See `function`.
  Run(name: String, arguments: Json)
}

/// A step of a group whose steps run side by side. See `parallel`.
///
pub type Step {
  Step(
    /// The id of the entity.
    entity: String,
    /// The aggregate that its events belong to.
    aggregate: String,
    /// The version of the schema that the payloads are written in.
    schema_vsn: Int,
    /// What the step does.
    forward: Action,
    /// What undoes it, should a later step be refused.
    compensate: Action,
  )
}

/// A saga with that id, of 1 to 500 bytes, and without steps so far.
///
@external(erlang, "warp_saga", "new")
pub fn new(id: String) -> Saga

/// Adds a step, which begins when those before it are done. At most 1000.
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

/// Adds steps that run side by side.
///
@external(erlang, "warp_saga_ffi", "parallel")
pub fn parallel(saga: Saga, steps: List(Step)) -> Saga

// Running.

/// What a saga came to.
///
pub type Outcome {
  /// All steps are done.
  Committed(id: String, steps: List(StepResult))
  /// A step was refused, or the saga was cancelled or took too long. What was
  /// done is undone.
  Compensated(id: String, steps: List(StepResult), failed: Failure)
  /// A step was refused, and then a compensation was too. An operator is
  /// needed: see `retry` and `resolve`.
  Stuck(
    id: String,
    steps: List(StepResult),
    failed: Failure,
    blocked: Failure,
    /// What an operator noted when it was resolved.
    note: Option(String),
  )
}

/// What kept a saga from going on.
///
pub type Failure {
  /// A step was refused.
  StepRefused(step: Int, entity: String, reason: Error(Dynamic))
  /// The time that it was given is over.
  DeadlinePassed
  /// It was cancelled.
  WasCancelled
}

/// What became of a step.
///
pub type StepResult {
  StepResult(
    /// Its number, from 0.
    step: Int,
    entity: String,
    aggregate: String,
    status: StepStatus,
  )
}

/// What became of a step.
///
pub type StepStatus {
  /// It is done: its event has that seq.
  Applied(seq: Int)
  /// It was done, and then undone, with the event of the second seq.
  Reversed(seq: Int, compensation_seq: Int)
  /// It was refused.
  StepNotTaken(reason: Error(Dynamic))
  /// Nothing was done.
  NotRun
  /// It is done, and was not undone: its compensation was refused, for that
  /// reason, or one before it was.
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

/// The defaults: the saga has all the time it needs, tries a step again 10
/// times while its entity is not available, and `commit_with` waits for it.
///
pub fn options() -> Options {
  Options([])
}

/// Sets how long the saga may take, in milliseconds. Past that it is
/// compensated.
///
pub fn deadline(options: Options, milliseconds: Int) -> Options {
  set(options, Timeout(milliseconds))
}

/// Sets how often a step is tried again while its entity is not available.
///
pub fn retries(options: Options, times: Int) -> Options {
  set(options, Retries(times))
}

/// Sets how long the caller waits for the outcome, in milliseconds. After that
/// it gets `error.Timeout`, and the saga goes on.
///
pub fn wait(options: Options, milliseconds: Int) -> Options {
  set(options, Wait(milliseconds))
}

fn set(options: Options, setting: Setting) -> Options {
  let Options(settings) = options
  Options([setting, ..settings])
}

/// Runs a saga, and waits for what it comes to. A step that is refused, for
/// whatever reason, is no error: the saga is compensated. A saga that this start
/// of the context cannot finish is the error `SagaWaits`: see `Waiting`.
///
pub fn commit(saga: Saga, context: Context) -> Result(Outcome, Error(reason)) {
  commit_with(saga, context, options())
}

/// Runs a saga in another way than by default.
///
pub fn commit_with(
  saga: Saga,
  context: Context,
  options: Options,
) -> Result(Outcome, Error(reason)) {
  let Options(settings) = options
  engine_commit(saga, context, from_list(list.reverse(settings)))
}

/// Compensates a saga that is under way, and waits for what it comes to.
///
@external(erlang, "warp_saga_ffi", "cancel")
pub fn cancel(context: Context, id: String) -> Result(Outcome, Error(reason))

/// How many sagas came to what. Those that wait go on once the context is
/// started with what they lack: see `Waiting`.
///
pub type Recovered {
  Recovered(committed: Int, compensated: Int, stuck: Int, waiting: Int)
}

/// Finishes all sagas that are unfinished, and waits for them, but not for those
/// that only another start of the context can finish. Whenever a context is
/// started this goes on by itself, behind it.
///
@external(erlang, "warp_saga_ffi", "recover_pending")
pub fn recover_pending(context: Context) -> Result(Recovered, Error(reason))

/// Tries the compensations of a stuck saga again.
///
@external(erlang, "warp_saga_ffi", "retry")
pub fn retry(context: Context, id: String) -> Result(Outcome, Error(reason))

/// Closes a stuck saga: an operator has seen to it, and says so in a note of 1
/// to 4096 bytes.
///
@external(erlang, "warp_saga_ffi", "resolve")
pub fn resolve(
  context: Context,
  id: String,
  note note: String,
) -> Result(Outcome, Error(reason))

// Looking.

/// Where a saga is.
///
pub type Status {
  Status(
    id: String,
    state: State,
    /// What became of its steps. While it runs, those whose outcome is not
    /// recorded yet are `NotRun`.
    steps: List(StepResult),
    /// Why it is compensated.
    failed: Option(Failure),
    /// Which compensation was refused.
    blocked: Option(Failure),
    /// What an operator noted.
    note: Option(String),
    /// In microseconds since 1970, UTC.
    started_at: Int,
    /// In microseconds since 1970, UTC.
    updated_at: Int,
  )
}

/// Where a saga is.
///
pub type State {
  /// It goes forward.
  Running
  /// It goes backward.
  Compensating
  /// It goes no further in this start of the context.
  IsWaiting(waiting: Waiting)
  /// It needs an operator.
  IsStuck
  /// It is done.
  IsCommitted
  /// It is undone.
  IsCompensated
  /// It was stuck, and an operator has seen to it.
  IsResolved
}

/// What a saga waits for: the context was started without the aggregate or the
/// step function of a step, or under another name. Nothing was refused, so
/// nothing is compensated for it; the saga goes on once the context is started
/// with what it lacks.
///
pub type Waiting {
  Waiting(
    /// The step, from 0.
    step: Int,
    /// Its entity.
    entity: String,
    /// Whether the step is to be done, or undone.
    direction: Direction,
    /// What is lacking: `UnknownAggregate`, `UnknownStep` or `StepArity`.
    reason: Error(Dynamic),
    /// Since when it has waited in this start of the context, in microseconds
    /// since 1970, UTC.
    since: Int,
  )
}

/// Which way a saga goes.
///
pub type Direction {
  /// A step is to be done.
  Forward
  /// A step is to be undone.
  Backward
}

/// Where the saga with that id is.
///
@external(erlang, "warp_saga_ffi", "status")
pub fn status(context: Context, id: String) -> Result(Status, Error(reason))

/// A saga under way.
///
pub type Pending {
  Pending(
    id: String,
    state: State,
    /// In microseconds since 1970, UTC.
    started_at: Int,
  )
}

/// The sagas that are under way.
///
@external(erlang, "warp_saga_ffi", "pending")
pub fn pending(context: Context) -> Result(List(Pending), Error(reason))

/// The sagas that are stuck.
///
@external(erlang, "warp_saga_ffi", "stuck")
pub fn stuck(context: Context) -> Result(List(Outcome), Error(reason))

// Step functions.

/// A function that steps can run by its name, for `WarpOptions.steps`. It has a
/// name, and not only a value, since a saga may go on in another VM.
///
pub opaque type StepFunction {
  StepFunction(name: String, function: Function)
}

/// The engine's form of a step function.
///
@internal
pub type Function

/// A step function: from the state of the entity's aggregate, and the arguments
/// given in `Run`, it gives the event to append, or refuses. It runs in the
/// entity's own process, and may run more than once.
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
/// Steps that run it name that aggregate. Arguments that the decoder does not
/// take refuse the step.
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

/// A step function that compensates: it is also given the event of the step that
/// is to be undone.
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

/// A step function for an aggregate without types of its own.
///
pub fn dynamic_function(
  name: String,
  run: fn(Dynamic, Dynamic) -> Result(Event, reason),
) -> StepFunction {
  use state, arguments <- engine_function_of(name)
  refused(run(state, arguments))
}

/// A step function that compensates, for an aggregate without types of its own.
///
pub fn dynamic_compensation(
  name: String,
  run: fn(Dynamic, Dynamic, Event) -> Result(Event, reason),
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
