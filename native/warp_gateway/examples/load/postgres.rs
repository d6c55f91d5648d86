//! A connection to PostgreSQL in its own protocol, version 3: a prepared INSERT for each call, and a Sync behind each,
//! so that each is a transaction of its own, also where many are in flight.

use std::{
    ops::Range,
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::BytesMut;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    Result,
    appends::{Appends, PAYLOAD, entity},
};

/// A connection of the user `bench`, who needs no password.
pub struct Appender {
    /// The connection.
    stream: TcpStream,
    /// What was received and not yet read.
    received: BytesMut,
    /// The number of this connection.
    number: usize,
    /// What its calls are counted from, which grows from run to run faster than any server answers.
    before: usize,
    /// How many calls were answered, which they are in the order of the calls.
    answers: usize,
}

impl Appender {
    /// Connects, and prepares the statement.
    pub async fn connect(address: &str, number: usize) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let micros = SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros();
        let mut session = Self {
            stream,
            received: BytesMut::new(),
            number,
            before: usize::try_from(micros)?,
            answers: 0,
        };
        let mut hello = Vec::new();
        put_body(&mut hello, b"\0\x03\0\0user\0bench\0database\0postgres\0\0")?;
        session.stream.write_all(&hello).await?;
        session.ready().await?;

        let mut bytes = Vec::new();
        let statement = b"append\0INSERT INTO events VALUES ($1, $2, 'Credited', $3)\0\0\0";
        put(&mut bytes, b'P', statement)?;
        put(&mut bytes, b'S', b"")?;
        session.stream.write_all(&bytes).await?;
        session.ready().await?;
        Ok(session)
    }

    /// Waits until the server is ready for a query, and gives how often it said so by now.
    async fn ready(&mut self) -> Result<usize> {
        let mut times = 0;
        while times == 0 {
            if self.stream.read_buf(&mut self.received).await? == 0 {
                return Err("PostgreSQL closed the connection".into());
            }
            while let Some((kind, body)) = message(&mut self.received) {
                match kind {
                    b'Z' => times += 1,
                    b'E' => {
                        return Err(String::from_utf8_lossy(&body).replace('\0', " ").into());
                    }
                    // Anything else than "authenticated" wants a password.
                    b'R' if *body != [0; 4] => return Err("PostgreSQL asks who this is".into()),
                    _ => {}
                }
            }
        }
        Ok(times)
    }
}

impl Appends for Appender {
    async fn send(&mut self, calls: Range<usize>) -> Result<()> {
        let mut bytes = Vec::new();
        for call in calls {
            // Without a name of the portal; parameters and results as text.
            let mut bind = b"\0append\0\0\0\0\x03".to_vec();
            let seq = (self.before + call) * 1024 + self.number;
            put_value(&mut bind, &format!("load/{}", entity(self.number, call)))?;
            put_value(&mut bind, &seq.to_string())?;
            put_value(&mut bind, PAYLOAD)?;
            bind.extend([0, 0]);
            put(&mut bytes, b'B', &bind)?;
            put(&mut bytes, b'E', &[0; 5])?;
            put(&mut bytes, b'S', b"")?;
        }
        Ok(self.stream.write_all(&bytes).await?)
    }

    async fn answered(&mut self) -> Result<Vec<usize>> {
        let first = self.answers;
        self.answers += self.ready().await?;
        Ok((first..self.answers).collect())
    }
}

/// Adds a message.
fn put(bytes: &mut Vec<u8>, kind: u8, body: &[u8]) -> Result<()> {
    bytes.push(kind);
    put_body(bytes, body)
}

/// Adds the length of a message, which counts itself, and its body.
fn put_body(bytes: &mut Vec<u8>, body: &[u8]) -> Result<()> {
    bytes.extend(i32::try_from(body.len() + 4)?.to_be_bytes());
    bytes.extend(body);
    Ok(())
}

/// Adds the length of a parameter and its text.
fn put_value(bytes: &mut Vec<u8>, text: &str) -> Result<()> {
    bytes.extend(i32::try_from(text.len())?.to_be_bytes());
    bytes.extend(text.as_bytes());
    Ok(())
}

/// Takes the first message, where all of it has come.
fn message(bytes: &mut BytesMut) -> Option<(u8, BytesMut)> {
    let [kind, length @ ..] = *bytes.first_chunk::<5>()?;
    let length = u32::from_be_bytes(length) as usize + 1;
    (length <= bytes.len()).then(|| (kind, bytes.split_to(length).split_off(5)))
}
