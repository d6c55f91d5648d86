//! The body of a response: nothing, all of it, or what the VM sends piece by piece.

use super::exchange::{Exchange, Piece, Reset};
use super::flight::Flight;
use crate::channels::Open;
use crate::frames::Kind;
use crate::link::Link;
use crate::watch::Busy;
use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// At the latest when so many bytes were taken the VM is told.
const DUE: usize = 64 * 1024;

/// The body of a response, and what is held until it was sent.
pub struct Answer {
    /// The bytes.
    bytes: Bytes,
    /// Where more comes from.
    stream: Option<Streamed>,
    /// The request's part in what is in flight.
    flight: Option<Flight>,
    /// The connection is busy.
    busy: Option<Busy>,
}

/// What the VM sends piece by piece.
pub struct Streamed {
    /// The channel.
    pub exchange: Arc<Exchange>,
    /// That it is open.
    pub open: Open,
    /// The way to the VM.
    pub link: Arc<Link>,
    /// How many bytes were taken and not told.
    pub due: usize,
}

impl Answer {
    /// Nothing.
    pub fn empty() -> Self {
        Answer::whole(Bytes::new())
    }

    /// All of it.
    pub fn whole(bytes: Bytes) -> Self {
        Answer {
            bytes,
            stream: None,
            flight: None,
            busy: None,
        }
    }

    /// The first bytes, and more to come.
    pub fn streamed(first: Bytes, stream: Streamed) -> Self {
        let stream = Streamed {
            due: first.len(),
            ..stream
        };
        Answer {
            bytes: first,
            stream: Some(stream),
            flight: None,
            busy: None,
        }
    }

    /// How long it is, if all of it is there.
    pub fn length(&self) -> Option<usize> {
        if self.stream.is_some() {
            None
        } else {
            Some(self.bytes.len())
        }
    }

    /// Leaves the bytes away.
    pub fn clear(&mut self) {
        self.bytes = Bytes::new();
        self.stream = None;
    }

    /// Holds the request's part in what is in flight until all was sent.
    pub fn hold(mut self, flight: Flight) -> Self {
        self.flight = Some(flight);
        self
    }

    /// Keeps the connection busy until all was sent.
    pub fn keep(&mut self, busy: Busy) {
        self.busy = Some(busy);
    }
}

impl Streamed {
    /// Tells the VM how many bytes were taken, if it is time.
    fn tell(&mut self, is_all: bool) {
        if self.due >= DUE || (is_all && self.due > 0) {
            let due = u32::try_from(self.due).unwrap_or(u32::MAX);
            self.link
                .send(self.open.number(), Kind::Taken, &due.to_be_bytes());
            self.due = 0;
        }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Reset;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Reset>>> {
        let this = self.get_mut();
        if !this.bytes.is_empty() {
            let bytes = std::mem::take(&mut this.bytes);
            if let Some(stream) = &mut this.stream {
                stream.tell(stream.exchange.is_empty());
            }
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        let Some(stream) = &mut this.stream else {
            return Poll::Ready(None);
        };
        loop {
            match ready!(stream.exchange.poll_piece(cx)) {
                Ok(Piece {
                    bytes,
                    is_last,
                    is_all,
                }) => {
                    stream.due += bytes.len();
                    if is_last {
                        this.stream = None;
                    } else {
                        stream.tell(is_all);
                        if bytes.is_empty() {
                            continue;
                        }
                    }
                    let frame = Some(bytes).filter(|bytes| !bytes.is_empty());
                    return Poll::Ready(frame.map(|bytes| Ok(Frame::data(bytes))));
                }
                Err(reset) => {
                    this.stream = None;
                    return Poll::Ready(Some(Err(reset)));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.stream.is_none() && self.bytes.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        match self.length().and_then(|length| u64::try_from(length).ok()) {
            Some(length) => SizeHint::with_exact(length),
            None => SizeHint::default(),
        }
    }
}
