//! The records that a shard's file lacks: those behind its position.

use std::sync::Arc;

use super::files;
use super::record::{Header, Kind};
use super::segment::Segment;
use super::segments::Segments;
use crate::error::{Error, Result};

/// A record of a shard, where it stands.
pub struct Stored {
    segment: Arc<Segment>,
    place: u32,
    position: i64,
}

impl Stored {
    /// The run that wrote it.
    pub fn run(&self) -> i64 {
        self.segment.run
    }

    /// Reads the record. Error: `Corrupt` when it is damaged, `Io`.
    pub fn read(&self) -> Result<(Header, Vec<u8>)> {
        let path = &self.segment.path;
        let found = self.segment.read(self.place, self.position);
        found
            .map_err(|error| Error::io(path, error))?
            .filter(|(header, body)| header.kind != Kind::Blank && header.fits(body))
            .ok_or_else(|| {
                let (path, position) = (path.display(), self.position);
                Error::corrupt(format!(
                    "{path}: the record of position {position} is damaged, and its shard does not \
                     have it yet. Restore a backup"
                ))
            })
    }
}

impl Segments {
    /// The records of a shard behind a position.
    ///
    /// Error: `Corrupt` when one is missing, or when the shard is ahead of the journal.
    pub fn behind(&self, shard: u16, position: i64) -> Result<Vec<Stored>> {
        let needed = self.needed();
        let mut found = Vec::new();
        let mut next = position + 1;
        for live in &needed.live {
            let Some(part) = live.part(shard).filter(|part| part.last() >= next) else {
                continue;
            };
            if part.first() > next {
                return Err(self.missing(shard, next, live.segment.number));
            }
            while let Some(place) = part.place(next) {
                found.push(Stored {
                    segment: Arc::clone(&live.segment),
                    place,
                    position: next,
                });
                next += 1;
            }
        }
        match needed.known.get(&shard) {
            Some(known) if next <= *known => {
                let last = needed.live.last().map_or(0, |live| live.segment.number);
                Err(self.missing(shard, next, last))
            }
            Some(known) if position > *known => Err(Error::corrupt(format!(
                "{}: the shard has position {position}, but its journal ends at {known}: the \
                 journal is older than the shard. Put back the files of one time, all of them",
                self.dir.display()
            ))),
            _ => Ok(found),
        }
    }

    fn missing(&self, shard: u16, position: i64, number: u64) -> Error {
        Error::corrupt(format!(
            "{}: position {position} of shard {shard} is neither in the shard's file nor in the \
             journal: a file is older than the others, or a segment of the journal is missing. Put \
             back the files of one time, all of them",
            files::path(&self.dir, number).display()
        ))
    }
}
