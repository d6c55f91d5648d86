//! The segment that is written: begun with its label, and then commit by commit.

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use super::files::{self, Prepared};
use super::label::Label;
use super::live::Live;
use super::segment::Segment;
use crate::error::{Error, Result};
use crate::files::Watch;

/// The segment that is written.
pub struct Active {
    segment: Arc<Segment>,
    watch: Watch,
    /// Where the next commit begins.
    at: u64,
}

impl Active {
    /// Begins a prepared segment with its label, durably: it is needed from then on.
    pub fn begin(dir: &Path, prepared: Prepared, label: &Label) -> Result<(Self, Live)> {
        let path = files::path(dir, prepared.number);
        let mut watch = Watch::default();
        watch.add(path.clone())?;
        let bytes = label.encode();
        prepared
            .file
            .write_all_at(&bytes, 0)
            .and_then(|()| prepared.file.sync_data())
            .map_err(|error| Error::io(&path, error))?;
        let live = Live::new(Segment::new(label, path, prepared.file, None));
        let active = Self {
            segment: Arc::clone(&live.segment),
            watch,
            at: bytes.len() as u64,
        };
        Ok((active, live))
    }

    /// Whether there is room for so many bytes.
    pub fn has_room(&self, bytes: u64) -> bool {
        self.at + bytes <= self.segment.size
    }

    /// Whether half of it is full.
    pub fn is_half_full(&self) -> bool {
        self.at > self.segment.size / 2
    }

    /// The seed of the checksums of its records.
    pub fn seed(&self) -> u64 {
        self.segment.seed
    }

    /// Writes a commit; with `sync`, durably.
    pub fn write(&self, commit: &[u8], sync: bool) -> Result<()> {
        let file = &self.segment.file;
        let written = file.write_all_at(commit, self.at);
        written
            .and_then(|()| if sync { file.sync_data() } else { Ok(()) })
            .map_err(|error| Error::io(&self.segment.path, error))
    }

    /// Goes on behind the commit that was written: where that begins.
    pub fn pass(&mut self, bytes: u64) -> u64 {
        let begins = self.at;
        self.at += bytes;
        begins
    }

    /// Error: what happened, and what to do, when its file is not in its place any more.
    pub fn look(&self) -> std::result::Result<(), String> {
        self.watch.check().map(drop)
    }
}
