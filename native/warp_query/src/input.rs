//! Reads requests, and ends the process when there is nothing more to wait for: at the end of
//! standard input, and at the deadline of the query under way.

use std::process::exit;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, read};
use rustix::stdio::stdin;

use crate::{request, status};

/// How long after its deadline a query may answer by itself, which spares a new process.
const GRACE: Duration = Duration::from_millis(20);
/// More than a request ever has: what comes is no request.
const MAX_FRAME: usize = 80 * 1024 * 1024;

/// The reading side of the process, in a thread of its own.
pub struct Input {
    answered: Arc<AtomicU64>,
    requests: SyncSender<(Instant, Vec<u8>)>,
    sent: u64,
}

impl Input {
    /// Hands requests on to `requests`, with their deadlines; `answered` says how many were
    /// answered.
    pub fn new(answered: Arc<AtomicU64>, requests: SyncSender<(Instant, Vec<u8>)>) -> Self {
        Self {
            answered,
            requests,
            sent: 0,
        }
    }

    /// Reads until the process ends.
    pub fn read(&mut self) {
        loop {
            let mut length = [0; 4];
            fill(&mut length);
            let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
            if length == 0 {
                exit(status::DONE);
            }
            if length > MAX_FRAME {
                exit(status::FAILED);
            }
            let mut frame = vec![0; length];
            fill(&mut frame);
            let Some(timeout) = request::timeout(&frame) else {
                exit(status::FAILED);
            };
            let deadline = Instant::now() + timeout;
            self.sent += 1;
            if self.requests.send((deadline, frame)).is_err() {
                exit(status::DONE);
            }
            self.watch(deadline + GRACE);
        }
    }

    /// Waits for whatever comes next, and for no longer than the query under way may take.
    fn watch(&self, last: Instant) {
        if !is_readable(last) && self.answered.load(Ordering::SeqCst) < self.sent {
            exit(status::DEADLINE);
        }
    }
}

/// Whether standard input has something, or has ended, before that time.
fn is_readable(until: Instant) -> bool {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let timeout = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        match poll(&mut [PollFd::new(&stdin(), PollFlags::IN)], Some(&timeout)) {
            Ok(0) if left.is_zero() => return false,
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => return true,
            Err(_) => exit(status::FAILED),
        }
    }
}

/// Reads as many bytes as there is room for. At the end of the input the process ends.
fn fill(mut room: &mut [u8]) {
    while !room.is_empty() {
        match read(stdin(), &mut *room) {
            Ok(0) => exit(status::DONE),
            Ok(count) => room = room.get_mut(count..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(_) => exit(status::DONE),
        }
    }
}
