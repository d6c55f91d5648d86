//! One connection from its beginning to its end, or until it becomes a socket.

use crate::config::Limits;
use crate::gateway::Gateway;
use crate::listener::Place;
use crate::stream::{Stream, Watched};
use crate::streams::Streams;
use crate::watch::Watch;
use crate::web::{Client, answer};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use rustls::ServerConfig;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

/// How much of a body may come in before it is read, of a stream of HTTP/2 and of all streams of a connection.
const WINDOWS: (u32, u32) = (256 * 1024, 1024 * 1024);
/// How much of an answer a stream of HTTP/2 holds.
const SEND_BUFFER: usize = 64 * 1024;
/// How much more of a head HTTP/1.1 reads than is allowed, so that the answer can say so.
const SPARE: usize = 16 * 1024;
/// A head with up to so many headers is read without memory of its own.
const USUAL_HEADERS: usize = 100;

/// Serves a connection.
pub async fn serve(
    gateway: Arc<Gateway>,
    tcp: TcpStream,
    watch: Arc<Watch>,
    place: Place,
    tls: Option<Arc<ServerConfig>>,
) {
    // Whoever gathers writes does so here.
    let _ = tcp.set_nodelay(true);
    let watched = Watched::new(tcp, Arc::clone(&watch), place);
    let is_tls = tls.is_some();
    let stream = match tls {
        None => Stream::Plain(watched),
        Some(config) => {
            let accepting = TlsAcceptor::from(config).accept(watched);
            tokio::select! {
                accepted = accepting => match accepted {
                    Ok(tls) => Stream::Tls(Box::new(tls)),
                    Err(_) => return,
                },
                () = over(&watch) => return,
            }
        }
    };
    let client = Arc::new(Client {
        gateway: Arc::clone(&gateway),
        watch: Arc::clone(&watch),
        is_tls,
    });
    let builder = builder(&gateway.settings().limits);
    let service = service_fn(move |request| answer(Arc::clone(&client), request));
    let mut connection =
        pin!(builder.serve_connection_with_upgrades(TokioIo::new(stream), service));
    let mut is_told = false;
    loop {
        tokio::select! {
            // What is wrong with a connection is its client's business.
            _ = connection.as_mut() => return,
            () = watch.kicked() => {
                if watch.is_over() {
                    return;
                }
                if gateway.is_stopping() && !is_told {
                    is_told = true;
                    connection.as_mut().graceful_shutdown();
                }
            }
        }
    }
}

/// Waits until the connection has to end.
async fn over(watch: &Watch) {
    while !watch.is_over() {
        watch.kicked().await;
    }
}

/// How HTTP is spoken within the limits.
fn builder(limits: &Limits) -> Builder<Streams> {
    let mut builder = Builder::new(Streams);
    // The watch has the times: hyper's would end idle connections as if they were slow.
    builder
        .http1()
        .header_read_timeout(None)
        .max_buf_size(limits.header.saturating_add(SPARE));
    if limits.headers > USUAL_HEADERS {
        builder.http1().max_headers(limits.headers);
    }
    builder
        .http2()
        .timer(TokioTimer::new())
        .initial_stream_window_size(WINDOWS.0)
        .initial_connection_window_size(WINDOWS.1)
        .max_send_buf_size(SEND_BUFFER)
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(
            u32::try_from(limits.header.saturating_add(SPARE)).unwrap_or(u32::MAX),
        )
        .keep_alive_interval(Duration::from_millis(limits.socket_ping_ms))
        .keep_alive_timeout(Duration::from_millis(limits.socket_ping_ms));
    builder
}
