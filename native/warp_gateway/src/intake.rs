//! What comes from the VM: frames are read in large pieces, and handed to their channels.

use crate::channels::Channel;
use crate::config::Config;
use crate::frames::{self, Frame, Kind, LINK, MAX_FROM_VM};
use crate::gateway::Gateway;
use crate::listener::Listeners;
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt};

/// How much is read at once.
const READ: usize = 256 * 1024;
/// How many bytes the length before a frame has.
const LENGTH: usize = 4;

/// Frames as they come.
pub struct Intake<R> {
    /// Where they come from.
    from: R,
    /// Bytes that were read.
    buffer: Vec<u8>,
    /// From where on they were not used yet.
    begin: usize,
    /// Up to where there are bytes.
    end: usize,
}

impl<R: AsyncRead + Unpin> Intake<R> {
    /// Nothing was read yet.
    pub fn new(from: R) -> Self {
        Intake {
            from,
            buffer: vec![0; READ],
            begin: 0,
            end: 0,
        }
    }

    /// Waits for a first frame. Nothing if the VM is gone.
    pub async fn first(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(frame) = self.next()? {
                return Ok(Some(frame.to_vec()));
            }
            if !self.read().await? {
                return Ok(None);
            }
        }
    }

    /// Reads more. False if the VM is gone.
    async fn read(&mut self) -> io::Result<bool> {
        self.buffer.copy_within(self.begin..self.end, 0);
        (self.begin, self.end) = (0, self.end - self.begin);
        let wanted = self.needed().unwrap_or(0).max(READ);
        if self.buffer.len() > READ && wanted == READ && self.end <= READ {
            self.buffer.truncate(READ);
            self.buffer.shrink_to_fit();
        } else if self.buffer.len() < wanted {
            self.buffer.resize(wanted, 0);
        }
        let bytes = self
            .from
            .read(self.buffer.get_mut(self.end..).unwrap_or_default())
            .await?;
        self.end += bytes;
        Ok(bytes > 0)
    }

    /// How many bytes the next frame has with its length, if that is there.
    fn needed(&self) -> Option<usize> {
        let length = self
            .buffer
            .get(self.begin..self.end)?
            .first_chunk::<LENGTH>()?;
        usize::try_from(u32::from_be_bytes(*length))
            .ok()?
            .checked_add(LENGTH)
    }

    /// The next frame of those that were read, without its length.
    fn next(&mut self) -> io::Result<Option<&[u8]>> {
        let Some(needed) = self.needed() else {
            return Ok(None);
        };
        if needed > MAX_FROM_VM {
            return Err(wrong("a frame is too large"));
        }
        if self.end - self.begin < needed {
            return Ok(None);
        }
        let from = self.begin + LENGTH;
        self.begin += needed;
        Ok(self.buffer.get(from..self.begin))
    }

    /// Does what the VM says until it is gone.
    pub async fn run(
        &mut self,
        gateway: &Arc<Gateway>,
        listeners: &Listeners,
        stop: impl Fn(u32),
    ) -> io::Result<()> {
        // Channels that got frames are woken when all that came together was handed out.
        let mut woken: HashMap<u64, Arc<dyn Channel>> = HashMap::new();
        loop {
            while let Some(frame) = self.next()? {
                let (number, frame) =
                    frames::read(frame).ok_or_else(|| wrong("a frame that is unknown"))?;
                if number == LINK {
                    link(gateway, listeners, &frame, &stop);
                } else if let Some(channel) = gateway.channels.get(number) {
                    hand(&*channel, &frame);
                    woken.insert(number, channel);
                }
            }
            woken.drain().for_each(|(_, channel)| channel.wake());
            if !self.read().await? {
                return Ok(());
            }
        }
    }
}

/// The VM does not keep to the protocol.
fn wrong(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Does what a frame of the link itself says.
fn link(gateway: &Gateway, listeners: &Listeners, frame: &Frame<'_>, stop: &impl Fn(u32)) {
    match *frame {
        Frame::Ping(bytes) => gateway.link.send(LINK, Kind::Pong, bytes),
        Frame::Configure(json) => {
            let result =
                Config::read(json).and_then(|config| gateway.configure(&config, listeners));
            gateway
                .link
                .say(Kind::Reloaded, &result.err().unwrap_or_default());
        }
        Frame::Stop(millis) => stop(millis),
        _ => eprintln!("warp_gateway: a frame of a channel for the link"),
    }
}

/// Hands a frame to its channel.
fn hand(channel: &dyn Channel, frame: &Frame<'_>) {
    match *frame {
        Frame::Head(head) => channel.head(head),
        Frame::Data { last, bytes } => channel.data(last, bytes),
        Frame::Close { code, reason } => channel.close(code, reason),
        Frame::Abort => channel.abort(),
        _ => eprintln!("warp_gateway: a frame of the link for a channel"),
    }
}
