//// Erlang's atoms.

import gleam/dynamic.{type Dynamic}

pub type Atom

@external(erlang, "gleam_erlang_standin", "existing_atom")
pub fn get(a: String) -> Result(Atom, Nil)

@external(erlang, "erlang", "binary_to_atom")
pub fn create(a: String) -> Atom

@external(erlang, "erlang", "atom_to_binary")
pub fn to_string(a: Atom) -> String

@external(erlang, "gleam_erlang_standin", "identity")
pub fn to_dynamic(a: Atom) -> Dynamic
