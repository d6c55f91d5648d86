//// How long a call waits for its answer: for reads and decisions, which have no
//// other options.
////
//// ```gleam
//// alice
//// |> aggregate.get_with(account(), call.options() |> call.timeout(500))
//// ```

/// The options of a call. See `options`.
///
pub opaque type Options {
  Options(List(Setting))
}

type Setting {
  Timeout(Int)
}

/// The defaults: an export and an import wait for as long as it takes, and every
/// other call for 5000 milliseconds.
///
pub fn options() -> Options {
  Options([])
}

/// Sets how long the call waits, in milliseconds, from 0 to 2^32 - 1. After
/// that it returns `error.Timeout`.
///
/// A read that timed out keeps some of the states that it folded on the way, so
/// that the next read continues from there. A decision that timed out may still
/// be carried out.
///
pub fn timeout(_options: Options, milliseconds: Int) -> Options {
  Options([Timeout(milliseconds)])
}

/// The engine's map of options: `Timeout(1)` is `{timeout, 1}`.
///
@internal
pub fn to_map(options: Options) -> Map {
  let Options(settings) = options
  from_list(settings)
}

@internal
pub type Map

@external(erlang, "maps", "from_list")
fn from_list(settings: List(Setting)) -> Map
