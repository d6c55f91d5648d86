//! The object `backup`: what a backup is of, and its backup key, wrapped by the master key. Pure.

use super::bytes::{Fields, put_bytes};
use super::error::{Error, Object, Place, Result};
use super::key::{KEY, Key};
use super::object::{begin, damaged, put_sum, truncated, without_sum};
use super::seal::{decrypt, encrypt};

/// What it begins with.
const MAGIC: &[u8; 8] = b"WARPBKUP";
/// The version of its format.
const FORMAT: u32 = 1;
/// What the key that wraps is made of, first.
const WRAP: &[u8] = b"warp wrap 1";
/// What the key of its signature is made of.
const PURPOSE: &[u8] = b"warp backup 1";
/// How many bytes of random salt stand before a wrapped key.
const SALT: usize = 32;
/// How many bytes stand behind what it says: a signature, and a checksum.
const SUMS: usize = 32 + 8;

/// What the object says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    /// The random number of the backup.
    pub backup: u64,
    /// When it was begun, in microseconds since 1970.
    pub created: i64,
    /// How many shards the context has.
    pub shards: u32,
    /// The name of the context.
    pub context: String,
    /// What has wrapped the backup key: `master` for [`wrap`], or the name of the user's own way.
    pub wrapping: String,
    /// The wrapped backup key.
    pub wrapped: Vec<u8>,
}

/// The backup key, wrapped by a master key. `salt` is drawn anew each time. Error: `System`.
pub fn wrap(master: &Key, backup_key: &Key, backup: u64, salt: &[u8; SALT]) -> Result<Vec<u8>> {
    let mut out = salt.to_vec();
    out.extend_from_slice(backup_key.expose());
    encrypt(
        &master.derive(&[WRAP, salt]),
        &backup.to_le_bytes(),
        &mut out,
        SALT,
    )?;
    Ok(out)
}

/// The backup key that a master key has wrapped. Error: `WrongKey`.
pub fn unwrap(master: &Key, wrapped: &[u8], backup: u64) -> Result<Key> {
    let unwrap = || {
        let (salt, sealed) = wrapped.split_first_chunk::<SALT>()?;
        let mut sealed = zeroize::Zeroizing::new(sealed.to_vec());
        let key = master.derive(&[WRAP, salt]);
        let opened = decrypt(&key, &backup.to_le_bytes(), &mut sealed)?;
        Key::of(<&[u8; KEY]>::try_from(opened).ok()?)
    };
    unwrap().ok_or(Error::WrongKey(Object::Backup, Place::Whole))
}

impl Backup {
    /// The bytes of the object. A new master key needs nothing but this object anew.
    pub fn encode(&self, backup_key: &Key) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&FORMAT.to_le_bytes());
        out.extend_from_slice(&self.shards.to_le_bytes());
        out.extend_from_slice(&self.backup.to_le_bytes());
        out.extend_from_slice(&self.created.to_le_bytes());
        put_bytes(&mut out, self.context.as_bytes());
        put_bytes(&mut out, self.wrapping.as_bytes());
        put_bytes(&mut out, &self.wrapped);
        let signature = signing_key(backup_key).mac(&[&out]);
        out.extend_from_slice(&signature);
        put_sum(&mut out);
        out
    }

    /// Reads the object. Errors: `NotOurs`, `UnknownFormat`, `Truncated`, `Damaged`.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let object = Object::Backup;
        let fields = begin(bytes, MAGIC, FORMAT, object)?;
        // Its size stands nowhere, so that nothing tells one that was cut off from one that is damaged.
        if bytes.len() < 32 + SUMS {
            return Err(truncated(object, 32 + SUMS as u64, bytes));
        }
        without_sum(bytes, object)?;
        Self::fields(fields).ok_or_else(|| damaged(object, "its fields do not fit"))
    }

    /// Whether this is the key that the backup has, and whoever wrote the object had it. `bytes` is the object. Errors:
    /// `WrongKey`.
    pub fn check(bytes: &[u8], backup_key: &Key) -> Result<()> {
        let wrong = Error::WrongKey(Object::Backup, Place::Whole);
        let before = without_sum(bytes, Object::Backup)?;
        match before.split_last_chunk::<32>() {
            Some((said, mac)) if signing_key(backup_key).fits(&[said], mac) => Ok(()),
            _ => Err(wrong),
        }
    }

    fn fields(mut fields: Fields<'_>) -> Option<Self> {
        let shards = fields.u32()?;
        let backup = Self {
            shards,
            backup: fields.u64()?,
            created: fields.i64()?,
            context: fields.text()?.into(),
            wrapping: fields.text()?.into(),
            wrapped: fields.bytes()?.into(),
        };
        (fields.left() == SUMS).then_some(backup)
    }
}

fn signing_key(backup_key: &Key) -> Key {
    backup_key.derive(&[PURPOSE])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::backup::testing::key;

    fn backup() -> Backup {
        Backup {
            backup: 0xb0,
            created: 77,
            shards: 16,
            context: "bank".into(),
            wrapping: "master".into(),
            wrapped: wrap(&key(1), &key(2), 0xb0, &[50; SALT]).expect("wraps"),
        }
    }

    #[test]
    fn the_backup_key_comes_out_with_its_master_key_alone() {
        let wrapped = backup().wrapped;
        assert_eq!(wrapped.len(), 80);
        assert!(!wrapped.windows(KEY).any(|bytes| bytes == key(2).expose()));
        let opened = unwrap(&key(1), &wrapped, 0xb0).expect("unwraps");
        assert_eq!(opened.expose(), key(2).expose());
        let wrong = |result| matches!(result, Err(Error::WrongKey(Object::Backup, _)));
        assert!(wrong(unwrap(&key(3), &wrapped, 0xb0)));
        assert!(wrong(unwrap(&key(1), &wrapped, 0xb1)));
        for bit in 0..wrapped.len() * 8 {
            let mut flipped = wrapped.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(wrong(unwrap(&key(1), &flipped, 0xb0)), "bit {bit}");
        }
        for length in 0..wrapped.len() {
            assert!(wrong(unwrap(&key(1), &wrapped[..length], 0xb0)));
        }
    }

    #[test]
    fn the_object_comes_back_and_each_bit_counts() {
        let bytes = backup().encode(&key(2));
        assert_eq!(Backup::decode(&bytes).expect("comes back"), backup());
        Backup::check(&bytes, &key(2)).expect("its key");
        let wrong = Backup::check(&bytes, &key(1));
        assert!(matches!(wrong, Err(Error::WrongKey(Object::Backup, _))));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Backup::decode(&flipped).is_err(), "bit {bit}");
            assert!(Backup::check(&flipped, &key(2)).is_err(), "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert!(Backup::decode(&bytes[..length]).is_err(), "{length} bytes");
        }
    }

    /// A checksum can be made by anyone, the signature cannot.
    #[test]
    fn what_was_changed_with_a_new_checksum_has_the_wrong_key() {
        let bytes = backup().encode(&key(2));
        let mut changed = bytes[..bytes.len() - 8].to_vec();
        changed[12] = 17;
        put_sum(&mut changed);
        assert_eq!(Backup::decode(&changed).expect("reads").shards, 17);
        assert!(matches!(
            Backup::check(&changed, &key(2)),
            Err(Error::WrongKey(..))
        ));
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_answer(bytes: Vec<u8>) {
            let mut begun = MAGIC.to_vec();
            begun.extend(FORMAT.to_le_bytes());
            begun.extend(&bytes);
            put_sum(&mut begun);
            let _ = Backup::decode(&begun);
            prop_assert!(Backup::decode(&bytes).is_err());
            prop_assert!(Backup::check(&begun, &key(1)).is_err());
        }
    }
}
