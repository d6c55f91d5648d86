//! A shard: one SQLite file, one writer thread, readers on their own connections.
//!
//! The handle (`handle`) is what Erlang holds. It only queues appends, erasures and snapshots; the
//! writer thread (`writer`) carries them out and answers through the shard's owner process.

pub mod answers;
pub mod applier;
pub mod background;
pub mod chain;
pub mod clearing;
pub mod command;
pub mod compact;
pub mod correlations;
#[cfg(test)]
mod damage_tests;
pub mod decide;
pub mod durability;
pub mod engine;
pub mod entities;
pub mod erasing;
pub mod follow;
pub mod handle;
pub mod idle;
pub mod ids;
pub mod index;
#[cfg(test)]
mod journal_damage_tests;
pub mod kinds;
pub mod lock;
pub mod open_entities;
pub mod open_table;
pub mod queue;
pub mod reader;
pub mod replay;
pub mod rows;
pub mod runs;
pub mod schema;
pub mod shared;
pub mod snapshots;
pub mod stats;
pub mod steps;
pub mod store;
pub mod tail;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
pub mod upgrade;
pub mod wal;
#[cfg(test)]
mod wal_tests;
pub mod writer;

pub use clearing::{Clearing, Retyping};
pub use command::{Append, Command, Submission};
pub use durability::Durability;
pub use follow::{Followed, Stretch};
pub use handle::{Config, JournalHandle, Shard};
pub use kinds::{Kind, Kinds};
pub use lock::{DirLock, LockHandle};
pub use reader::{Direction, Page};
pub use rows::Row;
pub use snapshots::SnapshotRow;
