//! TLS for those runs that ask for it: one certificate for every peer, one cipher, connections that are kept.
//!
//! The client offers TLS 1.3 with `TLS_AES_128_GCM_SHA256` and X25519 alone, so that no peer can choose a cheaper or
//! a dearer one. Handshakes happen while a load connects, and are not measured.

use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// The name that the certificate is for.
const NAME: &str = "models.example";

/// What peers show, and clients who trust that.
#[derive(Debug)]
pub(crate) struct Identity {
    /// PEM.
    pub(crate) certificate: PathBuf,
    /// PEM.
    pub(crate) key: PathBuf,
    /// Both in one file, as `HAProxy` wants it.
    pub(crate) both: PathBuf,
    pub(crate) client: Arc<ClientConfig>,
}

impl Identity {
    /// A new one, its files in this folder.
    pub(crate) fn new(dir: &Path) -> anyhow::Result<Self> {
        let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).context("making a certificate")?;
        let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        let file = |name: &str, text: &str| {
            let path = dir.join(name);
            fs::write(&path, text).with_context(|| format!("writing {}", path.display())).map(|()| path)
        };
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).context("trusting the certificate")?;
        let mut provider = aws_lc_rs::default_provider();
        provider.cipher_suites = vec![aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256];
        provider.kx_groups = vec![aws_lc_rs::kx_group::X25519];
        Ok(Self {
            certificate: file("tls.crt", &certificate)?,
            key: file("tls.key", &key)?,
            both: file("tls.pem", &(certificate + &key))?,
            client: client(provider, roots)?,
        })
    }
}

fn client(provider: CryptoProvider, roots: RootCertStore) -> anyhow::Result<Arc<ClientConfig>> {
    let versions = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .context("offering TLS 1.3")?;
    let mut config = versions.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// A client's side of a connection, in the clear or under TLS.
pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Stream {
    /// Under TLS where a configuration is given; the handshake is over when this returns.
    pub(crate) fn new(mut socket: TcpStream, tls: Option<&Arc<ClientConfig>>) -> anyhow::Result<Self> {
        let Some(config) = tls else { return Ok(Self::Plain(socket)) };
        let mut connection = ClientConnection::new(Arc::clone(config), ServerName::try_from(NAME)?)?;
        while connection.is_handshaking() {
            let (read, written) = connection.complete_io(&mut socket).context("shaking hands")?;
            ensure!(read + written > 0, "the connection was closed during the handshake");
        }
        Ok(Self::Tls(Box::new(StreamOwned::new(connection, socket))))
    }

    pub(crate) fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => &stream.sock,
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}
