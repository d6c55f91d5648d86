//! Reading the rows of a segment with the keys of their lives.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::rc::Rc;

use super::apart::Cut;
use super::block::{Header, Kind};
use super::error::{BlockPlace, Error, Place, Result};
use super::index::Indexed;
use super::key::{Found, Key};
use super::room::ROOM;
use super::row_list::RowList;
use super::rows::{Rows, Unpacked, payloads};
use super::seal::{Opener, Refused};
use super::segment::Segment;
use crate::hash::{hash64, jump};
use crate::journal::RowRef;

/// What a segment has of one life.
#[derive(Debug, PartialEq, Eq)]
pub struct Life {
    /// The shard.
    pub shard: u16,
    /// The incarnation; 0 stands for the rows that have the shard's own key, each of an entity of its own.
    pub incarnation: i64,
    /// Whether its key was erased, so that there are no rows.
    pub is_erased: bool,
    /// Its new rows, in order.
    pub rows: RowList,
    /// Rows of this segment or of earlier ones as they stand since they were changed. The last one of a row holds.
    pub revisions: RowList,
    /// How many of all these rows have events that are cleared here since the key of their step was erased.
    pub cleared: usize,
}

/// The lives of a segment, in order. What is wrong with one of them is an error in its place, and does not end it.
pub struct Lives<'s, 'b, K> {
    segment: &'s Segment<'b>,
    left: &'s [Indexed],
    keys: K,
    opener: Opener,
    /// Room for the rows of a block as they are packed.
    packed: Vec<u8>,
}

/// The payloads of one part of the rows of a block, by position. `None`: its key was erased.
type Payloads = Option<Rc<HashMap<i64, Vec<u8>>>>;
/// In which segment the rows of a part were written, what they are, and the part.
type PartOf = ([u8; 32], Kind, u16);

impl<'s, 'b, K: Fn(u16, i64, u16) -> Found> Lives<'s, 'b, K> {
    /// Those of which these are the blocks, as they stand in the segment. `keys` gives the key of a shard's incarnation
    /// and part. Error: `System`.
    pub fn of(segment: &'s Segment<'b>, left: &'s [Indexed], keys: K) -> Result<Self> {
        Ok(Self {
            segment,
            left,
            keys,
            opener: Opener::new()?,
            packed: Vec::new(),
        })
    }

    fn life(&mut self, entries: &[Indexed]) -> Result<Life> {
        let blocks = entries.iter().map(|entry| self.segment.block(entry));
        let blocks: Vec<(Header, &[u8])> = blocks.collect::<Result<_>>()?;
        let (shard, incarnation) = entries.first().map(Indexed::life).unwrap_or_default();
        let mut life = Life {
            shard,
            incarnation,
            is_erased: false,
            rows: RowList::default(),
            revisions: RowList::default(),
            cleared: 0,
        };
        let sizes = blocks.iter().map(|(header, _)| header.plain as usize);
        if sizes.fold(0usize, usize::saturating_add) > ROOM {
            return Err(self.damaged(&blocks, "it has more rows than a segment has"));
        }
        let Some(key) = self.key(&blocks, shard, incarnation, 0)? else {
            life.is_erased = true;
            return Ok(life);
        };
        let mut parts = HashMap::new();
        for (header, block) in blocks.iter().filter(|(header, _)| header.part == 0) {
            self.rows(&blocks, header, block, &key, &mut parts, &mut life)?;
        }
        match contradiction(&life) {
            Some(why) => Err(self.damaged(&blocks, why)),
            None => Ok(life),
        }
    }

    /// Adds the rows of a block to the life.
    fn rows(
        &mut self,
        blocks: &[(Header, &[u8])],
        header: &Header,
        block: &[u8],
        key: &Key,
        parts: &mut HashMap<PartOf, Payloads>,
        life: &mut Life,
    ) -> Result<()> {
        let place = header.place();
        let taken = life.rows.bytes().saturating_add(life.revisions.bytes());
        let list = match header.kind {
            Kind::Rows => &mut life.rows,
            Kind::Revisions => &mut life.revisions,
        };
        let (known, before) = (list.len(), list.bytes());
        let mut packed = std::mem::take(&mut self.packed);
        self.open(key, header, block, &mut packed)?;
        list.reserve(header.rows.min(header.plain) as usize, packed.len());
        for row in Rows::of(&packed) {
            let row = row.map_err(|why| self.damaged_at(place, why))?;
            let is_whole = self.join(blocks, header, &row, parts, list)?;
            life.cleared += usize::from(!is_whole);
            // A cleared payload takes more room here than in the block.
            if taken.saturating_add(list.bytes().saturating_sub(before)) > 2 * ROOM {
                return Err(self.damaged_at(place, "its rows are larger than a segment"));
            }
        }
        self.packed = packed;
        match self.foreign(header, list, known) {
            Some(why) => Err(self.damaged_at(place, why)),
            None => Ok(()),
        }
    }

    /// Adds the row with its payloads; those whose key was erased are cleared. Whether none was.
    fn join(
        &mut self,
        blocks: &[(Header, &[u8])],
        header: &Header,
        row: &Unpacked<'_>,
        parts: &mut HashMap<PartOf, Payloads>,
        list: &mut RowList,
    ) -> Result<bool> {
        if row.cuts.is_empty() {
            let joined = row.join_into(list, |_| None);
            return joined.map_err(|why| self.damaged_at(header.place(), why));
        }
        let mut of_row: HashMap<u16, Payloads> = HashMap::new();
        for Cut { part, .. } in &row.cuts {
            let id = (header.origin, header.kind, *part);
            let payloads = match parts.entry(id) {
                Entry::Occupied(known) => known.get().clone(),
                Entry::Vacant(new) => new.insert(self.payloads(blocks, header, *part)?).clone(),
            };
            of_row.insert(*part, payloads);
        }
        let position = row.position();
        let mut left: HashMap<u16, &[u8]> = HashMap::new();
        for (part, payloads) in &of_row {
            if let Some(payloads) = payloads {
                let missing =
                    || self.damaged_at(header.place(), "the payloads of a step are missing");
                left.insert(*part, payloads.get(&position).ok_or_else(missing)?);
            }
        }
        let joined = row.join_into(list, |cut| {
            let rest = left.get_mut(&cut.part)?;
            let (payload, behind) = rest.split_at_checked(cut.length).unwrap_or_default();
            *rest = behind;
            Some(payload)
        });
        joined.map_err(|why| self.damaged_at(header.place(), why))
    }

    /// The payloads of a part of the rows that were written with this block.
    fn payloads(
        &mut self,
        blocks: &[(Header, &[u8])],
        rows: &Header,
        part: u16,
    ) -> Result<Payloads> {
        let Some(key) = self.key(blocks, rows.shard, rows.incarnation, part)? else {
            return Ok(None);
        };
        let mut all = HashMap::new();
        let mut bytes = Vec::new();
        let of_part = blocks.iter().filter(|(header, _)| {
            header.part == part && header.origin == rows.origin && header.kind == rows.kind
        });
        for (header, block) in of_part {
            self.open(&key, header, block, &mut bytes)?;
            let found = payloads(&bytes).map_err(|why| self.damaged_at(header.place(), why))?;
            let found = found.into_iter();
            all.extend(found.map(|(position, payload)| (position, payload.to_vec())));
        }
        Ok(Some(Rc::new(all)))
    }

    /// A key of the life; `None` when it was erased. Error: `KeyUnknown`.
    fn key(
        &self,
        blocks: &[(Header, &[u8])],
        shard: u16,
        incarnation: i64,
        part: u16,
    ) -> Result<Option<Key>> {
        match (self.keys)(shard, incarnation, part) {
            Found::Key(key) => Ok(Some(key)),
            Found::Erased => Ok(None),
            Found::Unknown => {
                let place = BlockPlace {
                    part,
                    ..span(blocks)
                };
                Err(Error::KeyUnknown(self.segment.object(), place))
            }
        }
    }

    fn open(&mut self, key: &Key, header: &Header, block: &[u8], rows: &mut Vec<u8>) -> Result<()> {
        let opened = self.opener.open(key, header, block, rows);
        opened.map_err(|refused| match refused {
            Refused::WrongKey => {
                Error::WrongKey(self.segment.object(), Place::Block(header.place()))
            }
            Refused::Malformed(why) => self.damaged_at(header.place(), why),
        })
    }

    /// Why rows from this one on are not those that the header says, or not of the life or the shard.
    fn foreign(&self, header: &Header, rows: &RowList, from: usize) -> Option<&'static str> {
        let mut found = rows.from(from).map(|(row, _)| row);
        let all = found.clone();
        let Some(first) = found.next() else {
            return Some("it has no rows");
        };
        let last = found.next_back().unwrap_or(first);
        let place = header.place();
        let last_seq = header.seq.saturating_add(u64::from(header.events));
        let shards = self.segment.label().shards;
        if (place.first, place.last) != (first.position, last.position)
            || (header.seq, last_seq) != (first.seq, last.last_seq())
            || header.rows as usize != rows.len().saturating_sub(from)
        {
            Some("its rows are not those that its header says")
        } else if !are_of_shard(all, u32::from(header.shard), shards) {
            Some("an entity is not of this shard")
        } else {
            None
        }
    }

    fn damaged(&self, blocks: &[(Header, &[u8])], why: &'static str) -> Error {
        self.damaged_at(span(blocks), why)
    }

    fn damaged_at(&self, place: BlockPlace, why: &'static str) -> Error {
        Error::Damaged {
            object: self.segment.object(),
            place: Place::Block(place),
            why,
        }
    }
}

impl<K: Fn(u16, i64, u16) -> Found> Iterator for Lives<'_, '_, K> {
    type Item = Result<Life>;

    fn next(&mut self) -> Option<Self::Item> {
        let life = self.left.first()?.life();
        // NOTE: most lives have one block, so nothing is searched for.
        let is_other = |entry: &Indexed| entry.life() != life;
        let end = self.left.iter().position(is_other);
        let end = end.unwrap_or(self.left.len());
        let (entries, left) = self.left.split_at_checked(end)?;
        self.left = left;
        Some(self.life(entries))
    }
}

/// All positions of the blocks of a life.
fn span(blocks: &[(Header, &[u8])]) -> BlockPlace {
    let mut places = blocks.iter().map(|(header, _)| header.place());
    let first = places.next().unwrap_or(BlockPlace {
        shard: 0,
        incarnation: 0,
        part: 0,
        first: 0,
        last: 0,
    });
    places.fold(first, |all, place| BlockPlace {
        part: 0,
        first: all.first.min(place.first),
        last: all.last.max(place.last),
        ..all
    })
}

/// Whether the entities of all rows belong into this shard of so many.
fn are_of_shard<'r>(mut rows: impl Iterator<Item = RowRef<'r>>, shard: u32, shards: u32) -> bool {
    let mut known = "";
    rows.all(|row| {
        let is_known = row.entity == known;
        known = row.entity;
        is_known || jump(hash64(row.entity.as_bytes()), shards) == shard
    })
}

/// Why the rows of a life are not its log.
fn contradiction(life: &Life) -> Option<&'static str> {
    let is_own = |row: RowRef<'_>| match life.incarnation {
        0 => row.prev == 0,
        incarnation => (row.prev == 0) == (row.position == incarnation) && row.prev < row.position,
    };
    let rows = || life.rows.iter().map(|(row, _)| row);
    let all = || rows().chain(life.revisions.iter().map(|(row, _)| row));
    let entity = all().next().map(|row| row.entity);
    let mut pairs = rows().zip(rows().skip(1));
    if !all().all(is_own) {
        Some("a row is not of its life")
    } else if life.incarnation > 0 && !all().all(|row| Some(row.entity) == entity) {
        Some("it has rows of two entities")
    } else if life.incarnation > 0
        && !pairs.all(|(one, two)| two.prev == one.position && two.seq == one.last_seq() + 1)
    {
        Some("its rows do not follow each other")
    } else {
        None
    }
}
