//// OTP applications.

import gleam/erlang/node.{type Node}

pub type StartType {
  Normal
  Takeover(previous: Node)
  Failover(previous: Node)
}

@external(erlang, "gleam_erlang_standin", "priv_directory")
pub fn priv_directory(name: String) -> Result(String, Nil)
