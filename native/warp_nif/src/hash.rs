//! Where an entity lives: a fixed 64-bit hash and a consistent choice of shard.

use xxhash_rust::xxh3::xxh3_64;

/// XXH3-64 with seed 0. Part of the file format: it must never change.
///
/// Different bytes can have the same hash, and a client that chooses ids can look for such. The
/// feature `weak_hash` makes that common, for tests.
pub fn hash64(bytes: &[u8]) -> u64 {
    let hash = xxh3_64(bytes);
    if cfg!(feature = "weak_hash") {
        hash & (3 << 62)
    } else {
        hash
    }
}

/// The hashes, each once.
pub fn distinct(hashes: impl Iterator<Item = u64>) -> Vec<u64> {
    let mut hashes: Vec<u64> = hashes.collect();
    hashes.sort_unstable();
    hashes.dedup();
    hashes
}

/// The shard of `key` among `shards` (at least 1).
///
/// Jump consistent hash, from "A Fast, Minimal Memory, Consistent Hash Algorithm"
/// (Lamping and Veach, 2014).
pub fn jump(mut key: u64, shards: u32) -> u32 {
    let mut chosen: i64 = 0;
    let mut next: i64 = 0;
    while next < i64::from(shards) {
        chosen = next;
        key = key.wrapping_mul(2_862_933_555_777_941_757).wrapping_add(1);
        let step = (1u64 << 31) as f64 / ((key >> 33) + 1) as f64;
        next = ((chosen + 1) as f64 * step) as i64;
    }
    chosen as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[cfg(not(feature = "weak_hash"))]
    #[test]
    fn the_hash_is_the_published_xxh3() {
        assert_eq!(hash64(b""), 0x2d06_8005_38d3_94c2);
    }

    proptest! {
        #[test]
        fn growing_moves_keys_only_to_the_new_shard(key: u64, shards in 1u32..1000) {
            let before = jump(key, shards);
            let after = jump(key, shards + 1);
            prop_assert!(before < shards);
            prop_assert!(after == before || after == shards);
        }
    }
}
