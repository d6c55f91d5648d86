//! How the objects of a backup begin, and what those that are read as a whole have in common. Pure.

use xxhash_rust::xxh3::xxh3_64;

use super::bytes::Fields;
use super::error::{Error, Object, Place, Result};

/// The fields behind the magic and the format that an object begins with. Errors: `NotOurs`, `UnknownFormat`,
/// `Truncated`, if it is shorter than these.
///
/// NOTE: a later format may have its checksum elsewhere, so that nothing tells one from damage.
pub fn begin<'a>(
    bytes: &'a [u8],
    magic: &[u8; 8],
    format: u32,
    object: Object,
) -> Result<Fields<'a>> {
    let mut fields = Fields::of(bytes);
    match fields.array::<8>() {
        Some(found) if found == *magic => {}
        None if magic.starts_with(bytes) => return Err(truncated(object, 12, bytes)),
        _ => return Err(Error::NotOurs(object)),
    }
    match fields.u32() {
        Some(found) if found == format => Ok(fields),
        Some(found) => Err(Error::UnknownFormat(object, found)),
        None => Err(truncated(object, 12, bytes)),
    }
}

/// An object of which so many bytes should be there, at least.
pub fn truncated(object: Object, bytes: u64, found: &[u8]) -> Error {
    Error::Truncated {
        object,
        bytes,
        found: found.len() as u64,
    }
}

/// An object of which no part can be told from the others is not as it was written.
pub fn damaged(object: Object, why: &'static str) -> Error {
    Error::Damaged {
        object,
        place: Place::Whole,
        why,
    }
}

/// Adds the XXH3-64 of all bytes so far.
pub fn put_sum(out: &mut Vec<u8>) {
    let sum = xxh3_64(out);
    out.extend_from_slice(&sum.to_le_bytes());
}

/// All bytes but the XXH3-64 of them, which stands behind. Error: `Damaged`, when it is another.
pub fn without_sum(bytes: &[u8], object: Object) -> Result<&[u8]> {
    match bytes.split_last_chunk() {
        Some((before, sum)) if u64::from_le_bytes(*sum) == xxh3_64(before) => Ok(before),
        _ => Err(damaged(object, "its checksum does not fit")),
    }
}
