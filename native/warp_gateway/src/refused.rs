//! What was refused before the VM saw it, gathered for the audit log.

use crate::etf;
use crate::limits::lock;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Mutex;

/// So many entries are told apart in a second. What does not fit is counted without its peer.
const MAX_ENTRIES: usize = 90;
/// The peer of what did not fit.
const OTHERS: &str = "others";

/// Why something was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Why {
    /// No token.
    NoToken,
    /// A token that is unknown or has expired.
    UnknownToken,
    /// A host that is not the server's.
    WrongHost,
    /// An origin that is not listed.
    WrongOrigin,
    /// Too many connections or requests.
    TooMany,
}

impl Why {
    /// How the VM calls it.
    fn name(self) -> &'static str {
        match self {
            Why::NoToken => "no_token",
            Why::UnknownToken => "unknown_token",
            Why::WrongHost => "wrong_host",
            Why::WrongOrigin => "wrong_origin",
            Why::TooMany => "too_many",
        }
    }
}

/// How often something was refused to an address since it was last told.
#[derive(Default)]
pub struct Refused(Mutex<HashMap<(Why, Option<IpAddr>), u64>>);

impl Refused {
    /// Counts.
    pub fn count(&self, why: Why, peer: IpAddr) {
        let mut counts = lock(&self.0);
        let is_full = counts.len() >= MAX_ENTRIES;
        let peer = Some(peer).filter(|_| !is_full || counts.contains_key(&(why, Some(peer))));
        let count = counts.entry((why, peer)).or_default();
        *count = count.saturating_add(1);
    }

    /// The term that tells the VM what was counted, if anything was.
    pub fn take(&self) -> Option<Vec<u8>> {
        let counts = std::mem::take(&mut *lock(&self.0));
        if counts.is_empty() {
            return None;
        }
        let mut out = Vec::new();
        etf::version(&mut out);
        let list = etf::list_begin(&mut out);
        for ((why, peer), count) in &counts {
            etf::tuple(&mut out, 3);
            etf::binary(&mut out, why.name().as_bytes());
            let peer = peer.map_or_else(|| OTHERS.to_owned(), |peer| peer.to_string());
            etf::binary(&mut out, peer.as_bytes());
            etf::integer(&mut out, false, *count);
        }
        etf::list_end(&mut out, list, counts.len());
        Some(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn what_does_not_fit_is_counted_without_its_peer() {
        let refused = Refused::default();
        assert_eq!(refused.take(), None);
        for at in 0..300_u32 {
            refused.count(Why::NoToken, IpAddr::V4(Ipv4Addr::from(at % 200)));
            refused.count(Why::TooMany, IpAddr::V4(Ipv4Addr::from(at)));
        }
        let counts = lock(&refused.0).clone();
        assert!(counts.len() <= 100);
        assert_eq!(counts.values().sum::<u64>(), 600);
        assert!(refused.take().is_some());
        assert_eq!(refused.take(), None);
    }
}
