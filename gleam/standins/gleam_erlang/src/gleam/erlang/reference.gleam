//// Unique values.

pub type Reference

@external(erlang, "erlang", "make_ref")
pub fn new() -> Reference
