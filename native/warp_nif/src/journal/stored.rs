//! Single records where they stand in a segment: reading and blanking them.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use super::record::{ALIGN, HEADER, Header, Kind};
use crate::error::{Error, Result};

/// A record of a shard, where it stands.
pub struct Stored {
    pub(super) file: Arc<File>,
    pub(super) path: PathBuf,
    pub(super) seed: u64,
    pub(super) place: u32,
    /// Its position in the shard's log.
    pub position: i64,
    /// The run that wrote it.
    pub run: i64,
}

impl Stored {
    /// Reads the record. Error: `Corrupt` when it is damaged, `Io`.
    pub fn read(&self) -> Result<(Header, Vec<u8>)> {
        let damaged = || {
            let (path, position) = (self.path.display(), self.position);
            Error::corrupt(format!(
                "{path}: the record of position {position} is damaged, and its shard does not have \
                 it yet. Restore a backup"
            ))
        };
        let at = u64::from(self.place) * ALIGN as u64;
        let io = |error| Error::io(&self.path, error);
        let mut header = [0; HEADER];
        self.file.read_exact_at(&mut header, at).map_err(io)?;
        let header = Header::decode(&header, self.seed).ok_or_else(damaged)?;
        let mut body = vec![0; header.body as usize];
        let behind = at + HEADER as u64;
        self.file.read_exact_at(&mut body, behind).map_err(io)?;
        if header.kind == Kind::Blank || header.position != self.position || !header.fits(&body) {
            return Err(damaged());
        }
        Ok((header, body))
    }
}

/// Whether a record is there as it was written, or blank.
pub(super) fn is_sound(file: &File, place: u32, seed: u64, position: i64) -> std::io::Result<bool> {
    let at = u64::from(place) * ALIGN as u64;
    let mut header = [0; HEADER];
    file.read_exact_at(&mut header, at)?;
    let Some(header) = Header::decode(&header, seed).filter(|header| header.position == position)
    else {
        return Ok(false);
    };
    let mut body = vec![0; header.body as usize];
    file.read_exact_at(&mut body, at + HEADER as u64)?;
    Ok(header.fits(&body))
}

/// Erases what a record says, where it stands.
pub(super) fn blank(file: &File, place: u32, seed: u64) -> std::io::Result<()> {
    let at = u64::from(place) * ALIGN as u64;
    let mut header = [0; HEADER];
    file.read_exact_at(&mut header, at)?;
    let Some(header) = Header::decode(&header, seed) else {
        return Err(std::io::Error::other("a record of the journal is damaged"));
    };
    if header.kind == Kind::Blank {
        return Ok(());
    }
    let mut bytes = header.blank().encode(seed).to_vec();
    bytes.resize(header.size(), 0);
    file.write_all_at(&bytes, at)
}
