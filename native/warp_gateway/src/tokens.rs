//! Tokens: who a client is, by what it has.

use crate::clock;
use crate::config::{TokenConfig, hex};
use crate::limits::Gauge;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::{digest, hmac};
use serde::Deserialize;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What a signed token begins with.
const SIGNED: &str = "warps_";
/// A signed token is no longer.
const MAX_TOKEN: usize = 8192;

/// A token of the configuration. It lives on through configurations that have it with the same hash.
#[derive(Debug)]
pub struct Token {
    /// How the VM calls it.
    pub id: String,
    /// SHA-256 of the token.
    hash: [u8; 32],
    /// When it ends, in seconds since 1970.
    expires: AtomicU64,
    /// It is in the configuration no more.
    is_revoked: AtomicBool,
    /// Sockets that are open with it.
    pub sockets: Gauge,
    /// Requests and calls in flight with it.
    pub in_flight: Gauge,
}

impl Token {
    /// Whether it may be used.
    fn is_valid(&self) -> bool {
        !self.is_revoked.load(Ordering::Acquire)
            && clock::unix() < self.expires.load(Ordering::Acquire)
    }
}

/// A key of signed tokens. It lives on through configurations that have it.
#[derive(Debug)]
struct Key {
    /// The key, to compare it with.
    bytes: [u8; 32],
    /// The key, to verify with.
    key: hmac::Key,
    /// It is in the configuration no more.
    is_revoked: AtomicBool,
}

/// What a client has shown: a token, or what was signed for one.
#[derive(Clone, Debug)]
pub struct Credential {
    /// The token, or the one that a signed one is of.
    pub token: Arc<Token>,
    /// What was signed.
    signed: Option<Signed>,
}

/// What a signed token says.
#[derive(Clone, Debug)]
struct Signed {
    /// The claims, as they were sent: JSON.
    claims: Arc<str>,
    /// When it ends, in seconds since 1970.
    expires: u64,
    /// What it was signed with.
    key: Arc<Key>,
}

impl Credential {
    /// The claims of a signed token: JSON.
    pub fn claims(&self) -> Option<&str> {
        self.signed.as_ref().map(|signed| &*signed.claims)
    }

    /// Whether it may still be used.
    pub fn is_valid(&self) -> bool {
        let signed = self.signed.as_ref().is_none_or(|signed| {
            clock::unix() < signed.expires && !signed.key.is_revoked.load(Ordering::Acquire)
        });
        signed && self.token.is_valid()
    }
}

/// What the gateway has to know of a signed token's claims.
#[derive(Deserialize)]
struct Claims {
    /// The id of the token that it is of.
    token: String,
    /// The server that it is for.
    server: String,
    /// When it ends, in seconds since 1970.
    expires: u64,
}

/// All tokens of a configuration.
#[derive(Debug, Default)]
pub struct Tokens {
    /// By the hash.
    by_hash: HashMap<[u8; 32], Arc<Token>>,
    /// By the id. Of several the last.
    by_id: HashMap<String, Arc<Token>>,
    /// The keys of signed tokens.
    keys: Vec<Arc<Key>>,
    /// The server that signed tokens have to be for.
    server: String,
}

impl Tokens {
    /// The tokens of a configuration. What was there before it lives on. Nothing of `before` is changed yet.
    pub fn new(
        tokens: &[TokenConfig],
        keys: &[String],
        server: &str,
        before: &Tokens,
    ) -> Result<Self, String> {
        let mut new = Tokens {
            server: server.to_owned(),
            ..Tokens::default()
        };
        for config in tokens {
            let hash = hex(&config.sha256).ok_or_else(|| {
                format!(
                    "token {:?}: its sha256 is not 64 hexadecimal digits",
                    config.id
                )
            })?;
            let old = before.by_hash.get(&hash).filter(|old| old.id == config.id);
            let token = old.cloned().unwrap_or_else(|| {
                Arc::new(Token {
                    id: config.id.clone(),
                    hash,
                    expires: AtomicU64::new(u64::MAX),
                    is_revoked: AtomicBool::new(false),
                    sockets: Gauge::default(),
                    in_flight: Gauge::default(),
                })
            });
            if new.by_hash.insert(hash, Arc::clone(&token)).is_some() {
                return Err(format!(
                    "token {:?}: another has the same sha256",
                    config.id
                ));
            }
            new.by_id.insert(config.id.clone(), token);
        }
        for (at, key) in keys.iter().enumerate() {
            let bytes = hex(key).ok_or_else(|| format!("key {at} is not 64 hexadecimal digits"))?;
            let old = before.keys.iter().find(|old| old.bytes == bytes);
            new.keys.push(old.cloned().unwrap_or_else(|| {
                let key = hmac::Key::new(hmac::HMAC_SHA256, &bytes);
                Arc::new(Key {
                    bytes,
                    key,
                    is_revoked: AtomicBool::new(false),
                })
            }));
        }
        Ok(new)
    }

    /// From now on these tokens count, and those before them no more: limits and ends are set, and what is not there
    /// any more is revoked.
    pub fn install(&self, tokens: &[TokenConfig], before: &Tokens) {
        for config in tokens {
            let Some(token) = hex(&config.sha256).and_then(|hash| self.by_hash.get(&hash)) else {
                continue;
            };
            token
                .expires
                .store(config.expires.unwrap_or(u64::MAX), Ordering::Release);
            token.sockets.set_limit(config.connections);
            token.in_flight.set_limit(config.in_flight);
        }
        for old in before.by_hash.values() {
            let is_there = self
                .by_hash
                .get(&old.hash)
                .is_some_and(|new| Arc::ptr_eq(new, old));
            old.is_revoked.store(!is_there, Ordering::Release);
        }
        for old in &before.keys {
            let is_there = self.keys.iter().any(|new| Arc::ptr_eq(new, old));
            old.is_revoked.store(!is_there, Ordering::Release);
        }
    }

    /// Who has this token. Nobody if it is unknown, has expired, or is for another server.
    pub fn find(&self, token: &str) -> Option<Credential> {
        let credential = match token.strip_prefix(SIGNED) {
            Some(signed) => self.signed(token, signed)?,
            None => {
                let hash = digest::digest(&digest::SHA256, token.as_bytes());
                let hash: [u8; 32] = hash.as_ref().try_into().ok()?;
                Credential {
                    token: Arc::clone(self.by_hash.get(&hash)?),
                    signed: None,
                }
            }
        };
        credential.is_valid().then_some(credential)
    }

    /// Who has this signed token.
    fn signed(&self, token: &str, signed: &str) -> Option<Credential> {
        let (claims, mac) = signed
            .split_once('.')
            .filter(|_| token.len() <= MAX_TOKEN)?;
        let said = token.as_bytes().get(..SIGNED.len() + claims.len())?;
        let mac = URL_SAFE_NO_PAD.decode(mac).ok()?;
        let key = self
            .keys
            .iter()
            .find(|key| hmac::verify(&key.key, said, &mac).is_ok())?;
        let claims = String::from_utf8(URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
        let Claims {
            token,
            server,
            expires,
        } = serde_json::from_str(&claims).ok()?;
        let parent = self.by_id.get(&token).filter(|_| server == self.server)?;
        let signed = Signed {
            claims: claims.into(),
            expires,
            key: Arc::clone(key),
        };
        Some(Credential {
            token: Arc::clone(parent),
            signed: Some(signed),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: &str = "test";

    fn config(id: &str, token: &str, expires: Option<u64>) -> TokenConfig {
        let hash = digest::digest(&digest::SHA256, token.as_bytes());
        let sha256 = hash
            .as_ref()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        TokenConfig {
            id: id.to_owned(),
            sha256,
            expires,
            connections: 1,
            in_flight: 1,
        }
    }

    fn tokens(configs: &[TokenConfig], keys: &[&str], before: &Tokens) -> Tokens {
        let keys: Vec<String> = keys.iter().map(|key| key.repeat(32)).collect();
        let tokens = Tokens::new(configs, &keys, SERVER, before).unwrap();
        tokens.install(configs, before);
        tokens
    }

    fn sign(key: u8, claims: &str) -> String {
        let said = format!("{SIGNED}{}", URL_SAFE_NO_PAD.encode(claims));
        let mac = hmac::sign(
            &hmac::Key::new(hmac::HMAC_SHA256, &[key; 32]),
            said.as_bytes(),
        );
        format!("{said}.{}", URL_SAFE_NO_PAD.encode(mac))
    }

    #[test]
    fn a_token_is_found_by_its_hash_until_it_expires() {
        let configs = [
            config("a", "warp_a", None),
            config("b", "warp_b", Some(1)),
            config("c", "warp_c", Some(1 << 40)),
        ];
        let tokens = tokens(&configs, &[], &Tokens::default());
        assert_eq!(tokens.find("warp_a").unwrap().token.id, "a");
        assert!(tokens.find("warp_b").is_none());
        assert_eq!(tokens.find("warp_c").unwrap().token.id, "c");
        assert!(tokens.find("warp_d").is_none());
        assert!(tokens.find("").is_none());
    }

    #[test]
    fn a_signed_token_needs_key_audience_time_and_parent() {
        let configs = [config("a", "warp_a", None), config("b", "warp_b", Some(1))];
        let tokens = tokens(&configs, &["01", "02"], &Tokens::default());
        let claims = |token: &str, server: &str, expires: u64| {
            format!(r#"{{"token":"{token}","server":"{server}","expires":{expires},"scopes":[]}}"#)
        };
        let good = claims("a", SERVER, 1 << 40);
        let found = tokens.find(&sign(2, &good)).unwrap();
        assert_eq!(
            (found.token.id.as_str(), found.claims()),
            ("a", Some(good.as_str()))
        );
        assert!(tokens.find(&sign(1, &good)).is_some());
        assert!(tokens.find(&sign(3, &good)).is_none());
        assert!(
            tokens
                .find(&sign(2, &claims("a", "other", 1 << 40)))
                .is_none()
        );
        assert!(tokens.find(&sign(2, &claims("a", SERVER, 1))).is_none());
        assert!(
            tokens
                .find(&sign(2, &claims("b", SERVER, 1 << 40)))
                .is_none()
        );
        assert!(
            tokens
                .find(&sign(2, &claims("z", SERVER, 1 << 40)))
                .is_none()
        );
        assert!(tokens.find(&sign(2, "no json")).is_none());
        let other = sign(2, &good).replace(SIGNED, "warps_x");
        assert!(tokens.find(&other).is_none());
        assert!(tokens.find("warps_").is_none());
        assert!(tokens.find("warps_.").is_none());
    }

    #[test]
    fn what_a_new_configuration_has_no_more_is_revoked() {
        let a = config("a", "warp_a", None);
        let first = tokens(std::slice::from_ref(&a), &["01", "02"], &Tokens::default());
        let claims = format!(
            r#"{{"token":"a","server":"{SERVER}","expires":{}}}"#,
            1_u64 << 40
        );
        let plain = first.find("warp_a").unwrap();
        let (one, two) = (
            first.find(&sign(1, &claims)).unwrap(),
            first.find(&sign(2, &claims)).unwrap(),
        );
        let second = tokens(std::slice::from_ref(&a), &["02"], &first);
        assert!(plain.is_valid() && !one.is_valid() && two.is_valid());
        assert!(Arc::ptr_eq(
            &second.find("warp_a").unwrap().token,
            &plain.token
        ));
        let _third = tokens(&[config("a", "warp_new", None)], &["02"], &second);
        assert!(!plain.is_valid() && !two.is_valid());
    }

    #[test]
    fn a_wrong_configuration_says_what_is_wrong() {
        let twice = [config("a", "warp_a", None), config("b", "warp_a", None)];
        assert!(
            Tokens::new(&twice, &[], SERVER, &Tokens::default())
                .unwrap_err()
                .contains("\"b\"")
        );
        assert!(Tokens::new(&[], &["x".to_owned()], SERVER, &Tokens::default()).is_err());
    }
}
