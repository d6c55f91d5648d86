//! Opening files: the lock on the folder, and shards, which are upgraded and brought up to the journal.

pub mod durability;
pub mod file;
pub mod lock;
pub mod replay;
pub mod upgrade;

pub use durability::Durability;
pub use lock::{DirLock, LockHandle};
