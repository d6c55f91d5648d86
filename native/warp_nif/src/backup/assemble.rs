//! A segment made of its parts, as bytes.

use std::io::Write;

use ring::digest::{Context, SHA256};
use xxhash_rust::xxh3::xxh3_64;

use super::error::Result;
use super::index::Indexed;
use super::key::Key;
use super::label::{Hash, Label};
use super::sections::{Edit, Entry, Run, encode};
use super::trailer::{Cut, Listed, Trailer};

/// What the key of the signatures of segments is made of.
const PURPOSE: &[u8] = b"warp segment 1";

/// What stands between the label and the trailer.
#[derive(Default)]
pub struct Parts {
    /// The blocks, one behind another.
    pub blocks: Vec<u8>,
    /// Where each stands among them.
    pub index: Vec<Indexed>,
    /// The keys that were erased.
    pub erased: Vec<Edit>,
    /// The rows that were changed.
    pub changed: Vec<Edit>,
    /// The runs that wrote the rows.
    pub runs: Vec<Run>,
}

/// A segment that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// Its label.
    pub label: Label,
    /// The SHA-256 of all of it, which the label of the next one has.
    pub hash: Hash,
    /// How many bytes it has.
    pub bytes: u64,
    /// How many blocks.
    pub blocks: usize,
    /// The cut that it completes.
    pub cut: Option<Cut>,
}

/// The key with which segments are signed.
pub fn signing_key(backup_key: &Key) -> Key {
    backup_key.derive(&[PURPOSE])
}

/// Writes a segment. Errors: `Misuse` for a label that contradicts itself, and `Io`.
pub fn assemble(
    label: Label,
    parts: Parts,
    cut: Option<Cut>,
    backup_key: &Key,
    out: &mut impl Write,
) -> Result<Sealed> {
    let mut index = parts.index;
    let start = label.bytes() as u64;
    for entry in &mut index {
        entry.offset = entry.offset.saturating_add(start);
    }
    let blocks = index.len();
    let lists = [
        list(&parts.erased),
        list(&parts.changed),
        list(&parts.runs),
        list(&index),
    ];
    let blocks_end = start.saturating_add(parts.blocks.len() as u64);
    let [erased, changed, runs, index] = [0, 1, 2, 3].map(|n| listed(lists.get(n)));
    let mut trailer = Trailer {
        cut,
        blocks_end,
        erased,
        changed,
        runs,
        index,
        hash: [0; 32],
        mac: [0; 32],
    };
    let listed: usize = lists.iter().map(|(bytes, _)| bytes.len()).sum();
    let bytes = blocks_end
        .saturating_add(listed as u64)
        .saturating_add(super::trailer::TRAILER as u64);
    let mut hash = Context::new(&SHA256);
    let mut put = |part: &[u8]| {
        hash.update(part);
        out.write_all(part)
    };
    put(&label.encode(bytes)?)?;
    put(&parts.blocks)?;
    for (list, _) in &lists {
        put(list)?;
    }
    put(&trailer.encode_fields())?;
    trailer.hash = finish(hash.clone());
    trailer.mac = signing_key(backup_key).mac(&[&trailer.hash]);
    let all = trailer.encode();
    let rest = all
        .get(all.len().saturating_sub(super::trailer::UNHASHED)..)
        .unwrap_or_default();
    hash.update(rest);
    out.write_all(rest)?;
    Ok(Sealed {
        label,
        hash: finish(hash),
        bytes,
        blocks,
        cut,
    })
}

/// The SHA-256 of what was added.
pub fn finish(hash: Context) -> Hash {
    hash.finish().as_ref().try_into().unwrap_or_default()
}

fn list<E: Entry>(entries: &[E]) -> (Vec<u8>, u64) {
    (encode(entries), entries.len() as u64)
}

fn listed(list: Option<&(Vec<u8>, u64)>) -> Listed {
    list.map_or_else(Listed::default, |(bytes, entries)| Listed {
        entries: *entries,
        sum: xxh3_64(bytes),
    })
}
