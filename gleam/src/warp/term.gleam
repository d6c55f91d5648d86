//// Values in Erlang's term format, as text that JSON can hold. Aggregates
//// without a codec store their events in it: see `aggregate.new`.

import gleam/dynamic.{type Dynamic}

/// A value as text: Erlang's term format, in Base64. Equal values give equal
/// texts.
///
/// The error says what the value holds that means nothing in another run of
/// the program: a process, a port, a reference or a function.
///
@external(erlang, "warp_term_ffi", "to_text")
pub fn encode(value: a) -> Result(String, String)

/// The value that `encode` was given.
///
/// The text may come from anywhere: it creates no atoms, is not unpacked to
/// more than its own size, and yields no process, port, reference or function.
/// The error says what is wrong with it.
///
@external(erlang, "warp_term_ffi", "from_text")
pub fn decode(text: String) -> Result(Dynamic, String)

/// The name of a value's constructor as Gleam writes it, such as `"Credited"`,
/// and `"Event"` for a value that has none.
///
@external(erlang, "warp_term_ffi", "name")
pub fn constructor(value: a) -> String
