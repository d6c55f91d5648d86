//! Several segments made into one, without the keys of their rows: blocks are copied as they are, and those whose keys
//! were erased are left out.

use std::collections::BTreeMap;
use std::io::Write;

use super::assemble::{Parts, Sealed, assemble};
use super::error::{Error, Result};
use super::index::Indexed;
use super::key::Key;
use super::label::{Hash, Label, Reach};
use super::room::{BESIDE, ROOM};
use super::sections::{Edit, Entry, Run};
use super::segment::Segment;
use super::trailer::Cut;

/// A segment that is being made of others. It is in memory until it is sealed.
#[derive(Default)]
pub struct Merge {
    parts: Parts,
    reaches: BTreeMap<u16, Reach>,
    /// The label of the first, and of the last with its hash.
    ends: Option<(Label, Label, Hash)>,
    cut: Option<Cut>,
    taken: usize,
}

impl Merge {
    /// Adds a segment that follows the last one, and whose SHA-256 this is. `is_dead` says whether the key of a
    /// shard's incarnation and part was erased. How many bytes were left out for that; `None` when there is no room for
    /// it: then it has to be the first of the next one. Errors: `Gap` when it does not follow, and `Damaged`; those of `is_dead`.
    pub fn add<E: From<Error>>(
        &mut self,
        segment: &Segment<'_>,
        hash: Hash,
        mut is_dead: impl FnMut(u16, i64, u16) -> std::result::Result<bool, E>,
    ) -> std::result::Result<Option<u64>, E> {
        self.check_follows(segment.label())?;
        let mut alive = Vec::new();
        let mut size = 0usize;
        let mut dead = 0;
        for entry in segment.index() {
            let place = entry.place;
            let is_dead_part =
                place.part > 0 && is_dead(place.shard, place.incarnation, place.part)?;
            if is_dead_part || is_dead(place.shard, place.incarnation, 0)? {
                dead += u64::from(entry.length);
                continue;
            }
            let (header, block) = segment.block(entry)?;
            size = size
                .saturating_add(BESIDE)
                .saturating_add(header.plain as usize);
            alive.push((entry, block));
        }
        let edits = segment
            .erased()
            .len()
            .saturating_add(segment.changed().len());
        size = size
            .saturating_add(edits.saturating_mul(Edit::BYTES))
            .saturating_add(segment.runs().len().saturating_mul(Run::BYTES));
        if self.ends.is_some() && self.taken.saturating_add(size) > ROOM {
            return Ok(None);
        }
        self.taken = self.taken.saturating_add(size);
        for (entry, block) in alive {
            let offset = self.parts.blocks.len() as u64;
            self.parts.blocks.extend_from_slice(block);
            self.parts.index.push(Indexed { offset, ..*entry });
        }
        self.parts.erased.extend_from_slice(segment.erased());
        self.parts.changed.extend_from_slice(segment.changed());
        self.parts.runs.extend_from_slice(segment.runs());
        for reach in &segment.label().reaches {
            let from = self.reaches.get(&reach.shard).unwrap_or(reach);
            let all = Reach {
                from: from.from,
                is_lost: from.is_lost || reach.is_lost,
                ..reach.clone()
            };
            self.reaches.insert(reach.shard, all);
        }
        self.cut = segment.cut();
        let last = segment.label().clone();
        let first = self
            .ends
            .take()
            .map_or_else(|| last.clone(), |(first, _, _)| first);
        self.ends = Some((first, last, hash));
        Ok(Some(dead))
    }

    /// Writes the segment that replaces those that were added. `id` is 32 new random bytes, `time` in microseconds
    /// since 1970, `node` who merges. All erased keys stay listed, since others may have copies of older segments and key
    /// pages. Errors: `Misuse` when none were added, `Io`.
    pub fn seal(
        self,
        id: [u8; 32],
        time: i64,
        node: String,
        backup_key: &Key,
        out: &mut impl Write,
    ) -> Result<Sealed> {
        let nothing = Error::Misuse("a merge of no segments");
        let (first, last, hash) = self.ends.ok_or(nothing)?;
        let stands_for = if last.is_merged() {
            last.stands_for
        } else {
            hash
        };
        let mut parts = self.parts;
        let (index, blocks) = in_order(&parts);
        parts.index = index;
        parts.blocks = blocks;
        parts.runs.sort_unstable();
        parts.runs.dedup();
        let label = Label {
            first: first.first,
            before: first.before,
            stands_for,
            id,
            time,
            node,
            reaches: self.reaches.into_values().collect(),
            ..last
        };
        assemble(label, parts, self.cut, backup_key, out)
    }

    fn check_follows(&self, label: &Label) -> Result<()> {
        let Some((_, last, hash)) = &self.ends else {
            return Ok(());
        };
        let stands_for = if last.is_merged() {
            &last.stands_for
        } else {
            hash
        };
        let gap = |why| {
            Err(Error::Gap {
                number: label.number,
                why,
            })
        };
        let is_gap = |reach: &Reach| {
            let before = self.reaches.get(&reach.shard);
            before.is_some_and(|before| {
                reach.from < before.to || (reach.from > before.to && !reach.is_lost)
            })
        };
        if (label.backup, label.stream, label.shards) != (last.backup, last.stream, last.shards) {
            gap("it is of another backup or another stream")
        } else if last.number.checked_add(1) != Some(label.first) {
            gap("a segment between them is missing")
        } else if label.before != *stands_for {
            gap("it follows another segment of that number")
        } else if label.reaches.iter().any(is_gap) {
            gap("positions of a shard are missing")
        } else {
            Ok(())
        }
    }
}

/// The blocks in the order of lives; those of one life stay as they are.
fn in_order(parts: &Parts) -> (Vec<Indexed>, Vec<u8>) {
    let mut index = parts.index.clone();
    index.sort_by_key(Indexed::life);
    let mut blocks = Vec::with_capacity(parts.blocks.len());
    for entry in &mut index {
        let at = entry.offset as usize;
        let end = at.saturating_add(entry.length as usize);
        entry.offset = blocks.len() as u64;
        blocks.extend_from_slice(parts.blocks.get(at..end).unwrap_or_default());
    }
    (index, blocks)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::backup::chain::{Link, check, positions};
    use crate::backup::key::Found;
    use crate::backup::row_list::RowList;
    use crate::backup::testing::*;
    use crate::backup::write::Writer;
    use crate::log::Row;

    fn add(
        merge: &mut Merge,
        written: &Written,
        hash: Hash,
        is_dead: impl Fn(u16, i64, u16) -> bool,
    ) -> Result<bool> {
        let is_dead = |shard, incarnation, part| Ok::<_, Error>(is_dead(shard, incarnation, part));
        let added = merge.add(&written.open(), hash, is_dead)?;
        Ok(added.is_some())
    }

    fn merge(written: &[&Written], is_dead: impl Fn(u16, i64, u16) -> bool + Copy) -> Written {
        let mut merge = Merge::default();
        for one in written {
            assert!(add(&mut merge, one, one.sealed.hash, is_dead).expect("follows"));
        }
        let mut bytes = Vec::new();
        let sealed = merge
            .seal([9; 32], 5, "n".into(), &key(0), &mut bytes)
            .expect("seals");
        Written { bytes, sealed }
    }

    /// Three segments, in each of which each life has a row.
    fn three() -> [Written; 3] {
        let mut before = [0; 32];
        let mut at = 0;
        [1, 2, 3].map(|number| {
            let rows = [1, 2, 3].map(|life: i64| {
                let position = at + life;
                let prev = (position - 3).max(0);
                (life, row(position, &format!("e{life}"), number, prev))
            });
            let written = segment(number, before, at, &rows);
            before = written.sealed.hash;
            at += 3;
            written
        })
    }

    fn rows(written: &[&Written], keys: impl Fn(u16, i64, u16) -> Found + Copy) -> Vec<Row> {
        let lives = written.iter().flat_map(|one| one.lives(keys));
        let mut rows: Vec<Row> = lives
            .flat_map(|life| life.expect("a life").rows.to_rows())
            .collect();
        rows.sort_by_key(|row| row.position);
        rows
    }

    #[test]
    fn merged_segments_have_the_rows_of_all_and_no_keys_were_needed() {
        let [one, two, three] = three();
        let all = [&one, &two, &three];
        let merged = merge(&all, |_, _, _| false);
        let segment = merged.open();
        assert_eq!(segment.verify().ok(), Some(merged.sealed.hash));
        segment.check_signature(&key(0)).expect("signed");
        assert_eq!(rows(&[&merged], life_key), rows(&all, life_key));
        let lives = merged.lives(life_key);
        assert_eq!(lives.len(), 3);
        let label = segment.label();
        assert_eq!(
            (label.first, label.number, label.stands_for),
            (1, 3, three.sealed.hash)
        );
        assert_eq!((label.reaches[0].from, label.reaches[0].to), (0, 9));
        assert_eq!(segment.cut(), three.sealed.cut);
        // Merged once more, with one that follows.
        let next = self::segment(4, three.sealed.hash, 9, &[(1, row(10, "e1", 4, 7))]);
        let again = merge(&[&merged, &next], |_, _, _| false);
        assert_eq!(rows(&[&again], life_key), rows(&[&merged, &next], life_key));
        let links = [&one, &merged, &next].map(|one| Link {
            label: one.sealed.label.clone(),
            hash: one.sealed.hash,
        });
        assert_eq!(check(&links).breaks, []);
        assert_eq!(check(&links).used, [1, 2]);
        assert_eq!(positions(links[1..].iter()), []);
    }

    #[test]
    fn blocks_whose_keys_were_erased_are_left_out() {
        let [one, two, _] = three();
        let merged = merge(&[&one, &two], |_, incarnation, _| incarnation == 2);
        assert_eq!(merged.sealed.blocks, 4);
        assert!(merged.open().life(0, 2).is_empty());
        let left = rows(&[&merged], life_key);
        assert!(left.len() == 4 && left.iter().all(|row| row.entity != "e2"));
        let mut writer = Writer::new(head(1, [0; 32]));
        writer.begin(0, 0, 1, false);
        let plan = plan_row(1, 2);
        assert!(
            writer
                .row(0, 1, &plan.borrow(), Some(&apart()))
                .expect("taken")
        );
        let step = seal(writer);
        let merged = merge(&[&step], |_, _, part| part == 1);
        assert_eq!(merged.sealed.blocks, 2);
        let lives = merged.lives(keys_without(&[(0, 1, 1)]));
        let rows = lives[0].as_ref().expect("a life").rows.to_rows();
        let data = &rows[0].data;
        assert!(data.contains("secret 2") && !data.contains("secret 1"));
    }

    #[test]
    fn lists_are_kept() {
        let mut before = [0; 32];
        let written = [1, 2].map(|number| {
            let mut writer = Writer::new(head(number, before));
            writer.begin(0, 0, 1, false);
            let edit = Edit {
                shard: 0,
                part: 0,
                position: number as i64,
                of: number as i64,
                at: 0,
            };
            let run = Run {
                shard: 0,
                first: 1,
                run: 7,
            };
            assert!(writer.erased(edit) && writer.changed(edit) && writer.run(run));
            let written = seal(writer);
            before = written.sealed.hash;
            written
        });
        let mut merge = Merge::default();
        for one in &written {
            assert!(add(&mut merge, one, one.sealed.hash, |_, _, _| false).expect("follows"));
        }
        let mut bytes = Vec::new();
        let sealed = merge.seal([9; 32], 5, "n".into(), &key(0), &mut bytes);
        let merged = Written {
            bytes,
            sealed: sealed.expect("seals"),
        };
        let segment = merged.open();
        assert_eq!(segment.changed().len(), 2);
        assert_eq!(segment.erased().len(), 2);
        assert_eq!(segment.runs().len(), 1);
    }

    /// A row that was changed twice, and a plan of which a step was cleared: the last change holds.
    #[test]
    fn revisions_keep_their_order_and_their_payloads() {
        let (first, plan) = (row(1, "a", 1, 0), plan_row(2, 2));
        let cleared = Row {
            data: plan.data.replace(
                r#"Forward","payload":{"f":"secret 1"}"#,
                r#"Cleared","payload":{              }"#,
            ),
            ..plan.clone()
        };
        let mut before = [0; 32];
        let written = [1, 2, 3].map(|number| {
            let mut writer = Writer::new(head(number, before));
            writer.begin(0, if number == 1 { 0 } else { 2 }, 1, false);
            let mut changed = first.clone();
            changed.recorded_at += number as i64;
            for (incarnation, row) in [
                (1, &changed),
                (2, if number == 1 { &plan } else { &cleared }),
            ] {
                let (row, apart) = (row.borrow(), apart());
                let taken = match number {
                    1 => writer.row(0, incarnation, &row, Some(&apart)),
                    _ => writer.revision(0, incarnation, &row, Some(&apart)),
                };
                assert!(taken.expect("taken"));
            }
            let written = seal(writer);
            before = written.sealed.hash;
            written
        });
        let all: Vec<&Written> = written.iter().collect();
        let lives = merge(&all, |_, _, _| false).lives(life_key);
        let [a, saga] = &lives[..] else {
            panic!("two lives");
        };
        let times = |rows: &RowList| {
            rows.iter()
                .map(|(row, _)| row.recorded_at - first.recorded_at)
                .collect()
        };
        let a = a.as_ref().expect("a life");
        let found: [Vec<i64>; 2] = [times(&a.rows), times(&a.revisions)];
        assert_eq!(found, [vec![1], vec![2, 3]]);
        let saga = saga.as_ref().expect("a life");
        assert_eq!(saga.rows.to_rows(), [plan]);
        assert_eq!(saga.revisions.to_rows(), [cleared.clone(), cleared]);
    }

    #[test]
    fn segments_that_do_not_follow_are_not_merged() {
        let [one, two, three] = three();
        let gap = |first: &Written, second: &Written, hash| {
            let mut merge = Merge::default();
            assert!(add(&mut merge, first, hash, |_, _, _| false).expect("the first"));
            let added = add(&mut merge, second, second.sealed.hash, |_, _, _| false);
            matches!(added, Err(Error::Gap { number, .. }) if number == second.sealed.label.number)
        };
        assert!(!gap(&one, &two, one.sealed.hash));
        assert!(gap(&one, &three, one.sealed.hash));
        assert!(gap(&two, &one, two.sealed.hash));
        assert!(gap(&one, &two, [1; 32]));
        let other = segment(2, one.sealed.hash, 4, &[]);
        assert!(gap(&one, &other, one.sealed.hash));
        let nothing = Merge::default().seal([9; 32], 5, "n".into(), &key(0), &mut Vec::new());
        assert!(matches!(nothing, Err(Error::Misuse(_))));
    }

    #[test]
    fn a_segment_that_is_full_takes_no_other() {
        let large = |number, before, from: i64| {
            let mut row = row(from + 1, "a", number, from);
            row.data = "x".repeat(ROOM / 2);
            segment(number, before, from, &[(1, row)])
        };
        let one = large(1, [0; 32], 0);
        let two = large(2, one.sealed.hash, 1);
        let mut merge = Merge::default();
        assert!(add(&mut merge, &one, one.sealed.hash, |_, _, _| false).expect("fits"));
        assert!(!add(&mut merge, &two, two.sealed.hash, |_, _, _| false).expect("follows"));
        assert!(add(&mut merge, &two, two.sealed.hash, |_, _, _| true).expect("nothing alive"));
    }

    proptest! {
        /// However the rows of some lives are spread over segments, merging them changes nothing.
        #[test]
        fn merging_changes_no_row(log in life(1..12), cuts in proptest::collection::vec(any::<bool>(), 12)) {
            let incarnation = log[0].position;
            let mut written: Vec<Written> = Vec::new();
            let mut rows_of: Vec<(i64, Row)> = Vec::new();
            let mut from = 0;
            for (n, row) in log.iter().enumerate() {
                rows_of.push((incarnation, row.clone()));
                if cuts[n] || n + 1 == log.len() {
                    let before = written.last().map_or([0; 32], |last| last.sealed.hash);
                    written.push(segment(written.len() as u64 + 1, before, from, &rows_of));
                    from = row.position;
                    rows_of.clear();
                }
            }
            let all: Vec<&Written> = written.iter().collect();
            let merged = merge(&all, |_, _, _| false);
            prop_assert!(merged.open().verify().is_ok());
            prop_assert_eq!(rows(&[&merged], life_key), log);
        }
    }
}
