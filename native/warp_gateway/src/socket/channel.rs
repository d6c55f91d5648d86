//! The channel of a socket: what the VM sends over it, and what is seen of it from outside.

use super::Ending;
use super::frame::{self, CONTINUATION, PING, PONG, TEXT};
use crate::channels::Channel;
use crate::config::Limits;
use crate::gateway::Gateway;
use crate::limits::lock;
use crate::tokens::Credential;
use crate::watch::Watch;
use bytes::Buf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};

/// More bytes than the VM may send before they are taken: it does not keep to what was agreed.
const MAX_HELD: usize = 1024 * 1024;
/// So many calls without an id, which get no answer, are taken between two looks at the time.
const MAX_UNANSWERED: usize = 5000;
/// So many bytes of answers to pings may wait.
const MAX_PONGS: usize = 4096;

/// A socket's channel.
pub struct SocketChannel {
    /// What all share.
    gateway: Arc<Gateway>,
    /// Who is at the other end.
    pub credential: Credential,
    /// The connection as it is seen from outside.
    watch: Arc<Watch>,
    /// What waits to be written.
    outbox: Mutex<Outbox>,
    /// Calls and bytes of this socket that are in flight.
    in_flight: Mutex<InFlight>,
    /// Since when a message is read that is not whole, 0 without one.
    message_since: AtomicU64,
    /// How many bytes of it there are.
    message_bytes: AtomicUsize,
    /// How many calls without an id were taken since the last look at the time.
    unanswered: AtomicUsize,
}

/// What waits to be written.
#[derive(Default)]
struct Outbox {
    /// Whole frames.
    frames: Vec<u8>,
    /// How many bytes of the VM are in them.
    bytes: usize,
    /// How many bytes of answers to pings are in them.
    pongs: usize,
    /// Whether the next piece goes on with a message.
    is_in_message: bool,
    /// How the socket ends when all was written.
    ending: Option<Ending>,
    /// Whether it ends at once.
    is_urgent: bool,
    /// When the client was last asked whether it lives.
    pinged: u64,
    /// The task of the socket.
    waker: Option<Waker>,
}

impl Outbox {
    /// Fails with how the socket has to end, if it has to.
    fn end(&mut self) -> Result<(), Ending> {
        self.ending.take().map_or(Ok(()), Err)
    }
}

/// Calls that were not answered yet.
#[derive(Default)]
struct InFlight {
    /// How many.
    calls: usize,
    /// How many bytes they had.
    bytes: usize,
}

impl SocketChannel {
    /// The channel of a new socket.
    pub fn new(gateway: &Arc<Gateway>, credential: Credential, watch: &Arc<Watch>) -> Arc<Self> {
        Arc::new(SocketChannel {
            gateway: Arc::clone(gateway),
            credential,
            watch: Arc::clone(watch),
            outbox: Mutex::default(),
            in_flight: Mutex::default(),
            message_since: AtomicU64::new(0),
            message_bytes: AtomicUsize::new(0),
            unanswered: AtomicUsize::new(0),
        })
    }

    /// Calls were read.
    pub fn take_calls(&self, calls: usize) {
        self.gateway.in_flight.take(calls);
        self.credential.token.in_flight.take(calls);
    }

    /// Calls that were read go to the VM.
    pub fn begin(&self, calls: usize, unanswered: usize, bytes: usize) {
        self.unanswered.fetch_add(unanswered, Ordering::Relaxed);
        if calls > 0 {
            self.gateway.bytes.take(bytes);
            let mut in_flight = lock(&self.in_flight);
            in_flight.calls += calls;
            in_flight.bytes += bytes;
        }
    }

    /// Calls were answered. Their part of the bytes is as if all had the same.
    fn answered(&self, calls: usize) {
        let mut in_flight = lock(&self.in_flight);
        let calls = calls.min(in_flight.calls);
        if calls == 0 {
            return;
        }
        let bytes = if calls == in_flight.calls {
            in_flight.bytes
        } else {
            in_flight.bytes / in_flight.calls * calls
        };
        in_flight.calls -= calls;
        in_flight.bytes -= bytes;
        drop(in_flight);
        self.gateway.bytes.give(bytes);
        self.gateway.in_flight.give(calls);
        self.credential.token.in_flight.give(calls);
    }

    /// Nothing more is answered.
    pub fn forget(&self, channel: u64) {
        self.answered(usize::MAX);
        for gauge in [
            &self.gateway.bytes,
            &self.gateway.in_flight,
            &self.credential.token.in_flight,
        ] {
            gauge.forget(channel);
        }
    }

    /// Whether no more calls may be taken now. The socket is woken when that changes.
    pub fn is_full(&self, channel: u64, cx: &Context<'_>) -> bool {
        self.is_full_of_unanswered()
            || self
                .credential
                .token
                .in_flight
                .is_full_for(channel, cx.waker())
            || self.gateway.in_flight.is_full_for(channel, cx.waker())
            || self.gateway.bytes.is_full_for(channel, cx.waker())
    }

    /// Whether no more calls may be taken now.
    pub fn is_full_now(&self) -> bool {
        self.is_full_of_unanswered()
            || self.credential.token.in_flight.is_full()
            || self.gateway.in_flight.is_full()
            || self.gateway.bytes.is_full()
    }

    /// Whether too many calls without an id came at once.
    fn is_full_of_unanswered(&self) -> bool {
        self.unanswered.load(Ordering::Relaxed) >= MAX_UNANSWERED
    }

    /// A message is read that is not whole, of so many bytes by now. 0 ends it.
    pub fn reading(&self, bytes: usize, now: impl FnOnce() -> u64) {
        self.message_bytes.store(bytes, Ordering::Relaxed);
        let has_begun = self.message_since.load(Ordering::Relaxed) != 0;
        if has_begun != (bytes > 0) {
            self.message_since
                .store(if bytes > 0 { now() } else { 0 }, Ordering::Relaxed);
        }
    }

    /// From now on the task is woken for what the VM sends and for what is seen from outside. An urgent end is now.
    pub fn listen(&self, cx: &Context<'_>) -> Result<(), Ending> {
        let mut outbox = lock(&self.outbox);
        if !outbox
            .waker
            .as_ref()
            .is_some_and(|waker| waker.will_wake(cx.waker()))
        {
            outbox.waker = Some(cx.waker().clone());
        }
        if outbox.is_urgent {
            outbox.end()
        } else {
            Ok(())
        }
    }

    /// Takes what waits to be written, in exchange for an empty buffer, and gives how many bytes of the VM are in it.
    /// When nothing waits the socket may have to end.
    pub fn take(&self, empty: &mut Vec<u8>) -> Result<usize, Ending> {
        let mut outbox = lock(&self.outbox);
        if outbox.frames.is_empty() {
            outbox.end()?;
        }
        outbox.pongs = 0;
        std::mem::swap(&mut outbox.frames, empty);
        Ok(std::mem::take(&mut outbox.bytes))
    }

    /// Whether nothing waits to be written.
    pub fn is_empty(&self) -> bool {
        lock(&self.outbox).frames.is_empty()
    }

    /// Answers a client that asks whether the gateway lives: not any more while it does not take the answers.
    pub fn pong(&self, bytes: &[u8]) {
        let mut outbox = lock(&self.outbox);
        if outbox.pongs < MAX_PONGS {
            outbox.pongs += bytes.len() + 2;
            frame::put(&mut outbox.frames, PONG, true, bytes);
        }
    }

    /// Ends the socket: at once, or when all was written.
    fn end(&self, ending: Ending, is_urgent: bool) {
        let mut outbox = lock(&self.outbox);
        outbox.is_urgent |= is_urgent;
        if outbox.ending.is_none() || is_urgent {
            outbox.ending = Some(ending);
        }
    }

    /// How the socket has to end, as it is seen from outside.
    fn overdue(&self, now: u64, limits: &Limits) -> Option<Ending> {
        let since = self.message_since.load(Ordering::Relaxed);
        let time = limits.body_time(self.message_bytes.load(Ordering::Relaxed));
        if self.watch.is_stuck(now, limits) {
            Some(Ending::Gone)
        } else if !self.credential.is_valid() {
            Some(Ending::Close(
                4401,
                "the token has expired or was revoked".into(),
            ))
        } else if since != 0 && now.saturating_sub(since) > time {
            Some(Ending::Close(1008, "a message came too slowly".into()))
        } else {
            None
        }
    }

    /// Asks a silent client whether it lives. One that stays silent is gone.
    fn ping(&self, now: u64, limits: &Limits) -> bool {
        let silent = now.saturating_sub(self.watch.read_at());
        if silent <= limits.socket_ping_ms || self.is_full_now() {
            return false;
        }
        let mut outbox = lock(&self.outbox);
        if now.saturating_sub(outbox.pinged) <= limits.socket_ping_ms {
            return false;
        }
        if silent > limits.socket_ping_ms.saturating_mul(2) && outbox.pinged != 0 {
            outbox.is_urgent = true;
            outbox.ending = Some(Ending::Gone);
        } else {
            outbox.pinged = now;
            frame::put(&mut outbox.frames, PING, true, &[]);
        }
        true
    }
}

impl Channel for SocketChannel {
    fn head(&self, _head: &[u8]) {
        eprintln!("warp_gateway: a head of a response for a socket");
        self.end(Ending::Gone, true);
    }

    fn data(&self, last: bool, mut bytes: &[u8]) {
        let Ok(answered) = bytes.try_get_u16() else {
            eprintln!("warp_gateway: a message without a count of answered calls");
            return self.end(Ending::Gone, true);
        };
        self.answered(usize::from(answered));
        let mut outbox = lock(&self.outbox);
        // A message without bytes says only what was answered.
        if bytes.is_empty() && !outbox.is_in_message && last {
            return;
        }
        if outbox.bytes + bytes.len() > MAX_HELD {
            eprintln!("warp_gateway: more of a message than was agreed");
            drop(outbox);
            return self.end(Ending::Gone, true);
        }
        let code = if outbox.is_in_message {
            CONTINUATION
        } else {
            TEXT
        };
        outbox.is_in_message = !last;
        outbox.bytes += bytes.len();
        frame::put(&mut outbox.frames, code, last, bytes);
    }

    fn close(&self, code: u16, reason: &[u8]) {
        self.end(
            Ending::Close(code, String::from_utf8_lossy(reason).into_owned().into()),
            false,
        );
    }

    fn abort(&self) {
        self.end(Ending::Gone, true);
    }

    fn wake(&self) {
        let waker = lock(&self.outbox).waker.take();
        waker.into_iter().for_each(Waker::wake);
    }

    fn check(&self, now: u64, limits: &Limits, is_stopping: bool) {
        // A socket that is not read looks whether its client is still there.
        let was_full = self.is_full_now();
        self.unanswered.store(0, Ordering::Relaxed);
        let has_to_wake = if let Some(ending) = self.overdue(now, limits) {
            self.end(ending, true);
            true
        } else if is_stopping && lock(&self.in_flight).calls == 0 {
            self.end(Ending::Close(1001, "the server stops".into()), false);
            true
        } else {
            self.ping(now, limits)
        };
        if was_full || has_to_wake {
            self.wake();
        }
    }
}
