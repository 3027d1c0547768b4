//! TLS for whoever listens or calls: configurations for rustls, made from files when the configuration is loaded or a
//! file changes.
//!
//! One provider of cryptography, the one that hashes. TLS 1.2 and 1.3 with rustls's own choice of suites. A connection
//! keeps what it began with; new ones get what is in force. Sessions are resumed by rustls's defaults, never as 0-RTT:
//! a prediction must not be replayable.

mod config;
mod files;
mod names;

use std::io;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::ServerName;
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, TlsStream};

pub use config::{BackendTlsConfig, TlsConfig};
use files::Files;
pub use files::TlsError;
use names::{NamedClients, NamedServers};

use crate::sha256::Sha256;

/// HTTP/2, as the handshake names it.
pub const H2: &[u8] = b"h2";
/// HTTP/1.1, as the handshake names it.
pub const HTTP11: &[u8] = b"http/1.1";

/// Makes TLS configurations, and remembers what they were made from.
#[derive(Debug)]
pub struct Maker {
    provider: Arc<CryptoProvider>,
    digest: Sha256,
}

impl Default for Maker {
    fn default() -> Self {
        Self::new()
    }
}

impl Maker {
    /// With nothing read yet.
    pub fn new() -> Self {
        Self { provider: Arc::new(aws_lc_rs::default_provider()), digest: Sha256::new() }
    }

    /// A hash over every file that was read: it changes where one of them does.
    pub fn digest(self) -> [u8; 32] {
        self.digest.finish()
    }

    /// For a listener, by the section's key. `protocols` are offered in this order (ALPN).
    pub fn server(
        &mut self,
        section: &str,
        config: &TlsConfig,
        protocols: &[&[u8]],
    ) -> Result<Arc<ServerConfig>, TlsError> {
        let mut files = Files::new(&self.provider, &mut self.digest);
        let (chain, key) = files.identity(section, &config.certificate, &config.key)?;
        let clients = match &config.client_ca {
            None => WebPkiClientVerifier::no_client_auth(),
            Some(path) => {
                let key = format!("{section}.client_ca");
                let roots = Arc::new(files.authorities(&key, path)?);
                let inner = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&self.provider))
                    .build()
                    .map_err(|error| TlsError::new(key, error.to_string()))?;
                let names = config.client_names.clone();
                if names.is_empty() { inner } else { Arc::new(NamedClients { inner, names }) }
            }
        };
        let made = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_client_cert_verifier(clients).with_single_cert(chain, key));
        let mut server = made.map_err(|error| TlsError::new(section, error.to_string()))?;
        server.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        Ok(Arc::new(server))
    }

    /// For calls to `host`.
    pub fn client(&mut self, section: &str, config: &BackendTlsConfig, host: &str) -> Result<ClientTls, TlsError> {
        let mut files = Files::new(&self.provider, &mut self.digest);
        let wrong = |key: &str, problem: String| TlsError::new(format!("{section}.{key}"), problem);
        let roots = match &config.ca {
            Some(path) => files.authorities(&format!("{section}.ca"), path)?,
            None => system_roots().map_err(|problem| wrong("ca", problem))?,
        };
        let builder = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError::new(section, error.to_string()))?;
        let builder = if config.server_names.is_empty() {
            let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&self.provider))
                .build()
                .map_err(|error| wrong("ca", error.to_string()))?;
            builder.with_webpki_verifier(verifier)
        } else {
            let (names, provider) = (config.server_names.clone(), Arc::clone(&self.provider));
            builder.dangerous().with_custom_certificate_verifier(Arc::new(NamedServers { roots, names, provider }))
        };
        let mut http1 = match (&config.certificate, &config.key) {
            (Some(certificate), Some(key)) => {
                let (chain, key) = files.identity(section, certificate, key)?;
                builder.with_client_auth_cert(chain, key).map_err(|error| wrong("key", error.to_string()))?
            }
            _ => builder.with_no_client_auth(),
        };
        let mut http2 = http1.clone();
        http1.alpn_protocols = vec![HTTP11.to_vec()];
        http2.alpn_protocols = vec![H2.to_vec()];
        let name = config.server_name.as_deref().unwrap_or(host);
        let server_name = ServerName::try_from(name.to_owned())
            .map_err(|_| wrong("server_name", format!("'{name}' is neither a DNS name nor an IP address")))?;
        Ok(ClientTls { http1: Arc::new(http1), http2: Arc::new(http2), server_name })
    }
}

fn system_roots() -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err("this system has no store of authorities: name a PEM file with the server's".to_owned());
    }
    Ok(roots)
}

/// How to speak TLS to one server.
#[derive(Clone, Debug)]
pub struct ClientTls {
    http1: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
    server_name: ServerName<'static>,
}

/// Made from the same reading of the same files. A connection under other ones is another connection.
impl PartialEq for ClientTls {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.http1, &other.http1) && self.server_name == other.server_name
    }
}

impl Eq for ClientTls {}

impl ClientTls {
    /// The handshake on a new connection, over which HTTP/2 or HTTP/1.1 is to be spoken.
    pub async fn connect(&self, stream: TcpStream, over_http2: bool) -> io::Result<TlsStream<TcpStream>> {
        let config = Arc::clone(if over_http2 { &self.http2 } else { &self.http1 });
        let stream = TlsConnector::from(config).connect(self.server_name.clone(), stream).await?;
        Ok(TlsStream::from(stream))
    }
}
