//! What recovery makes of the segments that it finds. Pure.

use super::label::Label;
use super::note::Note;
use super::scan::{Scan, sound};

/// A segment that was read.
pub struct Read {
    /// Its label.
    pub label: Label,
    /// Its records.
    pub scan: Scan,
}

impl Read {
    /// Where in the segment so many of its records end.
    pub fn end_of(&self, count: usize) -> u64 {
        let last = count
            .checked_sub(1)
            .and_then(|last| self.scan.found.get(last));
        let label = Label::bytes(self.label.positions.len());
        last.map_or(label, |last| last.at + last.header.size()) as u64
    }
}

/// What of the segments counts.
#[derive(Debug, PartialEq, Eq)]
pub struct Judged {
    /// Of each segment, how many of its first records count.
    pub counts: Vec<usize>,
    /// Where the next record stands in the journal.
    pub next: u64,
}

/// What is wrong with the segments.
#[derive(Debug, PartialEq, Eq)]
pub enum Wrong {
    /// In the segment of that number a record is damaged or missing, at this place of the journal.
    Hole(u64, u64),
    /// The journal ends before this place, up to which it was synced, in the segment of that number.
    Short(u64, u64),
    /// The segment of that number was begun, and is missing.
    Missing(u64),
}

/// Judges segments, which are in the order of their numbers. What recycled segments had is in the
/// shards; so segments may be missing between two others, and each shard looks for itself whether it
/// has all records up to its first one here.
pub fn judge(read: &[Read], note: Option<&Note>) -> Result<Judged, Wrong> {
    let mut counts = Vec::with_capacity(read.len());
    let mut next = 1;
    for (index, Read { label, scan }) in read.iter().enumerate() {
        let later = read.get(index + 1).map(|later| &later.label);
        // What stands here from the later segment's first place on was never acknowledged; nor was what
        // stands behind the last record of a journal that was closed.
        let closed = note.filter(|note| note.is_behind(label.number));
        let ended = closed.map(|note| note.synced.saturating_add(1));
        let limit = later.map(|later| later.first).or(ended);
        let before = |count: usize| label.first.saturating_add(count as u64);
        let counted = match limit {
            Some(limit) => {
                let room = usize::try_from(limit.saturating_sub(label.first)).unwrap_or(usize::MAX);
                scan.found.len().min(room)
            }
            None => sound(&scan.found),
        };
        let end = before(counted);
        let ends_early = limit.is_none_or(|limit| end < limit);
        let hole = before(scan.found.len());
        if scan.has_hole && limit.is_none_or(|limit| hole < limit) {
            return Err(Wrong::Hole(label.number, hole));
        }
        let is_followed = later.is_some_and(|later| later.number == label.number + 1);
        if is_followed && ends_early {
            return Err(Wrong::Hole(label.number, end));
        }
        counts.push(counted);
        next = end;
    }
    if let Some(note) = note {
        let last = read.last().map_or(0, |read| read.label.number);
        if !note.is_closed && last < note.number {
            return Err(Wrong::Missing(note.number));
        }
        if !note.is_closed && next <= note.synced {
            return Err(Wrong::Short(last, note.synced));
        }
        next = next.max(note.synced + 1);
    }
    Ok(Judged { counts, next })
}

#[cfg(test)]
mod tests {
    use super::super::record::{Header, Kind};
    use super::super::scan::Found;
    use super::*;

    /// A segment with records from `first` on, each in a commit of its own; these are not sound.
    fn segment(number: u64, first: u64, count: u64, broken: &[u64]) -> Read {
        let found = (first..first + count).map(|lsn| Found {
            at: 0,
            is_sound: !broken.contains(&lsn),
            header: Header {
                kind: Kind::Erase,
                shard: 0,
                body: 0,
                lsn,
                index: 0,
                is_last: true,
                entity: 0,
                aggregate: 0,
                position: 0,
                prev: 0,
                recorded_at: 0,
                sum: 0,
            },
        });
        Read {
            label: Label {
                size: 0,
                number,
                journal: 1,
                run: 1,
                first,
                positions: Vec::new(),
            },
            scan: Scan {
                found: found.collect(),
                has_hole: false,
            },
        }
    }

    fn note(number: u64, synced: u64, is_closed: bool) -> Note {
        Note {
            journal: 1,
            is_closed,
            number,
            synced,
        }
    }

    fn counts(read: &[Read], note: Option<&Note>) -> Result<(Vec<usize>, u64), Wrong> {
        judge(read, note).map(|judged| (judged.counts, judged.next))
    }

    #[test]
    fn a_journal_without_segments_begins_where_it_was_closed() {
        assert_eq!(counts(&[], None), Ok((vec![], 1)));
        assert_eq!(counts(&[], Some(&note(3, 70, true))), Ok((vec![], 71)));
        let open = note(3, 70, false);
        assert_eq!(counts(&[], Some(&open)), Err(Wrong::Missing(3)));
    }

    #[test]
    fn what_failed_is_cut_off_by_the_next_segment() {
        let read = [segment(1, 1, 10, &[]), segment(2, 9, 2, &[])];
        assert_eq!(counts(&read, None), Ok((vec![8, 2], 11)));
        // Also when it is broken, and a record that counts is not.
        let read = [segment(1, 1, 10, &[9]), segment(2, 9, 2, &[])];
        assert_eq!(counts(&read, None), Ok((vec![8, 2], 11)));
    }

    #[test]
    fn what_failed_before_a_journal_was_closed_does_not_count() {
        let left = [segment(3, 1, 10, &[])];
        assert_eq!(counts(&left, Some(&note(3, 8, true))), Ok((vec![8], 9)));
        // It was begun since.
        let begun = [segment(4, 9, 2, &[])];
        assert_eq!(counts(&begun, Some(&note(3, 8, true))), Ok((vec![2], 11)));
    }

    #[test]
    fn a_gap_between_neighbours_is_a_hole_and_between_others_was_recycled() {
        let read = [segment(1, 1, 5, &[]), segment(2, 9, 2, &[])];
        assert_eq!(counts(&read, None), Err(Wrong::Hole(1, 6)));
        let read = [segment(1, 1, 5, &[]), segment(3, 9, 2, &[])];
        assert_eq!(counts(&read, None), Ok((vec![5, 2], 11)));
    }

    #[test]
    fn the_last_record_may_be_torn_unless_it_was_synced() {
        let read = [segment(1, 1, 5, &[5])];
        assert_eq!(counts(&read, Some(&note(1, 4, false))), Ok((vec![4], 5)));
        assert_eq!(
            counts(&read, Some(&note(1, 5, false))),
            Err(Wrong::Short(1, 5))
        );
        // Damage before that is for the shard to judge.
        let read = [segment(1, 1, 5, &[3])];
        assert_eq!(counts(&read, Some(&note(1, 5, false))), Ok((vec![5], 6)));
    }

    #[test]
    fn a_hole_is_told_where_it_counts() {
        let mut read = [segment(1, 1, 5, &[]), segment(2, 4, 2, &[])];
        read[0].scan.has_hole = true;
        assert_eq!(counts(&read, None), Ok((vec![3, 2], 6)));
        read[1].scan.has_hole = true;
        assert_eq!(counts(&read, None), Err(Wrong::Hole(2, 6)));
        // Also when the commit before it lost its end in it.
        read[1].scan.found[1].header.is_last = false;
        assert_eq!(counts(&read, None), Err(Wrong::Hole(2, 6)));
    }
}
