//// OTP's supervisor, with children that are given before it starts.

import gleam/erlang/process.{type Pid}
import gleam/list
import gleam/otp/actor
import gleam/otp/supervision.{type ChildSpecification}

pub opaque type Supervisor {
  Supervisor(pid: Pid)
}

pub type Strategy {
  OneForOne
  OneForAll
  RestForOne
}

pub type AutoShutdown {
  Never
  AnySignificant
  AllSignificant
}

pub opaque type Builder {
  Builder(
    strategy: Strategy,
    intensity: Int,
    period: Int,
    auto_shutdown: AutoShutdown,
    children: List(ChildSpecification(Nil)),
  )
}

pub fn new(strategy strategy: Strategy) -> Builder {
  Builder(
    strategy:,
    intensity: 2,
    period: 5,
    auto_shutdown: Never,
    children: [],
  )
}

/// So many restarts of children in so many seconds; one more ends the supervisor.
pub fn restart_tolerance(
  builder: Builder,
  intensity intensity: Int,
  period period: Int,
) -> Builder {
  Builder(..builder, intensity:, period:)
}

pub fn auto_shutdown(builder: Builder, value: AutoShutdown) -> Builder {
  Builder(..builder, auto_shutdown: value)
}

pub fn add(builder: Builder, child: ChildSpecification(data)) -> Builder {
  let child = supervision.map_data(child, fn(_) { Nil })
  Builder(..builder, children: [child, ..builder.children])
}

pub fn start(
  builder: Builder,
) -> Result(actor.Started(Supervisor), actor.StartError) {
  case
    start_link(Builder(..builder, children: list.reverse(builder.children)))
  {
    Ok(pid) -> Ok(actor.Started(pid:, data: Supervisor(pid)))
    Error(error) -> Error(error)
  }
}

pub fn supervised(builder: Builder) -> ChildSpecification(Supervisor) {
  supervision.supervisor(fn() { start(builder) })
}

@external(erlang, "gleam_otp_standin", "start_link")
fn start_link(builder: Builder) -> Result(Pid, actor.StartError)
