//! Writing a segment: rows come in the order of positions of each shard, and leave in blocks of one life each.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;

use xxhash_rust::xxh3::xxh3_64;

use super::apart::Cut;
use super::assemble::{Parts, Sealed, assemble};
use super::block::{Codec, Header, Kind};
use super::error::{BlockPlace, Error, Object, Result};
use super::index::Indexed;
use super::key::{Found, Key};
use super::label::{Hash, Label, Reach};
use super::room::{BESIDE, BLOCK, ROOM};
use super::rows::Pack;
use super::seal::Sealer;
use super::sections::{Edit, Entry, Run};
use super::trailer;
use crate::journal::RowRef;
use crate::log::apart::Apart;
use crate::log::row::contradiction;

/// The most bytes that a row's numbers and sizes take.
const NUMBERS: usize = 96;
/// The most bytes that what is said of a payload that is cut out takes, beside its type.
const CUT: usize = 64;

/// What is known of a segment before its rows.
#[derive(Clone, Debug)]
pub struct Head {
    /// The random number of the backup.
    pub backup: u64,
    /// The random number of the stream.
    pub stream: u64,
    /// How many shards the context has.
    pub shards: u32,
    /// The number of the segment.
    pub number: u64,
    /// The SHA-256 of the segment before; zeros for number 1.
    pub before: Hash,
    /// 32 bytes that are drawn anew for each attempt to write a segment, from `key::random`.
    pub id: [u8; 32],
    /// The time, in microseconds since 1970.
    pub time: i64,
    /// The name of the node.
    pub node: String,
}

/// What one block is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Lane {
    shard: u16,
    incarnation: i64,
    kind: Kind,
    part: u16,
}

/// A segment that is being written. It is in memory until it is sealed.
pub struct Writer {
    head: Head,
    reaches: BTreeMap<u16, Reach>,
    open: HashMap<Lane, Pack>,
    full: Vec<(Lane, Pack)>,
    parts: Parts,
    taken: usize,
}

impl Writer {
    /// One without rows.
    pub fn new(head: Head) -> Self {
        Self {
            head,
            reaches: BTreeMap::new(),
            open: HashMap::new(),
            full: Vec::new(),
            parts: Parts::default(),
            taken: 0,
        }
    }

    /// Says that the segment goes on behind this position of a shard; `is_lost` when what no segment has before it
    /// was lost. Comes before the shard's rows.
    pub fn begin(&mut self, shard: u16, from: i64, run: i64, is_lost: bool) {
        let reach = Reach {
            shard,
            is_lost,
            from,
            to: from,
            run,
        };
        self.reaches.insert(shard, reach);
    }

    /// Says that the segment has all rows of the shard up to this position, which is of this run. It comes behind the
    /// last row of the shard. Error: `Misuse` when there are later ones.
    pub fn reach(&mut self, shard: u16, to: i64, run: i64) -> Result<()> {
        match self.reaches.get_mut(&shard) {
            Some(reach) if reach.to <= to => {
                reach.to = to;
                reach.run = run;
                Ok(())
            }
            _ => Err(Error::Misuse("a shard that does not reach so far")),
        }
    }

    /// Adds the next row of a shard, which belongs to the life with this incarnation; or to 0, when it has the
    /// shard's own key. `apart` says which payloads have keys of their own. False when the segment is full: then the
    /// row has to begin the next one. Error: `Misuse`.
    pub fn row(
        &mut self,
        shard: u16,
        incarnation: i64,
        row: &RowRef<'_>,
        apart: Option<&Apart>,
    ) -> Result<bool> {
        let is_next = self
            .reaches
            .get(&shard)
            .is_some_and(|reach| reach.to < row.position);
        let is_of_life = incarnation == 0 || (row.prev == 0) == (row.position == incarnation);
        if !is_next || !is_of_life {
            return Err(Error::Misuse("a row that is not the next one of its shard"));
        }
        let is_taken = self.add(Kind::Rows, shard, incarnation, row, apart)?;
        if let (true, Some(reach)) = (is_taken, self.reaches.get_mut(&shard)) {
            reach.to = row.position;
        }
        Ok(is_taken)
    }

    /// Adds a row of an earlier segment as it stands now. Those of one life come in the order of positions. Otherwise
    /// as `row`.
    pub fn revision(
        &mut self,
        shard: u16,
        incarnation: i64,
        row: &RowRef<'_>,
        apart: Option<&Apart>,
    ) -> Result<bool> {
        let reach = self.reaches.get(&shard);
        if reach.is_none_or(|reach| row.position > reach.to) {
            return Err(Error::Misuse("a revision of a row that no segment has"));
        }
        self.add(Kind::Revisions, shard, incarnation, row, apart)
    }

    /// Adds a key that was erased. False when the segment is full.
    pub fn erased(&mut self, edit: Edit) -> bool {
        let is_taken = self.take::<Edit>();
        self.parts.erased.extend(is_taken.then_some(edit));
        is_taken
    }

    /// Adds a row that was changed. False when the segment is full.
    pub fn changed(&mut self, edit: Edit) -> bool {
        let is_taken = self.take::<Edit>();
        self.parts.changed.extend(is_taken.then_some(edit));
        is_taken
    }

    /// Adds a run. False when the segment is full.
    pub fn run(&mut self, run: Run) -> bool {
        let is_taken = self.take::<Run>();
        self.parts.runs.extend(is_taken.then_some(run));
        is_taken
    }

    /// Writes the segment. `keys` gives the key of a shard's incarnation and part: rows whose key is erased are left
    /// out, since nobody could read them. `cut` is given when the segment completes one. Errors: `KeyUnknown`,
    /// `Misuse`, `System`, `Io`.
    pub fn seal(
        mut self,
        keys: impl Fn(u16, i64, u16) -> Found,
        cut: Option<trailer::Cut>,
        backup_key: &Key,
        out: &mut impl Write,
    ) -> Result<Sealed> {
        let mut packs = std::mem::take(&mut self.full);
        packs.extend(self.open.drain());
        packs.sort_unstable_by_key(|(lane, pack)| (*lane, pack.bounds().first));
        let mut sealer = Sealer::new()?;
        for (number, (lane, pack)) in packs.into_iter().enumerate() {
            let header = self.header(number, lane, &pack)?;
            let key = match (lane.part, keys(lane.shard, lane.incarnation, 0)) {
                (1.., Found::Key(_)) => keys(lane.shard, lane.incarnation, lane.part),
                (_, found) => found,
            };
            match key {
                Found::Key(key) => self.block(&mut sealer, &key, header, &pack)?,
                Found::Erased => {}
                Found::Unknown => {
                    let object = Object::Segment(self.head.number);
                    return Err(Error::KeyUnknown(object, header.place()));
                }
            }
        }
        let head = self.head;
        let label = Label {
            backup: head.backup,
            stream: head.stream,
            shards: head.shards,
            number: head.number,
            first: head.number,
            id: head.id,
            before: head.before,
            stands_for: super::label::NO_HASH,
            time: head.time,
            node: head.node,
            reaches: self.reaches.into_values().collect(),
        };
        assemble(label, self.parts, cut, backup_key, out)
    }

    fn header(&self, number: usize, lane: Lane, pack: &Pack) -> Result<Header> {
        let bounds = pack.bounds();
        Ok(Header {
            codec: Codec::Plain,
            kind: lane.kind,
            shard: lane.shard,
            part: lane.part,
            number: u32::try_from(number).map_err(|_| Error::Misuse("too many blocks"))?,
            backup: self.head.backup,
            origin: self.head.id,
            incarnation: lane.incarnation,
            first: bounds.first,
            span: bounds.span,
            seq: bounds.seq,
            events: bounds.events,
            rows: bounds.rows,
            plain: 0,
            sealed: 0,
        })
    }

    fn block(&mut self, sealer: &mut Sealer, key: &Key, header: Header, pack: &Pack) -> Result<()> {
        let blocks = &mut self.parts.blocks;
        let offset = blocks.len();
        let header = sealer.seal(key, header, pack.bytes(), blocks)?;
        let block = blocks.get(offset..).unwrap_or_default();
        let place: BlockPlace = header.place();
        self.parts.index.push(Indexed {
            place,
            offset: offset as u64,
            length: block.len() as u32,
            sum: xxh3_64(block),
        });
        Ok(())
    }

    fn add(
        &mut self,
        kind: Kind,
        shard: u16,
        incarnation: i64,
        row: &RowRef<'_>,
        apart: Option<&Apart>,
    ) -> Result<bool> {
        let is_of_life = (0..=row.position).contains(&incarnation);
        if let Some(why) = contradiction(row) {
            return Err(Error::Misuse(why));
        }
        if !is_of_life || row.position <= 0 {
            return Err(Error::Misuse("a row that is not of its life"));
        }
        let cuts = match apart {
            Some(apart) => apart.cuts(row.data)?,
            None => Vec::new(),
        };
        let mut parts: Vec<u16> = cuts.iter().map(|cut| cut.part).collect();
        parts.dedup();
        let lane = |part| Lane {
            shard,
            incarnation,
            kind,
            part,
        };
        let texts = row.entity.len() + row.aggregate.len();
        let most = NUMBERS + texts + row.data.len() + cuts.iter().map(most_of).sum::<usize>();
        let is_new = |part: &&u16| !self.open.contains_key(&lane(**part));
        let new = || [0].iter().chain(&parts).filter(is_new).count();
        // Which lanes are new is looked up only where it matters.
        if !self.has_room(most + BESIDE * (1 + parts.len()))
            && !self.has_room(most + BESIDE * new())
        {
            return Ok(false);
        }
        let size = NUMBERS + texts + row.data.len();
        self.pack(lane(0), row, size, |pack| pack.row(row, &cuts))?;
        for part in parts {
            let of_part = cuts.iter().filter(|cut| cut.part == part);
            let size = NUMBERS + of_part.clone().map(|cut| cut.length).sum::<usize>();
            self.pack(lane(part), row, size, |pack| pack.payloads(row, of_part))?;
        }
        Ok(true)
    }

    /// Adds to the pack of the lane, of which a new one begins when the last is full.
    fn pack(
        &mut self,
        lane: Lane,
        row: &RowRef<'_>,
        size: usize,
        add: impl FnOnce(&mut Pack),
    ) -> Result<()> {
        let pack = self.open.entry(lane).or_default();
        if row.position <= pack.last() {
            return Err(Error::Misuse("a row that is not behind the one before"));
        }
        let has_rows = !pack.bytes().is_empty();
        if has_rows && (pack.bytes().len() + size > BLOCK || !pack.takes(row)) {
            self.full.push((lane, std::mem::take(pack)));
        }
        if pack.bytes().is_empty() {
            self.taken += BESIDE;
        }
        let before = pack.bytes().len();
        add(pack);
        self.taken += pack.bytes().len() - before;
        Ok(())
    }

    /// Takes the room of an entry of a list.
    fn take<E: Entry>(&mut self) -> bool {
        let has_room = self.has_room(E::BYTES);
        self.taken += if has_room { E::BYTES } else { 0 };
        has_room
    }

    /// Whether so many bytes more fit. The first always do.
    fn has_room(&self, bytes: usize) -> bool {
        self.taken == 0 || self.taken + bytes <= ROOM
    }
}

fn most_of(cut: &Cut) -> usize {
    let kind = cut.retype.as_ref().map_or(0, |(_, kind)| kind.len());
    CUT + kind
}
