//! How many read connections may be kept open unused. Each has two files open, and a VM can have
//! many shards.

use std::sync::atomic::{AtomicUsize, Ordering};

/// For all shards of the VM together.
const MAX_IDLE: usize = 64;

static IDLE: AtomicUsize = AtomicUsize::new(0);

/// The right to keep one connection, for as long as it is kept.
pub struct Slot(());

impl Slot {
    /// None when as many are kept as may be: then the connection is to be closed.
    pub fn take() -> Option<Self> {
        let one_more = |idle: usize| (idle < MAX_IDLE).then_some(idle + 1);
        let taken = IDLE.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        taken.ok().map(|_| Self(()))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        IDLE.fetch_sub(1, Ordering::Relaxed);
    }
}
