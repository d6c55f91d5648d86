//! The sums of the pages that stand in the WAL, in memory only: the WAL of a stopped database is
//! checked by SQLite, when it opens it, and never again.

use super::table::{self, PAGE};

/// How many bytes the WAL has before its first frame.
const HEADER: u64 = 32;
/// How many bytes of a frame stand before its page.
const FRAME_HEADER: usize = 24;
const FRAME: usize = FRAME_HEADER + PAGE;

/// The sum of the page in each frame; 0 where none is known.
#[derive(Default)]
pub struct Frames(Vec<u64>);

/// A page in the WAL: the number of its frame, from 1, and its bytes.
pub struct Framed<'b> {
    frame: u64,
    bytes: &'b [u8],
}

/// The page in what SQLite reads or writes: the page by itself, or its whole frame. `None` when it is
/// something else, as a header.
pub fn page_in(offset: u64, bytes: &[u8]) -> Option<Framed<'_>> {
    let at = offset.checked_sub(HEADER)?;
    let (frame, within) = (at / FRAME as u64 + 1, at % FRAME as u64);
    let page = match (within, bytes.len()) {
        (0, FRAME) => bytes.get(FRAME_HEADER..)?,
        (within, PAGE) if within == FRAME_HEADER as u64 => bytes,
        _ => return None,
    };
    Some(Framed { frame, bytes: page })
}

impl Framed<'_> {
    /// Its number.
    pub fn frame(&self) -> u64 {
        self.frame
    }

    /// Its sum, in the file with that id.
    pub fn sum(&self, id: u64) -> u64 {
        table::sum(id, self.frame, self.bytes)
    }
}

impl Frames {
    /// The sum of a frame's page, if it is known.
    pub fn get(&self, frame: u64) -> Option<u64> {
        let index = usize::try_from(frame.checked_sub(1)?).ok()?;
        self.0.get(index).copied().filter(|sum| *sum != 0)
    }

    /// Notes what a frame holds. Without room for it nothing is known of it.
    pub fn set(&mut self, frame: u64, sum: u64) {
        let Some(index) = frame
            .checked_sub(1)
            .and_then(|index| usize::try_from(index).ok())
        else {
            return;
        };
        if index >= self.0.len() {
            let more = (index - self.0.len()).saturating_add(1);
            if self.0.try_reserve(more).is_err() {
                return;
            }
            self.0.resize(index.saturating_add(1), 0);
        }
        if let Some(place) = self.0.get_mut(index) {
            *place = sum;
        }
    }

    /// Notes that the WAL has only so many bytes now.
    pub fn forget_behind(&mut self, bytes: u64) {
        let frames = bytes.saturating_sub(HEADER) / FRAME as u64;
        self.0
            .truncate(usize::try_from(frames).unwrap_or(usize::MAX));
        if bytes == 0 {
            // It was as large as it gets: the room is of no use until then.
            self.0.shrink_to(4096);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_found_by_itself_and_in_its_frame() {
        let mut frame = vec![1; FRAME_HEADER];
        frame.extend([2; PAGE]);
        let third = HEADER + 2 * FRAME as u64;
        let whole = page_in(third, &frame).expect("a frame");
        let alone = page_in(third + 24, &frame[FRAME_HEADER..]).expect("a page");
        assert_eq!((whole.frame(), alone.frame()), (3, 3));
        assert_eq!(whole.sum(5), alone.sum(5));
        assert_ne!(whole.sum(5), whole.sum(6));
        assert!(page_in(0, &frame[..32]).is_none());
        assert!(page_in(third, &frame[..FRAME_HEADER]).is_none());
        assert!(page_in(third + 23, &frame[..PAGE]).is_none());
        assert!(page_in(third, &frame[..PAGE]).is_none());
    }

    #[test]
    fn frames_are_known_until_the_wal_is_cut() {
        let mut frames = Frames::default();
        assert_eq!(frames.get(1), None);
        frames.set(3, 9);
        frames.set(2, 8);
        frames.set(0, 7);
        assert_eq!(
            [0, 1, 2, 3, 4].map(|frame| frames.get(frame)),
            [None, None, Some(8), Some(9), None]
        );
        frames.forget_behind(HEADER + 2 * FRAME as u64 + 100);
        assert_eq!([2, 3].map(|frame| frames.get(frame)), [Some(8), None]);
        frames.forget_behind(0);
        assert_eq!(frames.get(2), None);
    }
}
