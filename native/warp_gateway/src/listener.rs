//! Listening, and the places of connections: how many there are in all and from each address.

use crate::config::{Limits, ListenerConfig};
use crate::connection;
use crate::etf;
use crate::gateway::Gateway;
use crate::limits::{Gauge, lock};
use crate::refused::Why;
use crate::tls::{self, Certificate};
use crate::watch::Watch;
use rustls::ServerConfig;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// How many connections may wait to be accepted.
const BACKLOG: u32 = 4096;
/// How long to wait after nothing could be accepted, for lack of file descriptors for example.
const PAUSE: Duration = Duration::from_millis(50);

/// The connections that are open.
#[derive(Default)]
pub struct Places {
    /// How many there are.
    all: Gauge,
    /// How many there may be from one address.
    per_address: AtomicUsize,
    /// How many there are from each address.
    of_address: Mutex<HashMap<IpAddr, usize>>,
    /// The last number that was given.
    last: AtomicU64,
    /// The connections, to watch them.
    watches: Mutex<HashMap<u64, Arc<Watch>>>,
}

impl Places {
    /// Sets how many connections there may be.
    pub fn set_limits(&self, limits: &Limits) {
        self.all.set_limit(limits.connections);
        self.per_address
            .store(limits.connections_per_address, Ordering::Relaxed);
    }

    /// Takes a place for a connection, if there is one.
    fn take(self: &Arc<Self>, watch: &Arc<Watch>) -> Option<Place> {
        let address = watch.peer.ip();
        let number = self.last.fetch_add(1, Ordering::Relaxed);
        let mut of_address = lock(&self.of_address);
        let count = of_address.entry(address).or_default();
        if *count >= self.per_address.load(Ordering::Relaxed) || !self.all.try_take(1) {
            if *count == 0 {
                of_address.remove(&address);
            }
            return None;
        }
        *count += 1;
        drop(of_address);
        lock(&self.watches).insert(number, Arc::clone(watch));
        Some(Place {
            number,
            address,
            places: Arc::clone(self),
        })
    }

    /// Looks at the time of each connection.
    pub fn check(&self, now: u64, limits: &Limits, is_stopping: bool) {
        lock(&self.watches)
            .values()
            .for_each(|watch| watch.check(now, limits, is_stopping));
    }

    /// How many connections there are.
    pub fn count(&self) -> usize {
        lock(&self.watches).len()
    }
}

/// The place of a connection, free again when it is dropped.
pub struct Place {
    /// The connection's number.
    number: u64,
    /// Its address.
    address: IpAddr,
    /// Where it is counted.
    places: Arc<Places>,
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.places.watches).remove(&self.number);
        let mut of_address = lock(&self.places.of_address);
        if let Some(count) = of_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                of_address.remove(&self.address);
            }
        }
        self.places.all.give(1);
    }
}

/// One listener.
struct Listener {
    /// What was configured.
    config: ListenerConfig,
    /// Where it listens.
    address: SocketAddr,
    /// The certificate that it shows.
    certificate: Option<Arc<Certificate>>,
    /// The socket and how it speaks TLS, until it serves.
    begun: Mutex<Option<(TcpListener, Option<Arc<ServerConfig>>)>>,
}

/// All listeners.
pub struct Listeners(Vec<Listener>);

impl Listeners {
    /// Listens everywhere, or says why it cannot.
    pub fn bind(configs: &[ListenerConfig]) -> Result<Self, String> {
        configs
            .iter()
            .map(Listener::bind)
            .collect::<Result<_, _>>()
            .map(Listeners)
    }

    /// The term that tells the VM where it listens.
    pub fn addresses(&self) -> Vec<u8> {
        let mut out = Vec::new();
        etf::version(&mut out);
        let list = etf::list_begin(&mut out);
        for listener in &self.0 {
            etf::tuple(&mut out, 2);
            etf::binary(&mut out, listener.address.ip().to_string().as_bytes());
            etf::integer(&mut out, false, u64::from(listener.address.port()));
        }
        etf::list_end(&mut out, list, self.0.len());
        out
    }

    /// Serves what comes.
    pub fn serve(&self, gateway: &Arc<Gateway>) {
        for listener in &self.0 {
            if let Some((socket, tls)) = lock(&listener.begun).take() {
                tokio::spawn(accept(Arc::clone(gateway), socket, tls));
            }
        }
    }

    /// Reads the certificates again. If one is wrong, all stay.
    pub fn reload(&self, configs: &[ListenerConfig]) -> Result<(), String> {
        let is_same = configs.len() == self.0.len()
            && self
                .0
                .iter()
                .zip(configs)
                .all(|(listener, config)| listener.is_same(config));
        if !is_same {
            return Err(
                "the addresses of listeners cannot change while the gateway runs".to_owned(),
            );
        }
        let load = |config: &ListenerConfig| config.tls.as_ref().map(tls::load).transpose();
        let loaded = configs.iter().map(load).collect::<Result<Vec<_>, _>>()?;
        for (listener, certified) in self.0.iter().zip(loaded) {
            if let (Some(certificate), Some(certified)) = (&listener.certificate, certified) {
                certificate.change(certified);
            }
        }
        Ok(())
    }
}

impl Listener {
    /// Listens, or says why it cannot.
    fn bind(config: &ListenerConfig) -> Result<Self, String> {
        let wanted = SocketAddr::new(config.address, config.port);
        let certified = config.tls.as_ref().map(tls::load).transpose()?;
        let certificate = certified.map(|certified| Arc::new(Certificate::new(certified)));
        let tls = certificate.clone().map(tls::server).transpose()?;
        let (socket, address) = listen(wanted)
            .map_err(|error| format!("the gateway cannot listen on {wanted}: {error}"))?;
        let begun = Mutex::new(Some((socket, tls)));
        Ok(Listener {
            config: config.clone(),
            address,
            certificate,
            begun,
        })
    }

    /// Whether a configuration is of this listener. The port may be the one that was found for port 0.
    fn is_same(&self, config: &ListenerConfig) -> bool {
        config.address == self.config.address
            && (config.port == self.config.port || config.port == self.address.port())
            && config.tls.is_some() == self.certificate.is_some()
    }
}

/// Listens on an address.
fn listen(address: SocketAddr) -> std::io::Result<(TcpListener, SocketAddr)> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    let listener = socket.listen(BACKLOG)?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// Accepts connections until the gateway stops.
async fn accept(gateway: Arc<Gateway>, listener: TcpListener, tls: Option<Arc<ServerConfig>>) {
    while !gateway.is_stopping() {
        match tokio::time::timeout(PAUSE * 4, listener.accept()).await {
            Ok(Ok((tcp, peer))) => admit(&gateway, tcp, peer, tls.clone()),
            Ok(Err(error)) => {
                eprintln!("warp_gateway: a connection could not be accepted: {error}");
                tokio::time::sleep(PAUSE).await;
            }
            // To look whether the gateway stops.
            Err(_) => {}
        }
    }
}

/// Serves a connection if there is a place for it.
fn admit(gateway: &Arc<Gateway>, tcp: TcpStream, peer: SocketAddr, tls: Option<Arc<ServerConfig>>) {
    // A mapped address is the same client as the plain one.
    let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
    let watch = Watch::new(peer);
    match gateway.places.take(&watch) {
        Some(place) => {
            tokio::spawn(connection::serve(
                Arc::clone(gateway),
                tcp,
                watch,
                place,
                tls,
            ));
        }
        None => gateway.refuse(Why::TooMany, peer.ip()),
    }
}
