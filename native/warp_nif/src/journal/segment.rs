//! A segment that was begun: its file, and single records where they stand in it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use super::label::Label;
use super::record::{ALIGN, HEADER, Header, Kind};
use crate::error::{Error, Result};

/// A segment that was begun.
///
/// A *place* in it is where a record begins, in units of [`ALIGN`] bytes.
pub struct Segment {
    /// Its number.
    pub number: u64,
    /// The path of its file.
    pub path: PathBuf,
    /// Its file.
    pub file: File,
    /// How many bytes it has.
    pub size: u64,
    /// The seed of the checksums of its records.
    pub seed: u64,
    /// The run that wrote it.
    pub run: i64,
}

impl Segment {
    /// The one that begins with this label.
    pub fn new(label: &Label, path: PathBuf, file: File) -> Self {
        Self {
            number: label.number,
            path,
            file,
            size: label.size,
            seed: label.seed(),
            run: label.run,
        }
    }

    /// The record of a position, which stands at this place; none when its header is damaged. The body
    /// may not be the one that was written.
    pub fn read(&self, place: u32, position: i64) -> io::Result<Option<(Header, Vec<u8>)>> {
        let header = self.header(place)?;
        let Some(header) = header.filter(|header| header.position == position) else {
            return Ok(None);
        };
        let mut body = vec![0; header.body as usize];
        self.file
            .read_exact_at(&mut body, byte(place) + HEADER as u64)?;
        Ok(Some((header, body)))
    }

    /// Whether that record is there as it was written, or blank.
    pub fn is_sound(&self, place: u32, position: i64) -> io::Result<bool> {
        let found = self.read(place, position)?;
        Ok(found.is_some_and(|(header, body)| header.fits(&body)))
    }

    /// Erases what the records at these places say, durably.
    pub fn blank(&self, places: &[u32]) -> Result<()> {
        places
            .iter()
            .try_for_each(|place| self.blank_one(*place))
            .and_then(|()| self.file.sync_data())
            .map_err(|error| Error::io(&self.path, error))
    }

    fn blank_one(&self, place: u32) -> io::Result<()> {
        let Some(header) = self.header(place)? else {
            return Err(io::Error::other("a record of the journal is damaged"));
        };
        if header.kind == Kind::Blank {
            return Ok(());
        }
        let mut bytes = header.blank().encode(self.seed).to_vec();
        bytes.resize(header.size(), 0);
        self.file.write_all_at(&bytes, byte(place))
    }

    fn header(&self, place: u32) -> io::Result<Option<Header>> {
        let mut header = [0; HEADER];
        self.file.read_exact_at(&mut header, byte(place))?;
        Ok(Header::decode(&header, self.seed))
    }
}

fn byte(place: u32) -> u64 {
    u64::from(place) * ALIGN as u64
}
