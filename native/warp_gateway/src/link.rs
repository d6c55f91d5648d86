//! What goes to the VM: frames are gathered in one buffer, and one task writes all that is there at once.

use crate::frames::{self, Kind, LINK, MAX_FRAME};
use crate::limits::lock;
use crate::text::cut;
use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;
use std::time::Duration;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::Notify;

/// Who has a lot to send waits while so many bytes are there. What is sent without waiting is bounded by the limits
/// of requests in flight and of connections.
const FULL: usize = 1024 * 1024;
/// A buffer that grew beyond it is given back after it was written.
const KEPT: usize = 256 * 1024;
/// A text is no longer.
const MAX_TEXT: usize = 4096;
/// What of a frame's body fits in it.
const MAX_BODY: usize = MAX_FRAME - frames::HEADER;

/// The way to the VM.
#[derive(Default)]
pub struct Link {
    /// Frames that were not written yet.
    waiting: Mutex<Vec<u8>>,
    /// Whether the task writes right now.
    is_writing: AtomicBool,
    /// There are frames.
    filled: Notify,
    /// The frames were taken out to be written.
    emptied: Notify,
    /// Sockets that wait for that, by channel.
    sockets: Mutex<HashMap<u64, Waker>>,
}

impl Link {
    /// Sends a frame, whose body fits in it.
    pub fn send(&self, channel: u64, kind: Kind, body: &[u8]) {
        debug_assert!(body.len() <= MAX_BODY);
        self.with(|waiting| frames::put(waiting, channel, kind, body));
    }

    /// Sends a frame of the link itself, whose body is a text.
    pub fn say(&self, kind: Kind, text: &str) {
        self.send(LINK, kind, cut(text, MAX_TEXT).as_bytes());
    }

    /// Sends a term of any size, and waits before each part until there is room.
    pub async fn send_term(&self, channel: u64, kind: Kind, term: &[u8]) {
        let mut rest = term;
        while let Some((part, after)) = rest
            .split_at_checked(MAX_BODY)
            .filter(|(_, after)| !after.is_empty())
        {
            self.room().await;
            self.send(channel, Kind::Part, part);
            rest = after;
        }
        self.send(channel, kind, rest);
    }

    /// Sends a term of any size without waiting.
    pub fn send_term_now(&self, channel: u64, kind: Kind, term: &[u8]) {
        let mut rest = term;
        while let Some((part, after)) = rest
            .split_at_checked(MAX_BODY)
            .filter(|(_, after)| !after.is_empty())
        {
            self.send(channel, Kind::Part, part);
            rest = after;
        }
        self.send(channel, kind, rest);
    }

    /// Whether so much waits that who has a lot should wait too.
    fn is_full(&self) -> bool {
        self.length() >= FULL
    }

    /// Whether so much waits that a socket should wait too. Then its waker is woken when there is room.
    pub fn is_full_for(&self, channel: u64, waker: &Waker) -> bool {
        if !self.is_full() {
            return false;
        }
        lock(&self.sockets).insert(channel, waker.clone());
        self.is_full()
    }

    /// Waits until there is room.
    async fn room(&self) {
        loop {
            let emptied = self.emptied.notified();
            if !self.is_full() {
                return;
            }
            emptied.await;
        }
    }

    /// Waits until all was written, for a second at most.
    pub async fn flush(&self) {
        for _ in 0..200 {
            if self.length() == 0 && !self.is_writing.load(Ordering::Acquire) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Writes what is sent, for ever. Ends with an error when the VM is gone.
    pub async fn write_to(&self, mut to: impl AsyncWrite + Unpin) -> std::io::Result<()> {
        let mut taken = Vec::new();
        loop {
            self.is_writing.store(true, Ordering::Release);
            self.with_unwoken(|waiting| std::mem::swap(waiting, &mut taken));
            if taken.is_empty() {
                self.is_writing.store(false, Ordering::Release);
                self.filled.notified().await;
                continue;
            }
            self.emptied.notify_waiters();
            let sockets = std::mem::take(&mut *lock(&self.sockets));
            sockets.into_values().for_each(Waker::wake);
            to.write_all(&taken).await?;
            taken.clear();
            taken.shrink_to(KEPT);
        }
    }

    /// How many bytes wait.
    fn length(&self) -> usize {
        self.with_unwoken(|waiting| waiting.len())
    }

    /// Changes what waits, and wakes the task that writes.
    fn with(&self, change: impl FnOnce(&mut Vec<u8>)) {
        let was_empty = self.with_unwoken(|waiting| {
            let was_empty = waiting.is_empty();
            change(waiting);
            was_empty
        });
        if was_empty {
            self.filled.notify_one();
        }
    }

    /// Changes what waits.
    fn with_unwoken<R>(&self, change: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        match self.waiting.lock() {
            Ok(mut waiting) => change(&mut waiting),
            // A thread panicked in the midst of a frame: nobody could read what follows.
            Err(_) => std::process::abort(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_long_term_is_sent_in_parts() {
        let link = Link::default();
        let term: Vec<u8> = (0..MAX_BODY * 2 + 5).map(|at| (at % 251) as u8).collect();
        link.send_term(5, Kind::Request, &term).await;
        let sent = link.with_unwoken(std::mem::take);
        let mut rest = &sent[..];
        let (mut kinds, mut bytes) = (Vec::new(), Vec::new());
        while !rest.is_empty() {
            let length = u32::from_be_bytes(rest[..4].try_into().unwrap()) as usize;
            assert!(length <= MAX_FRAME);
            kinds.push(rest[12]);
            bytes.extend_from_slice(&rest[13..4 + length]);
            rest = &rest[4 + length..];
        }
        assert_eq!(
            kinds,
            [Kind::Part as u8, Kind::Part as u8, Kind::Request as u8]
        );
        assert!(bytes == term);
    }
}
