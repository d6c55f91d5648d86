//! Whether segments follow each other without a gap. Pure: it looks at labels and hashes.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};

use super::label::{Hash, Label, NO_HASH};

/// A segment that is there.
#[derive(Clone, Debug)]
pub struct Link {
    /// Its label.
    pub label: Label,
    /// The SHA-256 of all of it.
    pub hash: Hash,
}

/// Where segments do not follow each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Break {
    /// Segments from this number to that one are missing.
    Missing(u64, u64),
    /// The segment of this number is of another backup or another stream than the first one.
    Foreign(u64),
    /// There are two segments of this number, neither of which replaces the other.
    Twice(u64),
    /// The segment of this number was written behind another one than that which stands before it: one of them was
    /// exchanged, or an older folder was put back and written on.
    OtherBefore(u64),
    /// Merged segments overlap: this one begins among those that the one before it replaces.
    Overlap(u64),
    /// A shard goes on elsewhere than it ended.
    Positions {
        /// The segment that goes on.
        number: u64,
        /// The shard.
        shard: u16,
        /// The last position before.
        ends: i64,
        /// Where it goes on.
        from: i64,
    },
}

impl Display for Break {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(first, last) if first == last => write!(f, "segment {first} is missing"),
            Self::Missing(first, last) => write!(f, "segments {first} to {last} are missing"),
            Self::Foreign(number) => write!(f, "segment {number} is of another backup"),
            Self::Twice(number) => write!(f, "there are two segments {number}"),
            Self::OtherBefore(number) => write!(
                f,
                "segment {number} was written behind another one than that which stands before it"
            ),
            Self::Overlap(number) => write!(f, "segment {number} overlaps the one before it"),
            Self::Positions {
                number,
                shard,
                ends,
                from,
            } => write!(
                f,
                "segment {number} goes on behind position {from} of shard {shard}, which ends at {ends} before it"
            ),
        }
    }
}

/// What is left of the segments of a stream, and what is wrong with them.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// Which of those given are to be read, in order.
    pub used: Vec<usize>,
    /// Which were merged into others that are there.
    pub replaced: Vec<usize>,
    /// What is wrong.
    pub breaks: Vec<Break>,
}

/// Orders the segments of one stream, given in any order, and looks for gaps between them. Missing ones at the end
/// can't be seen in what is there: compare the last number with that in `keys/index`.
pub fn check(links: &[Link]) -> Chain {
    let mut chain = Chain::default();
    let mut order: Vec<(usize, &Link)> = links.iter().enumerate().collect();
    // Of those that begin with the same number, the one that reaches furthest.
    order.sort_by_key(|(_, link)| {
        let label = &link.label;
        (
            label.first,
            std::cmp::Reverse((label.number, label.is_merged())),
        )
    });
    let mut before: Option<&Link> = None;
    for (at, link) in order {
        let label = &link.label;
        let last = before.map_or(0, |before| before.label.number);
        if let Some(before) = before {
            let (one, two) = (&before.label, label);
            if (one.backup, one.stream, one.shards) != (two.backup, two.stream, two.shards) {
                chain.breaks.push(Break::Foreign(label.number));
                continue;
            }
            if label.number <= last {
                let is_same = before.hash == link.hash;
                if !one.is_merged() && !is_same {
                    chain.breaks.push(Break::Twice(label.number));
                } else if label.number == last && !is_same && stands_for(link) != stands_for(before)
                {
                    chain.breaks.push(Break::OtherBefore(last));
                }
                chain.replaced.push(at);
                continue;
            }
            if label.first <= last {
                chain.breaks.push(Break::Overlap(label.number));
            }
        }
        let next = last.saturating_add(1);
        if label.first > next {
            chain.breaks.push(Break::Missing(next, label.first - 1));
        } else if label.first == next && label.before != before.map_or(NO_HASH, stands_for) {
            chain.breaks.push(Break::OtherBefore(label.number));
        }
        chain.used.push(at);
        before = Some(link);
    }
    chain
}

/// Looks for positions that are missing from the segments that are read, those of all streams together: a shard that
/// moves to another node goes on in the stream of that one.
pub fn positions<'a>(links: impl Iterator<Item = &'a Link>) -> Vec<Break> {
    let mut of_shards: BTreeMap<u16, Vec<(i64, i64, bool, u64)>> = BTreeMap::new();
    for link in links {
        for reach in &link.label.reaches {
            if reach.from < reach.to || reach.is_lost {
                let piece = (reach.from, reach.to, reach.is_lost, link.label.number);
                of_shards.entry(reach.shard).or_default().push(piece);
            }
        }
    }
    let mut breaks = Vec::new();
    for (shard, mut pieces) in of_shards {
        pieces.sort_unstable();
        let mut ends = 0;
        for (from, to, is_lost, number) in pieces {
            if from < ends || (from > ends && !is_lost) {
                breaks.push(Break::Positions {
                    number,
                    shard,
                    ends,
                    from,
                });
            }
            ends = ends.max(to);
        }
    }
    breaks
}

/// The hash that the label of the next segment has.
pub fn stands_for(link: &Link) -> Hash {
    if link.label.is_merged() {
        link.label.stands_for
    } else {
        link.hash
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::label::Reach;
    use crate::backup::testing::label;

    fn hash(number: u64) -> Hash {
        [number as u8; 32]
    }

    fn link(number: u64, from: i64, to: i64) -> Link {
        let reach = Reach {
            shard: 0,
            is_lost: false,
            from,
            to,
            run: 1,
        };
        let label = Label {
            number,
            first: number,
            before: hash(number - 1),
            reaches: vec![reach],
            ..label()
        };
        Link {
            label,
            hash: hash(number),
        }
    }

    fn links(numbers: std::ops::RangeInclusive<u64>) -> Vec<Link> {
        numbers
            .map(|n| link(n, n as i64 * 10 - 10, n as i64 * 10))
            .collect()
    }

    fn merged(first: u64, last: u64) -> Link {
        let mut link = link(last, first as i64 * 10 - 10, last as i64 * 10);
        link.label.first = first;
        link.label.before = hash(first - 1);
        link.label.stands_for = hash(last);
        link.hash = hash(100 + last);
        link
    }

    fn breaks(links: &[Link]) -> Vec<Break> {
        let mut breaks = check(links).breaks;
        breaks.extend(positions(links.iter()));
        breaks
    }

    #[test]
    fn segments_that_follow_each_other_are_a_chain_in_any_order() {
        let mut links = links(1..=4);
        assert_eq!(breaks(&links), []);
        links.reverse();
        let chain = check(&links);
        assert_eq!((chain.used, chain.breaks), (vec![3, 2, 1, 0], vec![]));
        assert_eq!(check(&[]), Chain::default());
    }

    #[test]
    fn merged_segments_stand_for_those_that_they_replace() {
        let mut all = links(1..=6);
        all.push(merged(2, 4));
        let chain = check(&all);
        assert_eq!(chain.breaks, []);
        assert_eq!(chain.used, [0, 6, 4, 5]);
        assert_eq!(chain.replaced.len(), 3);
        // Without those that are replaced, and merged once more.
        let few = [all[0].clone(), merged(2, 4), all[4].clone(), all[5].clone()];
        assert_eq!(breaks(&few), []);
        all.push(merged(1, 5));
        let chain = check(&all);
        assert_eq!((chain.used, chain.breaks), (vec![7, 5], vec![]));
        assert_eq!(breaks(&[merged(1, 5), all[5].clone()]), []);
        // One that was made of a single segment.
        let alone = [links(1..=1)[0].clone(), merged(1, 1), link(2, 10, 20)];
        let chain = check(&alone);
        assert_eq!((chain.used, chain.breaks), (vec![1, 2], vec![]));
    }

    #[test]
    fn what_is_missing_is_named() {
        let all = links(1..=6);
        let first = check(&all[2..]);
        assert_eq!(first.breaks, [Break::Missing(1, 2)]);
        let inner: Vec<Link> = [&all[..2], &all[4..]].concat();
        assert_eq!(check(&inner).breaks, [Break::Missing(3, 4)]);
        assert_eq!(
            positions(inner.iter()),
            [Break::Positions {
                number: 5,
                shard: 0,
                ends: 20,
                from: 40
            }]
        );
        // The positions follow, but a segment without any is missing.
        let mut quiet = link(3, 20, 20);
        quiet.label.before = hash(2);
        assert_eq!(positions([&all[0], &all[1], &quiet].into_iter()), []);
    }

    #[test]
    fn segments_that_were_exchanged_or_copied_are_named() {
        let mut all = links(1..=4);
        all[2].label.before = hash(9);
        assert_eq!(breaks(&all), [Break::OtherBefore(3)]);
        let mut twice = links(1..=3);
        let mut other = link(2, 10, 20);
        other.hash = hash(9);
        twice.push(other);
        assert!(check(&twice).breaks.contains(&Break::Twice(2)));
        // The same one twice is no harm.
        let mut again = links(1..=3);
        again.push(link(2, 10, 20));
        assert_eq!(check(&again).breaks, []);
        let mut foreign = links(1..=3);
        foreign[1].label.stream = 6;
        assert!(check(&foreign).breaks.contains(&Break::Foreign(2)));
        let mut other_merge = vec![merged(1, 3), link(3, 20, 30), link(4, 30, 40)];
        other_merge[0].label.stands_for = hash(9);
        let found = check(&other_merge).breaks;
        assert_eq!(found, [Break::OtherBefore(3), Break::OtherBefore(4)]);
        let overlap = [merged(1, 3), merged(2, 5)];
        assert!(check(&overlap).breaks.contains(&Break::Overlap(5)));
        let mut begins = links(1..=1);
        begins[0].label.first = 1;
        begins[0].label.before = hash(5);
        assert_eq!(check(&begins).breaks, [Break::OtherBefore(1)]);
    }

    #[test]
    fn positions_follow_over_streams_and_lost_ones_are_no_gap() {
        let mut other = link(1, 10, 15);
        other.label.stream = 6;
        let all = [link(1, 0, 10), link(2, 15, 20), other];
        assert_eq!(positions(all.iter()), []);
        let mut lost = link(3, 1 << 40, 1 << 40);
        lost.label.reaches[0].is_lost = true;
        let next = link(4, 1 << 40, (1 << 40) + 5);
        assert_eq!(positions(all.iter().chain([&lost, &next])), []);
        lost.label.reaches[0].is_lost = false;
        assert_eq!(positions(all.iter().chain([&lost, &next])).len(), 1);
        let twice = [link(1, 0, 10), link(2, 9, 20)];
        assert_eq!(positions(twice.iter()).len(), 1);
    }
}
