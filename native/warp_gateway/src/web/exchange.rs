//! The channel of a request: the head and the body that the VM sends for it.

use crate::channels::Channel;
use crate::clock;
use crate::config::Limits;
use crate::frames::{self, Head};
use crate::limits::lock;
use crate::streams;
use crate::tokens::Credential;
use bytes::Bytes;
use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use tokio::sync::Notify;

/// More bytes than the VM may send before they are taken: it does not keep to what was agreed.
const MAX_HELD: usize = 1024 * 1024;

/// A response cannot be finished: the connection or the stream is reset.
#[derive(Debug)]
pub struct Reset;

impl fmt::Display for Reset {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("the response cannot be finished")
    }
}

impl std::error::Error for Reset {}

/// A piece of a body.
pub struct Piece {
    /// The bytes.
    pub bytes: Bytes,
    /// Whether it is the last.
    pub is_last: bool,
    /// Whether nothing more is there for now.
    pub is_all: bool,
}

/// The channel of a request.
pub struct Exchange {
    /// What the VM has sent.
    state: Mutex<State>,
    /// What ends the stream of HTTP/2.
    end: Option<Arc<Notify>>,
    /// Who has asked.
    credential: Option<Credential>,
}

/// What the VM has sent.
#[derive(Default)]
struct State {
    /// The head, until it is taken.
    head: Option<Head>,
    /// Whether the head was there.
    has_head: bool,
    /// The pieces of the body.
    pieces: VecDeque<Bytes>,
    /// How many bytes they have.
    held: usize,
    /// Since when the first piece waits, 0 without one.
    since: u64,
    /// Whether the last piece is there.
    is_last: bool,
    /// Whether the response cannot be finished.
    is_reset: bool,
    /// Who waits.
    waker: Option<Waker>,
}

impl Exchange {
    /// The channel of the request that the task answers.
    pub fn new(credential: Option<Credential>) -> Self {
        Exchange {
            state: Mutex::default(),
            end: streams::end(),
            credential,
        }
    }

    /// The head, when it is there.
    pub fn poll_head(&self, cx: &mut Context<'_>) -> Poll<Result<Head, Reset>> {
        let mut state = lock(&self.state);
        match state.head.take() {
            Some(head) => Poll::Ready(Ok(head)),
            None if state.is_reset => Poll::Ready(Err(Reset)),
            None => state.wait(cx),
        }
    }

    /// The next piece of the body, when it is there.
    pub fn poll_piece(&self, cx: &mut Context<'_>) -> Poll<Result<Piece, Reset>> {
        let mut state = lock(&self.state);
        if state.is_reset {
            return Poll::Ready(Err(Reset));
        }
        let Some(bytes) = state.pieces.pop_front() else {
            return state.wait(cx);
        };
        state.held -= bytes.len();
        let is_all = state.pieces.is_empty();
        state.since = if is_all { 0 } else { clock::now() };
        Poll::Ready(Ok(Piece {
            bytes,
            is_last: is_all && state.is_last,
            is_all,
        }))
    }

    /// Whether nothing is there for now.
    pub fn is_empty(&self) -> bool {
        lock(&self.state).pieces.is_empty()
    }
}

impl State {
    /// Waits for more.
    fn wait<T>(&mut self, cx: &mut Context<'_>) -> Poll<T> {
        self.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    /// The response cannot be finished.
    fn reset(&mut self) {
        self.is_reset = true;
        self.pieces.clear();
        self.held = 0;
        self.since = 0;
    }
}

impl Channel for Exchange {
    fn head(&self, head: &[u8]) {
        let mut state = lock(&self.state);
        match frames::head(head).filter(|_| !state.has_head) {
            Some(head) => {
                state.has_head = true;
                state.head = Some(head);
            }
            None => {
                eprintln!(
                    "warp_gateway: a head of a response that cannot be read, or a second one"
                );
                state.reset();
            }
        }
    }

    fn data(&self, last: bool, bytes: &[u8]) {
        let mut state = lock(&self.state);
        if state.is_reset || state.is_last {
            return;
        }
        if state.held + bytes.len() > MAX_HELD {
            eprintln!("warp_gateway: more of a body than was agreed");
            return state.reset();
        }
        if state.since == 0 {
            state.since = clock::now();
        }
        state.held += bytes.len();
        state.pieces.push_back(Bytes::copy_from_slice(bytes));
        state.is_last = last;
    }

    fn close(&self, _code: u16, _reason: &[u8]) {
        lock(&self.state).reset();
    }

    fn abort(&self) {
        lock(&self.state).reset();
    }

    fn wake(&self) {
        let waker = lock(&self.state).waker.take();
        waker.into_iter().for_each(Waker::wake);
    }

    /// A client that does not take what is there for too long is left: one stream of HTTP/2 can do so beside others.
    /// So is one whose token ends while it is sent a body: that may be a stream without an end.
    fn check(&self, now: u64, limits: &Limits, _is_stopping: bool) {
        let mut state = lock(&self.state);
        let is_stuck = state.since != 0 && now.saturating_sub(state.since) > limits.send_ms;
        let is_valid = self.credential.as_ref().is_none_or(Credential::is_valid);
        if is_stuck || (state.has_head && !is_valid) {
            state.reset();
            drop(state);
            self.wake();
            self.end.iter().for_each(|end| end.notify_one());
        }
    }
}
