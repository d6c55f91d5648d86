//! The sums of a file's pages, in memory.

use std::collections::TryReserveError;
use std::ops::Range;

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// How many bytes one sum covers: a page of Warp's files.
pub const PAGE: usize = 4096;
/// How many sums are written together: 4096 bytes of their file.
pub const BLOCK: usize = 512;

/// The sum of each page as it was last written, and which of them the disk does not have yet.
pub struct Table {
    sums: Vec<u64>,
    changed: Vec<bool>,
}

/// The sum of a page: XXH3-64 with the file's random id plus the number of the page, from 1, as its
/// seed. So a page fits in one place of one file only. Never 0.
pub fn sum(id: u64, page: u64, bytes: &[u8]) -> u64 {
    xxh3_64_with_seed(bytes, id.wrapping_add(page)).max(1)
}

/// Whether a page is what was written. With the sum 0 nothing was, and it has to be all zeros: so is
/// the room that the file got when a page behind it was written.
pub fn is_fit(id: u64, page: u64, bytes: &[u8], stored: u64) -> bool {
    if stored == 0 {
        bytes.iter().all(|byte| *byte == 0)
    } else {
        sum(id, page, bytes) == stored
    }
}

/// Whether so many bytes from there on are whole pages.
pub fn is_whole(offset: u64, bytes: usize) -> bool {
    offset.is_multiple_of(PAGE as u64) && bytes.is_multiple_of(PAGE)
}

/// The pages in bytes of the database, with their numbers.
pub fn pages(offset: u64, bytes: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    (offset / PAGE as u64 + 1..).zip(bytes.chunks_exact(PAGE))
}

impl Table {
    /// The sums as they stand in the file.
    pub fn new(sums: Vec<u64>) -> Self {
        let blocks = sums.len().div_ceil(BLOCK);
        Self {
            sums,
            changed: vec![false; blocks],
        }
    }

    /// For how many pages there is room.
    pub fn room(&self) -> u64 {
        self.sums.len() as u64
    }

    /// Makes room for so many blocks of sums. It never has less than before.
    pub fn grow(&mut self, blocks: usize) -> Result<(), TryReserveError> {
        let sums = blocks.saturating_mul(BLOCK);
        self.sums
            .try_reserve(sums.saturating_sub(self.sums.len()))?;
        self.changed
            .try_reserve(blocks.saturating_sub(self.changed.len()))?;
        self.sums.resize(sums.max(self.sums.len()), 0);
        self.changed.resize(blocks.max(self.changed.len()), false);
        Ok(())
    }

    /// The sum of a page, numbered from 1; 0 if it was never written.
    pub fn get(&self, page: u64) -> u64 {
        index(page)
            .and_then(|index| self.sums.get(index).copied())
            .unwrap_or(0)
    }

    /// Notes that a page was written. Whether there is room for its sum.
    pub fn set(&mut self, page: u64, sum: u64) -> bool {
        let Some(index) = index(page) else {
            return false;
        };
        match (
            self.sums.get_mut(index),
            self.changed.get_mut(index / BLOCK),
        ) {
            (Some(place), Some(changed)) => {
                *changed |= *place != sum;
                *place = sum;
                true
            }
            _ => false,
        }
    }

    /// Notes that the file has only so many pages now.
    pub fn forget_behind(&mut self, pages: u64) {
        let from = usize::try_from(pages).unwrap_or(usize::MAX);
        for (index, sum) in self.sums.iter_mut().enumerate().skip(from) {
            if *sum != 0 {
                *sum = 0;
                if let Some(changed) = self.changed.get_mut(index / BLOCK) {
                    *changed = true;
                }
            }
        }
    }

    /// The blocks that the disk does not have yet, in order. From now on it is taken to have them.
    pub fn take_changed(&mut self) -> Vec<usize> {
        let changed = self.changed.iter_mut().enumerate();
        let taken = changed.filter_map(|(block, changed)| std::mem::take(changed).then_some(block));
        taken.collect()
    }

    /// Notes that the disk may not have these blocks after all.
    pub fn put_back(&mut self, blocks: &[usize]) {
        for block in blocks {
            if let Some(changed) = self.changed.get_mut(*block) {
                *changed = true;
            }
        }
    }

    /// The sums of these blocks, as they stand in the file.
    pub fn bytes_of(&self, blocks: Range<usize>) -> Vec<u8> {
        let range = blocks.start.saturating_mul(BLOCK)..blocks.end.saturating_mul(BLOCK);
        let sums = self.sums.get(range).unwrap_or_default();
        sums.iter().flat_map(|sum| sum.to_le_bytes()).collect()
    }
}

fn index(page: u64) -> Option<usize> {
    usize::try_from(page.checked_sub(1)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(blocks: usize) -> Table {
        let mut table = Table::new(Vec::new());
        table.grow(blocks).expect("room");
        table
    }

    #[test]
    fn a_sum_belongs_to_one_page_of_one_file() {
        let bytes = [7; PAGE];
        let stored = sum(11, 3, &bytes);
        assert!(is_fit(11, 3, &bytes, stored));
        assert!(!is_fit(11, 4, &bytes, stored));
        assert!(!is_fit(12, 3, &bytes, stored));
        let mut flipped = bytes;
        flipped[4095] ^= 1;
        assert!(!is_fit(11, 3, &flipped, stored));
        assert!(!is_fit(11, 3, &[0; PAGE], stored));
        // The number is part of the format.
        assert_eq!(sum(11, 3, &[0; PAGE]), 13_080_012_472_387_068_727);
    }

    #[test]
    fn a_page_that_was_never_written_is_all_zeros() {
        assert!(is_fit(11, 3, &[0; PAGE], 0));
        let mut bytes = [0; PAGE];
        bytes[4095] = 1;
        assert!(!is_fit(11, 3, &bytes, 0));
    }

    #[test]
    fn blocks_that_changed_are_taken_once() {
        let mut table = table(3);
        assert_eq!(table.room(), 3 * BLOCK as u64);
        assert!(
            table.set(1, 5) && table.set(BLOCK as u64, 6) && table.set(2 * BLOCK as u64 + 1, 7)
        );
        assert!(!table.set(0, 5) && !table.set(3 * BLOCK as u64 + 1, 5));
        assert_eq!(table.take_changed(), [0, 2]);
        assert!(table.set(1, 5));
        assert_eq!(table.take_changed(), [0usize; 0]);
        table.put_back(&[1, 2]);
        assert_eq!(table.take_changed(), [1, 2]);
        let bytes = table.bytes_of(0..1);
        assert_eq!(bytes.len(), 8 * BLOCK);
        assert_eq!(
            (&bytes[..8], &bytes[8 * BLOCK - 8..]),
            (&5u64.to_le_bytes()[..], &6u64.to_le_bytes()[..])
        );
    }

    #[test]
    fn what_is_cut_off_is_forgotten() {
        let mut table = table(2);
        for page in [1, 2, 3, BLOCK as u64 + 1] {
            assert!(table.set(page, 9));
        }
        let _ = table.take_changed();
        table.forget_behind(2);
        assert_eq!(
            [1, 2, 3, BLOCK as u64 + 1, u64::MAX].map(|page| table.get(page)),
            [9, 9, 0, 0, 0]
        );
        assert_eq!(table.take_changed(), [0, 1]);
    }
}
