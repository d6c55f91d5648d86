//! One owner per file in this VM.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::error::{Error, Result};
use crate::sync::relock;

/// The right to be the one writer of a file in this VM.
pub struct Claim(PathBuf);

static CLAIMED: Mutex<Option<HashSet<PathBuf>>> = Mutex::new(None);

impl Claim {
    /// Takes the claim. Error: `Claimed` while an earlier writer of the file has not finished;
    /// nothing here waits for it, since what it still has to do may need the waiting thread.
    pub fn take(path: &Path) -> Result<Self> {
        if relock(&CLAIMED)
            .get_or_insert_default()
            .insert(path.to_owned())
        {
            Ok(Self(path.to_owned()))
        } else {
            Err(Error::Claimed)
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        relock(&CLAIMED).get_or_insert_default().remove(&self.0);
    }
}
