//! What all parts of the gateway share.

use crate::channels::Channels;
use crate::config::Config;
use crate::frames::{Kind, LINK};
use crate::limits::Gauge;
use crate::link::Link;
use crate::listener::{Listeners, Places};
use crate::refused::{Refused, Why};
use crate::settings::Settings;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// What all parts share.
#[derive(Default)]
pub struct Gateway {
    /// The way to the VM.
    pub link: Arc<Link>,
    /// The channels that are open.
    pub channels: Arc<Channels>,
    /// The connections that are open.
    pub places: Arc<Places>,
    /// Requests and calls in flight.
    pub in_flight: Gauge,
    /// Bytes of requests in flight.
    pub bytes: Gauge,
    /// What was refused.
    pub refused: Refused,
    /// The configuration that counts.
    settings: RwLock<Arc<Settings>>,
    /// Whether nothing new is begun.
    is_stopping: AtomicBool,
}

impl Gateway {
    /// The configuration that counts.
    pub fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes a configuration. One that is wrong changes nothing.
    pub fn configure(&self, config: &Config, listeners: &Listeners) -> Result<(), String> {
        let before = self.settings();
        let settings = Settings::new(config, &before)?;
        listeners.reload(&config.listeners)?;
        settings.tokens.install(&config.tokens, &before.tokens);
        let limits = settings.limits;
        self.in_flight.set_limit(limits.in_flight);
        self.bytes.set_limit(limits.bytes_in_flight);
        self.places.set_limits(&limits);
        *self
            .settings
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
        Ok(())
    }

    /// Counts what was refused.
    pub fn refuse(&self, why: Why, peer: IpAddr) {
        self.refused.count(why, peer);
    }

    /// Tells the VM what was refused.
    pub fn tell_refused(&self) {
        if let Some(term) = self.refused.take() {
            self.link.send(LINK, Kind::Refused, &term);
        }
    }

    /// Begins nothing new.
    pub fn stop(&self) {
        self.is_stopping.store(true, Ordering::Release);
    }

    /// Whether nothing new is begun.
    pub fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Acquire)
    }
}
