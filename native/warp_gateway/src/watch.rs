//! What a connection is doing, and since when: whether it takes too long is seen from outside, several times a second,
//! so that no connection needs a timer.

use crate::clock;
use crate::config::Limits;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use tokio::sync::Notify;

/// No request was begun.
const IDLE: u8 = 0;
/// The head of a request is read, or the connection is new.
const HEAD: u8 = 1;
/// A request is answered.
const BUSY: u8 = 2;
/// The connection is a socket, which looks at its time itself.
const SOCKET: u8 = 3;

/// A connection as it is seen from outside.
pub struct Watch {
    /// Who is at its other end.
    pub peer: SocketAddr,
    /// What it is doing.
    phase: AtomicU8,
    /// Since when.
    since: AtomicU64,
    /// Since when the client takes no bytes, 0 if it does.
    blocked: AtomicU64,
    /// When bytes last came.
    read_at: AtomicU64,
    /// How many requests are answered.
    requests: AtomicU32,
    /// Whether it speaks HTTP/2: then bytes come that are no head of a request.
    is_http2: AtomicBool,
    /// Whether it has to end.
    is_over: AtomicBool,
    /// Wakes the connection, to look whether it has to end.
    kick: Notify,
}

impl Watch {
    /// A connection that has just begun.
    pub fn new(peer: SocketAddr) -> Arc<Self> {
        let now = clock::now();
        Arc::new(Watch {
            peer,
            phase: AtomicU8::new(HEAD),
            since: AtomicU64::new(now),
            blocked: AtomicU64::new(0),
            read_at: AtomicU64::new(now),
            requests: AtomicU32::new(0),
            is_http2: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
            kick: Notify::new(),
        })
    }

    /// Bytes came.
    pub fn read(&self) {
        let now = clock::now();
        self.read_at.store(now, Ordering::Relaxed);
        if self.phase.load(Ordering::Relaxed) == IDLE && !self.is_http2.load(Ordering::Relaxed) {
            self.enter(HEAD, now);
        }
    }

    /// When bytes last came.
    pub fn read_at(&self) -> u64 {
        self.read_at.load(Ordering::Relaxed)
    }

    /// The client takes no bytes.
    pub fn blocked(&self) {
        if self.blocked.load(Ordering::Relaxed) == 0 {
            self.blocked.store(clock::now(), Ordering::Relaxed);
        }
    }

    /// The client took bytes.
    pub fn written(&self) {
        if self.blocked.load(Ordering::Relaxed) != 0 {
            self.blocked.store(0, Ordering::Relaxed);
        }
    }

    /// Whether the client has taken no bytes for too long.
    pub fn is_stuck(&self, now: u64, limits: &Limits) -> bool {
        let since = self.blocked.load(Ordering::Relaxed);
        since != 0 && now.saturating_sub(since) > limits.send_ms
    }

    /// A request is answered, until what is given is dropped.
    pub fn busy(self: &Arc<Self>, is_http2: bool) -> Busy {
        self.is_http2.store(is_http2, Ordering::Relaxed);
        self.requests.fetch_add(1, Ordering::AcqRel);
        self.enter(BUSY, clock::now());
        Busy(Arc::clone(self))
    }

    /// The connection is a socket from now on.
    pub fn becomes_socket(&self) {
        self.enter(SOCKET, clock::now());
    }

    /// Begins to do something.
    fn enter(&self, phase: u8, now: u64) {
        self.since.store(now, Ordering::Relaxed);
        self.phase.store(phase, Ordering::Release);
    }

    /// Ends the connection if something takes too long, and wakes it if the gateway stops.
    pub fn check(&self, now: u64, limits: &Limits, is_stopping: bool) {
        let lasts = now.saturating_sub(self.since.load(Ordering::Relaxed));
        let is_over = match self.phase.load(Ordering::Acquire) {
            IDLE => lasts > limits.idle_ms,
            HEAD => lasts > limits.head_ms,
            BUSY => false,
            _ => return,
        };
        if is_over || self.is_stuck(now, limits) {
            self.is_over.store(true, Ordering::Release);
        }
        if is_stopping || self.is_over() {
            self.kick.notify_one();
        }
    }

    /// Whether the connection has to end.
    pub fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    /// Waits until the connection should look whether it has to end.
    pub async fn kicked(&self) {
        self.kick.notified().await;
    }
}

/// A request that is answered.
pub struct Busy(Arc<Watch>);

impl Drop for Busy {
    fn drop(&mut self) {
        let watch = &self.0;
        if watch.requests.fetch_sub(1, Ordering::AcqRel) == 1
            && watch.phase.load(Ordering::Acquire) == BUSY
        {
            watch.enter(IDLE, clock::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_over_after(watch: &Watch, millis: u64) -> bool {
        let limits = Limits {
            head_ms: 100,
            idle_ms: 1000,
            send_ms: 500,
            ..Limits::default()
        };
        watch.check(clock::now() + millis, &limits, false);
        watch.is_over()
    }

    fn new() -> Arc<Watch> {
        Watch::new(SocketAddr::from(([127, 0, 0, 1], 1)))
    }

    #[test]
    fn a_head_has_less_time_than_an_idle_connection() {
        assert!(!is_over_after(&new(), 50));
        assert!(is_over_after(&new(), 200));
        let watch = new();
        drop(watch.busy(false));
        assert!(!is_over_after(&watch, 200));
        watch.read();
        assert!(is_over_after(&watch, 200));
        let watch = new();
        drop(watch.busy(true));
        watch.read();
        assert!(!is_over_after(&watch, 200));
        assert!(is_over_after(&watch, 1200));
    }

    #[test]
    fn an_answer_has_all_time_unless_the_client_takes_no_bytes() {
        let watch = new();
        let _busy = watch.busy(false);
        assert!(!is_over_after(&watch, 1_000_000));
        watch.blocked();
        watch.written();
        assert!(!is_over_after(&watch, 600));
        watch.blocked();
        assert!(is_over_after(&watch, 600));
    }
}
