//! Rows of a life, packed for a block, and back. Pure.
//!
//! Numbers are written as what they differ by from the row before, and a text that is that of the row before not at
//! all. The first row of a block differs from a row at position 0, so each block can be read without others.

use super::apart::{Cut, join, rest};
use super::bytes::{Fields, put_bytes, put_signed, put_varint};
use super::row_list::RowList;
use crate::journal::RowRef;
use crate::log::row::contradiction;

/// The entity's id stands here.
const ENTITY: u8 = 1;
/// The aggregate's name stands here.
const AGGREGATE: u8 = 2;
/// The seq stands here: it is not the one behind the row before.
const SEQ: u8 = 4;
/// How far back the entity's previous row is stands here: it is not the row before.
const PREV: u8 = 8;
/// Payloads are cut out of the data.
const CUTS: u8 = 16;

/// Rows that are packed one behind another.
#[derive(Default)]
pub struct Pack {
    bytes: Vec<u8>,
    rows: u32,
    first: i64,
    last: i64,
    seq: u64,
    last_seq: u64,
    recorded_at: i64,
    entity: String,
    aggregate: String,
}

/// What a header says of packed rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The position of the first row.
    pub first: i64,
    /// How much higher that of the last row is.
    pub span: u32,
    /// The seq of the first event of the first row.
    pub seq: u64,
    /// How much higher the seq of the last event of the last row is.
    pub events: u32,
    /// How many rows.
    pub rows: u32,
}

impl Pack {
    /// The bytes so far.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What a header says of them.
    pub fn bounds(&self) -> Bounds {
        Bounds {
            first: self.first,
            span: difference(self.first, self.last).unwrap_or(0),
            seq: self.seq,
            events: events(self.seq, self.last_seq).unwrap_or(0),
            rows: self.rows,
        }
    }

    /// The position of the last row; 0 without one.
    pub fn last(&self) -> i64 {
        self.last
    }

    /// Whether a header can say that the row is the last one of these.
    pub fn takes(&self, row: &RowRef<'_>) -> bool {
        self.rows == 0
            || (difference(self.first, row.position).is_some()
                && events(self.seq, last_seq(row)).is_some())
    }

    /// Adds a row, which stands behind the last one, without what is cut out.
    pub fn row(&mut self, row: &RowRef<'_>, cuts: &[Cut]) {
        let flag = |is: bool, flag: u8| if is { flag } else { 0 };
        let is_other_entity = self.entity != row.entity;
        let is_other_aggregate = self.aggregate != row.aggregate;
        let flags = flag(is_other_entity, ENTITY)
            | flag(is_other_aggregate, AGGREGATE)
            | flag(row.seq != self.last_seq.wrapping_add(1), SEQ)
            | flag(row.prev != self.last, PREV)
            | flag(!cuts.is_empty(), CUTS);
        let out = &mut self.bytes;
        out.push(flags);
        put_varint(out, row.position.wrapping_sub(self.last).cast_unsigned());
        if is_other_entity {
            put_bytes(out, row.entity.as_bytes());
            row.entity.clone_into(&mut self.entity);
        }
        if is_other_aggregate {
            put_bytes(out, row.aggregate.as_bytes());
            row.aggregate.clone_into(&mut self.aggregate);
        }
        if flags & SEQ > 0 {
            put_varint(out, row.seq);
        }
        put_varint(out, row.count);
        put_signed(out, row.recorded_at.wrapping_sub(self.recorded_at));
        if flags & PREV > 0 {
            put_varint(out, row.position.wrapping_sub(row.prev).cast_unsigned());
        }
        out.extend_from_slice(&row.checksum().to_le_bytes());
        if !cuts.is_empty() {
            put_cuts(out, cuts);
        }
        let cut_out: usize = cuts.iter().map(|cut| cut.length).sum();
        put_varint(out, row.data.len().saturating_sub(cut_out) as u64);
        rest(row.data, cuts).for_each(|piece| out.extend_from_slice(piece));
        self.recorded_at = row.recorded_at;
        self.advance(row);
    }

    /// Adds what one part of a row's payloads is: those of these cuts, one behind another.
    pub fn payloads<'c>(&mut self, row: &RowRef<'_>, cuts: impl Iterator<Item = &'c Cut> + Clone) {
        let size: usize = cuts.clone().map(|cut| cut.length).sum();
        put_varint(
            &mut self.bytes,
            row.position.wrapping_sub(self.last).cast_unsigned(),
        );
        put_varint(&mut self.bytes, size as u64);
        for cut in cuts {
            let end = cut.at.saturating_add(cut.length);
            let payload = row.data.as_bytes().get(cut.at..end).unwrap_or_default();
            self.bytes.extend_from_slice(payload);
        }
        self.advance(row);
    }

    fn advance(&mut self, row: &RowRef<'_>) {
        if self.rows == 0 {
            self.first = row.position;
            self.seq = row.seq;
        }
        self.rows = self.rows.saturating_add(1);
        self.last = row.position;
        self.last_seq = last_seq(row);
    }
}

fn last_seq(row: &RowRef<'_>) -> u64 {
    row.seq.saturating_add(row.count).saturating_sub(1)
}

fn difference(first: i64, last: i64) -> Option<u32> {
    u32::try_from(last.checked_sub(first)?).ok()
}

fn events(first: u64, last: u64) -> Option<u32> {
    u32::try_from(last.checked_sub(first)?).ok()
}

fn put_cuts(out: &mut Vec<u8>, cuts: &[Cut]) {
    put_varint(out, cuts.len() as u64);
    let mut from = 0;
    for cut in cuts {
        put_varint(out, u64::from(cut.part));
        put_varint(out, cut.at.saturating_sub(from) as u64);
        put_varint(out, cut.length as u64);
        from = cut.at.saturating_add(cut.length);
        match &cut.retype {
            Some((at, kind)) => {
                put_bytes(out, kind.as_bytes());
                put_signed(out, (cut.at as i64).wrapping_sub(*at as i64));
            }
            None => put_varint(out, 0),
        }
    }
}

fn cuts(fields: &mut Fields<'_>) -> Option<Vec<Cut>> {
    let count = fields.varint()?;
    let mut cuts = Vec::new();
    let mut from = 0usize;
    for _ in 0..count {
        let part = u16::try_from(fields.varint()?).ok()?;
        let at = from.checked_add(fields.size()?)?;
        let length = fields.size()?;
        from = at.checked_add(length)?;
        let kind = fields.text()?;
        let retype = if kind.is_empty() {
            None
        } else {
            let at = i64::try_from(at).ok()?.checked_sub(fields.signed()?)?;
            Some((usize::try_from(at).ok()?, kind.to_owned()))
        };
        cuts.push(Cut {
            part,
            at,
            length,
            retype,
        });
    }
    Some(cuts)
}

/// A row as it stands in a block.
#[derive(Debug)]
pub struct Unpacked<'a> {
    row: RowRef<'a>,
    checksum: i64,
    rest: &'a [u8],
    /// What was cut out of its data.
    pub cuts: Vec<Cut>,
}

impl<'a> Unpacked<'a> {
    /// Where it stands in the log.
    pub fn position(&self) -> i64 {
        self.row.position
    }

    /// Adds the row to others, and says whether it is as it was when it was packed: `payload` gives what was cut out,
    /// and what it does not give is cleared. Error: what is wrong with it.
    pub fn join_into<'p>(
        &self,
        rows: &mut RowList,
        mut payload: impl FnMut(&Cut) -> Option<&'p [u8]>,
    ) -> Result<bool, &'static str> {
        let misfit = "the payloads of a row do not fit";
        if self.cuts.is_empty() {
            let data = std::str::from_utf8(self.rest).map_err(|_| misfit)?;
            return self.push(rows, data, true);
        }
        let mut is_whole = true;
        let data = join(self.rest, &self.cuts, |cut| {
            let given = payload(cut);
            is_whole &= given.is_some();
            given
        });
        self.push(rows, &data.ok_or(misfit)?, is_whole)
    }

    fn push(&self, rows: &mut RowList, data: &str, is_whole: bool) -> Result<bool, &'static str> {
        let row = RowRef { data, ..self.row };
        let checksum = row.checksum();
        if is_whole && checksum != self.checksum {
            return Err("the checksum of a row does not fit");
        }
        match contradiction(&row) {
            Some(why) => Err(why),
            None => {
                rows.push(&row, checksum);
                Ok(is_whole)
            }
        }
    }
}

/// The rows of a block, in order. It ends behind what is wrong.
pub struct Rows<'a> {
    fields: Fields<'a>,
    before: RowRef<'a>,
    is_broken: bool,
}

impl<'a> Rows<'a> {
    /// The rows that these bytes are.
    pub fn of(bytes: &'a [u8]) -> Self {
        Self {
            fields: Fields::of(bytes),
            before: RowRef {
                position: 0,
                entity: "",
                aggregate: "",
                seq: 1,
                count: 0,
                recorded_at: 0,
                prev: 0,
                data: "",
            },
            is_broken: false,
        }
    }

    fn read(&mut self) -> Option<Unpacked<'a>> {
        let fields = &mut self.fields;
        let before = self.before;
        let flags = fields.u8()?;
        if flags >= CUTS << 1 {
            return None;
        }
        let position = next_position(before.position, fields)?;
        let entity = if flags & ENTITY > 0 {
            fields.text()?
        } else {
            before.entity
        };
        let aggregate = if flags & AGGREGATE > 0 {
            fields.text()?
        } else {
            before.aggregate
        };
        let seq = if flags & SEQ > 0 {
            fields.varint()?
        } else {
            before.seq.checked_add(before.count)?
        };
        let count = fields.varint()?;
        let recorded_at = before.recorded_at.wrapping_add(fields.signed()?);
        let prev = if flags & PREV > 0 {
            position.checked_sub(i64::try_from(fields.varint()?).ok()?)?
        } else {
            before.position
        };
        let checksum = fields.i64()?;
        let cuts = if flags & CUTS > 0 {
            cuts(fields)?
        } else {
            Vec::new()
        };
        let rest = fields.bytes()?;
        let row = RowRef {
            position,
            entity,
            aggregate,
            seq,
            count,
            recorded_at,
            prev,
            data: "",
        };
        self.before = row;
        Some(Unpacked {
            row,
            checksum,
            rest,
            cuts,
        })
    }
}

impl<'a> Iterator for Rows<'a> {
    type Item = Result<Unpacked<'a>, &'static str>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_broken || self.fields.left() == 0 {
            return None;
        }
        let row = self.read();
        self.is_broken = row.is_none();
        Some(row.ok_or("its rows do not fit"))
    }
}

/// The payloads of a block of one part: of each row its position, and its payloads one behind another.
pub fn payloads(bytes: &[u8]) -> Result<Vec<(i64, &[u8])>, &'static str> {
    let mut fields = Fields::of(bytes);
    let mut found = Vec::new();
    let mut last = 0;
    while fields.left() > 0 {
        let mut read = || Some((next_position(last, &mut fields)?, fields.bytes()?));
        let (position, payload) = read().ok_or("its payloads do not fit")?;
        found.push((position, payload));
        last = position;
    }
    Ok(found)
}

/// A position behind the one before.
fn next_position(before: i64, fields: &mut Fields<'_>) -> Option<i64> {
    let further = i64::try_from(fields.varint()?).ok()?;
    before.checked_add(further).filter(|next| *next > before)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::backup::testing::{apart, life, plan_row};
    use crate::log::Row;

    fn unpack(bytes: &[u8]) -> Vec<Row> {
        let mut rows = RowList::default();
        for row in Rows::of(bytes) {
            let joined = row.expect("a row").join_into(&mut rows, |_| None);
            assert_eq!(joined, Ok(true));
        }
        rows.to_rows()
    }

    /// A row by itself, and whether it is whole.
    fn join<'p>(
        row: &Unpacked<'_>,
        payload: impl FnMut(&Cut) -> Option<&'p [u8]>,
    ) -> Result<(Row, bool), &'static str> {
        let mut rows = RowList::default();
        let is_whole = row.join_into(&mut rows, payload)?;
        Ok((rows.to_rows().remove(0), is_whole))
    }

    proptest! {
        #[test]
        fn rows_come_back_as_they_were(rows in life(1..20)) {
            let mut pack = Pack::default();
            for row in &rows {
                assert!(pack.takes(&row.borrow()));
                pack.row(&row.borrow(), &[]);
            }
            let bounds = pack.bounds();
            let (first, last) = (&rows[0], &rows[rows.len() - 1]);
            prop_assert_eq!(bounds.rows as usize, rows.len());
            prop_assert_eq!((bounds.first, bounds.seq), (first.position, first.seq));
            prop_assert_eq!(bounds.first + i64::from(bounds.span), last.position);
            prop_assert_eq!(bounds.seq + u64::from(bounds.events), last.last_seq());
            prop_assert_eq!(unpack(pack.bytes()), rows);
        }

        #[test]
        fn any_bytes_are_an_answer(bytes: Vec<u8>) {
            for row in Rows::of(&bytes).flatten() {
                let _ = join(&row, |_| None);
                let _ = join(&row, |cut| bytes.get(..cut.length));
            }
            let _ = payloads(&bytes);
        }

        #[test]
        fn a_changed_byte_is_an_answer_and_no_other_row(rows in life(1..5), at: usize, byte: u8) {
            let mut pack = Pack::default();
            rows.iter().for_each(|row| pack.row(&row.borrow(), &[]));
            let mut changed = pack.bytes().to_vec();
            let at = at % changed.len();
            prop_assume!(changed[at] != byte);
            changed[at] = byte;
            // The bytes of a checksum are compared with what they are of.
            let read: Result<Vec<Row>, &str> = Rows::of(&changed)
                .map(|row| Ok(join(&row?, |_| None)?.0))
                .collect();
            prop_assert!(read.is_err(), "{read:?}");
        }
    }

    #[test]
    fn what_repeats_is_written_once() {
        let mut pack = Pack::default();
        let mut row = plan_row(5, 2);
        pack.row(&row.borrow(), &[]);
        let alone = pack.bytes().len();
        row.prev = row.position;
        row.position += 1;
        row.seq += row.count;
        pack.row(&row.borrow(), &[]);
        let texts = row.entity.len() + row.aggregate.len();
        assert!(pack.bytes().len() - alone <= alone - texts);
        let Row { data, .. } = &row;
        assert_eq!(
            pack.bytes().len() - alone - data.len(),
            1 + 1 + 1 + 1 + 8 + 2
        );
    }

    #[test]
    fn payloads_that_are_cut_out_come_back_and_are_not_in_the_row() {
        let row = plan_row(7, 2);
        let cuts = apart().cuts(&row.data).expect("cuts");
        let mut main = Pack::default();
        main.row(&row.borrow(), &cuts);
        assert!(!main.bytes().windows(6).any(|bytes| bytes == b"secret"));
        let of = |part: u16| cuts.iter().filter(move |cut| cut.part == part);
        let mut second = Pack::default();
        second.payloads(&row.borrow(), of(2));
        assert_eq!(second.bounds(), main.bounds());
        let found = payloads(second.bytes()).expect("payloads");
        let expected: String = of(2)
            .map(|cut| &row.data[cut.at..cut.at + cut.length])
            .collect();
        assert_eq!(found, [(7, expected.as_bytes())]);
        let unpacked = Rows::of(main.bytes())
            .next()
            .expect("a row")
            .expect("sound");
        assert_eq!(unpacked.cuts, cuts);
        let all = |cut: &Cut| row.data.as_bytes().get(cut.at..cut.at + cut.length);
        assert_eq!(join(&unpacked, all), Ok((row.clone(), true)));
        let (cleared, is_whole) = join(&unpacked, |_| None).expect("cleared");
        assert!(!is_whole && cleared.data.len() == row.data.len());
        assert!(cleared.data.contains("Cleared") && !cleared.data.contains("secret"));
        // A payload of another row is not taken for this one's.
        let other = b"{\"f\":\"secret 9\"}";
        assert!(cuts.iter().all(|cut| cut.length == other.len()));
        assert!(join(&unpacked, |_| Some(other)).is_err());
    }

    #[test]
    fn a_header_counts_to_32_bits() {
        let mut pack = Pack::default();
        let mut row = plan_row(1, 1);
        pack.row(&row.borrow(), &[]);
        row.position = 1 + i64::from(u32::MAX);
        assert!(pack.takes(&row.borrow()));
        row.position += 1;
        assert!(!pack.takes(&row.borrow()));
        row.position = 2;
        row.seq = 1 + u64::from(u32::MAX);
        row.count = 1;
        assert!(pack.takes(&row.borrow()));
        row.count = 2;
        assert!(!pack.takes(&row.borrow()));
        row.seq = 0;
        row.count = 1;
        assert!(!pack.takes(&row.borrow()));
    }
}
