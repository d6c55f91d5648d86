//! Shards that go to another node, or come from one: what an open shard and an open journal have to do with that.

use std::path::{Path, PathBuf};

use super::handle::{JournalHandle, Shard};
use crate::error::{Error, Result};
use crate::handoff::{self, Outline};
use crate::open::file::Identity;
use crate::sqlite::{Claim, UnderWay};

/// Which shard it is: the context, its number, and how many there are.
pub type Of = (String, u16, u32);

impl Shard {
    /// What stands in its file now. Error: `Closed`.
    pub fn outline(&self) -> Result<Outline> {
        let shared = self.shared();
        let _under_way = UnderWay::begin(&shared.gate)?;
        Outline::of(&shared.path, &shared.sums)
    }

    /// Pages of its file as they are on the disk now. Error: `Closed`.
    pub fn pages(&self, pages: &[u32]) -> Result<Vec<u8>> {
        self.shared().read_pages(pages)
    }

    /// Has everything that is committed brought into its file, and as much of its WAL moved there, synced, as can be moved
    /// beside reads. Errors: `Closed`; those of the disk.
    pub fn move_wal(&self) -> Result<()> {
        self.engine().move_wal(self.shared())
    }
}

impl JournalHandle {
    /// Blanks what the journal has of a shard that was given away, and forgets it. Errors: `Claimed` while the shard is
    /// open; `Closed`; `Io`: it can be called again.
    pub fn leave(&self, shard: u16) -> Result<()> {
        let _claim = self.claim(shard)?;
        self.segments().leave(shard)
    }

    /// Forgets a shard that is not here. Errors: `Claimed` while it is open; `Closed`.
    pub fn forget(&self, shard: u16) -> Result<()> {
        let _claim = self.claim(shard)?;
        self.segments().forget(shard);
        Ok(())
    }

    /// Makes a shard of this context of the copy beside `path`. Errors: as for [`handoff::adopt`]; `Closed`; of the journal,
    /// which cannot begin a segment.
    pub fn adopt(&self, path: &Path, of: Of) -> Result<()> {
        self.engine().lock()?.check()?;
        let shard = of.1;
        handoff::adopt(path, &self.identity(of), |position| {
            self.comes(shard, position)
        })
    }

    /// Makes an empty shard of this context at `path` whose log ends at a position. Errors: as for
    /// [`handoff::create`]; `Closed`; of the journal, which cannot begin a segment, or knows of a later position.
    pub fn create(&self, path: &Path, of: Of, position: i64) -> Result<()> {
        let lock = self.engine().lock()?;
        lock.check()?;
        let shard = of.1;
        let end = (position, lock.access);
        handoff::create(path, &self.identity(of), end, |position| {
            self.comes(shard, position)
        })
    }

    fn identity(&self, (context, shard, shards): Of) -> Identity {
        Identity {
            context,
            shard: i64::from(shard),
            shards: i64::from(shards),
            journal: self.engine().journal,
        }
    }

    /// Has the journal expect a shard with this position.
    fn comes(&self, shard: u16, position: i64) -> Result<()> {
        // The writer would wait for the disk.
        self.segments().prepare_now();
        self.engine()
            .between_commits(move |journal| journal.adopt(shard, position))
    }

    /// The digest of the file of a shard that is closed, and has all that the journal knows of it.
    ///
    /// Errors: `Io` when the file lacks something; as for [`Outline::of_closed`]; `Closed`.
    pub fn digest(&self, path: &Path, shard: u16) -> Result<[u8; 16]> {
        self.engine().lock()?;
        handoff::whole_digest(path, self.segments().known(shard))
    }

    /// The right to be the one who has to do with a shard.
    fn claim(&self, shard: u16) -> Result<Claim> {
        let lock = self.engine().lock()?;
        let dir = lock
            .path()
            .parent()
            .map_or_else(PathBuf::new, PathBuf::from);
        if self.engine().is_closed() {
            return Err(Error::Closed);
        }
        Claim::take(&dir.join(format!("shard-{shard:04}.db")))
    }
}
