//! Loads a server, and prints what came of it as JSON. In Rust, so that the client takes little of the processor.
//!
//! ```text
//! load appends ADDRESS TOKEN CONNECTIONS IN_FLIGHT SECONDS       over WebSockets of Warp
//! load postgres ADDRESS CONNECTIONS IN_FLIGHT SECONDS            rows of PostgreSQL, each with a commit of its own
//! load subscriptions ADDRESS TOKEN COUNT PER_CONNECTION          opens them, says so, and waits for a line of input
//! ```
//!
//! `IN_FLIGHT` is for each connection.

mod appends;
mod postgres;
mod subscriptions;
mod websocket;

use std::error::Error;

/// Anything that goes wrong ends the program.
type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["appends", address, token, connections, in_flight, seconds] => {
            let mut sockets = Vec::new();
            for number in 0..connections.parse()? {
                sockets.push(websocket::Appender::connect(address, token, number).await?);
            }
            appends::measure(sockets, in_flight.parse()?, seconds.parse()?).await
        }
        ["postgres", address, connections, in_flight, seconds] => {
            let mut sessions = Vec::new();
            for number in 0..connections.parse()? {
                sessions.push(postgres::Appender::connect(address, number).await?);
            }
            appends::measure(sessions, in_flight.parse()?, seconds.parse()?).await
        }
        ["subscriptions", address, token, count, per_connection] => {
            subscriptions::open(address, token, count.parse()?, per_connection.parse()?).await
        }
        _ => Err("see the beginning of this program's source".into()),
    }
}
