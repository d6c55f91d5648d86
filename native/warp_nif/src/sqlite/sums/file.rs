//! The file of sums, as it is written and read.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use super::header::{self, HEADER};
use super::steps;
use super::table::BLOCK;
use crate::files::beside;

/// How many bytes a block of sums has.
const BLOCK_BYTES: u64 = 8 * BLOCK as u64;
/// How many blocks are written at once, at most.
const AT_ONCE: usize = 64;

/// Writes a new file of sums and syncs it, under another name at first: what was there by its name is
/// replaced at once. Its name is not durable yet.
pub fn write(path: &Path, mode: u32, id: u64, sums: &[u64]) -> io::Result<File> {
    let mut bytes = header::encode(id);
    bytes.extend(sums.iter().flat_map(|sum| sum.to_le_bytes()));
    let new = beside(path, ".new");
    match fs::remove_file(&new) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let written = (|| {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(mode & 0o777)
            .open(&new)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        Ok(file)
    })();
    if written.is_err() {
        let _ = fs::remove_file(&new);
    }
    written
}

/// Opens a file of sums, and all that stands in it. `None` when there is none.
pub fn read(path: &Path) -> io::Result<Option<(File, Vec<u8>)>> {
    let mut file = match OpenOptions::new().read(true).write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(Some((file, bytes)))
}

/// The id and the sums that stand in a file, or what is wrong with it.
pub fn decode(bytes: &[u8]) -> Result<(u64, Vec<u64>), &'static str> {
    let id = header::decode(bytes)?;
    let sums = bytes
        .get(HEADER as usize..)
        .ok_or("its header is cut off")?;
    if !(sums.len() as u64).is_multiple_of(BLOCK_BYTES) {
        return Err("its end is cut off");
    }
    let sums = sums.chunks_exact(8);
    let sums = sums.map(|sum| u64::from_le_bytes(sum.try_into().unwrap_or_default()));
    Ok((id, sums.collect()))
}

/// The sums of the first so many pages; 0 where the file has no room for them.
pub fn sums_of(file: &File, pages: usize) -> io::Result<Vec<u64>> {
    let mut bytes = vec![0; pages.saturating_mul(8)];
    let mut read = 0;
    while let Some(rest) = bytes.get_mut(read..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, HEADER.saturating_add(read as u64))? {
            0 => break,
            more => read += more,
        }
    }
    let sums = bytes.chunks_exact(8);
    let sums = sums.map(|sum| u64::from_le_bytes(sum.try_into().unwrap_or_default()));
    Ok(sums.collect())
}

/// Makes room for so many blocks, durably.
pub fn extend(file: &File, blocks: u64) -> io::Result<()> {
    file.set_len(HEADER.saturating_add(blocks.saturating_mul(BLOCK_BYTES)))?;
    file.sync_data()
}

/// Writes these blocks, which are in order, and syncs them. `bytes_of` gives the sums in some of them.
pub fn save(
    file: &File,
    blocks: &[usize],
    bytes_of: impl Fn(Range<usize>) -> Vec<u8>,
) -> io::Result<()> {
    let mut left = blocks;
    while let Some(first) = left.first().copied() {
        let in_a_row = left
            .iter()
            .zip(first..first.saturating_add(AT_ONCE))
            .take_while(|(block, next)| *block == next)
            .count();
        let bytes = bytes_of(first..first.saturating_add(in_a_row));
        let at = HEADER.saturating_add((first as u64).saturating_mul(BLOCK_BYTES));
        steps::pass();
        file.write_all_at(&bytes, at)?;
        left = left.get(in_a_row..).unwrap_or_default();
    }
    file.sync_data()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_a_cut_is_noticed() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("s.sums");
        assert!(read(&path).expect("looked").is_none());
        let mut sums: Vec<u64> = (0..3 * BLOCK as u64).collect();
        write(&path, 0o600, 7, &sums).expect("written");
        // Another one in its place.
        let file = write(&path, 0o600, 9, &sums).expect("written");
        extend(&file, 4).expect("extended");
        let bytes_of = |blocks: Range<usize>| {
            let byte = blocks.start as u8;
            vec![byte; blocks.len() * BLOCK_BYTES as usize]
        };
        save(&file, &[1, 3], bytes_of).expect("saved");
        sums.resize(4 * BLOCK, u64::from_le_bytes([3; 8]));
        sums[BLOCK..2 * BLOCK].fill(u64::from_le_bytes([1; 8]));
        let (_, bytes) = read(&path).expect("read").expect("is there");
        assert_eq!(decode(&bytes), Ok((9, sums)));
        for length in [0, 31, 4095, 4097, bytes.len() - 1] {
            assert!(decode(&bytes[..length]).is_err(), "{length} bytes");
        }
        let names: Vec<_> = fs::read_dir(dir.path()).expect("read").collect();
        assert_eq!(names.len(), 1);
    }
}
