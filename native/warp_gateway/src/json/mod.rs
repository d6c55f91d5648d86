//! JSON from clients: read once, checked, and written as Erlang terms on the way.

mod calls;
mod cursor;
mod number;
mod raw;
mod text;
mod value;

#[cfg(test)]
mod tests;

pub use calls::{Calls, message};
pub use cursor::Reason;
pub use value::body;

/// How deep arrays and objects may stand in each other.
const MAX_DEPTH: usize = 128;
/// A text that is longer is read where it stops nobody else.
const LONG: usize = 256 * 1024;

/// Reads a text of so many bytes: a long one without holding up the other tasks of the thread.
pub fn reading<R>(bytes: usize, read: impl FnOnce() -> R) -> R {
    if bytes > LONG {
        tokio::task::block_in_place(read)
    } else {
        read()
    }
}
