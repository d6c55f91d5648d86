//! Checking a context's files, all of them, piece by piece, also while the context is in use.
//!
//! Of each shard: first the pages, then each entity's rows back from its last one with all that finds
//! them, and last the log, in which no row may stand that is in no entity's chain.

pub mod entity;
pub mod findings;
pub mod folder;
pub mod journal;
pub mod keys;
pub mod seen;
pub mod shard;
pub mod source;

pub use findings::Findings;
pub use folder::Folder;
pub use shard::{Checker, Part};
pub use source::Source;
