//! Events of an entity that are put back as they were, until they are stored or given up.

use std::sync::{Arc, Mutex};

use rustler::Resource;

use super::Packed;
use crate::sync::relock;

/// What the data of a row begins with whose events were put back. Nothing else does: in every other row the
/// first field is the type.
const MARK: &str = "[{\"imported\":";

/// What a row of events that are put back is packed with.
#[derive(Clone, Copy)]
pub struct Returned {
    /// The seq that its first event has.
    pub first: u64,
    /// When that is done, in microseconds since 1970.
    pub at: i64,
}

/// When the events of a row with this data were put back, in microseconds since 1970; `None` when they were not.
pub fn imported_at(data: &str) -> Option<i64> {
    let rest = data.strip_prefix(MARK)?;
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

/// One row of them.
pub struct ImportRow {
    /// Its events.
    pub packed: Arc<Packed>,
    /// The time that they had, in microseconds since 1970.
    pub recorded_at: i64,
}

/// All of them, in order, and whoever stores them shares the rows.
pub struct Import {
    /// When they are put back, in microseconds since 1970.
    pub at: i64,
    rows: Mutex<Arc<Vec<ImportRow>>>,
}

#[rustler::resource_impl]
impl Resource for Import {}

impl Import {
    /// Without rows.
    pub fn new(at: i64) -> Self {
        Self {
            at,
            rows: Mutex::default(),
        }
    }

    /// Adds a row. False when the rows were handed to the writer, and no more can be added.
    pub fn add(&self, packed: Packed, recorded_at: i64) -> bool {
        match Arc::get_mut(&mut *relock(&self.rows)) {
            Some(rows) => {
                rows.push(ImportRow {
                    packed: Arc::new(packed),
                    recorded_at,
                });
                true
            }
            None => false,
        }
    }

    /// The rows.
    pub fn rows(&self) -> Arc<Vec<ImportRow>> {
        Arc::clone(&relock(&self.rows))
    }

    /// Nobody will ask for them any more.
    pub fn release(&self) {
        let rows = std::mem::take(&mut *relock(&self.rows));
        drop(rows);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_that_was_put_back_says_when() {
        let at = imported_at(r#"[{"imported":1795178321547399,"type":"A","payload":{}}]"#);
        assert_eq!(at, Some(1_795_178_321_547_399));
        for data in [
            r#"[{"type":"A","payload":{"imported":7}}]"#,
            r#"[{"imported":"#,
            "",
        ] {
            assert_eq!(imported_at(data), None, "{data}");
        }
    }

    #[test]
    fn rows_that_the_writer_has_do_not_change() {
        let import = Import::new(7);
        let packed = || Packed::new("A".into(), "[{}]".into(), 1, Vec::new());
        assert!(import.add(packed(), 1));
        let taken = import.rows();
        assert!(!import.add(packed(), 2));
        assert_eq!(taken.len(), 1);
        import.release();
        assert!(import.rows().is_empty());
        assert_eq!(taken.len(), 1);
    }
}
