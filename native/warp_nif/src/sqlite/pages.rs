//! Reading pages of a database past SQLite.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::sums::table::PAGE;

/// Pages of a database, numbered from 1, one behind the other; zeros behind its end. While something writes to it, a page
/// can be torn.
pub fn read_pages(file: &File, pages: &[u32]) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; pages.len().saturating_mul(PAGE)];
    for (page, place) in pages.iter().zip(bytes.chunks_exact_mut(PAGE)) {
        let at = u64::from(page.saturating_sub(1)).saturating_mul(PAGE as u64);
        let mut read = 0;
        while let Some(rest) = place.get_mut(read..).filter(|rest| !rest.is_empty()) {
            match file.read_at(rest, at.saturating_add(read as u64))? {
                0 => break,
                more => read += more,
            }
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_behind_the_end_are_zeros() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("file");
        let mut bytes = vec![1; PAGE];
        bytes.extend([2; PAGE + 5]);
        std::fs::write(&path, bytes).expect("written");
        let file = File::open(&path).expect("opened");
        let read = read_pages(&file, &[2, 3, 1, 9]).expect("read");
        let mut expected = vec![2; PAGE + 5];
        expected.resize(2 * PAGE, 0);
        expected.extend([1; PAGE]);
        expected.extend([0; PAGE]);
        assert!(read == expected);
    }
}
