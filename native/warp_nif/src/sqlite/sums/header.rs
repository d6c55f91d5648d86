//! The header of a file of sums. It is written once and never again.

use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64;

use super::table::PAGE;

/// How many bytes of the file stand before the first sum.
pub const HEADER: u64 = 4096;
/// How many of them say something: the rest is zeros.
const USED: usize = 32;
const MAGIC: [u8; 8] = *b"WARPSUMS";
const VERSION: u32 = 1;

/// The file of sums that belongs to a shard's: `shard-0000.sums` to `shard-0000.db`.
pub fn path_of(database: &Path) -> PathBuf {
    database.with_extension("sums")
}

/// The header of the file of sums with this id.
pub fn encode(id: u64) -> Vec<u8> {
    let mut header = MAGIC.to_vec();
    header.extend(VERSION.to_le_bytes());
    header.extend((PAGE as u32).to_le_bytes());
    header.extend(id.to_le_bytes());
    header.extend(xxh3_64(&header).to_le_bytes());
    header.resize(HEADER as usize, 0);
    header
}

/// The id in a header, or what is wrong with it.
pub fn decode(header: &[u8]) -> Result<u64, &'static str> {
    let used = header.get(..USED).ok_or("its header is cut off")?;
    let (fields, check) = used.split_at(USED - 8);
    if !used.starts_with(&MAGIC) {
        return Err("it does not begin as a file of sums");
    }
    if check != xxh3_64(fields).to_le_bytes() {
        return Err("its header does not fit its checksum");
    }
    let (numbers, id) = fields.split_at(USED - 16);
    if numbers != encode(0).get(..USED - 16).unwrap_or_default() {
        return Err("it is of another version, or for pages of another size");
    }
    Ok(u64::from_le_bytes(id.try_into().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_says_its_id_and_every_damage_of_it_is_found() {
        let header = encode(0x1122_3344_5566_7788);
        assert_eq!(header.len() as u64, HEADER);
        assert_eq!(decode(&header), Ok(0x1122_3344_5566_7788));
        for bit in 0..USED * 8 {
            let mut flipped = header.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&flipped).is_err(), "bit {bit}");
        }
        assert!(decode(&header[..USED - 1]).is_err());
    }

    #[test]
    fn another_version_is_not_taken_for_ours() {
        let mut header = encode(7);
        header[8] = 2;
        let check = xxh3_64(&header[..USED - 8]).to_le_bytes();
        header[USED - 8..USED].copy_from_slice(&check);
        assert!(decode(&header).is_err_and(|why| why.contains("version")));
    }

    #[test]
    fn the_file_of_sums_stands_beside_its_shard() {
        let sums = path_of(Path::new("data/bank/shard-0007.db"));
        assert_eq!(sums, Path::new("data/bank/shard-0007.sums"));
    }
}
