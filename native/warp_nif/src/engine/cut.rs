//! Cuts: the positions of all shards at one moment when no commit is half way.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustler::ResourceArc;

use super::handle::{JournalHandle, Shard};
use super::hold::Hold;
use crate::error::{Error, Result};

/// A moment between two commits. What is in the log up to these positions is what a crash at that moment leaves.
pub struct Cut {
    /// When it was, in microseconds since 1970.
    pub time: i64,
    /// The number of the journal's run: see [`crate::log::runs`].
    pub run: i64,
    /// The number of each shard, and the position of the last step of its log.
    pub positions: Vec<(u16, i64)>,
}

impl JournalHandle {
    /// Cuts between two commits of the writer. All that is up to the cut is in the journal, synced if the context syncs
    /// its commits.
    ///
    /// Error: `Closed`, for a shard that is closed, or is another journal's.
    pub fn cut(&self, shards: &[ResourceArc<Shard>]) -> Result<Cut> {
        let cut = self.positions(shards)?;
        self.engine().between_commits(move |_| cut())
    }

    /// The same, and the writer makes no commit until the hold is released, for `limit` at most.
    pub fn hold(&self, shards: &[ResourceArc<Shard>], limit: Duration) -> Result<(Cut, Hold)> {
        let cut = self.positions(shards)?;
        self.engine().hold(cut, limit)
    }

    /// What cuts, on the writer's thread.
    fn positions(
        &self,
        shards: &[ResourceArc<Shard>],
    ) -> Result<impl FnOnce() -> Result<Cut> + Send + use<>> {
        let engine = self.engine();
        if shards
            .iter()
            .any(|shard| !Arc::ptr_eq(shard.engine(), engine))
        {
            return Err(Error::Closed);
        }
        let run = engine.run;
        let all: Vec<_> = shards
            .iter()
            .map(|shard| Arc::clone(shard.shared()))
            .collect();
        Ok(move || {
            if all.iter().any(|shared| shared.is_closed()) {
                return Err(Error::Closed);
            }
            let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            let micros = since.map_or(0, |since| since.as_micros());
            Ok(Cut {
                time: i64::try_from(micros).unwrap_or(i64::MAX),
                run,
                positions: all
                    .iter()
                    .map(|shared| (shared.number, shared.tail().position()))
                    .collect(),
            })
        })
    }
}
