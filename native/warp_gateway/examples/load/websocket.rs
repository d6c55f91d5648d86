//! A WebSocket of Warp's server.

use std::ops::Range;

use futures_util::{SinkExt, StreamExt};
use hyper::http::Request;
use tokio::net::TcpStream;
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{Message, protocol::WebSocketConfig},
};

use crate::{
    Result,
    appends::{Appends, PAYLOAD, entity},
};

/// A WebSocket without TLS.
pub struct Socket(WebSocketStream<TcpStream>);

impl Socket {
    /// Opens one.
    pub async fn connect(address: &str, token: &str) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let request = Request::builder()
            .uri(format!("ws://{address}/v1/socket"))
            .header("Host", "localhost")
            .header("Authorization", format!("Bearer {token}"))
            .header("Connection", "Upgrade")
            .header("Upgrade", "websocket")
            .header("Sec-WebSocket-Version", "13")
            .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
            .header("Sec-WebSocket-Protocol", "warp.v1")
            .body(())?;
        let config = WebSocketConfig::default()
            .read_buffer_size(32 * 1024)
            .write_buffer_size(32 * 1024);
        let (socket, _) = client_async_with_config(request, stream, Some(config)).await?;
        Ok(Self(socket))
    }

    /// Sends a message.
    pub async fn send(&mut self, text: String) -> Result<()> {
        Ok(self.0.send(Message::text(text)).await?)
    }

    /// The next message that has text.
    pub async fn text(&mut self) -> Result<String> {
        loop {
            match self.0.next().await {
                Some(Ok(Message::Text(text))) => return Ok(text.to_string()),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error.into()),
                None => return Err("the server closed the socket".into()),
            }
        }
    }
}

/// A socket over which appends go.
pub struct Appender {
    /// The socket.
    socket: Socket,
    /// The number of this connection.
    number: usize,
}

impl Appender {
    /// Opens the socket.
    pub async fn connect(address: &str, token: &str, number: usize) -> Result<Self> {
        let socket = Socket::connect(address, token).await?;
        Ok(Self { socket, number })
    }
}

impl Appends for Appender {
    async fn send(&mut self, calls: Range<usize>) -> Result<()> {
        let calls: Vec<String> = calls
            .map(|call| {
                let entity = entity(self.number, call);
                let id = call + 1;
                format!(
                    r#"{{"id":{id},"op":"append","entity":"load/{entity}","event":{{"type":"Credited","payload":{PAYLOAD},"aggregate":"Account"}}}}"#
                )
            })
            .collect();
        self.socket.send(format!("[{}]", calls.join(","))).await
    }

    async fn answered(&mut self) -> Result<Vec<usize>> {
        let text = self.socket.text().await?;
        let mut calls = Vec::new();
        for part in text.split(r#""id":"#).skip(1) {
            if !part.contains(r#""ok""#) {
                return Err(format!("an append failed: {part}").into());
            }
            let digits = part.bytes().take_while(u8::is_ascii_digit).count();
            let id: usize = part.get(..digits).unwrap_or_default().parse()?;
            calls.push(id - 1);
        }
        Ok(calls)
    }
}
