//// How a supervisor starts a child, and when again.

import gleam/otp/actor

pub type Restart {
  Permanent
  Transient
  Temporary
}

pub type ChildType {
  Worker(shutdown_ms: Int)
  Supervisor
}

pub type ChildSpecification(data) {
  ChildSpecification(
    start: fn() -> Result(actor.Started(data), actor.StartError),
    restart: Restart,
    significant: Bool,
    child_type: ChildType,
  )
}

pub fn worker(
  run start: fn() -> Result(actor.Started(data), actor.StartError),
) -> ChildSpecification(data) {
  ChildSpecification(
    start:,
    restart: Permanent,
    significant: False,
    child_type: Worker(5000),
  )
}

pub fn supervisor(
  run start: fn() -> Result(actor.Started(data), actor.StartError),
) -> ChildSpecification(data) {
  ChildSpecification(
    start:,
    restart: Permanent,
    significant: False,
    child_type: Supervisor,
  )
}

pub fn significant(
  child: ChildSpecification(data),
  significant: Bool,
) -> ChildSpecification(data) {
  ChildSpecification(..child, significant:)
}

pub fn timeout(
  child: ChildSpecification(data),
  ms ms: Int,
) -> ChildSpecification(data) {
  case child.child_type {
    Worker(_) -> ChildSpecification(..child, child_type: Worker(ms))
    Supervisor -> child
  }
}

pub fn restart(
  child: ChildSpecification(data),
  restart: Restart,
) -> ChildSpecification(data) {
  ChildSpecification(..child, restart:)
}

pub fn map_data(
  child: ChildSpecification(a),
  transform: fn(a) -> b,
) -> ChildSpecification(b) {
  ChildSpecification(
    start: fn() {
      case child.start() {
        Ok(started) -> Ok(actor.Started(started.pid, transform(started.data)))
        Error(error) -> Error(error)
      }
    },
    restart: child.restart,
    significant: child.significant,
    child_type: child.child_type,
  )
}
