//! The frames between the gateway and the VM: eight bytes of channel, one of kind, the body. Before each stands its
//! length in four bytes. All integers are big-endian.

use bytes::{Buf, Bytes};

/// The most bytes of a frame to the VM.
pub const MAX_FRAME: usize = 256 * 1024;
/// The most bytes of a frame from the VM. Only a configuration is larger than those to it: it has all the tokens.
pub const MAX_FROM_VM: usize = 16 * 1024 * 1024;
/// What stands before a frame's body.
pub const HEADER: usize = 9;
/// The channel of the link itself.
pub const LINK: u64 = 0;
/// The flag of what is the last of its kind.
const LAST: u8 = 1;

/// Kinds of frames to the VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// All listeners listen.
    Ready = 1,
    /// The gateway cannot serve, and exits.
    Failed = 2,
    /// The answer to a ping.
    Pong = 3,
    /// What was refused before the VM saw it.
    Refused = 4,
    /// Bytes that stand before those of the channel's next request or calls.
    Part = 5,
    /// A request.
    Request = 6,
    /// A socket is open.
    Socket = 7,
    /// Calls of a socket.
    Calls = 8,
    /// So many bytes were taken by the connection.
    Taken = 9,
    /// Nothing of this channel follows.
    Closed = 10,
    /// The last configuration counts, or why not.
    Reloaded = 11,
}

/// Appends a frame to the VM, with its length.
pub fn put(out: &mut Vec<u8>, channel: u64, kind: Kind, body: &[u8]) {
    let length = u32::try_from(HEADER + body.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&channel.to_be_bytes());
    out.push(kind as u8);
    out.extend_from_slice(body);
}

/// The head of a response.
#[derive(Debug, PartialEq, Eq)]
pub struct Head {
    /// The status.
    pub status: u16,
    /// Whether the body is all of it.
    pub last: bool,
    /// Names and values.
    pub headers: Vec<(Bytes, Bytes)>,
    /// The first bytes of the body.
    pub body: Bytes,
}

/// A frame from the VM.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A configuration.
    Configure(&'a [u8]),
    /// Answer with the same bytes.
    Ping(&'a [u8]),
    /// End within so many milliseconds.
    Stop(u32),
    /// The head of a response.
    Head(&'a [u8]),
    /// A piece of a body or of a message.
    Data {
        /// Whether it is the last.
        last: bool,
        /// The bytes. On a socket a count of answered calls stands before them.
        bytes: &'a [u8],
    },
    /// Close a socket.
    Close {
        /// The code.
        code: u16,
        /// The reason.
        reason: &'a [u8],
    },
    /// A body that has begun cannot be finished.
    Abort,
}

/// Reads a frame from the VM, without its length. Nothing if the VM and the gateway do not fit together.
pub fn read(mut frame: &[u8]) -> Option<(u64, Frame<'_>)> {
    let channel = frame.try_get_u64().ok()?;
    let frame = match frame.try_get_u8().ok()? {
        1 => Frame::Configure(frame),
        2 => Frame::Ping(frame),
        3 => Frame::Stop(frame.try_get_u32().ok()?),
        4 => Frame::Head(frame),
        5 => Frame::Data {
            last: frame.try_get_u8().ok()? & LAST != 0,
            bytes: frame,
        },
        6 => Frame::Close {
            code: frame.try_get_u16().ok()?,
            reason: frame,
        },
        7 => Frame::Abort,
        _ => return None,
    };
    Some((channel, frame))
}

/// Reads the head of a response.
pub fn head(body: &[u8]) -> Option<Head> {
    let mut body = Bytes::copy_from_slice(body);
    let status = body.try_get_u16().ok()?;
    let last = body.try_get_u8().ok()? & LAST != 0;
    let count = usize::from(body.try_get_u16().ok()?);
    let mut headers = Vec::with_capacity(count.min(64));
    for _ in 0..count {
        let name = usize::from(body.try_get_u8().ok()?);
        let name = take(&mut body, name)?;
        let value = usize::from(body.try_get_u16().ok()?);
        headers.push((name, take(&mut body, value)?));
    }
    Some(Head {
        status,
        last,
        headers,
        body,
    })
}

/// Takes so many bytes.
fn take(from: &mut Bytes, length: usize) -> Option<Bytes> {
    if from.len() < length {
        None
    } else {
        Some(from.split_to(length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: if std::env::var_os("WARP_LONG").is_some() { 300_000 } else { 1000 },
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        #[test]
        fn any_bytes_are_survived(kind in 0..9_u8, body in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = read(&body);
            let frame = [&[0, 0, 0, 0, 0, 0, 0, 7, kind], &body[..]].concat();
            if let Some((channel, _)) = read(&frame) {
                prop_assert_eq!(channel, 7);
            }
            if let Some(head) = head(&body) {
                prop_assert!(head.headers.len() <= body.len());
            }
        }
    }

    #[test]
    fn a_frame_has_its_length_before_it() {
        let mut out = Vec::new();
        put(&mut out, 258, Kind::Taken, &[1, 2, 3, 4]);
        assert_eq!(out, [0, 0, 0, 13, 0, 0, 0, 0, 0, 0, 1, 2, 9, 1, 2, 3, 4]);
    }

    #[test]
    fn frames_of_the_vm_are_read() {
        let of = |kind: u8, body: &[u8]| [&7_u64.to_be_bytes()[..], &[kind], body].concat();
        assert_eq!(read(&of(3, &[0, 0, 3, 232])), Some((7, Frame::Stop(1000))));
        assert_eq!(
            read(&of(5, &[1, 9, 8])),
            Some((
                7,
                Frame::Data {
                    last: true,
                    bytes: &[9, 8]
                }
            ))
        );
        assert_eq!(
            read(&of(6, &[3, 233, b'x'])),
            Some((
                7,
                Frame::Close {
                    code: 1001,
                    reason: b"x"
                }
            ))
        );
        assert_eq!(read(&of(7, &[])), Some((7, Frame::Abort)));
        assert_eq!(read(&of(8, &[])), None);
        assert_eq!(read(&of(3, &[0, 0, 3])), None);
        assert_eq!(read(&[0; 8]), None);
    }

    #[test]
    fn a_head_is_read() {
        let bytes = [&[0, 200, 1, 0, 1, 1, b'a', 0, 2, b'b', b'c'][..], b"body"].concat();
        let expected = Head {
            status: 200,
            last: true,
            headers: vec![(Bytes::from_static(b"a"), Bytes::from_static(b"bc"))],
            body: Bytes::from_static(b"body"),
        };
        assert_eq!(head(&bytes), Some(expected));
        for length in 0..11 {
            assert_eq!(head(&bytes[..length]), None, "{length}");
        }
    }
}
