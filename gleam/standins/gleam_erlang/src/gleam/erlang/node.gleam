//// Erlang's nodes.

import gleam/erlang/atom.{type Atom}

pub type Node

pub type ConnectError {
  FailedToConnect
  LocalNodeIsNotAlive
}

@external(erlang, "erlang", "node")
pub fn self() -> Node

@external(erlang, "erlang", "nodes")
pub fn visible() -> List(Node)

@external(erlang, "gleam_erlang_standin", "connect")
pub fn connect(node: Atom) -> Result(Node, ConnectError)

@external(erlang, "gleam_erlang_standin", "identity")
pub fn name(node: Node) -> Atom
