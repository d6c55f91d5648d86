//! A segment that was begun: its file, and single records where they stand in it.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use super::label::Label;
use super::record::{ALIGN, HEADER, Header, Kind};
use crate::error::{Error, Result};

/// How many bytes are read at once where all of a segment is.
const PIECE: usize = 1024 * 1024;

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
    /// Where the records end that count, if an earlier run has written it.
    end: Option<u64>,
}

impl Segment {
    /// The one that begins with this label. `end` is where the records end that count, if nothing more is written to it.
    pub fn new(label: &Label, path: PathBuf, file: File, end: Option<u64>) -> Self {
        Self {
            number: label.number,
            path,
            file,
            size: label.size,
            seed: label.seed(),
            run: label.run,
            end,
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
    ///
    /// NOTE: their headers say so before their bodies go. A loss of power that left a header whose body is gone would
    /// make the record look damaged, or the last commit look as if it had never been whole.
    pub fn blank(&self, places: &[u32]) -> Result<()> {
        let blank = || {
            let bodies = self.mark_blank(places)?;
            self.file.sync_data()?;
            for (at, size) in bodies {
                self.file.write_all_at(&vec![0; size], at)?;
            }
            self.file.sync_data()
        };
        blank().map_err(|error: io::Error| Error::io(&self.path, error))
    }

    /// Erases what all records of a shard say, durably, and what stands behind the records that count.
    pub fn blank_all_of(&self, shard: u16) -> Result<()> {
        let io = |error| Error::io(&self.path, error);
        let end = self.end.unwrap_or(self.size);
        let mut places = Vec::new();
        let collect = |at: u64, piece: &[u8]| {
            for (number, bytes) in (at / ALIGN as u64..).zip(piece.chunks_exact(ALIGN)) {
                let is_written = bytes.iter().any(|byte| *byte != 0);
                let header = is_written
                    .then(|| Header::decode(bytes, self.seed))
                    .flatten();
                if header.is_some_and(|header| header.shard == shard) {
                    places.extend(u32::try_from(number));
                }
            }
            Ok(())
        };
        self.each_piece(0..end, collect).map_err(io)?;
        if !places.is_empty() {
            self.blank(&places)?;
        }
        let mut is_left = false;
        let erase = |at: u64, piece: &[u8]| {
            if piece.iter().all(|byte| *byte == 0) {
                return Ok(());
            }
            is_left = true;
            self.file.write_all_at(&vec![0; piece.len()], at)
        };
        self.each_piece(end..self.size, erase).map_err(io)?;
        if is_left {
            self.file.sync_data().map_err(io)?;
        }
        Ok(())
    }

    /// Reads a part of it in pieces that begin at a multiple of [`ALIGN`], as the part does.
    fn each_piece(
        &self,
        part: Range<u64>,
        mut look: impl FnMut(u64, &[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut buffer = vec![0; PIECE];
        let mut at = part.start;
        while at < part.end {
            let length = usize::try_from(part.end - at).unwrap_or(PIECE).min(PIECE);
            let piece = buffer.get_mut(..length).unwrap_or_default();
            self.file.read_exact_at(piece, at)?;
            look(at, piece)?;
            at += length as u64;
        }
        Ok(())
    }

    /// Says of records that they are blank: where their bodies begin, and how many bytes they have. Those that say so
    /// already are among them, since an earlier call may have ended there.
    pub(super) fn mark_blank(&self, places: &[u32]) -> io::Result<Vec<(u64, usize)>> {
        let mut bodies = Vec::with_capacity(places.len());
        for place in places {
            let Some(header) = self.header(*place)? else {
                return Err(io::Error::other("a record of the journal is damaged"));
            };
            let at = byte(*place);
            if header.kind != Kind::Blank {
                self.file
                    .write_all_at(&header.blank().encode(self.seed), at)?;
            }
            bodies.push((at + HEADER as u64, header.size() - HEADER));
        }
        Ok(bodies)
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
