//! The journal's note in the file `lock`: up to where the journal was synced. Pure.
//!
//! It is written after each sync and before anyone is answered, and not synced itself: so it never
//! says too much, and after a crash of the VM alone it says all.

use xxhash_rust::xxh3::xxh3_64;

/// Where in the file `lock` the note stands: in its first sector, behind the line that says that all
/// shards have been created.
pub const AT: u64 = 128;
/// How many bytes a note has.
pub const BYTES: usize = 96;

/// What the note says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The random number of the context's journal.
    pub journal: u64,
    /// Whether the journal was closed with all of it in the shards, so that no segment is left.
    pub is_closed: bool,
    /// The number of the last segment that was begun.
    pub number: u64,
    /// The place of the last record that was synced.
    pub synced: u64,
}

impl Note {
    /// Whether the journal was closed with the segment of this number, so that the shards have all of it.
    pub fn is_behind(&self, number: u64) -> bool {
        self.is_closed && number <= self.number
    }

    /// The note as a line of text.
    pub fn encode(&self) -> [u8; BYTES] {
        let state = if self.is_closed { "closed" } else { "open  " };
        let Self {
            journal,
            number,
            synced,
            ..
        } = self;
        let said = format!("journal {journal:016x} {state} {number:020} {synced:020}");
        let check = xxh3_64(said.as_bytes());
        let line = format!("{said} {check:016x}");
        let mut bytes = [b' '; BYTES];
        for (place, byte) in bytes.iter_mut().zip(line.bytes().chain([b'\n'])) {
            *place = byte;
        }
        bytes
    }

    /// Reads a note. `None` when there is none yet; `Err` when something else stands there.
    pub fn decode(bytes: &[u8]) -> Result<Option<Self>, ()> {
        if bytes.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let parse = || {
            let line = std::str::from_utf8(bytes).ok()?.lines().next()?;
            let (said, check) = line.rsplit_once(' ')?;
            if u64::from_str_radix(check, 16).ok()? != xxh3_64(said.as_bytes()) {
                return None;
            }
            let mut words = said.split_ascii_whitespace().skip(1);
            Some(Self {
                journal: u64::from_str_radix(words.next()?, 16).ok()?,
                is_closed: words.next()? == "closed",
                number: words.next()?.parse().ok()?,
                synced: words.next()?.parse().ok()?,
            })
        };
        parse().map(Some).ok_or(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_note_comes_back_and_no_other(journal: u64, is_closed: bool, number: u64, synced: u64,
                                          flip in 0usize..93 * 8) {
            let note = Note { journal, is_closed, number, synced };
            let bytes = note.encode();
            prop_assert_eq!(Note::decode(&bytes), Ok(Some(note.clone())));
            let mut flipped = bytes;
            flipped[flip / 8] ^= 1 << (flip % 8);
            // A digit of the checksum in upper case says the same.
            prop_assert!(Note::decode(&flipped).is_err() || Note::decode(&flipped) == Ok(Some(note)));
        }
    }

    #[test]
    fn zeros_are_no_note() {
        assert_eq!(Note::decode(&[0; BYTES]), Ok(None));
        assert_eq!(Note::decode(&[]), Ok(None));
        assert_eq!(Note::decode(b"x"), Err(()));
    }
}
