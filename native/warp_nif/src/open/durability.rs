//! When a commit counts as done.

/// When a commit counts as done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// After its fsync: it outlives a power failure.
    Full,
    /// After it is written to the operating system: it outlives the VM, not a power failure.
    Normal,
}
