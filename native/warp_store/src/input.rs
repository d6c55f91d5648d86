//! Reads requests, and ends the process at the end of standard input.

use crate::status;
use bytes::Bytes;
use std::io::{ErrorKind, Read};
use std::process::exit;
use tokio::sync::mpsc::Sender;

/// More than a request ever has: what comes is no request. A segment has 40 MiB at most.
const MAX_FRAME: usize = 80 * 1024 * 1024;

/// Hands requests on until the process ends, whatever is under way then.
pub fn read(mut input: impl Read, requests: &Sender<Bytes>) {
    loop {
        match frame(&mut input) {
            Ok(Some(frame)) => {
                if requests.blocking_send(frame).is_err() {
                    exit(status::DONE);
                }
            }
            Ok(None) => exit(status::DONE),
            Err(_) => exit(status::FAILED),
        }
    }
}

/// The next request; `None` at the end of the input, be it within a request.
fn frame(input: &mut impl Read) -> std::io::Result<Option<Bytes>> {
    let mut length = [0; 4];
    if !fill(input, &mut length)? {
        return Ok(None);
    }
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length > MAX_FRAME {
        return Err(ErrorKind::InvalidData.into());
    }
    let mut frame = vec![0; length];
    Ok(fill(input, &mut frame)?.then(|| frame.into()))
}

/// Fills the room, if the input has so much.
fn fill(input: &mut impl Read, room: &mut [u8]) -> std::io::Result<bool> {
    match input.read_exact(room) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that fails says where")]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_behind_its_length() {
        let mut input: &[u8] = b"\0\0\0\x03one\0\0\0\0\0\0\0\x02";
        assert_eq!(frame(&mut input).unwrap().unwrap(), "one");
        assert_eq!(frame(&mut input).unwrap().unwrap(), "");
        assert!(frame(&mut input).unwrap().is_none());
    }

    #[test]
    fn what_is_too_long_is_no_frame() {
        let mut input: &[u8] = b"\xff\0\0\0";
        assert!(frame(&mut input).is_err());
    }
}
