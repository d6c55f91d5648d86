//! The form of requests: how many milliseconds one may take, in four bytes; what it is, in one; and what it is about.
//! A name is behind its length in two bytes. Numbers are big-endian.

use crate::settings::Settings;
use bytes::{Buf, Bytes};
use std::time::Duration;

/// Something to do, within some time.
#[derive(Debug)]
pub struct Request {
    /// From when it is read on.
    pub timeout: Duration,
    /// What to do.
    pub action: Action,
}

/// What to do.
#[derive(Debug)]
pub enum Action {
    /// Open a bucket. The first request, and only that, does so.
    Open(Settings),
    /// Write an object that is not there.
    Create(String, Bytes),
    /// Write an object, whether or not it is there.
    Replace(String, Bytes),
    /// Read a whole object.
    Read(String),
    /// Read a part of an object: an offset, and how many bytes from there on.
    ReadPart(String, u64, u32),
    /// List the objects whose names begin so.
    List(String),
    /// Delete an object, if it is there.
    Delete(String),
}

/// `None` for what is no request.
pub fn parse(mut frame: Bytes) -> Option<Request> {
    let timeout = Duration::from_millis(frame.try_get_u32().ok()?.into());
    let action = match frame.try_get_u8().ok()? {
        0 => Action::Open(Settings {
            bucket: name(&mut frame)?,
            prefix: name(&mut frame)?,
            endpoint: name(&mut frame)?,
            region: name(&mut frame)?,
            access_key_id: name(&mut frame)?,
            secret_access_key: name(&mut frame)?,
            session_token: name(&mut frame)?,
            needs_token: frame.try_get_u8().ok()? == 1,
        }),
        1 => Action::Create(name(&mut frame)?, frame.split_off(0)),
        2 => Action::Replace(name(&mut frame)?, frame.split_off(0)),
        3 => Action::Read(name(&mut frame)?),
        4 => Action::ReadPart(
            name(&mut frame)?,
            frame.try_get_u64().ok()?,
            frame.try_get_u32().ok()?,
        ),
        5 => Action::List(name(&mut frame)?),
        6 => Action::Delete(name(&mut frame)?),
        _ => return None,
    };
    let is_whole = frame.is_empty() || matches!(action, Action::Create(..) | Action::Replace(..));
    is_whole.then_some(Request { timeout, action })
}

/// A name, from the beginning of a frame.
fn name(frame: &mut Bytes) -> Option<String> {
    let length = usize::from(frame.try_get_u16().ok()?);
    if length > frame.len() {
        return None;
    }
    String::from_utf8(frame.split_to(length).to_vec()).ok()
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that fails says where"
)]
mod tests {
    use super::*;

    fn parsed(frame: &'static [u8]) -> Option<Request> {
        parse(Bytes::from_static(frame))
    }

    #[test]
    fn an_object_is_behind_its_name() {
        let request = parsed(b"\0\0\x03\xe8\x01\0\x01abytes").unwrap();
        assert_eq!(request.timeout, Duration::from_secs(1));
        let Action::Create(name, bytes) = request.action else {
            panic!("{request:?}");
        };
        assert_eq!((name.as_str(), &bytes[..]), ("a", &b"bytes"[..]));
    }

    #[test]
    fn a_part_has_an_offset_and_a_length() {
        let request = parsed(b"\0\0\0\0\x04\0\x01a\0\0\0\0\0\0\0\x07\0\0\0\x02").unwrap();
        assert!(matches!(request.action, Action::ReadPart(name, 7, 2) if name == "a"));
    }

    #[test]
    fn what_is_short_or_long_or_unknown_is_no_request() {
        for frame in [
            &b""[..],
            b"\0\0\0",
            b"\0\0\0\0",
            b"\0\0\0\0\x03",
            b"\0\0\0\0\x03\0\x02a",
            b"\0\0\0\0\x03\0\x01ab",
            b"\0\0\0\0\x03\0\x01\xff",
            b"\0\0\0\0\x04\0\x01a\0",
            b"\0\0\0\0\x00\0\x01a",
            b"\0\0\0\0\x07\0\x01a",
        ] {
            assert!(parsed(frame).is_none(), "{frame:?}");
        }
    }
}
