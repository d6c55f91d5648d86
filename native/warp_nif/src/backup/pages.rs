//! Key pages: the keys of the lives of one shard whose incarnations are within 65,536 positions, sealed under the
//! backup key. Pure.

use zeroize::Zeroizing;

use super::bytes::{Fields, put_varint};
use super::error::{Error, Object, Place, Result};
use super::key::{Found, KEY, Key};
use super::object::{begin, damaged, put_sum, truncated, without_sum};
use super::room::ROOM;
use super::seal::{decrypt, encrypt};

/// What a page begins with.
const MAGIC: &[u8; 8] = b"WARPKEYS";
/// The version of the format of pages.
const FORMAT: u32 = 1;
/// How many bytes stand before what is sealed, all of it its associated data.
const HEADER: usize = 72;
/// How many bytes stand behind it: the tag of the cipher, and a checksum.
const SUMS: usize = super::block::TAG + 8;
/// How many positions a page covers.
pub const POSITIONS: i64 = 65_536;
/// How many bytes a tag has.
const TAG: usize = 8;
/// What the key of a page is made of, first.
const PURPOSE: &[u8] = b"warp page 1";
/// What a tag is made of, first.
const ENTITY: &[u8] = b"warp entity 1";

/// Tells an entity by its id to who has the backup key.
pub type Tag = [u8; TAG];

/// The keys of one life.
#[derive(Clone)]
pub struct Lived {
    /// The incarnation; 0 for the key of the shard itself.
    pub incarnation: i64,
    /// The tag of its entity.
    pub tag: Tag,
    /// The key of each part, `None` when it was erased.
    pub keys: Vec<Option<Key>>,
}

/// A key page.
#[derive(Clone)]
pub struct Page {
    /// The random number of the backup.
    pub backup: u64,
    /// The shard.
    pub shard: u16,
    /// The number of the page: that of its incarnations, divided by 65,536.
    pub number: u64,
    /// The lives, in the order of incarnations.
    pub lives: Vec<Lived>,
}

/// The tag of an entity.
pub fn tag(backup_key: &Key, entity: &str) -> Tag {
    let mac = backup_key.mac(&[ENTITY, entity.as_bytes()]);
    mac.first_chunk().copied().unwrap_or_default()
}

/// The number of the page of an incarnation.
pub fn page_of(incarnation: i64) -> u64 {
    (incarnation.max(0) / POSITIONS).cast_unsigned()
}

impl Lived {
    /// The keys that stand in a row of `keys`: 32 bytes each, zeros for one that was erased. `None` when they are no
    /// number of keys.
    pub fn of(incarnation: i64, tag: Tag, keys: &[u8]) -> Option<Self> {
        let (keys, rest) = keys.as_chunks::<KEY>();
        if keys.is_empty() || !rest.is_empty() {
            return None;
        }
        Some(Self {
            incarnation,
            tag,
            keys: keys.iter().map(Key::of).collect(),
        })
    }

    /// The key of a part.
    pub fn key(&self, part: u16) -> Found {
        let of_life = self.keys.first().and_then(Option::as_ref);
        match self.keys.get(usize::from(part)) {
            _ if of_life.is_none() => Found::Erased,
            Some(Some(key)) => Found::Key(key.clone()),
            Some(None) => Found::Erased,
            None => Found::Unknown,
        }
    }

    /// The parts whose keys were erased.
    pub fn erased_parts(&self) -> Vec<u16> {
        let parts = (0..).zip(&self.keys).filter(|(_, key)| key.is_none());
        parts.map(|(part, _)| part).collect()
    }

    fn is_erased(&self) -> bool {
        self.keys.first().is_none_or(Option::is_none)
    }
}

impl Page {
    /// The life with this incarnation, if it has a key or had one.
    pub fn find(&self, incarnation: i64) -> Option<&Lived> {
        let at = self
            .lives
            .binary_search_by_key(&incarnation, |life| life.incarnation);
        self.lives.get(at.ok()?)
    }

    /// The lives of the entities with this tag, which two entities may share.
    pub fn with_tag(&self, tag: Tag) -> impl Iterator<Item = &Lived> {
        let tagged = self.lives.iter();
        tagged.filter(move |life| life.tag == tag && !life.is_erased())
    }

    /// The bytes of the page. `salt` is drawn anew for each attempt to write one. Errors: `Misuse` when the lives are
    /// not in order, or not of the page; `System`.
    pub fn seal(&self, backup_key: &Key, salt: &[u8; 32]) -> Result<Vec<u8>> {
        let mut entries = Zeroizing::new(Vec::new());
        let mut before = None;
        for life in &self.lives {
            if before >= Some(life.incarnation) || page_of(life.incarnation) != self.number {
                return Err(Error::Misuse("keys that are not in order"));
            }
            put_life(&mut entries, self.base(), before, life)?;
            before = Some(life.incarnation);
        }
        let mut out = Vec::with_capacity(HEADER + entries.len() + SUMS);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&FORMAT.to_le_bytes());
        out.extend_from_slice(&u32::from(self.shard).to_le_bytes());
        out.extend_from_slice(&self.number.to_le_bytes());
        out.extend_from_slice(&self.backup.to_le_bytes());
        out.extend_from_slice(salt);
        out.extend_from_slice(&(entries.len() as u64).to_le_bytes());
        let associated = out.clone();
        out.extend_from_slice(&entries);
        encrypt(&page_key(backup_key, salt), &associated, &mut out, HEADER)?;
        put_sum(&mut out);
        Ok(out)
    }

    /// Reads the page that should have this shard and number. Errors: `NotOurs`, `UnknownFormat`, `Truncated`,
    /// `Damaged`, `Foreign`, `Swapped`, `WrongKey`.
    pub fn open(
        bytes: &[u8],
        backup_key: &Key,
        backup: u64,
        shard: u16,
        number: u64,
    ) -> Result<Self> {
        let object = Object::KeyPage(shard, number);
        let mut fields = begin(bytes, MAGIC, FORMAT, object)?;
        let mut read = || {
            let shard = fields.u32()?;
            let number = fields.u64()?;
            Some((shard, number, fields.u64()?, fields.array()?, fields.u64()?))
        };
        let least = (HEADER + SUMS) as u64;
        let cut_off = || truncated(object, least, bytes);
        let (found_shard, found_number, found_backup, salt, size) = read().ok_or_else(cut_off)?;
        let whole = size.saturating_add(least);
        if (bytes.len() as u64) < whole && whole <= ROOM as u64 {
            return Err(truncated(object, whole, bytes));
        }
        let before = without_sum(bytes, object)?;
        let found_shard = u16::try_from(found_shard).ok();
        let found_shard = found_shard.filter(|_| bytes.len() as u64 == whole);
        let found_shard = found_shard.ok_or_else(|| damaged(object, "its fields do not fit"))?;
        if found_backup != backup {
            return Err(Error::Foreign(object, found_backup));
        }
        if (found_shard, found_number) != (shard, number) {
            let found = Object::KeyPage(found_shard, found_number);
            return Err(Error::Swapped(object, found));
        }
        let (associated, sealed) = before.split_at_checked(HEADER).unwrap_or_default();
        let mut sealed = Zeroizing::new(sealed.to_vec());
        let entries = decrypt(&page_key(backup_key, &salt), associated, &mut sealed)
            .ok_or(Error::WrongKey(object, Place::Whole))?;
        let mut page = Self {
            backup,
            shard,
            number,
            lives: Vec::new(),
        };
        let lives = page.read_lives(Fields::of(entries));
        page.lives = lives.ok_or_else(|| damaged(object, "its keys do not fit"))?;
        Ok(page)
    }

    fn base(&self) -> i64 {
        self.number.cast_signed().saturating_mul(POSITIONS)
    }

    fn read_lives(&self, mut fields: Fields<'_>) -> Option<Vec<Lived>> {
        let mut lives = Vec::new();
        let mut next = self.base();
        while fields.left() > 0 {
            let incarnation = next.checked_add(i64::try_from(fields.varint()?).ok()?)?;
            if page_of(incarnation) != self.number {
                return None;
            }
            next = incarnation.checked_add(1)?;
            lives.push(read_life(&mut fields, incarnation)?);
        }
        Some(lives)
    }
}

fn page_key(backup_key: &Key, salt: &[u8; 32]) -> Key {
    backup_key.derive(&[PURPOSE, salt])
}

/// A life whose key was erased is its incarnation and a zero. Others have the number of their keys, their tag, a bit
/// for each key that is there, and these.
fn put_life(out: &mut Vec<u8>, base: i64, before: Option<i64>, life: &Lived) -> Result<()> {
    let next = before.map_or(base, |before| before.saturating_add(1));
    put_varint(out, life.incarnation.saturating_sub(next).cast_unsigned());
    if life.is_erased() {
        out.push(0);
        return Ok(());
    }
    if life.keys.len() > usize::from(u16::MAX) {
        return Err(Error::Misuse("a life of too many keys"));
    }
    put_varint(out, life.keys.len() as u64);
    out.extend_from_slice(&life.tag);
    for eight in life.keys.chunks(8) {
        let bits = eight.iter().enumerate();
        out.push(bits.fold(0, |bits, (n, key)| bits | u8::from(key.is_some()) << n));
    }
    for key in life.keys.iter().flatten() {
        out.extend_from_slice(key.expose());
    }
    Ok(())
}

fn read_life(fields: &mut Fields<'_>, incarnation: i64) -> Option<Lived> {
    let count = usize::from(u16::try_from(fields.varint()?).ok()?);
    if count == 0 {
        return Some(Lived {
            incarnation,
            tag: Tag::default(),
            keys: vec![None],
        });
    }
    let tag = fields.array()?;
    let bits = fields.take(count.div_ceil(8))?;
    let mut keys = Vec::new();
    for n in 0..count {
        let is_there = bits.get(n / 8)? >> (n % 8) & 1 == 1;
        keys.push(if is_there {
            Some(Key::of(&fields.array()?)?)
        } else {
            None
        });
    }
    let life = Lived {
        incarnation,
        tag,
        keys,
    };
    (!life.is_erased()).then_some(life)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::backup::testing::{BACKUP, key};

    fn page(lives: Vec<Lived>) -> Page {
        Page {
            backup: BACKUP,
            shard: 3,
            number: 1,
            lives,
        }
    }

    fn open(bytes: &[u8]) -> Result<Page> {
        Page::open(bytes, &key(0), BACKUP, 3, 1)
    }

    /// What can be compared of a life.
    fn shown(life: &Lived) -> (i64, Tag, Vec<Option<[u8; KEY]>>) {
        let keys = life
            .keys
            .iter()
            .map(|key| key.as_ref().map(|key| *key.expose()));
        (life.incarnation, life.tag, keys.collect())
    }

    proptest! {
        #[test]
        fn a_page_comes_back(lives in proptest::collection::btree_map(
                65_536..131_072i64, (any::<Tag>(), proptest::collection::vec(any::<bool>(), 1..20)), 0..40)) {
            let life = |(incarnation, (tag, keys)): (i64, (Tag, Vec<bool>))| Lived {
                incarnation,
                tag,
                keys: keys.into_iter().enumerate().map(|(n, is)| is.then(|| key(n as u8))).collect(),
            };
            let page = page(lives.into_iter().map(life).collect());
            let bytes = page.seal(&key(0), &[5; 32]).expect("seals");
            let read = open(&bytes).expect("opens");
            prop_assert_eq!(read.lives.len(), page.lives.len());
            for (one, two) in read.lives.iter().zip(&page.lives) {
                if two.is_erased() {
                    // Its tag and the keys of its parts go with its key.
                    prop_assert_eq!(shown(one), (two.incarnation, [0; 8], vec![None]));
                } else {
                    prop_assert_eq!(shown(one), shown(two));
                    prop_assert!(page.with_tag(two.tag).any(|found| found.incarnation == two.incarnation));
                }
                prop_assert!(read.find(two.incarnation).is_some());
            }
            prop_assert!(read.find(1).is_none());
        }

        #[test]
        fn any_entries_are_an_answer(entries: Vec<u8>) {
            let mut bytes = page(vec![]).seal(&key(0), &[5; 32]).expect("seals");
            bytes.truncate(HEADER);
            bytes[HEADER - 8..].copy_from_slice(&(entries.len() as u64).to_le_bytes());
            let associated = bytes.clone();
            bytes.extend(entries);
            encrypt(&page_key(&key(0), &[5; 32]), &associated, &mut bytes, HEADER).expect("seals");
            put_sum(&mut bytes);
            let opened = open(&bytes);
            let is_answer = matches!(opened, Ok(_) | Err(Error::Damaged { .. }));
            prop_assert!(is_answer);
        }

        #[test]
        fn any_bytes_are_an_answer(bytes: Vec<u8>) {
            prop_assert!(open(&bytes).is_err());
            let mut begun = MAGIC.to_vec();
            begun.extend(FORMAT.to_le_bytes());
            begun.extend(bytes);
            put_sum(&mut begun);
            prop_assert!(open(&begun).is_err());
        }
    }

    #[test]
    fn keys_of_a_row_are_read_and_zeros_are_erased_ones() {
        let mut row = [1; 96];
        row[32..64].fill(0);
        let life = Lived::of(7, [2; 8], &row).expect("keys");
        assert_eq!(
            shown(&life),
            (7, [2; 8], vec![Some([1; 32]), None, Some([1; 32])])
        );
        for wrong in [0, 31, 33] {
            assert!(Lived::of(7, [2; 8], &row[..wrong]).is_none());
        }
    }

    #[test]
    fn another_page_another_backup_and_another_key_are_named() {
        let life = Lived::of(65_540, [2; 8], &[1; 32]).expect("keys");
        let bytes = page(vec![life]).seal(&key(0), &[5; 32]).expect("seals");
        assert!(!bytes.windows(32).any(|bytes| bytes == [1; 32]));
        let err = |key: &Key, backup, shard, number| {
            Page::open(&bytes, key, backup, shard, number)
                .map(drop)
                .expect_err("refused")
        };
        let wrong = err(&key(1), BACKUP, 3, 1);
        assert!(matches!(wrong, Error::WrongKey(Object::KeyPage(3, 1), _)));
        let foreign = err(&key(0), BACKUP + 1, 3, 1);
        assert!(matches!(foreign, Error::Foreign(_, BACKUP)));
        for (shard, number) in [(2, 1), (3, 0)] {
            let swapped = err(&key(0), BACKUP, shard, number);
            assert!(matches!(swapped, Error::Swapped(_, Object::KeyPage(3, 1))));
        }
    }

    #[test]
    fn keys_that_are_not_in_order_or_not_of_the_page_are_not_written() {
        let life = |incarnation| Lived::of(incarnation, [2; 8], &[1; 32]).expect("keys");
        for wrong in [
            vec![70_001, 70_000],
            vec![70_000, 70_000],
            vec![65_535],
            vec![131_072],
        ] {
            let lives = wrong.into_iter().map(life).collect();
            let sealed = page(lives).seal(&key(0), &[5; 32]);
            assert!(matches!(sealed, Err(Error::Misuse(_))));
        }
        assert_eq!(
            [0, 65_535, 65_536, i64::MAX].map(page_of),
            [0, 0, 1, (1 << 47) - 1]
        );
    }

    #[test]
    fn a_tag_is_of_an_entity_and_a_backup_key() {
        assert_eq!(tag(&key(1), "alice"), tag(&key(1), "alice"));
        assert_ne!(tag(&key(1), "alice"), tag(&key(2), "alice"));
        assert_ne!(tag(&key(1), "alice"), tag(&key(1), "bob"));
    }
}
