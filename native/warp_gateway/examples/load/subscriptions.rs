//! Many open subscriptions.

use std::io::BufRead;

use crate::{Result, websocket::Socket};

/// Opens so many subscriptions, each to an entity, and keeps them until there is a line of input.
pub async fn open(address: &str, token: &str, count: usize, per_connection: usize) -> Result<()> {
    let mut sockets = Vec::new();
    let mut open = 0;
    while open < count {
        let mut socket = Socket::connect(address, token).await?;
        let some = per_connection.min(count - open);
        for id in 1..=some {
            let entity = open + id;
            let call =
                format!(r#"{{"id":{id},"op":"subscribe","entity":"load/{entity}","from":"now"}}"#);
            socket.send(call).await?;
        }
        let mut answers = 0;
        while answers < some {
            let text = socket.text().await?;
            if text.contains(r#""error""#) {
                return Err(format!("a subscription failed: {text}").into());
            }
            answers += text.matches(r#""ok""#).count();
        }
        open += some;
        sockets.push(socket);
    }
    println!(r#"{{"subscriptions": {open}}}"#);
    std::io::stdin().lock().read_line(&mut String::new())?;
    Ok(())
}
