//! About how many entities a shard has.

use super::view::Reader;
use crate::error::Result;
use crate::event::RESERVED;
use crate::index::aggregates::{Names, Set};

/// How many entities are looked at, at most.
const SAMPLE: i64 = if cfg!(test) { 256 } else { 16_384 };

impl Reader<'_> {
    /// About how many entities there are. Those are left out that have events of Warp's own aggregates; where a shard
    /// has had more than 62 aggregates, and those of Warp came late, they are counted too.
    ///
    /// It looks at the beginning of the index alone, since a long read makes the WAL grow. When there is more, the
    /// hashes there tell how many there are: they are spread evenly. That is about 1 in a hundred too many, or too few.
    pub fn entity_count(&self) -> Result<u64> {
        let young = self.shared().tail().users();
        let own = Names::read(self.connection())?.set_of_prefix(RESERVED);
        let mut statement = self.connection().prepare_cached(
            "SELECT hash, aggregates FROM entities ORDER BY hash, incarnation LIMIT ?1",
        )?;
        let mut rows = statement.query([SAMPLE])?;
        let (mut looked_at, mut users, mut last) = (0, 0, i64::MIN);
        while let Some(row) = rows.next()? {
            last = row.get(0)?;
            let set: Set = row.get(1)?;
            looked_at += 1;
            users += u64::from(set & own == 0);
        }
        let in_file = if looked_at < SAMPLE {
            users
        } else {
            of_all(users, last)
        };
        Ok(in_file.saturating_add_signed(young))
    }
}

/// How many there are in all when so many have a hash up to this one.
fn of_all(found: u64, last: i64) -> u64 {
    let hashes = u128::from(i64::MIN.abs_diff(last)) + 1;
    let all = (u128::from(found) << u64::BITS) / hashes;
    u64::try_from(all).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_tell_how_many_there_are() {
        assert_eq!(of_all(300, i64::MAX), 300);
        assert_eq!(of_all(300, -1), 600);
        assert_eq!(of_all(300, i64::MIN + (1 << 32) - 1), 300 << 32);
        assert_eq!(of_all(300, i64::MIN), u64::MAX);
        assert_eq!(of_all(0, i64::MIN), 0);
    }
}
