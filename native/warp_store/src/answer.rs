//! The form of answers: what it is, in one byte, and what belongs to it.

use crate::status;
use bytes::Bytes;
use std::io::{Write, stdout};
use std::process::exit;

/// What a request came to.
#[derive(Debug, PartialEq)]
pub enum Answer {
    /// It is done, with what was read, if that was it.
    Done(Bytes),
    /// The object to create is there already.
    Exists,
    /// There is no such object.
    NotFound,
    /// Some objects of a list, which has more.
    Part(Vec<(String, u64)>),
    /// The last objects of a list.
    Last(Vec<(String, u64)>),
    /// It is not done, or is not known to be.
    Failed(Failure),
}

/// Why a request was not done. `src/backup/warp_backup_s3.erl` knows these too.
#[derive(Debug, PartialEq)]
pub enum Failure {
    /// The storage cannot be reached, or cannot do it now.
    Unreachable(String),
    /// It did not answer in time.
    Timeout,
    /// It answered that it will not do it, however often it is asked.
    Refused(String),
    /// It has no room.
    Full,
}

impl Answer {
    /// Sends it. At the end of standard output the process ends.
    pub fn send(&self) {
        let (head, body) = self.encode();
        let length = u32::try_from(head.len() + body.len()).unwrap_or(u32::MAX);
        let mut out = stdout().lock();
        let sent = out
            .write_all(&length.to_be_bytes())
            .and_then(|()| out.write_all(&head))
            .and_then(|()| out.write_all(&body))
            .and_then(|()| out.flush());
        if sent.is_err() {
            exit(status::DONE);
        }
    }

    /// Its bytes, in two parts, so that an object is not copied.
    fn encode(&self) -> (Vec<u8>, Bytes) {
        match self {
            Self::Done(bytes) => (vec![0], bytes.clone()),
            Self::Exists => (vec![1], Bytes::new()),
            Self::NotFound => (vec![2], Bytes::new()),
            Self::Part(objects) => (vec![3], list(objects)),
            Self::Last(objects) => (vec![4], list(objects)),
            Self::Failed(Failure::Unreachable(why)) => (vec![5], why.clone().into()),
            Self::Failed(Failure::Timeout) => (vec![6], Bytes::new()),
            Self::Failed(Failure::Refused(why)) => (vec![7], why.clone().into()),
            Self::Failed(Failure::Full) => (vec![8], Bytes::new()),
        }
    }
}

/// Each object: the length of its name in two bytes, its name, and its size in eight.
fn list(objects: &[(String, u64)]) -> Bytes {
    let mut bytes = Vec::new();
    for (name, size) in objects {
        bytes.extend(u16::try_from(name.len()).unwrap_or(u16::MAX).to_be_bytes());
        bytes.extend(name.bytes());
        bytes.extend(size.to_be_bytes());
    }
    bytes.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_have_names_and_sizes() {
        let (head, body) = Answer::Last(vec![("a".into(), 7), ("bc".into(), 256)]).encode();
        assert_eq!(head, [4]);
        assert_eq!(
            &body[..],
            b"\0\x01a\0\0\0\0\0\0\0\x07\0\x02bc\0\0\0\0\0\0\x01\0"
        );
    }

    #[test]
    fn a_failure_says_why() {
        let (head, body) = Answer::Failed(Failure::Refused("no".into())).encode();
        assert_eq!((&head[..], &body[..]), (&[7][..], &b"no"[..]));
    }
}
