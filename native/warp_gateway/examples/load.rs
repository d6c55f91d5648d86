//! Loads a server of Warp over WebSockets, and prints what came of it as JSON. In Rust, so that the client takes little
//! of the processor.
//!
//! ```text
//! load appends  ADDRESS TOKEN CONNECTIONS IN_FLIGHT SECONDS      IN_FLIGHT for each connection
//! load subscriptions ADDRESS TOKEN COUNT PER_CONNECTION          opens them, says so, and waits for a line of input
//! ```

use std::{
    error::Error,
    io::BufRead,
    time::{Duration, Instant},
};

use futures_util::{SinkExt, StreamExt};
use hyper::http::Request;
use tokio::net::TcpStream;
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{Message, protocol::WebSocketConfig},
};

/// Anything that goes wrong ends the program.
type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// How many entities the appends go to.
const ENTITIES: usize = 10_000;

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["appends", address, token, connections, in_flight, seconds] => {
            appends(
                address,
                token,
                connections.parse()?,
                in_flight.parse()?,
                seconds.parse()?,
            )
            .await
        }
        ["subscriptions", address, token, count, per_connection] => {
            subscriptions(address, token, count.parse()?, per_connection.parse()?).await
        }
        _ => Err("see the beginning of this program's source".into()),
    }
}

/// Opens a socket.
async fn connect(address: &str, token: &str) -> Result<WebSocketStream<TcpStream>> {
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
    Ok(client_async_with_config(request, stream, Some(config))
        .await?
        .0)
}

/// Appends for some seconds over some connections, each of which keeps so many calls in flight.
async fn appends(
    address: &str,
    token: &str,
    connections: usize,
    in_flight: usize,
    seconds: f64,
) -> Result<()> {
    let mut tasks = Vec::new();
    let end = Instant::now() + Duration::from_secs_f64(seconds);
    let begun = Instant::now();
    for number in 0..connections {
        let socket = connect(address, token).await?;
        tasks.push(tokio::spawn(append(socket, number, in_flight, end)));
    }
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await??);
    }
    let took = begun.elapsed().as_secs_f64();
    times.sort_unstable();
    let at = |share: f64| {
        times
            .get((times.len() as f64 * share) as usize)
            .copied()
            .unwrap_or_default()
    };
    println!(
        r#"{{"appends": {}, "seconds": {took:.3}, "per_second": {:.0}, "p50_us": {}, "p99_us": {}}}"#,
        times.len(),
        times.len() as f64 / took,
        at(0.5),
        at(0.99)
    );
    Ok(())
}

/// Appends over one socket until a time, and gives how many microseconds each call took.
async fn append(
    mut socket: WebSocketStream<TcpStream>,
    number: usize,
    in_flight: usize,
    end: Instant,
) -> Result<Vec<u32>> {
    let mut times = Vec::new();
    let mut sent: Vec<Instant> = Vec::new();
    let mut under_way = 0;
    while Instant::now() < end || under_way > 0 {
        if Instant::now() < end && under_way <= in_flight / 2 {
            let mut text = String::from("[");
            while under_way < in_flight {
                let id = sent.len() + 1;
                let entity = (number * 7919 + id * 31) % ENTITIES;
                if text.len() > 1 {
                    text.push(',');
                }
                text.push_str(&format!(
                    r#"{{"id":{id},"op":"append","entity":"load/{entity}","event":{{"type":"Credited","payload":{{"amount":{id}}},"aggregate":"Account"}}}}"#
                ));
                sent.push(Instant::now());
                under_way += 1;
            }
            text.push(']');
            socket.send(Message::text(text)).await?;
        }
        let Some(message) = socket.next().await else {
            return Err("the server closed the socket".into());
        };
        let Message::Text(text) = message? else {
            continue;
        };
        let now = Instant::now();
        for part in text.split(r#""id":"#).skip(1) {
            let digits = part.bytes().take_while(u8::is_ascii_digit).count();
            let id: usize = part.get(..digits).unwrap_or_default().parse()?;
            if !part.contains(r#""ok""#) {
                return Err(format!("an append failed: {part}").into());
            }
            let begun = sent.get(id - 1).ok_or("an answer to nothing")?;
            times.push(u32::try_from((now - *begun).as_micros())?);
            under_way -= 1;
        }
    }
    socket.close(None).await?;
    Ok(times)
}

/// Opens so many subscriptions, each to an entity, and keeps them until there is a line of input.
async fn subscriptions(
    address: &str,
    token: &str,
    count: usize,
    per_connection: usize,
) -> Result<()> {
    let mut sockets = Vec::new();
    let mut open = 0;
    while open < count {
        let mut socket = connect(address, token).await?;
        let some = per_connection.min(count - open);
        for id in 1..=some {
            let entity = open + id;
            let call =
                format!(r#"{{"id":{id},"op":"subscribe","entity":"load/{entity}","from":"now"}}"#);
            socket.send(Message::text(call)).await?;
        }
        let mut answers = 0;
        while answers < some {
            let Some(message) = socket.next().await else {
                return Err("the server closed the socket".into());
            };
            let Message::Text(text) = message? else {
                continue;
            };
            if text.contains(r#""error""#) {
                return Err(format!("a subscription failed: {text}").into());
            }
            answers += text.matches(r#""ok""#).count();
        }
        open += some;
        sockets.push(socket);
    }
    println!(r#"{{"subscriptions": {open}}}"#);
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    Ok(())
}
