//! The disk side of Warp, as one NIF library.
//!
//! Events are checked and packed into rows by the caller ([`event`]), with JSON converted both ways
//! ([`json`]). A context has one writer thread, which decides ([`writer`]) what goes into its
//! [`journal`], and one that brings it ([`apply`]) into the shards, each of which is one SQLite file
//! ([`log`], [`index`], [`erase`]); what it has not brought there yet is in memory ([`tail`]). Both
//! threads are in [`engine`]; [`reader`] reads beside them; [`open`] opens the files, and [`verify`]
//! checks them. A shard can go to another node ([`handoff`]). What projections made of events may stand in a
//! file of its own ([`projection`]). The bytes of backups are in [`backup`]; what all SQLite files have in common is
//! in [`sqlite`]. What Erlang calls is in [`nifs`]; everything else knows nothing of it.
//!
//! No module uses, directly or by way of others, one that uses it. The modules of a folder are `pub`,
//! so that the lint for missing docs looks at all that they offer each other; what other folders
//! may use stands in the list of the folder's `mod.rs`.

mod apply;
mod atoms;
mod backup;
mod damage;
mod engine;
mod erase;
mod error;
mod event;
#[cfg(feature = "fault")]
mod fault;
mod files;
mod handoff;
mod hash;
mod index;
mod journal;
mod json;
mod log;
mod nifs;
mod ofd_locks;
mod open;
mod projection;
mod reader;
mod restore;
mod save;
mod shard;
mod sqlite;
mod sync;
mod tail;
mod threads;
mod verify;
mod writer;

rustler::init!("warp_nif", load = load);

/// Called by the VM when it loads the library, before any other function of it.
fn load(_env: rustler::Env<'_>, _info: rustler::Term<'_>) -> bool {
    #[cfg(all(
        target_os = "linux",
        any(target_arch = "x86_64", target_arch = "aarch64")
    ))]
    ofd_locks::install();
    true
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;

    /// The profile that the library and its tests are built with says so.
    #[test]
    #[should_panic(expected = "overflow")]
    fn a_number_that_does_not_fit_is_a_panic() {
        black_box(black_box(u64::MAX) + 1);
    }
}
