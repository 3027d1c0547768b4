//! Asking a witness for its cosignature (C2SP tlog-witness, `add-checkpoint`), over HTTP/1.1, under TLS or in the clear.
//!
//! One request at a time over a connection of its own; every step has its end. What a witness answers is believed only
//! as far as its signature holds.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::tlog::{Hash, Note, Signature, VerifierKey, base64};

/// How long a witness may take, from the connection to the end of its answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// The most bytes of an answer: some signature lines, or a size.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// Why there is no cosignature.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoCosignature {
    /// The witness is not to be had, or does not answer as one.
    #[error("{0}")]
    Unavailable(String),
    /// The witness knows the log at this size: the proof must begin there.
    #[error("it knows the log with {0} entries")]
    Knows(u64),
    /// The witness says no.
    #[error("it refuses: {status} {reason}")]
    Refused {
        /// Its answer's status.
        status: StatusCode,
        /// Its answer's body.
        reason: String,
    },
}

/// A witness as its address and key.
#[derive(Clone)]
pub(crate) struct Witness {
    uri: Uri,
    key: VerifierKey,
    tls: Option<Arc<ClientConfig>>,
}

impl std::fmt::Debug for Witness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Witness").field("uri", &self.uri).field("key", &self.key).finish_non_exhaustive()
    }
}

impl Witness {
    /// The witness behind a submission prefix.
    pub(crate) fn new(prefix: &str, key: VerifierKey) -> io::Result<Self> {
        let uri: Uri = format!("{}/add-checkpoint", prefix.trim_end_matches('/')).parse().map_err(io::Error::other)?;
        let tls = (uri.scheme_str() == Some("https")).then(client_config).transpose()?;
        Ok(Self { uri, key, tls })
    }

    /// Its key's name.
    pub(crate) fn name(&self) -> &str {
        self.key.name()
    }

    /// Asks for a cosignature of a checkpoint that extends the log of `old` entries, by `proof`.
    pub(crate) async fn cosign(&self, old: u64, proof: &[Hash], checkpoint: &Note) -> Result<Signature, NoCosignature> {
        let mut body = format!("old {old}\n");
        for hash in proof {
            body.push_str(&base64(hash));
            body.push('\n');
        }
        body.push('\n');
        body.push_str(&checkpoint.to_string());
        let answered = tokio::time::timeout(PATIENCE, self.post(body)).await;
        let (status, answer) = answered
            .map_err(|_| NoCosignature::Unavailable(format!("{}: no answer within {PATIENCE:?}", self.uri)))?
            .map_err(|error| NoCosignature::Unavailable(format!("{}: {error}", self.uri)))?;
        match status {
            StatusCode::OK => self.pick(&answer, checkpoint),
            StatusCode::CONFLICT => match answer.trim().parse() {
                Ok(size) => Err(NoCosignature::Knows(size)),
                Err(_) => Err(NoCosignature::Unavailable(format!("{}: 409 without a size", self.uri))),
            },
            status => Err(NoCosignature::Refused { status, reason: answer.trim().chars().take(200).collect() }),
        }
    }

    /// The line that its key signed.
    fn pick(&self, answer: &str, checkpoint: &Note) -> Result<Signature, NoCosignature> {
        let lines = answer.lines().filter_map(|line| line.parse::<Signature>().ok());
        let mut own = lines.filter(|line| line.name == self.key.name() && line.id == self.key.id());
        own.find(|line| self.key.verify(&checkpoint.text, &line.bytes).is_some()).ok_or_else(|| {
            NoCosignature::Unavailable(format!("{}: its answer has no signature of {:?}", self.uri, self.key))
        })
    }

    async fn post(&self, body: String) -> io::Result<(StatusCode, String)> {
        let host = self.uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let port = self.uri.port_u16().unwrap_or(if self.tls.is_some() { 443 } else { 80 });
        let socket = TcpStream::connect((host, port)).await?;
        match &self.tls {
            None => self.exchange(socket, body).await,
            Some(config) => {
                let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
                let stream = TlsConnector::from(Arc::clone(config)).connect(name, socket).await?;
                self.exchange(stream, body).await
            }
        }
    }

    async fn exchange<S>(&self, stream: S, body: String) -> io::Result<(StatusCode, String)>
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let (mut send, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        let request = Request::post(self.uri.path())
            .header(header::HOST, self.uri.authority().map_or("", |authority| authority.as_str()))
            .header(header::CONTENT_TYPE, "text/plain; charset=utf-8")
            .body(Full::new(Bytes::from(body)))
            .map_err(io::Error::other)?;
        let exchange = async {
            let response = send.send_request(request).await.map_err(io::Error::other)?;
            let status = response.status();
            let answer = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
            let answer = answer.map_err(io::Error::other)?.to_bytes();
            Ok((status, String::from_utf8_lossy(&answer).into_owned()))
        };
        tokio::select! {
            answered = exchange => answered,
            Err(error) = connection => Err(io::Error::other(error)),
        }
    }
}

fn client_config() -> io::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    for certificate in rustls_native_certs::load_native_certs().certs {
        drop(roots.add(certificate));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    Ok(Arc::new(builder.map_err(io::Error::other)?.with_root_certificates(roots).with_no_client_auth()))
}
