//! The configuration as the VM sends it: JSON, with defaults for limits that are not said.

use serde::Deserialize;
use std::net::IpAddr;
use std::path::PathBuf;

/// What the VM configures.
#[derive(Clone, Debug, Deserialize)]
pub struct Config {
    /// Where to listen.
    pub listeners: Vec<ListenerConfig>,
    /// The hosts that a request may name, without ports. `*` is any.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// The origins whose pages may call.
    #[serde(default)]
    pub origins: Vec<String>,
    /// The tokens.
    #[serde(default)]
    pub tokens: Vec<TokenConfig>,
    /// Keys of signed tokens, in hexadecimal.
    #[serde(default)]
    pub keys: Vec<String>,
    /// The audience that signed tokens name.
    #[serde(default)]
    pub server: String,
    /// Paths that need no token.
    #[serde(default)]
    pub public: Vec<Vec<String>>,
    /// The limits.
    #[serde(default)]
    pub limits: Limits,
}

/// Where to listen.
#[derive(Clone, Debug, Deserialize)]
pub struct ListenerConfig {
    /// The address.
    pub address: IpAddr,
    /// The port, 0 for any.
    pub port: u16,
    /// The certificate, if the listener speaks TLS.
    pub tls: Option<TlsConfig>,
}

/// A certificate.
#[derive(Clone, Debug, Deserialize)]
pub struct TlsConfig {
    /// The file of the chain, in PEM.
    pub certificate: PathBuf,
    /// The file of the key, in PEM.
    pub key: PathBuf,
}

/// A token.
#[derive(Clone, Debug, Deserialize)]
pub struct TokenConfig {
    /// How the VM calls it.
    pub id: String,
    /// SHA-256 of the token, in hexadecimal.
    pub sha256: String,
    /// When it ends, in seconds since 1970.
    pub expires: Option<u64>,
    /// How many sockets may be open with it.
    pub connections: usize,
    /// How many requests and calls may be in flight with it.
    pub in_flight: usize,
}

/// Limits against what a client can do.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Connections in all.
    pub connections: usize,
    /// Connections from one address.
    pub connections_per_address: usize,
    /// Requests and calls in flight in all.
    pub in_flight: usize,
    /// Bytes of requests in flight in all.
    pub bytes_in_flight: usize,
    /// Bytes of a body.
    pub body: usize,
    /// Bytes of the head of a request.
    pub header: usize,
    /// Headers of a request.
    pub headers: usize,
    /// How long the head of a request may take.
    pub head_ms: u64,
    /// How long a body may take, beside a second for each 64 KiB.
    pub body_ms: u64,
    /// How long a connection may be open without a request.
    pub idle_ms: u64,
    /// Bytes of a message of a socket.
    pub message: usize,
    /// How long a client may take no bytes.
    pub send_ms: u64,
    /// How long a socket may be silent before it is asked whether it lives. After twice the time it is closed.
    pub socket_ping_ms: u64,
    /// Streams of an HTTP/2 connection at the same time.
    pub streams: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections: 20_000,
            connections_per_address: 10_000,
            in_flight: 20_000,
            bytes_in_flight: 128 * 1024 * 1024,
            body: 17 * 1024 * 1024,
            header: 16 * 1024,
            headers: 64,
            head_ms: 10_000,
            body_ms: 30_000,
            idle_ms: 75_000,
            message: 17 * 1024 * 1024,
            send_ms: 30_000,
            socket_ping_ms: 25_000,
            streams: 100,
        }
    }
}

impl Limits {
    /// How long so many bytes of a body or a message may take.
    pub fn body_time(&self, bytes: usize) -> u64 {
        let seconds = u64::try_from(bytes / (64 * 1024)).unwrap_or(u64::MAX);
        self.body_ms.saturating_add(seconds.saturating_mul(1000))
    }
}

impl Config {
    /// Reads a configuration.
    pub fn read(json: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(json)
            .map_err(|error| format!("the configuration cannot be read: {error}"))
    }
}

/// Reads 32 bytes in hexadecimal.
pub fn hex(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 {
        return None;
    }
    let mut digits = text.chars().map(|digit| digit.to_digit(16));
    let mut bytes = [0; 32];
    for byte in &mut bytes {
        let pair = digits.next()?? * 16 + digits.next()??;
        *byte = u8::try_from(pair).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_that_are_not_said_have_defaults() {
        let json = br#"{"listeners": [{"address": "::1", "port": 0, "tls": null}], "limits": {"body": 5}}"#;
        let config = Config::read(json).unwrap();
        assert_eq!(config.limits.body, 5);
        assert_eq!(config.limits.streams, 100);
        assert_eq!(config.limits.body_time(64 * 1024 * 3), 33_000);
    }

    #[test]
    fn only_32_bytes_are_a_key() {
        assert_eq!(hex(&"0f".repeat(32)), Some([15; 32]));
        assert_eq!(hex(&"0F".repeat(32)), Some([15; 32]));
        assert_eq!(hex(&"0f".repeat(31)), None);
        assert_eq!(hex(&"0g".repeat(32)), None);
        assert_eq!(hex(&"é".repeat(32)), None);
    }
}
