//! Frames of WebSocket (RFC 6455), as a server reads and writes them.

use super::Ending;
use crate::text::cut;

/// Codes of frames.
pub const CONTINUATION: u8 = 0;
/// Text.
pub const TEXT: u8 = 1;
/// Bytes.
pub const BINARY: u8 = 2;
/// The end of a socket.
pub const CLOSE: u8 = 8;
/// A question whether the other end lives.
pub const PING: u8 = 9;
/// The answer to it.
pub const PONG: u8 = 10;

/// The header of a frame of the server has no more bytes.
const MAX_HEADER: usize = 10;
/// A control frame has no more bytes.
pub const MAX_CONTROL: usize = 125;

/// What stands before the bytes of a client's frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The frame's code.
    pub code: u8,
    /// Whether it is the last of its message.
    pub is_last: bool,
    /// What the bytes are masked with.
    pub mask: [u8; 4],
    /// How many bytes the header has.
    pub size: usize,
    /// How many bytes follow it.
    pub length: usize,
}

/// Reads the header of a client's frame, which may have so many bytes. Nothing if the header is not whole.
pub fn header(bytes: &[u8], most: usize) -> Result<Option<Header>, Ending> {
    let [first, second, rest @ ..] = bytes else {
        return Ok(None);
    };
    let (code, is_last) = (first & 0x0F, first & 0x80 != 0);
    if first & 0x70 != 0 || !matches!(code, CONTINUATION..=BINARY | CLOSE..=PONG) {
        return Err(Ending::protocol("a frame of an unknown kind"));
    }
    if second & 0x80 == 0 {
        return Err(Ending::protocol("a frame without a mask"));
    }
    let (size, length) = match second & 0x7F {
        126 => match rest {
            [a, b, ..] => (2, u64::from(u16::from_be_bytes([*a, *b]))),
            _ => return Ok(None),
        },
        127 => match rest.first_chunk() {
            Some(length) => (8, u64::from_be_bytes(*length)),
            None => return Ok(None),
        },
        length => (0, u64::from(length)),
    };
    if code >= CLOSE && (!is_last || length > 125) {
        return Err(Ending::protocol(
            "a control frame that is too long or in pieces",
        ));
    }
    let most = if code >= CLOSE { MAX_CONTROL } else { most };
    let length = usize::try_from(length)
        .ok()
        .filter(|length| *length <= most)
        .ok_or_else(Ending::too_large)?;
    let mask = rest.get(size..).and_then(<[u8]>::first_chunk);
    Ok(mask.map(|mask| Header {
        code,
        is_last,
        mask: *mask,
        size: 2 + size + 4,
        length,
    }))
}

/// Takes the mask off.
pub fn unmask(bytes: &mut [u8], mask: [u8; 4]) {
    let wide = u64::from(u32::from_ne_bytes(mask));
    let wide = wide | (wide << 32);
    let (chunks, rest) = bytes.as_chunks_mut::<8>();
    for chunk in chunks {
        *chunk = (u64::from_ne_bytes(*chunk) ^ wide).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}

/// Appends a frame of the server.
pub fn put(out: &mut Vec<u8>, code: u8, is_last: bool, bytes: &[u8]) {
    out.reserve(MAX_HEADER + bytes.len());
    out.push(code | if is_last { 0x80 } else { 0 });
    match (u8::try_from(bytes.len()), u16::try_from(bytes.len())) {
        (Ok(length @ 0..=125), _) => out.push(length),
        (_, Ok(length)) => {
            out.push(126);
            out.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend_from_slice(&u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_be_bytes());
        }
    }
    out.extend_from_slice(bytes);
}

/// Appends a frame that closes.
pub fn put_close(out: &mut Vec<u8>, code: u16, reason: &str) {
    let reason = cut(reason, MAX_CONTROL - 2);
    let body = [&code.to_be_bytes()[..], reason.as_bytes()].concat();
    put(out, CLOSE, true, &body);
}
