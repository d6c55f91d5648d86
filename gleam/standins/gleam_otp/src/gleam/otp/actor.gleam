//// Processes that handle messages one at a time, with a state.

import gleam/dynamic.{type Dynamic}
import gleam/erlang/process.{
  type ExitReason, type Name, type Pid, type Selector, type Subject, Abnormal,
}
import gleam/option.{type Option, None, Some}

pub opaque type Next(state, message) {
  Continue(state: state, selector: Option(Selector(message)))
  Stop(ExitReason)
}

pub fn continue(state: state) -> Next(state, message) {
  Continue(state:, selector: None)
}

pub fn stop() -> Next(state, message) {
  Stop(process.Normal)
}

pub fn stop_abnormal(reason: String) -> Next(state, message) {
  Stop(Abnormal(to_dynamic(reason)))
}

@external(erlang, "gleam_erlang_standin", "identity")
fn to_dynamic(reason: String) -> Dynamic

pub fn with_selector(
  value: Next(state, message),
  selector: Selector(message),
) -> Next(state, message) {
  case value {
    Continue(..) -> Continue(..value, selector: Some(selector))
    Stop(_) -> value
  }
}

pub type Started(data) {
  Started(pid: Pid, data: data)
}

pub type StartError {
  InitTimeout
  InitFailed(String)
  InitExited(ExitReason)
}

pub type StartResult(data) =
  Result(Started(data), StartError)

pub opaque type Initialised(state, message, data) {
  Initialised(state: state, selector: Option(Selector(message)), return: data)
}

pub fn initialised(state: state) -> Initialised(state, message, Nil) {
  Initialised(state:, selector: None, return: Nil)
}

pub fn selecting(
  initialised: Initialised(state, old_message, return),
  selector: Selector(message),
) -> Initialised(state, message, return) {
  Initialised(..initialised, selector: Some(selector))
}

pub fn returning(
  initialised: Initialised(state, message, old_return),
  return: return,
) -> Initialised(state, message, return) {
  Initialised(..initialised, return:)
}

pub opaque type Builder(state, message, return) {
  Builder(
    initialise: fn(Subject(message)) ->
      Result(Initialised(state, message, return), String),
    timeout: Int,
    on_message: fn(state, message) -> Next(state, message),
    name: Option(Name(message)),
  )
}

pub fn new(state: state) -> Builder(state, message, Subject(message)) {
  new_with_initialiser(1000, fn(subject) {
    Ok(initialised(state) |> returning(subject))
  })
}

/// The initialiser runs in the actor, for so many milliseconds at most.
pub fn new_with_initialiser(
  timeout: Int,
  initialise: fn(Subject(message)) ->
    Result(Initialised(state, message, return), String),
) -> Builder(state, message, return) {
  let on_message = fn(state, _) { continue(state) }
  Builder(initialise:, timeout:, on_message:, name: None)
}

pub fn on_message(
  builder: Builder(state, message, return),
  handler: fn(state, message) -> Next(state, message),
) -> Builder(state, message, return) {
  Builder(..builder, on_message: handler)
}

pub fn named(
  builder: Builder(state, message, return),
  name: Name(message),
) -> Builder(state, message, return) {
  Builder(..builder, name: Some(name))
}

/// The actor is linked to the caller.
pub fn start(
  builder: Builder(state, msg, return),
) -> Result(Started(return), StartError) {
  start_actor(builder.timeout, fn() { initialise(builder) }, builder.on_message)
}

fn initialise(
  builder: Builder(state, message, return),
) -> Result(#(state, Selector(message), return), String) {
  let subject = case builder.name {
    None -> Ok(process.new_subject())
    Some(name) ->
      case process.register(process.self(), name) {
        Ok(Nil) -> Ok(process.named_subject(name))
        Error(Nil) -> Error("name already registered")
      }
  }
  case subject {
    Error(reason) -> Error(reason)
    Ok(subject) ->
      case builder.initialise(subject) {
        Error(reason) -> Error(reason)
        Ok(Initialised(state:, selector:, return:)) -> {
          let default = fn() {
            process.new_selector() |> process.select(subject)
          }
          Ok(#(state, option.lazy_unwrap(selector, default), return))
        }
      }
  }
}

@external(erlang, "gleam_otp_standin_actor", "start")
fn start_actor(
  timeout: Int,
  initialise: fn() -> Result(#(state, Selector(message), return), String),
  on_message: fn(state, message) -> Next(state, message),
) -> Result(Started(return), StartError)

pub fn send(subject: Subject(msg), msg: msg) -> Nil {
  process.send(subject, msg)
}

pub fn call(
  subject: Subject(message),
  waiting timeout: Int,
  sending make_message: fn(Subject(reply)) -> message,
) -> reply {
  process.call(subject, timeout, make_message)
}
