//! Fields of fixed size, little-endian, and numbers of few bytes, as backups have them. Pure.

/// The most bytes that a varint takes.
const VARINT: usize = 10;

/// Fields that stand one behind another. Each is `None` where the bytes end, or are no such field.
#[derive(Clone, Copy)]
pub struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// The fields in these bytes.
    pub fn of(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// So many bytes.
    pub fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    /// As many bytes as the array has.
    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    /// One byte.
    pub fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    /// Two bytes.
    pub fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    /// Four bytes.
    pub fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    /// Eight bytes.
    pub fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// Eight bytes, signed.
    pub fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_le_bytes)
    }

    /// So many bytes that are all zero.
    pub fn zeros(&mut self, length: usize) -> Option<()> {
        let zeros = self.take(length)?;
        zeros.iter().all(|byte| *byte == 0).then_some(())
    }

    /// A number in as few bytes as it needs, seven bits in each.
    pub fn varint(&mut self) -> Option<u64> {
        let mut number = 0;
        for at in 0..VARINT {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            let shifted = bits.checked_shl(7 * at as u32)?;
            if shifted >> (7 * at) != bits || (byte == 0 && at > 0) {
                return None;
            }
            number |= shifted;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    /// A varint that is a number of bytes, or of things that take at least one.
    pub fn size(&mut self) -> Option<usize> {
        usize::try_from(self.varint()?).ok()
    }

    /// A number that may be below 0, in as few bytes as it needs.
    pub fn signed(&mut self) -> Option<i64> {
        let number = self.varint()?;
        Some((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
    }

    /// A number of bytes, and these.
    pub fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.size()?;
        self.take(length)
    }

    /// The same, as text.
    pub fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    /// How many bytes are left.
    pub fn left(&self) -> usize {
        self.0.len()
    }
}

/// Adds a number as [`Fields::varint`] reads it.
pub fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Adds a number as [`Fields::signed`] reads it.
pub fn put_signed(out: &mut Vec<u8>, number: i64) {
    put_varint(out, ((number << 1) ^ (number >> 63)).cast_unsigned());
}

/// Adds bytes as [`Fields::bytes`] reads them.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_come_back(number: u64, signed: i64, bytes: Vec<u8>) {
            let mut out = Vec::new();
            put_varint(&mut out, number);
            put_signed(&mut out, signed);
            put_bytes(&mut out, &bytes);
            let mut fields = Fields::of(&out);
            prop_assert_eq!(fields.varint(), Some(number));
            prop_assert_eq!(fields.signed(), Some(signed));
            prop_assert_eq!(fields.bytes(), Some(&bytes[..]));
            prop_assert_eq!(fields.left(), 0);
        }

        #[test]
        fn a_number_has_one_form(bytes in proptest::collection::vec(any::<u8>(), 0..12)) {
            let mut fields = Fields::of(&bytes);
            if let Some(number) = fields.varint() {
                let mut out = Vec::new();
                put_varint(&mut out, number);
                prop_assert_eq!(&bytes[..bytes.len() - fields.left()], &out[..]);
            }
        }
    }

    #[test]
    fn extremes_come_back_and_what_is_too_large_does_not() {
        for number in [0, 1, 127, 128, u64::MAX] {
            let mut out = Vec::new();
            put_varint(&mut out, number);
            assert_eq!(Fields::of(&out).varint(), Some(number));
        }
        for number in [0, -1, 1, i64::MIN, i64::MAX] {
            let mut out = Vec::new();
            put_signed(&mut out, number);
            assert_eq!(Fields::of(&out).signed(), Some(number));
        }
        assert_eq!(Fields::of(&[0x80, 0]).varint(), None);
        let mut large = [0xff; 10];
        large[9] = 2;
        assert_eq!(Fields::of(&large).varint(), None);
        assert_eq!(Fields::of(&[0xff; 11]).varint(), None);
        assert_eq!(Fields::of(&[5, 1, 2]).bytes(), None);
    }
}
