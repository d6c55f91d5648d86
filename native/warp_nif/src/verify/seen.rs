//! Which positions of a log were seen: a bit for each.

/// The positions from 1 up to a last one.
pub struct Seen(Vec<u64>);

impl Seen {
    /// None was seen of those up to `last`.
    pub fn none(last: i64) -> Self {
        let words = usize::try_from(last / 64 + 1).unwrap_or(0);
        Self(vec![0; words])
    }

    /// Notes a position. One behind the last is not noted.
    pub fn add(&mut self, position: i64) {
        if let Some(word) = Self::word(position).and_then(|word| self.0.get_mut(word)) {
            *word |= 1 << (position % 64);
        }
    }

    /// Whether a position was noted.
    pub fn has(&self, position: i64) -> bool {
        let word = Self::word(position).and_then(|word| self.0.get(word));
        word.is_some_and(|word| word & (1 << (position % 64)) != 0)
    }

    fn word(position: i64) -> Option<usize> {
        usize::try_from(position / 64).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_noted_each_by_itself() {
        let mut seen = Seen::none(130);
        for position in [1, 63, 64, 130, 1000] {
            assert!(!seen.has(position));
            seen.add(position);
        }
        let noted = (0..=1000).filter(|at| seen.has(*at)).collect::<Vec<_>>();
        assert_eq!(noted, [1, 63, 64, 130]);
    }
}
