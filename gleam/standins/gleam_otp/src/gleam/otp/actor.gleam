//// How the start of a process ended. The published module also makes actors.

import gleam/erlang/process.{type ExitReason, type Pid}

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
