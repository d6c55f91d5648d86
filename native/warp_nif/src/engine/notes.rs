//! Where the journal's notes stand.

use std::sync::Arc;

use crate::error::Result;
use crate::journal::Notes;
use crate::open::lock::DirLock;

/// Writes the journal's notes into the file that is locked.
pub struct LockNotes(pub Arc<DirLock>);

impl Notes for LockNotes {
    fn write(&self, note: &[u8], sync: bool) -> Result<()> {
        self.0.write_note(note, sync)
    }

    fn check(&self) -> Result<()> {
        self.0.check()
    }
}
