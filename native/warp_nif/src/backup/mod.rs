//! Backups, as bytes: nothing here opens a file or knows of Erlang. `docs/file-format.md` has what stands where.
//!
//! A backup is a chain of segments, and the keys that open them. A [`segment`] has a [`label`], blocks, lists
//! ([`sections`]), an [`index`] and a [`trailer`]. A [`block`] has [`rows`] of one life, [`seal`]ed with its key;
//! payloads that have keys of their own are cut out of their rows ([`apart`]). To [`write`] a segment takes rows, to
//! [`read`] one gives them back as they were, and to [`merge`] some takes no keys at all. [`chain`] says whether the
//! segments that are there follow each other. The keys stand in [`pages`], with an index of their own ([`keys_index`]),
//! and are looked up in a [`key_ring`]; [`master`] is about the key that seals the pages.

pub mod apart;
mod assemble;
pub mod block;
mod bytes;
pub mod chain;
pub mod error;
pub mod index;
pub mod key;
pub mod key_ring;
pub mod keys_index;
pub mod label;
pub mod master;
pub mod merge;
mod object;
pub mod pages;
pub mod read;
pub mod room;
pub mod row_list;
mod rows;
mod seal;
pub mod sections;
pub mod segment;
pub mod trailer;
pub mod write;

#[cfg(test)]
mod damage_tests;
#[cfg(test)]
mod forged_tests;
#[cfg(test)]
mod round_trip_tests;
#[cfg(test)]
mod speed_tests;
#[cfg(test)]
pub mod testing;
#[cfg(test)]
mod vector_tests;
