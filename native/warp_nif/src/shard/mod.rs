//! A shard: one SQLite file, one writer thread, readers on their own connections.
//!
//! The handle (`handle`) is what Erlang holds. It only queues appends, erasures and snapshots; the
//! writer thread (`writer`) carries them out and answers through the shard's owner process.

mod background;
mod chain;
mod clearing;
mod command;
mod compact;
mod correlations;
#[cfg(test)]
mod damage_tests;
mod entities;
mod erasing;
mod flush;
mod follow;
mod handle;
mod idle;
mod ids;
mod kinds;
mod lock;
mod open_entities;
mod open_table;
mod queue;
mod reader;
mod rows;
mod runs;
mod schema;
mod shared;
mod snapshots;
mod stats;
mod store;
mod tail;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod transaction;
mod wal;
#[cfg(test)]
mod wal_tests;
mod writer;

pub use clearing::{Clearing, Retyping};
pub use command::{Append, Command, Receipt, Submission};
pub use follow::{Followed, Stretch};
pub use handle::{Config, Shard};
pub use kinds::{Kind, Kinds};
pub use lock::{DirLock, LockHandle};
pub use reader::{Direction, Page};
pub use rows::Row;
pub use schema::Durability;
pub use snapshots::SnapshotRow;
