//! The messages in what a client sends over a socket. Bytes that are whole frames are read where they are; only what
//! is cut off is kept.

use super::Ending;
use super::frame::{self, BINARY, CLOSE, CONTINUATION, Header, PING, PONG, TEXT};
use std::ops::ControlFlow;

/// Buffers that are empty and were larger are given back.
const KEPT: usize = 4096;

/// What a client says.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A message.
    Text(&'a str),
    /// A question whether the gateway lives.
    Ping(&'a [u8]),
    /// The end, with what came with it.
    Close(&'a [u8]),
}

/// What to do after an event.
pub type Next = ControlFlow<Ending, Pace>;

/// Whether to go on at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Go on.
    GoOn,
    /// Keep what follows for later.
    Rest,
}

/// What was read and is no whole message yet.
#[derive(Default)]
pub struct Decoder {
    /// Bytes that are no whole frame, or that were kept for later.
    input: Vec<u8>,
    /// The message so far, of several frames.
    message: Vec<u8>,
    /// Whether a message of several frames has begun.
    is_in_message: bool,
    /// Whether whole frames may be among the bytes that were kept.
    is_resting: bool,
}

impl Decoder {
    /// How many bytes are kept.
    pub fn held(&self) -> usize {
        self.input.len() + self.message.len()
    }

    /// Whether a message has begun that is not whole.
    pub fn is_in_message(&self) -> bool {
        self.is_in_message || !self.input.is_empty()
    }

    /// Whether there may be messages without reading more.
    pub fn is_resting(&self) -> bool {
        self.is_resting
    }

    /// Takes bytes and gives the events in them, until it has to rest. A message has at most so many bytes.
    pub fn take(
        &mut self,
        bytes: &mut [u8],
        most: usize,
        on: &mut dyn FnMut(Event<'_>) -> Next,
    ) -> Result<(), Ending> {
        self.is_resting = false;
        if self.input.is_empty() {
            let used = self.frames(bytes, most, on)?;
            self.input
                .extend_from_slice(bytes.get(used..).unwrap_or_default());
        } else {
            let mut input = std::mem::take(&mut self.input);
            input.extend_from_slice(bytes);
            let used = self.frames(&mut input, most, on)?;
            input.drain(..used);
            if input.len() <= KEPT {
                input.shrink_to(KEPT);
            }
            if !input.is_empty() {
                self.input = input;
            }
        }
        Ok(())
    }

    /// Gives the events of whole frames, and how many bytes these had.
    fn frames(
        &mut self,
        bytes: &mut [u8],
        most: usize,
        on: &mut dyn FnMut(Event<'_>) -> Next,
    ) -> Result<usize, Ending> {
        let mut used = 0;
        loop {
            let rest = bytes.get_mut(used..).unwrap_or_default();
            let Some(header) = frame::header(rest, most.saturating_sub(self.message.len()))? else {
                return Ok(used);
            };
            let Some(payload) = rest.get_mut(header.size..header.size + header.length) else {
                return Ok(used);
            };
            frame::unmask(payload, header.mask);
            used += header.size + header.length;
            match self.frame(header, payload, on)? {
                Pace::GoOn => {}
                Pace::Rest => {
                    self.is_resting = true;
                    return Ok(used);
                }
            }
        }
    }

    /// Gives the event of a frame, if it is one.
    fn frame(
        &mut self,
        header: Header,
        payload: &[u8],
        on: &mut dyn FnMut(Event<'_>) -> Next,
    ) -> Result<Pace, Ending> {
        let next = match (header.code, self.is_in_message) {
            (TEXT, false) if header.is_last => on(Event::Text(text(payload)?)),
            (TEXT, false) | (CONTINUATION, true) => {
                self.message.extend_from_slice(payload);
                self.is_in_message = !header.is_last;
                if !header.is_last {
                    return Ok(Pace::GoOn);
                }
                let message = std::mem::take(&mut self.message);
                on(Event::Text(text(&message)?))
            }
            (BINARY, false) => return Err(Ending::Close(1003, "only text is understood".into())),
            (PING, _) => on(Event::Ping(payload)),
            (PONG, _) => return Ok(Pace::GoOn),
            (CLOSE, _) => on(Event::Close(payload)),
            _ => {
                return Err(Ending::protocol(
                    "a frame that does not belong to the message",
                ));
            }
        };
        match next {
            ControlFlow::Continue(pace) => Ok(pace),
            ControlFlow::Break(ending) => Err(ending),
        }
    }
}

/// The text of a message.
fn text(bytes: &[u8]) -> Result<&str, Ending> {
    std::str::from_utf8(bytes).map_err(|_| Ending::Close(1007, "a message is not UTF-8".into()))
}
