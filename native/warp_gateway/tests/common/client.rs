//! Clients: HTTP/1.1 and HTTP/2 by hyper, WebSocket by tungstenite, and bytes as a test writes them.

use super::vm::{PATIENCE, TOKEN};
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{self, Message};

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    /// The code of problem details.
    pub fn code(&self) -> String {
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(self.header("x-content-type-options"), "nosniff");
        let problem: Value = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(problem["status"], self.status.as_u16());
        assert_eq!(
            problem["type"],
            format!("urn:warp:problem:{}", problem["code"].as_str().unwrap())
        );
        assert!(
            problem["title"].is_string()
                && problem["detail"].is_string()
                && problem["advice"].is_string()
        );
        assert!(problem["retryable"].is_boolean() && problem["parameters"].is_object());
        problem["code"].as_str().unwrap().to_owned()
    }
}

/// A request of most tests: with a token.
pub fn request(method: &str, target: &str, body: &str) -> Request<Full<Bytes>> {
    let mut request = Request::builder()
        .method(method)
        .uri(target)
        .header("host", "127.0.0.1:9090")
        .header("authorization", format!("Bearer {TOKEN}"));
    if !body.is_empty() {
        request = request.header("content-type", "application/json");
    }
    request
        .body(Full::new(Bytes::from(body.to_owned())))
        .unwrap()
}

pub fn get(target: &str) -> Request<Full<Bytes>> {
    request("GET", target, "")
}

pub async fn connect(port: u16) -> TcpStream {
    TcpStream::connect(("127.0.0.1", port)).await.unwrap()
}

/// Sends a request over a connection of its own.
pub async fn http1(port: u16, request: Request<Full<Bytes>>) -> Result<Answer, hyper::Error> {
    http1_over(connect(port).await, request).await
}

/// Sends a request over a connection.
pub async fn http1_over<S>(stream: S, request: Request<Full<Bytes>>) -> Result<Answer, hyper::Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let answer = async { collect(sender.send_request(request).await?).await };
    tokio::time::timeout(PATIENCE, answer)
        .await
        .expect("no answer came")
}

/// The way to send requests over a connection of HTTP/2.
pub async fn http2_over<S>(stream: S) -> http2::SendRequest<Full<Bytes>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let builder = http2::Builder::new(TokioExecutor::new());
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

/// A request of HTTP/2, whose host is in its target.
pub fn request2(method: &str, target: &str, body: &str) -> Request<Full<Bytes>> {
    let mut request = request(method, &format!("http://127.0.0.1:9090{target}"), body);
    request.headers_mut().remove("host");
    request
}

pub async fn collect(
    response: hyper::Response<hyper::body::Incoming>,
) -> Result<Answer, hyper::Error> {
    let (head, body) = response.into_parts();
    let body = body.collect().await?.to_bytes();
    Ok(Answer {
        status: head.status,
        headers: head.headers,
        body,
    })
}

/// What a server says until it ends the connection.
pub async fn read_all(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let reading = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes)).await;
    let _ = reading.expect("the connection was not ended");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Sends bytes, and gives what comes until the server ends the connection.
pub async fn raw(port: u16, bytes: &[u8]) -> String {
    let mut stream = connect(port).await;
    stream.write_all(bytes).await.unwrap();
    read_all(&mut stream).await
}

pub type Socket = WebSocketStream<TcpStream>;

/// A handshake for a socket, with the token as browsers send it.
pub fn handshake(protocols: &str) -> tungstenite::handshake::client::Request {
    let mut request = "ws://127.0.0.1:9090/v1/socket"
        .into_client_request()
        .unwrap();
    request
        .headers_mut()
        .insert("sec-websocket-protocol", protocols.parse().unwrap());
    request
}

/// Opens a socket.
pub async fn socket(port: u16) -> Socket {
    let request = handshake(&format!("warp.v1, warp.bearer.{TOKEN}"));
    let (socket, response) = tokio_tungstenite::client_async(request, connect(port).await)
        .await
        .unwrap();
    assert_eq!(response.headers()["sec-websocket-protocol"], "warp.v1");
    socket
}

/// Why a socket was not opened.
pub async fn refused_socket(port: u16, request: tungstenite::handshake::client::Request) -> Answer {
    match tokio_tungstenite::client_async(request, connect(port).await).await {
        Err(tungstenite::Error::Http(response)) => {
            let (head, body) = response.into_parts();
            Answer {
                status: head.status,
                headers: head.headers,
                body: body.unwrap_or_default().into(),
            }
        }
        other => panic!("{other:?}"),
    }
}

/// The code and the reason with which a socket ends, with messages passed over.
pub async fn ending<S>(socket: &mut WebSocketStream<S>) -> (u16, String)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    use futures_util::StreamExt;
    loop {
        let message = tokio::time::timeout(PATIENCE, socket.next())
            .await
            .expect("the socket was not closed");
        match message
            .expect("the socket ended without a close")
            .expect("the socket ended without a close")
        {
            Message::Close(Some(frame)) => return (frame.code.into(), frame.reason.to_string()),
            Message::Close(None) => return (1005, String::new()),
            _ => {}
        }
    }
}

/// The next text of a socket.
pub async fn text<S>(socket: &mut WebSocketStream<S>) -> String
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    use futures_util::StreamExt;
    loop {
        let message = tokio::time::timeout(PATIENCE, socket.next())
            .await
            .expect("no message came");
        match message.expect("the socket ended").unwrap() {
            Message::Text(text) => return text.to_string(),
            Message::Ping(_) | Message::Pong(_) => {}
            other => panic!("{other:?}"),
        }
    }
}
