//! What tests of the whole gateway share: a VM's end of the link, and clients.
#![allow(dead_code, reason = "each test uses some of it")]
#![allow(clippy::missing_docs_in_private_items, reason = "the names say it")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may fail"
)]

pub mod client;
pub mod term;
pub mod vm;
