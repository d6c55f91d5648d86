//// Erlang's atoms.

pub type Atom

@external(erlang, "erlang", "binary_to_atom")
pub fn create(a: String) -> Atom
