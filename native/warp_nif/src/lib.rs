//! The disk side of Warp, as one NIF library.
//!
//! A *shard* is one SQLite file with one writer thread ([`shard`]). Events are checked and packed
//! into rows by the caller ([`event`]), with JSON converted both ways ([`json`]). What projections
//! made of them may stand in a file of its own ([`projection`]); what all files have in common is in
//! [`sqlite`]. What Erlang calls is in [`nifs`]; everything else knows nothing of it.
//!
//! No module uses, directly or by way of others, one that uses it. The modules of a folder are `pub`,
//! so that the lint for missing docs looks at all that they offer each other; what other folders
//! may use stands in the list of the folder's `mod.rs`.

mod atoms;
mod error;
mod event;
#[cfg(feature = "fault")]
mod fault;
mod files;
mod hash;
mod journal;
mod json;
mod nifs;
mod ofd_locks;
mod projection;
mod shard;
mod sqlite;
mod sync;
mod threads;

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
