//! Restores that go on with other segments than they began with: some were merged meanwhile.

use super::crash_tests::{saved, tables};
use crate::backup::merge::Merge;
use crate::backup::testing::key;
use crate::error::Error;

#[test]
fn a_restore_goes_on_with_segments_that_were_merged_meanwhile() {
    let saved = saved();
    let whole = tempfile::tempdir().expect("temp dir");
    let restoring = saved.restoring(whole.path());
    saved.restore(&restoring).expect("restored");
    restoring.finish().expect("finished");
    let last = saved.segments.len();
    let mut merge = Merge::default();
    for written in &saved.segments {
        let none = |_, _, _| Ok::<_, Error>(false);
        let added = merge.add(&written.open(), written.sealed.hash, none);
        assert_eq!(added.ok().flatten(), Some(0));
    }
    let mut merged = Vec::new();
    merge
        .seal([7; 32], 1, "node".into(), &key(0), &mut merged)
        .expect("sealed");
    for written in [0, 1, last / 2, last - 1] {
        let dir = tempfile::tempdir().expect("temp dir");
        let restoring = saved.restoring(dir.path());
        for (number, segment) in (1..).zip(&saved.segments).take(written) {
            let (_, opened) = restoring.open(number, &segment.bytes).expect("opened");
            restoring.write(opened).expect("written");
        }
        restoring.close().expect("closed");
        let restoring = saved.restoring(dir.path());
        let (counts, opened) = restoring.open(last as u64, &merged).expect("opened");
        assert_eq!(counts.rows as usize, saved.rows.len());
        restoring.write(opened).expect("written");
        restoring.finish().expect("finished");
        assert!(
            tables(dir.path()) == tables(whole.path()),
            "after {written} segments: another result"
        );
    }
}
