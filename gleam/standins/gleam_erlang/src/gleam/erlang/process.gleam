//// Processes and the messages between them.

import gleam/dynamic.{type Dynamic}
import gleam/erlang/atom
import gleam/erlang/port.{type Port}
import gleam/erlang/reference.{type Reference}
import gleam/string

pub type Pid

pub type Name(message)

/// A message goes out as `#(tag, message)`, or as `#(name, message)`.
pub opaque type Subject(message) {
  Subject(owner: Pid, tag: Dynamic)
  NamedSubject(name: Name(message))
}

@external(erlang, "erlang", "self")
pub fn self() -> Pid

@external(erlang, "proc_lib", "spawn_link")
pub fn spawn(running: fn() -> anything) -> Pid

@external(erlang, "proc_lib", "spawn")
pub fn spawn_unlinked(a: fn() -> anything) -> Pid

@external(erlang, "erlang", "is_process_alive")
pub fn is_alive(a: Pid) -> Bool

@external(erlang, "gleam_erlang_standin", "sleep")
pub fn sleep(a: Int) -> Nil

@external(erlang, "gleam_erlang_standin", "sleep_forever")
pub fn sleep_forever() -> Nil

// Names

@external(erlang, "gleam_erlang_standin", "new_name")
pub fn new_name(prefix prefix: String) -> Name(message)

@external(erlang, "gleam_erlang_standin", "register")
pub fn register(pid: Pid, name: Name(message)) -> Result(Nil, Nil)

@external(erlang, "gleam_erlang_standin", "unregister")
pub fn unregister(name: Name(message)) -> Result(Nil, Nil)

@external(erlang, "gleam_erlang_standin", "named")
pub fn named(name: Name(a)) -> Result(Pid, Nil)

// Subjects

pub fn new_subject() -> Subject(message) {
  Subject(self(), reference_tag(reference.new()))
}

@external(erlang, "gleam_erlang_standin", "identity")
fn reference_tag(reference: Reference) -> Dynamic

pub fn named_subject(name: Name(message)) -> Subject(message) {
  NamedSubject(name)
}

pub fn subject_name(subject: Subject(message)) -> Result(Name(message), Nil) {
  case subject {
    NamedSubject(name:) -> Ok(name)
    Subject(..) -> Error(Nil)
  }
}

pub fn subject_owner(subject: Subject(message)) -> Result(Pid, Nil) {
  case subject {
    Subject(owner:, ..) -> Ok(owner)
    NamedSubject(name:) -> named(name)
  }
}

pub fn send(subject: Subject(message), message: message) -> Nil {
  case subject {
    Subject(owner:, tag:) -> send_term(owner, #(tag, message))
    NamedSubject(name:) -> {
      let assert Ok(pid) = named(name) as "Sending to unregistered name"
      send_term(pid, #(name, message))
    }
  }
}

@external(erlang, "gleam_erlang_standin", "send")
fn send_term(to: Pid, message: term) -> Nil

pub fn receive(
  from subject: Subject(message),
  within timeout: Int,
) -> Result(message, Nil) {
  case subject {
    Subject(owner:, ..) ->
      case owner == self() {
        True -> Nil
        False ->
          panic as "Cannot receive with a subject owned by another process"
      }
    NamedSubject(..) -> Nil
  }
  new_selector()
  |> select(subject)
  |> selector_receive(timeout)
}

pub fn receive_forever(from subject: Subject(message)) -> message {
  new_selector()
  |> select(subject)
  |> selector_receive_forever
}

pub fn call(
  subject: Subject(message),
  waiting timeout: Int,
  sending make_request: fn(Subject(reply)) -> message,
) -> reply {
  use selector <- request(subject, make_request)
  selector_receive(selector, timeout)
}

pub fn call_forever(
  subject: Subject(message),
  make_request: fn(Subject(reply)) -> message,
) -> reply {
  use selector <- request(subject, make_request)
  Ok(selector_receive_forever(selector))
}

/// The callee is monitored while its reply is waited for.
fn request(
  subject: Subject(message),
  make_request: fn(Subject(reply)) -> message,
  wait: fn(Selector(reply)) -> Result(reply, Nil),
) -> reply {
  let reply_subject = new_subject()
  let assert Ok(callee) = subject_owner(subject)
    as "Callee subject had no owner"
  let monitor = monitor(callee)
  send(subject, make_request(reply_subject))
  let reply =
    new_selector()
    |> select(reply_subject)
    |> select_specific_monitor(monitor, fn(down) {
      panic as { "callee exited: " <> string.inspect(down) }
    })
    |> wait
  let assert Ok(reply) = reply as "callee did not send reply before timeout"
  demonitor_process(monitor)
  reply
}

// Selectors

pub type Selector(payload)

@external(erlang, "gleam_erlang_standin", "new_selector")
pub fn new_selector() -> Selector(payload)

@external(erlang, "gleam_erlang_standin", "select")
pub fn selector_receive(
  from from: Selector(payload),
  within within: Int,
) -> Result(payload, Nil)

@external(erlang, "gleam_erlang_standin", "select_forever")
pub fn selector_receive_forever(from from: Selector(payload)) -> payload

pub fn select(
  selector: Selector(payload),
  for subject: Subject(payload),
) -> Selector(payload) {
  select_map(selector, subject, fn(message) { message })
}

pub fn select_map(
  selector: Selector(payload),
  for subject: Subject(message),
  mapping transform: fn(message) -> payload,
) -> Selector(payload) {
  let handler = fn(tagged: #(anything, message)) { transform(tagged.1) }
  case subject {
    Subject(tag:, ..) -> add_handler(selector, #(tag, 2), handler)
    NamedSubject(name:) -> add_handler(selector, #(name, 2), handler)
  }
}

pub fn deselect(
  selector: Selector(payload),
  for subject: Subject(message),
) -> Selector(payload) {
  case subject {
    Subject(tag:, ..) -> remove_handler(selector, #(tag, 2))
    NamedSubject(name:) -> remove_handler(selector, #(name, 2))
  }
}

/// Every message that nothing else selects.
pub fn select_other(
  selector: Selector(payload),
  mapping handler: fn(Dynamic) -> payload,
) -> Selector(payload) {
  add_handler(selector, atom.create("anything"), handler)
}

@external(erlang, "gleam_erlang_standin", "map_selector")
pub fn map_selector(a: Selector(a), b: fn(a) -> b) -> Selector(b)

/// Where both select the same, the second counts.
@external(erlang, "gleam_erlang_standin", "merge_selector")
pub fn merge_selector(a: Selector(a), b: Selector(a)) -> Selector(a)

@external(erlang, "gleam_erlang_standin", "flush_messages")
pub fn flush_messages() -> Nil

pub fn select_record(
  selector: Selector(payload),
  tag tag: tag,
  fields arity: Int,
  mapping transform: fn(Dynamic) -> payload,
) -> Selector(payload) {
  add_handler(selector, #(tag, arity + 1), transform)
}

@external(erlang, "gleam_erlang_standin", "add_handler")
fn add_handler(
  selector: Selector(payload),
  key: key,
  handler: fn(message) -> payload,
) -> Selector(payload)

@external(erlang, "gleam_erlang_standin", "remove_handler")
fn remove_handler(selector: Selector(payload), key: key) -> Selector(payload)

// Timers

pub type Timer

pub type Cancelled {
  TimerNotFound
  Cancelled(time_remaining: Int)
}

pub fn send_after(subject: Subject(msg), delay: Int, message: msg) -> Timer {
  case subject {
    Subject(owner:, tag:) -> send_term_after(delay, owner, #(tag, message))
    NamedSubject(name:) -> send_term_after(delay, name, #(name, message))
  }
}

@external(erlang, "erlang", "send_after")
fn send_term_after(delay: Int, to: receiver, message: term) -> Timer

@external(erlang, "gleam_erlang_standin", "cancel_timer")
pub fn cancel_timer(timer: Timer) -> Cancelled

// Exits and monitors

pub type ExitMessage {
  ExitMessage(pid: Pid, reason: ExitReason)
}

pub fn select_trapped_exits(
  selector: Selector(a),
  handler: fn(ExitMessage) -> a,
) -> Selector(a) {
  select_record(selector, atom.create("EXIT"), 2, fn(message) {
    handler(to_exit(message))
  })
}

@external(erlang, "gleam_erlang_standin", "to_exit")
fn to_exit(message: Dynamic) -> ExitMessage

@external(erlang, "gleam_erlang_standin", "link")
pub fn link(pid pid: Pid) -> Bool

pub fn send_exit(to pid: Pid) -> Nil {
  exit(pid, Normal)
}

pub fn send_abnormal_exit(pid: Pid, reason: anything) -> Nil {
  exit(pid, reason)
}

@external(erlang, "gleam_erlang_standin", "exit")
fn exit(pid: Pid, reason: reason) -> Nil

pub fn deselect_specific_monitor(
  selector: Selector(payload),
  monitor: Monitor,
) -> Selector(payload) {
  remove_handler(selector, monitor)
}

pub type ExitReason {
  Normal
  Killed
  Abnormal(reason: Dynamic)
}

pub type Monitor

pub type Down {
  ProcessDown(monitor: Monitor, pid: Pid, reason: ExitReason)
  PortDown(monitor: Monitor, port: Port, reason: ExitReason)
}

@external(erlang, "gleam_erlang_standin", "monitor")
pub fn monitor(pid: Pid) -> Monitor

@external(erlang, "gleam_erlang_standin", "demonitor")
pub fn demonitor_process(monitor monitor: Monitor) -> Nil

pub fn select_specific_monitor(
  selector: Selector(payload),
  monitor: Monitor,
  mapping: fn(Down) -> payload,
) {
  add_handler(selector, monitor, mapping)
}

pub fn select_monitors(
  selector: Selector(payload),
  mapping: fn(Down) -> payload,
) -> Selector(payload) {
  select_record(selector, atom.create("DOWN"), 4, fn(message) {
    mapping(to_down(message))
  })
}

@external(erlang, "gleam_erlang_standin", "to_down")
fn to_down(message: Dynamic) -> Down

@external(erlang, "gleam_erlang_standin", "trap_exits")
pub fn trap_exits(a: Bool) -> Nil

@external(erlang, "gleam_erlang_standin", "unlink")
pub fn unlink(pid: Pid) -> Nil

@external(erlang, "gleam_erlang_standin", "kill")
pub fn kill(pid: Pid) -> Nil
