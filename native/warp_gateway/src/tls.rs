//! Certificates, which can be changed while listeners listen.

use crate::config::TlsConfig;
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, ring};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::sync::{Arc, PoisonError, RwLock};

/// The certificate that a listener shows.
#[derive(Debug)]
pub struct Certificate(RwLock<Arc<CertifiedKey>>);

impl Certificate {
    /// A certificate to begin with.
    pub fn new(certified: Arc<CertifiedKey>) -> Self {
        Certificate(RwLock::new(certified))
    }

    /// Shows another certificate from now on.
    pub fn change(&self, certified: Arc<CertifiedKey>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = certified;
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(
            &self.0.read().unwrap_or_else(PoisonError::into_inner),
        ))
    }
}

/// Reads a certificate and its key, and says what is wrong with them.
pub fn load(config: &TlsConfig) -> Result<Arc<CertifiedKey>, String> {
    let TlsConfig { certificate, key } = config;
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| format!("the certificate {}: {error}", certificate.display()))?;
    if chain.is_empty() {
        return Err(format!(
            "the certificate {}: the file has none",
            certificate.display()
        ));
    }
    let of_key = |error: &dyn std::fmt::Display| format!("the key {}: {error}", key.display());
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| of_key(&error))?;
    let certified = CertifiedKey::from_der(chain, private, &ring::default_provider())
        .map_err(|error| of_key(&error))?;
    Ok(Arc::new(certified))
}

/// How a listener speaks TLS.
pub fn server(certificate: Arc<Certificate>) -> Result<Arc<ServerConfig>, String> {
    let provider: Arc<CryptoProvider> = Arc::new(ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_no_client_auth()
        .with_cert_resolver(certificate);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.ticketer = ring::Ticketer::new().map_err(|error| error.to_string())?;
    Ok(Arc::new(config))
}
