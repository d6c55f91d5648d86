//! The configuration that counts, in the form in which requests are checked against it.

use crate::config::{Config, Limits};
use crate::tokens::Tokens;
use std::collections::HashSet;

/// A configuration that was checked. It does not change: another takes its place.
#[derive(Debug, Default)]
pub struct Settings {
    /// Whether a request may name any host.
    any_host: bool,
    /// The hosts that a request may name, in lower case.
    hosts: HashSet<String>,
    /// The origins whose pages may call.
    origins: HashSet<String>,
    /// The tokens.
    pub tokens: Tokens,
    /// Paths that need no token, as segments.
    public: HashSet<Vec<String>>,
    /// The limits.
    pub limits: Limits,
}

impl Settings {
    /// The settings of a configuration, which follows another. Nothing is changed yet.
    pub fn new(config: &Config, before: &Settings) -> Result<Self, String> {
        Ok(Settings {
            any_host: config.hosts.iter().any(|host| host == "*"),
            hosts: config
                .hosts
                .iter()
                .map(|host| host.to_ascii_lowercase())
                .collect(),
            origins: config.origins.iter().cloned().collect(),
            tokens: Tokens::new(&config.tokens, &config.keys, &config.server, &before.tokens)?,
            public: config.public.iter().cloned().collect(),
            limits: config.limits,
        })
    }

    /// Whether a request may name a host, which may have a port behind it.
    pub fn is_host(&self, host: &str) -> bool {
        self.any_host
            || self
                .hosts
                .contains(&without_port(host).to_ascii_lowercase())
    }

    /// Whether pages of an origin may call.
    pub fn is_origin(&self, origin: &str) -> bool {
        self.origins.contains(origin)
    }

    /// Whether pages of any origin may call.
    pub fn has_origins(&self) -> bool {
        !self.origins.is_empty()
    }

    /// Whether a path needs no token.
    pub fn is_public(&self, path: &[String]) -> bool {
        self.public.contains(path)
    }
}

/// A host without the port behind it. An address of IPv6 keeps its brackets.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && is_whole(name) => {
            name
        }
        _ => host,
    }
}

/// Whether a name is not the beginning of an address of IPv6.
fn is_whole(name: &str) -> bool {
    !name.contains(':') || (name.starts_with('[') && name.ends_with(']'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(hosts: &[&str]) -> Settings {
        let json =
            serde_json::json!({"listeners": [], "hosts": hosts, "origins": ["https://a.example"]});
        let config = Config::read(json.to_string().as_bytes()).unwrap();
        Settings::new(&config, &Settings::default()).unwrap()
    }

    #[test]
    fn a_host_is_compared_without_its_port() {
        let settings = settings(&["localhost", "[::1]", "API.example.com"]);
        for host in [
            "localhost",
            "localhost:9090",
            "LOCALHOST:1",
            "[::1]",
            "[::1]:9090",
            "api.example.com",
            "localhost:",
        ] {
            assert!(settings.is_host(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "localhost.evil.example",
            "localhost:x",
            "::1",
            "[::1",
            "a:localhost:1",
            ":9090",
        ] {
            assert!(!settings.is_host(host), "{host}");
        }
        assert!(self::settings(&["*"]).is_host("anything"));
    }

    #[test]
    fn an_origin_is_compared_exactly() {
        let settings = settings(&[]);
        assert!(settings.is_origin("https://a.example"));
        for origin in [
            "http://a.example",
            "https://a.example:443",
            "https://A.example",
            "null",
            "",
        ] {
            assert!(!settings.is_origin(origin), "{origin}");
        }
    }
}
