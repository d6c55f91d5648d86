//! What the writer is asked to do, and deciding what becomes of it. The thread is in
//! [`engine`](crate::engine).

pub mod answers;
pub mod command;
pub mod decide;
pub mod group;
pub mod queue;
pub mod staged;
pub mod steps;

pub use command::{Append, Command, Submission};
