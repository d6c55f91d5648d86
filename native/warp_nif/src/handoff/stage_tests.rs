//! Copies that are made page by page, cut short, and said to be complete.

use std::fs;
use std::path::{Path, PathBuf};

use super::names;
use super::outline::Outline;
use super::stage::Stage;
use crate::error::{Error, Result};
use crate::files::Access;
use crate::log::schema::{APPLICATION_ID, FORMAT, WITH_KEYS};
use crate::sqlite::sums::table::{self, PAGE};

/// A file with the header of a shard in its first page, and pages that are filled with these bytes.
fn file(fill: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; PAGE];
    bytes[..16].copy_from_slice(b"SQLite format 3\0");
    bytes[60..64].copy_from_slice(&FORMAT.to_be_bytes());
    bytes[68..72].copy_from_slice(&APPLICATION_ID.to_be_bytes());
    for fill in fill {
        bytes.extend([*fill; PAGE]);
    }
    bytes
}

fn outline(id: u64, file: &[u8]) -> Outline {
    let pages = table::pages(0, file);
    let sums = pages.map(|(page, bytes)| {
        let is_zero = bytes.iter().all(|byte| *byte == 0);
        if is_zero {
            0
        } else {
            table::sum(id, page, bytes)
        }
    });
    Outline {
        id,
        sums: sums.collect(),
    }
}

fn write(stage: &mut Stage, file: &[u8], pages: &[u32]) -> Result<usize> {
    let bytes = pages.iter().flat_map(|page| {
        let at = (*page as usize - 1) * PAGE;
        file[at..at + PAGE].to_vec()
    });
    stage.write(pages, &bytes.collect::<Vec<_>>())
}

struct Copies {
    _dir: tempfile::TempDir,
    path: PathBuf,
}

impl Copies {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("shard-0003.db");
        Self { _dir: dir, path }
    }

    fn open(&self) -> Stage {
        Stage::open(&self.path, Access::Owner).expect("opened")
    }

    fn is_sealed(&self) -> bool {
        names::staged_sums(&self.path).exists()
    }

    fn bytes(&self) -> Vec<u8> {
        fs::read(names::staged(&self.path)).expect("read")
    }
}

#[test]
fn a_copy_goes_on_where_it_was_cut_short() {
    let copies = Copies::new();
    let whole = file(&[1, 2, 0, 4, 5]);
    let mut stage = copies.open();
    assert!(matches!(
        Stage::open(&copies.path, Access::Owner),
        Err(Error::Claimed)
    ));
    // A page of zeros need not be sent.
    assert_eq!(stage.aim(outline(7, &whole)).expect("aimed"), 5);
    assert_eq!(stage.next(2), [1, 2]);
    assert_eq!(write(&mut stage, &whole, &[1, 2]).expect("written"), 2);
    assert_eq!((stage.next(2), stage.missing()), (vec![3, 5], 3));
    assert_eq!((stage.next(9), stage.next(9)), (vec![6], vec![]));
    assert_eq!(write(&mut stage, &whole, &[6, 6]).expect("written"), 2);
    assert_eq!(stage.missing(), 2);
    drop(stage);
    // What was torn by a crash, and is longer or shorter than pages are.
    for torn in [&[][..], &[7; 100], &[7; PAGE], &[7; 3 * PAGE + 1]] {
        let mut bytes = copies.bytes();
        bytes.extend(torn);
        bytes[PAGE * 5..PAGE * 5 + 10].fill(9);
        fs::write(names::staged(&copies.path), bytes).expect("written");
        let mut stage = copies.open();
        assert_eq!(stage.aim(outline(7, &whole)).expect("aimed"), 3);
        assert_eq!(stage.next(9), [3, 5, 6]);
    }
    let mut bytes = copies.bytes();
    bytes.truncate(PAGE * 3 + 9);
    bytes[PAGE * 3..].fill(9);
    fs::write(names::staged(&copies.path), bytes).expect("written");
    let mut stage = copies.open();
    assert_eq!(stage.aim(outline(7, &whole)).expect("aimed"), 3);
    assert_eq!(write(&mut stage, &whole, &[3, 5, 6]).expect("written"), 3);
    stage.sync().expect("synced");
    assert_eq!(stage.missing(), 0);
    assert!(copies.bytes() == whole);
    // Of another file nothing fits, although the bytes are the same but for one page.
    let other = file(&[1, 2, 0, 4, 6]);
    assert_eq!(stage.aim(outline(8, &other)).expect("aimed"), 1);
    assert_eq!(
        stage
            .aim(Outline {
                id: 9,
                ..outline(7, &whole)
            })
            .expect("aimed"),
        5
    );
}

#[test]
fn only_what_fits_is_written_and_only_into_the_file() {
    let copies = Copies::new();
    let whole = file(&[1, 2, 3]);
    let mut stage = copies.open();
    assert!(stage.write(&[1], &[0; PAGE]).is_err(), "no aim");
    stage.aim(outline(7, &whole)).expect("aimed");
    // Torn, of another place, and of a later time.
    let mut torn = whole.clone();
    torn[PAGE + 7] ^= 1;
    assert_eq!(write(&mut stage, &torn, &[1, 2, 3]).expect("written"), 2);
    assert_eq!(
        stage.write(&[2], &whole[2 * PAGE..3 * PAGE]).expect("none"),
        0
    );
    assert_eq!(stage.missing(), 2);
    let before = copies.bytes();
    for (pages, bytes) in [
        (&[0][..], PAGE),
        (&[5], PAGE),
        (&[u32::MAX], PAGE),
        (&[2, 5], 2 * PAGE),
        (&[2], PAGE - 1),
        (&[2], 2 * PAGE),
        (&[], PAGE),
    ] {
        let written = stage.write(pages, &vec![2; bytes]);
        assert!(matches!(written, Err(Error::Internal(_))), "{pages:?}");
    }
    assert!(copies.bytes() == before);
    // Shorter, and longer again.
    let short = file(&[1]);
    assert_eq!(stage.aim(outline(7, &short)).expect("aimed"), 1);
    assert_eq!(copies.bytes().len(), 2 * PAGE);
    assert!(stage.write(&[3], &whole[2 * PAGE..3 * PAGE]).is_err());
    assert_eq!(stage.aim(outline(7, &whole)).expect("aimed"), 3);
    assert_eq!(copies.bytes().len(), 4 * PAGE);
}

#[test]
fn only_what_is_complete_and_a_shard_is_sealed() {
    let copies = Copies::new();
    let whole = file(&[1, 0]);
    let aim = outline(7, &whole);
    let mut stage = copies.open();
    assert!(stage.seal(&aim.digest()).is_err(), "no aim");
    stage.aim(aim.clone()).expect("aimed");
    assert!(matches!(
        stage.seal(&aim.digest()),
        Err(Error::Incomplete(2))
    ));
    write(&mut stage, &whole, &[1, 2]).expect("written");
    assert!(matches!(stage.seal(&[0; 16]), Err(Error::OtherDigest)));
    assert!(matches!(stage.seal(&[]), Err(Error::OtherDigest)));
    assert!(!copies.is_sealed());
    stage.seal(&aim.digest()).expect("sealed");
    stage.seal(&aim.digest()).expect("again");
    drop(stage);
    let digest = |copies: &Copies| super::staged_digest(&copies.path).expect("read");
    assert_eq!(digest(&copies), Some(aim.digest()));
    // It stays so until something is changed, so that who is unsure whether it was can do all of it again.
    let mut stage = copies.open();
    stage.aim(aim.clone()).expect("aimed");
    assert_eq!(stage.next(9), [0; 0]);
    let next = file(&[3, 0]);
    stage.aim(outline(7, &next)).expect("aimed");
    assert!(copies.is_sealed());
    write(&mut stage, &next, &[2]).expect("written");
    assert!(!copies.is_sealed());
    drop(stage);
    assert_eq!(digest(&copies), None);
    let mut stage = copies.open();
    stage.aim(outline(7, &next)).expect("aimed");
    stage.seal(&outline(7, &next).digest()).expect("sealed");
    stage.aim(outline(7, &next[..PAGE])).expect("aimed");
    assert!(!copies.is_sealed());
}

fn seals(path: &Path, whole: &[u8]) -> Result<()> {
    let aim = outline(7, whole);
    let mut stage = Stage::open(path, Access::Owner)?;
    stage.aim(aim.clone())?;
    let pages = stage.next(99);
    write(&mut stage, whole, &pages)?;
    assert_eq!(stage.missing(), 0);
    stage.seal(&aim.digest())
}

#[test]
fn what_is_no_shard_of_ours_is_not_sealed() {
    let copies = Copies::new();
    let whole = file(&[1]);
    let changed = |at: usize, byte: u8| {
        let mut changed = whole.clone();
        changed[at] = byte;
        changed
    };
    assert!(matches!(seals(&copies.path, &[]), Err(Error::NotAShard(_))));
    for other in [changed(0, b'x'), changed(71, 0), vec![0; 2 * PAGE]] {
        assert!(matches!(
            seals(&copies.path, &other),
            Err(Error::NotAShard(_))
        ));
    }
    let newer = seals(&copies.path, &changed(63, WITH_KEYS as u8 + 1));
    assert!(matches!(newer, Err(Error::NewerFormat(..))));
    assert!(!copies.is_sealed());
    seals(&copies.path, &whole).expect("sealed");
}
