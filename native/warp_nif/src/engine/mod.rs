//! The engine of a context: its two threads, what they share, and the handles that Erlang holds.

pub mod apply;
mod chunk;
pub mod context;
#[cfg(test)]
mod create_tests;
pub mod cut;
#[cfg(test)]
mod damage_tests;
#[cfg(test)]
mod entities_tests;
#[cfg(test)]
mod file_damage_tests;
pub mod handle;
pub mod handoff;
#[cfg(test)]
mod handoff_crash_tests;
#[cfg(test)]
pub mod handoff_tests;
mod hold;
mod keys;
#[cfg(test)]
pub mod keys_tests;
#[cfg(test)]
mod kind_tests;
pub mod looked;
mod notes;
mod reply;
mod room;
#[cfg(test)]
pub mod testing;
#[cfg(test)]
mod tests;
mod turn;
#[cfg(test)]
mod verify_tests;
#[cfg(test)]
mod wal_tests;
pub mod write;

pub use handle::{Config, JournalHandle, Shard};
pub use hold::Hold;
