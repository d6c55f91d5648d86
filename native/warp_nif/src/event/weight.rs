//! How much memory packed appends hold in the whole VM, and when that is enough.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// While more bytes than this are held, no append is packed, but for small ones of Warp's own.
///
/// NOTE: looked at before packing, so those packed at the same time may go past it: one of at most
/// 16 MiB per scheduler.
const MAX_BYTES: usize = 256 * 1024 * 1024;

static HELD: AtomicUsize = AtomicUsize::new(0);

/// Whether enough is held.
pub fn is_enough() -> bool {
    HELD.load(Relaxed) > MAX_BYTES
}

/// Counts bytes as held, for as long as it lives.
pub struct Weight(usize);

impl Weight {
    /// Of so many bytes.
    pub fn of(bytes: usize) -> Self {
        HELD.fetch_add(bytes, Relaxed);
        Self(bytes)
    }

    /// So many more bytes.
    pub fn add(&mut self, bytes: usize) {
        HELD.fetch_add(bytes, Relaxed);
        self.0 += bytes;
    }
}

impl Drop for Weight {
    fn drop(&mut self) {
        HELD.fetch_sub(self.0, Relaxed);
    }
}
