//! Sealing blocks and opening them: packed with zstd where that makes them smaller, and encrypted with
//! AES-256-GCM under a key that is used once.
//!
//! NOTE: the nonce is always zero. The key of a block is made of the life's key, the random id of the segment that
//! it is written in and its number there, so no two blocks share one; a crash, a second try or a folder that was
//! put back draws another id. Whoever changes this has to keep that.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::compress_bound;

use super::block::{Codec, HEADER, Header, TAG};
use super::error::{Error, Result};
use super::key::Key;
use super::room::ROOM;

/// The level of zstd.
const LEVEL: i32 = 1;
/// Rows of fewer bytes stay as they are: zstd takes longer for them than all else, and saves little.
const SMALL: usize = 256;
/// What the key of a block is made of, first.
const PURPOSE: &[u8] = b"warp block 1";

/// Why a block does not open.
#[derive(Debug, PartialEq, Eq)]
pub enum Refused {
    /// The key is another one, or the block is not as it was written.
    WrongKey,
    /// The block was not written as blocks are.
    Malformed(&'static str),
}

/// The key of the block with this number in the segment with this id.
pub fn block_key(life: &Key, segment: &[u8; 32], number: u32) -> Key {
    life.derive(&[PURPOSE, segment, &number.to_le_bytes()])
}

/// Encrypts the bytes of `out` from `start` on, and adds the tag. `key` must not have been used before.
pub fn encrypt(key: &Key, associated: &[u8], out: &mut Vec<u8>, start: usize) -> Result<()> {
    let cipher = cipher(key).ok_or(Error::System("the cipher takes no key"))?;
    let place = out.get_mut(start..).unwrap_or_default();
    let tag = cipher
        .seal_in_place_separate_tag(nonce(), Aad::from(associated), place)
        .map_err(|_| Error::System("the cipher does not take so many bytes"))?;
    out.extend_from_slice(tag.as_ref());
    Ok(())
}

/// The plain bytes of what `encrypt` made, in its place. `None` when the key or the bytes are others.
pub fn decrypt<'a>(key: &Key, associated: &[u8], sealed: &'a mut [u8]) -> Option<&'a [u8]> {
    let cipher = cipher(key)?;
    let opened = cipher.open_in_place(nonce(), Aad::from(associated), sealed);
    opened.ok().map(|plain| &*plain)
}

fn cipher(key: &Key) -> Option<LessSafeKey> {
    let key = UnboundKey::new(&AES_256_GCM, key.expose()).ok()?;
    Some(LessSafeKey::new(key))
}

fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

/// Seals blocks.
pub struct Sealer {
    zstd: Compressor<'static>,
    packed: Vec<u8>,
}

impl Sealer {
    /// One that has sealed none yet. Error: `System`.
    pub fn new() -> Result<Self> {
        let zstd = Compressor::new(LEVEL).map_err(|_| Error::System("zstd does not begin"))?;
        Ok(Self {
            zstd,
            packed: Vec::new(),
        })
    }

    /// Adds a block to `out`: its header, for which the codec and both sizes are found here, and its rows. `life` is
    /// the key of the life, or of the part of it. Errors: `System`, and `Misuse` for more rows than a block takes.
    pub fn seal(
        &mut self,
        life: &Key,
        header: Header,
        rows: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Header> {
        if rows.len() > ROOM {
            return Err(Error::Misuse("a block of too many bytes"));
        }
        let (codec, packed) = self.pack(rows)?;
        let header = Header {
            codec,
            plain: rows.len() as u32,
            sealed: (packed.len() + TAG) as u32,
            ..header
        };
        let key = block_key(life, &header.origin, header.number);
        let associated = header.encode();
        out.extend_from_slice(&associated);
        let start = out.len();
        out.extend_from_slice(packed);
        encrypt(&key, &associated, out, start)?;
        Ok(header)
    }

    fn pack<'a>(&'a mut self, rows: &'a [u8]) -> Result<(Codec, &'a [u8])> {
        if rows.len() < SMALL {
            return Ok((Codec::Plain, rows));
        }
        self.packed.clear();
        self.packed.reserve(compress_bound(rows.len()));
        let size = self
            .zstd
            .compress_to_buffer(rows, &mut self.packed)
            .map_err(|_| Error::System("zstd does not pack a block"))?;
        Ok(match self.packed.get(..size) {
            Some(packed) if size < rows.len() => (Codec::Zstd, packed),
            _ => (Codec::Plain, rows),
        })
    }
}

/// Opens blocks.
pub struct Opener {
    zstd: Decompressor<'static>,
    opened: Vec<u8>,
}

impl Opener {
    /// One that has opened none yet. Error: `System`.
    pub fn new() -> Result<Self> {
        let zstd = Decompressor::new().map_err(|_| Error::System("zstd does not begin"))?;
        Ok(Self {
            zstd,
            opened: Vec::new(),
        })
    }

    /// Puts the rows of a block, given with its header, into `rows`, in place of what that has.
    pub fn open(
        &mut self,
        life: &Key,
        header: &Header,
        block: &[u8],
        rows: &mut Vec<u8>,
    ) -> std::result::Result<(), Refused> {
        let cut_off = Refused::Malformed("it is cut off");
        let (associated, sealed) = block.split_at_checked(HEADER).ok_or(cut_off)?;
        let key = block_key(life, &header.origin, header.number);
        self.opened.clear();
        self.opened.extend_from_slice(sealed);
        let packed = decrypt(&key, associated, &mut self.opened).ok_or(Refused::WrongKey)?;
        let plain = header.plain as usize;
        if plain > ROOM {
            return Err(Refused::Malformed("it has too many bytes"));
        }
        rows.clear();
        match header.codec {
            Codec::Plain => rows.extend_from_slice(packed),
            Codec::Zstd => {
                rows.reserve(plain);
                self.zstd
                    .decompress_to_buffer(packed, rows)
                    .map_err(|_| Refused::Malformed("zstd does not unpack it"))?;
            }
        }
        if rows.len() == plain {
            Ok(())
        } else {
            Err(Refused::Malformed("it has another number of bytes"))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;
    use crate::backup::block::Kind;
    use crate::backup::testing::key;

    fn header(number: u32) -> Header {
        Header {
            codec: Codec::Plain,
            kind: Kind::Rows,
            shard: 3,
            part: 0,
            number,
            backup: 0xb0,
            origin: [7; 32],
            incarnation: 10,
            first: 12,
            span: 4,
            seq: 2,
            events: 5,
            rows: 3,
            plain: 0,
            sealed: 0,
        }
    }

    fn seal(rows: &[u8]) -> (Header, Vec<u8>) {
        let mut out = Vec::new();
        let mut sealer = Sealer::new().expect("sealer");
        let header = sealer
            .seal(&key(1), header(9), rows, &mut out)
            .expect("seals");
        (header, out)
    }

    fn open(life: &Key, header: &Header, block: &[u8]) -> std::result::Result<Vec<u8>, Refused> {
        // What is there already is not kept.
        let mut rows = vec![9; 500];
        let mut opener = Opener::new().expect("opener");
        opener.open(life, header, block, &mut rows).map(|()| rows)
    }

    proptest! {
        #[test]
        fn a_block_comes_back_with_its_key_alone(rows in proptest::collection::vec(0..4u8, 3..2000)) {
            let (header, block) = seal(&rows);
            prop_assert_eq!(Header::decode(&block), Some(header.clone()));
            prop_assert_eq!(block.len(), HEADER + header.sealed as usize);
            prop_assert_eq!(header.codec == Codec::Plain, rows.len() < SMALL);
            prop_assert_eq!(open(&key(1), &header, &block), Ok(rows));
            prop_assert_eq!(open(&key(2), &header, &block), Err(Refused::WrongKey));
        }
    }

    /// Every bit of the header is bound, also those that no check of its fields would miss.
    #[test]
    fn each_bit_of_a_block_and_of_its_header_counts() {
        let (header, block) = seal(&[1; 300]);
        assert_eq!(header.codec, Codec::Zstd);
        for bit in 0..block.len() * 8 {
            let mut flipped = block.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(
                open(&key(1), &header, &flipped),
                Err(Refused::WrongKey),
                "bit {bit}"
            );
            if let Some(other) = Header::decode(&flipped).filter(|other| *other != header) {
                assert_eq!(
                    open(&key(1), &other, &flipped),
                    Err(Refused::WrongKey),
                    "bit {bit}"
                );
            }
        }
        for length in [0, HEADER - 1, HEADER, HEADER + TAG - 1, block.len() - 1] {
            assert!(
                open(&key(1), &header, &block[..length]).is_err(),
                "{length} bytes"
            );
        }
    }

    #[test]
    fn rows_that_zstd_makes_larger_stay_as_they_are() {
        let rows = key(3).mac(&[b"noise"]).repeat(3);
        let noise: Vec<u8> = (0u32..40)
            .flat_map(|n| key(4).mac(&[&n.to_le_bytes()]))
            .collect();
        assert_eq!(seal(&rows).0.codec, Codec::Plain);
        let (header, block) = seal(&noise);
        assert_eq!(header.codec, Codec::Plain);
        assert_eq!(open(&key(1), &header, &block), Ok(noise));
    }

    /// One key for each life, segment and number; nothing of what is told apart runs together.
    #[test]
    fn no_two_blocks_share_a_key() {
        let mut keys = HashSet::new();
        let mut ids: Vec<[u8; 32]> = (0..20).map(|n| key(n).mac(&[b"id"])).collect();
        ids.push([0; 32]);
        ids.push([0xff; 32]);
        for life in 1..20 {
            for id in &ids {
                for number in [0, 1, 2, 255, 256, 1 << 24, u32::MAX] {
                    let key = block_key(&key(life), id, number);
                    assert!(keys.insert(*key.expose()), "life {life}, number {number}");
                }
            }
        }
        assert_eq!(keys.len(), 19 * ids.len() * 7);
    }

    /// What a key's owner wrote wrongly is an answer too.
    #[test]
    fn bytes_that_are_no_zstd_and_wrong_sizes_are_told() {
        for (codec, plain, packed) in [
            (Codec::Zstd, 400, vec![1; 300]),
            (
                Codec::Zstd,
                400,
                zstd::bulk::compress(&[1; 399], 1).expect("packs"),
            ),
            (
                Codec::Zstd,
                400,
                zstd::bulk::compress(&[1; 401], 1).expect("packs"),
            ),
            (
                Codec::Zstd,
                u32::MAX,
                zstd::bulk::compress(&[1; 401], 1).expect("packs"),
            ),
            (Codec::Plain, 400, vec![1; 399]),
        ] {
            let header = Header {
                codec,
                plain,
                sealed: (packed.len() + TAG) as u32,
                ..header(0)
            };
            let mut block = header.encode().to_vec();
            block.extend_from_slice(&packed);
            let sealed_with = block_key(&key(1), &header.origin, 0);
            encrypt(&sealed_with, &header.encode(), &mut block, HEADER).expect("seals");
            let opened = open(&key(1), &header, &block);
            assert!(
                matches!(opened, Err(Refused::Malformed(_))),
                "{plain}: {opened:?}"
            );
        }
    }
}
