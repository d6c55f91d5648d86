//! A segment that is read: its parts, each where it should be, and whether all of it is as it was written.

use ring::digest::{Context, SHA256};
use xxhash_rust::xxh3::xxh3_64;

use super::assemble::{finish, signing_key};
use super::block::{Header, Kind};
use super::error::{Error, Object, Place, Result};
use super::index::{Indexed, contradiction, of_life};
use super::key::Key;
use super::label::{Hash, Label};
use super::sections::{Edit, Entry, Run, decode};
use super::trailer::{Cut, Listed, TRAILER, Trailer, UNHASHED};

/// A segment whose label, lists and trailer are as they were written.
pub struct Segment<'a> {
    bytes: &'a [u8],
    label: Label,
    trailer: Trailer,
    index: Vec<Indexed>,
    erased: Vec<Edit>,
    changed: Vec<Edit>,
    runs: Vec<Run>,
}

impl<'a> Segment<'a> {
    /// Reads the segment that should have this number in this backup. Blocks are not looked at. Errors: `NotOurs`,
    /// `UnknownFormat`, `Truncated`, `Swapped`, `Foreign`, and `Damaged` with the part of it.
    pub fn open(bytes: &'a [u8], backup: u64, number: u64) -> Result<Self> {
        let object = Object::Segment(number);
        let damaged = |place, why| Error::Damaged { object, place, why };
        let (label, size) = Label::decode(bytes, number)?;
        if label.backup != backup {
            return Err(Error::Foreign(object, label.backup));
        }
        let found = bytes.len() as u64;
        if found < size {
            return Err(Error::Truncated {
                object,
                bytes: size,
                found,
            });
        }
        let too_long = "it has more bytes than its label says";
        if found > size {
            return Err(damaged(Place::Whole, too_long));
        }
        let (before, trailer) = bytes
            .len()
            .checked_sub(TRAILER)
            .and_then(|at| bytes.split_at_checked(at))
            .ok_or_else(|| damaged(Place::Trailer, "it is not there"))?;
        let trailer = Trailer::decode(trailer).map_err(|why| damaged(Place::Trailer, why))?;
        let lists = usize::try_from(trailer.blocks_end)
            .ok()
            .filter(|end| *end >= label.bytes())
            .and_then(|end| before.get(end..))
            .ok_or_else(|| damaged(Place::Trailer, "its lists begin elsewhere"))?;
        let mut rest = lists;
        let mut erased = Vec::new();
        let mut changed = Vec::new();
        let mut runs = Vec::new();
        let mut index = Vec::new();
        read(&mut rest, trailer.erased, &mut erased).map_err(|why| damaged(Place::Erased, why))?;
        read(&mut rest, trailer.changed, &mut changed)
            .map_err(|why| damaged(Place::Changed, why))?;
        read(&mut rest, trailer.runs, &mut runs).map_err(|why| damaged(Place::Runs, why))?;
        read(&mut rest, trailer.index, &mut index).map_err(|why| damaged(Place::Index, why))?;
        if !rest.is_empty() {
            return Err(damaged(Place::Index, "there is more behind it"));
        }
        let start = label.bytes() as u64;
        match contradiction(&index, start, trailer.blocks_end) {
            Some(why) => Err(damaged(Place::Index, why)),
            None => Ok(Self {
                bytes,
                label,
                trailer,
                index,
                erased,
                changed,
                runs,
            }),
        }
    }

    /// Checks all of it without any key, and gives its SHA-256, which the label of the next segment has. Errors: each
    /// block that is not as it was written, or else the one thing that does not fit.
    pub fn verify(&self) -> std::result::Result<Hash, Vec<Error>> {
        let blocks = self.index.iter().map(|entry| self.block(entry));
        let mut errors: Vec<Error> = blocks.filter_map(Result::err).collect();
        let mut hash = Context::new(&SHA256);
        let hashed = self.bytes.len().saturating_sub(UNHASHED);
        let (before, behind) = self.bytes.split_at_checked(hashed).unwrap_or_default();
        hash.update(before);
        if errors.is_empty() && finish(hash.clone()) != self.trailer.hash {
            errors.push(self.damaged(Place::Whole, "its SHA-256 does not fit"));
        }
        hash.update(behind);
        if errors.is_empty() {
            Ok(finish(hash))
        } else {
            Err(errors)
        }
    }

    /// Checks that who wrote it had the backup key. Error: `Unsigned`.
    pub fn check_signature(&self, backup_key: &Key) -> Result<()> {
        if signing_key(backup_key).fits(&[&self.trailer.hash], &self.trailer.mac) {
            Ok(())
        } else {
            Err(Error::Unsigned(self.object()))
        }
    }

    /// The header of a block, and all its bytes. Error: `Damaged`, with the place of the block.
    pub fn block(&self, entry: &Indexed) -> Result<(Header, &'a [u8])> {
        let damaged = |why| self.damaged(Place::Block(entry.place), why);
        let at = usize::try_from(entry.offset).ok();
        let end = at.and_then(|at| at.checked_add(entry.length as usize));
        let block = at.zip(end).and_then(|(at, end)| self.bytes.get(at..end));
        let block = block.ok_or_else(|| damaged("it is not there"))?;
        if xxh3_64(block) != entry.sum {
            return Err(damaged("its checksum does not fit"));
        }
        let header = Header::decode(block).ok_or_else(|| damaged("its header does not fit"))?;
        let reach = self.label.reach(header.shard);
        let is_within = reach.is_some_and(|reach| {
            entry.place.last <= reach.to
                && (header.kind == Kind::Revisions || entry.place.first > reach.from)
        });
        if !entry.fits(&header) {
            Err(damaged("its header is that of another block"))
        } else if header.backup != self.label.backup {
            Err(damaged("it is of another backup"))
        } else if !self.label.is_merged() && header.origin != self.label.id {
            Err(damaged("it is of another segment"))
        } else if !is_within {
            Err(damaged("it has positions that the segment does not cover"))
        } else {
            Ok((header, block))
        }
    }

    /// What it is called in errors.
    pub fn object(&self) -> Object {
        Object::Segment(self.label.number)
    }

    /// What its label says.
    pub fn label(&self) -> &Label {
        &self.label
    }

    /// The cut that it completes.
    pub fn cut(&self) -> Option<Cut> {
        self.trailer.cut
    }

    /// All its blocks.
    pub fn index(&self) -> &[Indexed] {
        &self.index
    }

    /// The blocks of one life.
    pub fn life(&self, shard: u16, incarnation: i64) -> &[Indexed] {
        of_life(&self.index, shard, incarnation)
    }

    /// The keys that were erased since the segment before.
    pub fn erased(&self) -> &[Edit] {
        &self.erased
    }

    /// The rows of earlier segments that were changed since the segment before.
    pub fn changed(&self) -> &[Edit] {
        &self.changed
    }

    /// The runs that wrote its rows.
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    fn damaged(&self, place: Place, why: &'static str) -> Error {
        Error::Damaged {
            object: self.object(),
            place,
            why,
        }
    }
}

fn read<E: Entry>(
    rest: &mut &[u8],
    list: Listed,
    into: &mut Vec<E>,
) -> std::result::Result<(), &'static str> {
    let size = usize::try_from(list.entries)
        .ok()
        .and_then(|entries| entries.checked_mul(E::BYTES));
    let (bytes, behind) = size
        .and_then(|size| rest.split_at_checked(size))
        .ok_or("it is cut off")?;
    *rest = behind;
    if xxh3_64(bytes) != list.sum {
        return Err("its checksum does not fit");
    }
    *into = decode(bytes).ok_or("an entry does not fit")?;
    Ok(())
}
