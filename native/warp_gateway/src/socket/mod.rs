//! WebSockets: how one is opened, and how it ends.

mod channel;
mod decoder;
mod frame;
mod session;

#[cfg(test)]
mod tests;

use crate::etf;
use crate::frames::Kind;
use crate::refused::Why;
use crate::settings::Settings;
use crate::stream::Stream;
use crate::tokens::{Credential, Token};
use crate::web::{
    Answer, BAD_REQUEST, Client, OVERLOADED, Problem, TOO_MANY_REQUESTS, client_pairs, protocols,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use channel::SocketChannel;
use http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto::upgrade::downcast;
use ring::digest;
use session::Session;
use std::borrow::Cow;
use std::sync::Arc;

/// The protocol that is spoken over a socket.
const PROTOCOL: &str = "warp.v1";
/// What the key of a handshake is hashed with (RFC 6455).
const MAGIC: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// How a socket ends.
#[derive(Debug, PartialEq, Eq)]
pub enum Ending {
    /// The connection is gone, or is given up.
    Gone,
    /// It is closed, with a code and a reason.
    Close(u16, Cow<'static, str>),
}

impl Ending {
    /// The client does not keep to the protocol.
    fn protocol(why: &'static str) -> Self {
        Ending::Close(1002, why.into())
    }

    /// A message is too large.
    fn too_large() -> Self {
        Ending::Close(1009, "a message is too large".into())
    }
}

/// A socket's part in the sockets that its token may have.
struct Part(Arc<Token>);

impl Drop for Part {
    fn drop(&mut self) {
        self.0.sockets.give(1);
    }
}

/// Opens a socket: gives the response that says so, after which a task of its own works on.
pub fn upgrade(
    client: &Arc<Client>,
    settings: &Settings,
    credential: Credential,
    mut request: Request<Incoming>,
) -> Result<Response<Answer>, Problem> {
    let accept = handshake(&request)?;
    if client.gateway.is_stopping() {
        return Err(OVERLOADED.because("The server stops."));
    }
    if !credential.token.sockets.try_take(1) {
        client.refuse(Why::TooMany);
        return Err(TOO_MANY_REQUESTS.because("Too many sockets are open with this token."));
    }
    let part = Part(Arc::clone(&credential.token));
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(work(
        Arc::clone(client),
        credential,
        part,
        upgraded,
        settings.limits.message,
    ));
    let mut response = Response::new(Answer::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(PROTOCOL));
    Ok(response)
}

/// Checks what a client says to open a socket, and gives what it is answered.
fn handshake(request: &Request<Incoming>) -> Result<HeaderValue, Problem> {
    let headers = request.headers();
    let is_upgrade = request.version() == Version::HTTP_11
        && has(headers, &UPGRADE, "websocket")
        && has(headers, &CONNECTION, "upgrade")
        && has(headers, &SEC_WEBSOCKET_VERSION, "13");
    if !is_upgrade {
        return Err(BAD_REQUEST
            .because("A WebSocket is opened by an upgrade of HTTP/1.1, with version 13."));
    }
    if !protocols(headers).any(|protocol| protocol == PROTOCOL) {
        return Err(BAD_REQUEST.because("The WebSocket does not offer the subprotocol warp.v1."));
    }
    let key = headers
        .get(SEC_WEBSOCKET_KEY)
        .filter(|key| STANDARD.decode(key).is_ok_and(|key| key.len() == 16));
    let Some(key) = key else {
        return Err(BAD_REQUEST.because("The WebSocket has no key of 16 bytes."));
    };
    // The protocol's way to show that a server understood it. Nothing is secret.
    let mut hash = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    hash.update(key.as_bytes());
    hash.update(MAGIC);
    HeaderValue::try_from(STANDARD.encode(hash.finish()))
        .map_err(|_| BAD_REQUEST.because("The key is wrong."))
}

/// Whether a header has a word, among others perhaps.
fn has(headers: &HeaderMap, name: &http::HeaderName, word: &str) -> bool {
    let values = headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok());
    values
        .flat_map(|value| value.split(','))
        .any(|value| value.trim().eq_ignore_ascii_case(word))
}

/// Works on a socket once the connection is there, until it ends.
async fn work(
    client: Arc<Client>,
    credential: Credential,
    _part: Part,
    upgraded: OnUpgrade,
    most: usize,
) {
    let Ok(upgraded) = upgraded.await else { return };
    let Ok(parts) = downcast::<TokioIo<Stream>>(upgraded) else {
        return;
    };
    let gateway = &client.gateway;
    client.watch.becomes_socket();
    let mut term = Vec::new();
    etf::version(&mut term);
    let map = etf::map_begin(&mut term);
    let pairs = 1 + client_pairs(&mut term, &client, Some(&credential));
    etf::map_end(&mut term, map, pairs);

    let channel = SocketChannel::new(gateway, credential, &client.watch);
    let number = gateway.channels.number();
    let open = gateway
        .channels
        .open(number, Arc::clone(&channel) as _, &gateway.link);
    gateway.link.send(number, Kind::Socket, &term);
    drop(term);
    let session = Session::new(gateway, &channel, parts.io.into_inner(), most);
    // NOTE: even without bytes it holds the buffer of the handshake.
    let first = parts.read_buf.to_vec();
    drop(parts.read_buf);
    drop(channel);
    session.run(open, first).await;
}
