//! Payloads that can go before the rest of their row does: each of them has a key of its own, see `keys`.

use crate::error::{Error, Result};
use crate::event::parse_row;

/// Which events of an entity's first row have such payloads.
#[derive(Clone, Default)]
pub struct Apart {
    /// Their types, and what these are once the payload is cleared.
    types: Vec<(String, String)>,
    /// How many of them, one behind the other, share a key.
    group: usize,
}

/// The payload of an event of the first row of an entity.
#[derive(Debug, PartialEq, Eq)]
pub struct Part {
    /// The seq of the event.
    pub seq: u64,
    /// Which of the entity's keys is that of the payload; 0 is the one of all else.
    pub key: usize,
    /// The payload is cleared.
    pub is_cleared: bool,
}

impl Apart {
    /// Error: `Internal` when no event at all shares a key, or when a type and what becomes of it differ in size: a row
    /// keeps its size.
    pub fn new(types: Vec<(String, String)>, group: usize) -> Result<Self> {
        if group == 0 || types.iter().any(|(from, to)| from.len() != to.len()) {
            return Err(Error::internal("a key that is no event's"));
        }
        Ok(Self { types, group })
    }

    /// Types of events, and what these are once the payload is cleared.
    pub fn types(&self) -> &[(String, String)] {
        &self.types
    }

    /// How many of them share a key.
    pub fn group(&self) -> usize {
        self.group
    }

    /// The payloads with keys of their own in a first row, in order. Error: `Corrupt`, when it is not what Warp writes.
    pub fn of(&self, data: &str) -> Result<Vec<Part>> {
        let mut parts = Vec::new();
        if self.types.is_empty() {
            return Ok(parts);
        }
        for (seq, event) in (1..).zip(parse_row(data)?) {
            let is = |kind: &String| *kind == event.kind;
            let is_cleared = self.types.iter().any(|(_, to)| is(to));
            if is_cleared || self.types.iter().any(|(from, _)| is(from)) {
                let key = 1 + parts.len() / self.group;
                parts.push(Part {
                    seq,
                    key,
                    is_cleared,
                });
            }
        }
        Ok(parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(data: &str, group: usize) -> Vec<(u64, usize, bool)> {
        let types = [("Forward", "Cleared"), ("Reverse", "Cleared")];
        let types = types.map(|(from, to)| (from.into(), to.into()));
        let apart = Apart::new(types.into(), group).expect("a group");
        let parts = apart.of(data).expect("a row").into_iter();
        parts
            .map(|part| (part.seq, part.key, part.is_cleared))
            .collect()
    }

    #[test]
    fn payloads_that_go_together_share_a_key() {
        let data = r#"[{"type":"Planned","payload":{}},{"type":"Forward","payload":{}},
            {"type":"Cleared","payload":{}},{"type":"Other","payload":{}},{"type":"Reverse","payload":{}}]"#;
        assert_eq!(parts(data, 2), [(2, 1, false), (3, 1, true), (5, 2, false)]);
        assert_eq!(parts(data, 1), [(2, 1, false), (3, 2, true), (5, 3, false)]);
        assert_eq!(Apart::default().of(data).expect("a row"), []);
        assert!(matches!(Apart::new(vec![], 0), Err(Error::Internal(_))));
    }
}
