//! Keys in memory, and what is computed with them.

use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

use super::error::{Error, Result};

/// How many bytes a key has.
pub const KEY: usize = 32;

/// A key of 256 bits. Its bytes are overwritten when it is dropped.
///
/// NOTE: `ring` keeps what it makes of a key for the length of one call, and does not overwrite that.
#[derive(Clone)]
pub struct Key(Zeroizing<[u8; KEY]>);

/// What is known of a key.
#[derive(Clone)]
pub enum Found {
    /// It is there.
    Key(Key),
    /// It was erased, with what it opens.
    Erased,
    /// Nothing is known of it.
    Unknown,
}

impl Key {
    /// The key with these bytes. `None` for zeros, which stand for a key that was erased.
    pub fn of(bytes: &[u8; KEY]) -> Option<Self> {
        let key = Self(Zeroizing::new(*bytes));
        bytes.iter().any(|byte| *byte != 0).then_some(key)
    }

    /// A new key. Error: `System` when the operating system has no random bytes.
    pub fn random() -> Result<Self> {
        let mut bytes = Zeroizing::new([0; KEY]);
        fill(bytes.as_mut())?;
        Ok(Self(bytes))
    }

    /// The bytes of the key.
    pub fn expose(&self) -> &[u8; KEY] {
        &self.0
    }

    /// HMAC-SHA256 of these parts, one behind another.
    pub fn mac(&self, parts: &[&[u8]]) -> [u8; KEY] {
        sign(&self.0, parts).as_ref().try_into().unwrap_or_default()
    }

    /// Whether this is the HMAC-SHA256 of these parts, compared in constant time.
    pub fn fits(&self, parts: &[&[u8]], mac: &[u8]) -> bool {
        hmac::verify(&hmac_key(&self.0), &parts.concat(), mac).is_ok()
    }

    /// The key for one purpose: HMAC-SHA256 of the parts that name it.
    pub fn derive(&self, parts: &[&[u8]]) -> Self {
        let mut key = Zeroizing::new([0; KEY]);
        key.copy_from_slice(sign(&self.0, parts).as_ref());
        Self(key)
    }
}

fn hmac_key(key: &[u8; KEY]) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, key)
}

fn sign(key: &[u8; KEY], parts: &[&[u8]]) -> hmac::Tag {
    let mut context = hmac::Context::with_key(&hmac_key(key));
    for part in parts {
        context.update(part);
    }
    context.sign()
}

/// Random bytes of the operating system. Error: `System`, as above.
pub fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    fill(&mut bytes)?;
    Ok(bytes)
}

fn fill(bytes: &mut [u8]) -> Result<()> {
    SystemRandom::new()
        .fill(bytes)
        .map_err(|_| Error::System("the operating system gives no random bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The second test case of RFC 4231.
    #[test]
    fn a_mac_is_hmac_sha256() {
        let mut bytes = [0; KEY];
        bytes[..4].copy_from_slice(b"Jefe");
        let key = Key::of(&bytes).expect("not zero");
        let mac = key.mac(&[b"what do ya want ", b"for nothing?"]);
        assert_eq!(mac[..4], [0x5b, 0xdc, 0xc1, 0x46]);
        assert_eq!(mac[28..], [0x64, 0xec, 0x38, 0x43]);
        assert!(key.fits(&[b"what do ya want for nothing?"], &mac));
        assert!(!key.fits(&[b"what do ya want for nothing!"], &mac));
        assert_eq!(
            key.derive(&[b"what do ya want for nothing?"]).expose(),
            &mac
        );
    }

    #[test]
    fn zeros_are_no_key() {
        assert!(Key::of(&[0; KEY]).is_none());
        assert_ne!(
            Key::random().expect("random").expose(),
            Key::random().expect("random").expose()
        );
        assert_ne!(
            random::<8>().expect("random"),
            random::<8>().expect("random")
        );
    }
}
