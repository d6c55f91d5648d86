//! A socket at work: one task reads calls and writes what the VM sends, both as far as they go.

use super::Ending;
use super::channel::SocketChannel;
use super::decoder::{Decoder, Event, Next, Pace};
use super::frame;
use crate::channels::Open;
use crate::clock;
use crate::frames::Kind;
use crate::gateway::Gateway;
use crate::json::{self, Calls, Reason};
use crate::stream::Stream;
use std::cell::RefCell;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

/// How much is read at once, into a buffer that all sockets of a thread share.
const READ: usize = 64 * 1024;
/// How often a socket reads before others have their turn.
const TURNS: usize = 4;
/// At the latest when so many bytes were taken the VM is told.
const DUE: usize = 64 * 1024;
/// Messages that are not whole may have so many bytes before they count as bytes in flight.
const FREE: usize = 64 * 1024;
/// How long a client may take to end the connection after the socket was closed.
const GRACE: Duration = Duration::from_secs(2);

thread_local! {
    /// Where sockets read.
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; READ]);
}

/// A socket at work.
pub struct Session {
    /// What all share.
    gateway: Arc<Gateway>,
    /// The channel.
    channel: Arc<SocketChannel>,
    /// Its number.
    number: u64,
    /// The connection.
    stream: Stream,
    /// What was read.
    decoder: Decoder,
    /// What is written.
    writing: Vec<u8>,
    /// How many bytes of it were written.
    written: usize,
    /// How many bytes of the VM in it were not counted as taken yet.
    taking: usize,
    /// How many bytes were taken and not told.
    due: usize,
    /// Whether something was written and not flushed.
    has_to_flush: bool,
    /// How many bytes of messages that are not whole count as bytes in flight.
    held: usize,
    /// How long a message may be.
    most: usize,
}

impl Session {
    /// A socket over a connection.
    pub fn new(
        gateway: &Arc<Gateway>,
        channel: &Arc<SocketChannel>,
        stream: Stream,
        most: usize,
    ) -> Self {
        Session {
            gateway: Arc::clone(gateway),
            channel: Arc::clone(channel),
            number: 0,
            stream,
            decoder: Decoder::default(),
            writing: Vec::new(),
            written: 0,
            taking: 0,
            due: 0,
            has_to_flush: false,
            held: 0,
            most,
        }
    }

    /// Works until the socket ends. `first` are bytes that were read before.
    pub async fn run(mut self, open: Open, mut first: Vec<u8>) {
        self.number = open.number();
        let mut calls = Calls::default();
        let begun = self.take(&mut first, &mut calls);
        self.send(&mut calls);
        drop(first);
        drop(calls);
        let ending = match begun {
            Ok(()) => std::future::poll_fn(|cx| self.poll(cx)).await,
            Err(ending) => ending,
        };
        drop(open);
        self.give_back();
        if let Ending::Close(code, reason) = ending {
            let _ = tokio::time::timeout(GRACE, self.close(code, &reason)).await;
        }
    }

    /// Nothing of the socket is in flight any more.
    fn give_back(&mut self) {
        self.channel.forget(self.number);
        self.gateway.bytes.give(std::mem::take(&mut self.held));
    }

    /// Reads and writes as far as it goes.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Ending> {
        match self.poll_both(cx) {
            Ok(()) => Poll::Pending,
            Err(ending) => Poll::Ready(ending),
        }
    }

    /// Reads and writes as far as it goes.
    fn poll_both(&mut self, cx: &mut Context<'_>) -> Result<(), Ending> {
        self.channel.listen(cx)?;
        self.write(cx)?;
        self.read(cx)?;
        // What reading has put there, or what the VM has sent meanwhile.
        if !self.channel.is_empty() {
            self.write(cx)?;
        }
        Ok(())
    }

    /// Writes what waits, until the client takes no more.
    fn write(&mut self, cx: &mut Context<'_>) -> Result<(), Ending> {
        loop {
            while let Some(rest) = self
                .writing
                .get(self.written..)
                .filter(|rest| !rest.is_empty())
            {
                match Pin::new(&mut self.stream).poll_write(cx, rest) {
                    Poll::Ready(Ok(0) | Err(_)) => return Err(Ending::Gone),
                    Poll::Ready(Ok(bytes)) => self.wrote(bytes),
                    Poll::Pending => return Ok(()),
                }
            }
            // An idle socket has no buffer.
            self.writing = Vec::new();
            self.written = 0;
            self.due += std::mem::take(&mut self.taking);
            self.taking = self.channel.take(&mut self.writing)?;
            if self.writing.is_empty() {
                self.tell();
                return self.flush(cx);
            }
            self.has_to_flush = true;
            if self.due >= DUE {
                self.tell();
            }
        }
    }

    /// Counts what was written.
    fn wrote(&mut self, bytes: usize) {
        self.written += bytes;
        // Headers of frames count as bytes of the VM here, which is put right when all is written.
        let taken = bytes.min(self.taking);
        self.taking -= taken;
        self.due += taken;
        if self.due >= DUE {
            self.tell();
        }
    }

    /// Tells the VM how many bytes were taken.
    fn tell(&mut self) {
        if self.due > 0 {
            let due = u32::try_from(self.due).unwrap_or(u32::MAX);
            self.gateway
                .link
                .send(self.number, Kind::Taken, &due.to_be_bytes());
            self.due = 0;
        }
    }

    /// Flushes what was written: TLS may hold it.
    fn flush(&mut self, cx: &mut Context<'_>) -> Result<(), Ending> {
        if self.has_to_flush {
            match Pin::new(&mut self.stream).poll_flush(cx) {
                Poll::Ready(Ok(())) => self.has_to_flush = false,
                Poll::Ready(Err(_)) => return Err(Ending::Gone),
                Poll::Pending => {}
            }
        }
        Ok(())
    }

    /// Reads calls, and sends those that came together in one frame.
    fn read(&mut self, cx: &mut Context<'_>) -> Result<(), Ending> {
        let mut calls = Calls::default();
        let result = BUFFER.with_borrow_mut(|buffer| self.read_turns(cx, buffer, &mut calls));
        // What came before a fault was right.
        self.send(&mut calls);
        let is_reading = self.decoder.is_in_message() && !self.decoder.is_resting();
        self.channel.reading(
            if is_reading {
                self.decoder.held().max(1)
            } else {
                0
            },
            clock::now,
        );
        result
    }

    /// Reads until nothing more is there, nothing more may be taken, or others should have their turn.
    fn read_turns(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
        calls: &mut Calls,
    ) -> Result<(), Ending> {
        for _ in 0..TURNS {
            if self.channel.is_full(self.number, cx)
                || self.gateway.link.is_full_for(self.number, cx.waker())
            {
                // Nobody reads that the client is gone.
                return if self.stream.is_closed() {
                    Err(Ending::Gone)
                } else {
                    Ok(())
                };
            }
            if self.decoder.is_resting() {
                self.take(&mut [], calls)?;
                continue;
            }
            let mut read = ReadBuf::new(buffer);
            match Pin::new(&mut self.stream).poll_read(cx, &mut read) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Err(_)) => return Err(Ending::Gone),
                Poll::Ready(Ok(())) if read.filled().is_empty() => return Err(Ending::Gone),
                Poll::Ready(Ok(())) => self.take(read.filled_mut(), calls)?,
            }
        }
        cx.waker().wake_by_ref();
        Ok(())
    }

    /// Takes bytes of the client, and appends the calls in them.
    fn take(&mut self, bytes: &mut [u8], calls: &mut Calls) -> Result<(), Ending> {
        let channel = &self.channel;
        let mut on = |event: Event<'_>| event_of(channel, &event, calls);
        self.decoder.take(bytes, self.most, &mut on)?;
        let held = self.decoder.held().saturating_sub(FREE);
        let more = held.saturating_sub(self.held);
        if more > 0 && !self.gateway.bytes.try_take(more) {
            return Err(Ending::Close(4429, "too many bytes are in flight".into()));
        }
        self.gateway.bytes.give(self.held.saturating_sub(held));
        self.held = held;
        Ok(())
    }

    /// Sends calls to the VM.
    fn send(&mut self, calls: &mut Calls) {
        if !calls.is_empty() {
            self.channel.begin(
                calls.answered(),
                calls.count() - calls.answered(),
                calls.bytes(),
            );
            self.gateway
                .link
                .send_term_now(self.number, Kind::Calls, &calls.take());
        }
    }

    /// Closes the socket: writes what was begun, says why, and waits until the client has ended the connection.
    async fn close(&mut self, code: u16, reason: &str) -> std::io::Result<()> {
        let mut last = self.writing.split_off(self.written.min(self.writing.len()));
        frame::put_close(&mut last, code, reason);
        self.stream.write_all(&last).await?;
        self.stream.flush().await?;
        self.stream.shutdown().await?;
        let mut buffer = [0; 512];
        while self.stream.read(&mut buffer).await? > 0 {}
        Ok(())
    }
}

/// A panic ends the session too.
impl Drop for Session {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// Does what a client says.
fn event_of(channel: &SocketChannel, event: &Event<'_>, calls: &mut Calls) -> Next {
    match *event {
        Event::Text(text) => {
            let in_flight = &channel.credential.token.in_flight;
            let before = calls.answered();
            if let Err(fault) =
                json::reading(text.len(), || json::message(text, calls, in_flight.limit()))
            {
                let code = match fault.reason {
                    Reason::NoCall => 4400,
                    Reason::TooMany => 4429,
                    _ => 1007,
                };
                return ControlFlow::Break(Ending::Close(code, fault.to_string().into()));
            }
            channel.take_calls(calls.answered() - before);
        }
        Event::Ping(bytes) => channel.pong(bytes),
        Event::Close(bytes) => {
            let code = bytes
                .first_chunk()
                .map_or(1000, |code| u16::from_be_bytes(*code));
            let code = if matches!(code, 1000..=1003 | 1007..=1011 | 3000..=4999) {
                code
            } else {
                1002
            };
            return ControlFlow::Break(Ending::Close(code, "".into()));
        }
    }
    ControlFlow::Continue(if channel.is_full_now() {
        Pace::Rest
    } else {
        Pace::GoOn
    })
}
