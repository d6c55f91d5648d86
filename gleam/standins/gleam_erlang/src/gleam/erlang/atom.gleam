//// Erlang's atoms.

import gleam/dynamic.{type Dynamic}
import gleam/dynamic/decode.{type Decoder}

pub type Atom

/// An atom that exists already.
@external(erlang, "gleam_erlang_standin", "get_atom")
pub fn get(a: String) -> Result(Atom, Nil)

@external(erlang, "erlang", "binary_to_atom")
pub fn create(a: String) -> Atom

@external(erlang, "erlang", "atom_to_binary")
pub fn to_string(a: Atom) -> String

@external(erlang, "gleam_erlang_standin", "identity")
pub fn to_dynamic(a: Atom) -> Dynamic

@external(erlang, "gleam_erlang_standin", "identity")
pub fn cast_from_dynamic(a: Dynamic) -> Atom

pub fn decoder() -> Decoder(Atom) {
  decode.new_primitive_decoder("Atom", decode_atom)
}

@external(erlang, "gleam_erlang_standin", "decode_atom")
fn decode_atom(data: Dynamic) -> Result(Atom, Atom)
