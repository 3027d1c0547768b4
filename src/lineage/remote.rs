//! The catalog of another Touchmark: asked for what stands behind stamps, told what CI jobs have done.
//!
//! One connection for all questions of a refresh. A server that answers otherwise than a catalog does not count as one
//! that knows nothing: what was last known must not be forgotten for a proxy in between that says 404. Redirections are
//! not followed, since the token would go with them.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::catalog::Recorded;
use super::{Content, Facts};
use crate::tls::{BackendTlsConfig, ClientTls, Maker, TlsError};

/// Bytes of a document, at most.
const DOCUMENT_BYTES_MAX: usize = 4 << 20;
/// Bytes of any other answer, at most: a graph of 10,000 nodes with what is known of them.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// From the first packet to the end of the TLS handshake.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);
/// From a request to the end of its answer; a catalog gives up earlier, and says so.
const ANSWER_PATIENCE: Duration = Duration::from_mins(1);
const JSON: &str = "application/json";

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Why another catalog did not do what it was asked for. Each message names the server, or the file, and the cause.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// Its address is none.
    #[error("'{0}' is no address of a server: write http://HOST:PORT or https://HOST:PORT")]
    Address(String),
    /// The token cannot be shown.
    #[error("the token file {} {what}", path.display())]
    Token {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// No connection comes about.
    #[error("{server} cannot be reached: {why}")]
    Unreachable {
        /// Its address.
        server: String,
        /// What the system or the handshake says.
        why: String,
    },
    /// The connection ended, or was silent, before there was an answer.
    #[error("{server} did not answer: {why}")]
    Silent {
        /// Its address.
        server: String,
        /// What happened.
        why: String,
    },
    /// It says no.
    #[error("{server}: {status}{}{}", if problem.detail.is_empty() { "" } else { ": " }, problem.detail)]
    Refused {
        /// Its address.
        server: String,
        /// The status.
        status: StatusCode,
        /// What it says; empty where it is no Touchmark that answers.
        problem: Problem,
    },
    /// It answers what no catalog would.
    #[error("{server} answers otherwise than a catalog: {what}")]
    Strange {
        /// Its address.
        server: String,
        /// What it answers.
        what: String,
    },
}

/// Problem details (RFC 9457) of another Touchmark.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Problem {
    r#type: String,
    detail: String,
}

impl Problem {
    /// The end of its type, which stays the same for ever: `missing`, `role` and so on; empty where it is none of ours.
    pub fn kind(&self) -> &str {
        self.r#type.strip_prefix("urn:touchmark:problem:").unwrap_or_default()
    }
}

/// Where another catalog is, and how to ask it.
#[derive(Debug)]
pub struct Remote {
    uri: Uri,
    authorization: Option<HeaderValue>,
    tls: Option<ClientTls>,
}

/// A connection to it.
#[derive(Debug)]
pub struct Asking<'r> {
    remote: &'r Remote,
    send: SendRequest<Full<Bytes>>,
    driver: JoinHandle<()>,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Remote {
    /// Reads the token and the certificates, each time anew: they may have been renewed.
    ///
    /// # Errors
    /// Where the address, the token's file or the certificates are not what they should be.
    pub fn new(server: &str, token_file: Option<&Path>, tls: Option<&BackendTlsConfig>) -> Result<Self, RemoteError> {
        let wrong = || RemoteError::Address(server.to_owned());
        let uri: Uri = server.trim_end_matches('/').parse().map_err(|_error| wrong())?;
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let tls = match uri.scheme_str() {
            Some("https") => {
                Some(Maker::new().client("lineage.tls", tls.unwrap_or(&BackendTlsConfig::default()), &host)?)
            }
            Some("http") => None,
            _ => return Err(wrong()),
        };
        let authorization = token_file.map(bearer).transpose()?;
        Ok(Self { uri, authorization, tls })
    }

    /// Connects.
    ///
    /// # Errors
    /// Where it cannot be reached.
    pub async fn connect(&self) -> Result<Asking<'_>, RemoteError> {
        let connected = async {
            let host = self.uri.host().unwrap_or_default().trim_matches(['[', ']']);
            let port = self.uri.port_u16().unwrap_or(if self.tls.is_some() { 443 } else { 80 });
            let socket = TcpStream::connect((host, port)).await?;
            socket.set_nodelay(true)?;
            match &self.tls {
                None => handshake(socket).await,
                Some(tls) => handshake(tls.connect(socket, false).await?).await,
            }
        };
        let connected =
            timeout(CONNECT_PATIENCE, connected).await.unwrap_or_else(|_elapsed| Err(late(CONNECT_PATIENCE)));
        let (send, driver) =
            connected.map_err(|error| RemoteError::Unreachable { server: self.address(), why: error.to_string() })?;
        Ok(Asking { remote: self, send, driver })
    }

    /// As people write it: without the slash that ends a path of nothing.
    fn address(&self) -> String {
        self.uri.to_string().trim_end_matches('/').to_owned()
    }
}

impl Asking<'_> {
    /// The document of a model by its version, or by `@ALIAS`; none where that catalog does not know it.
    ///
    /// # Errors
    /// Where there is no answer, or none of a catalog's.
    pub async fn resolve(&mut self, name: &str, version: &str) -> Result<Option<Content>, RemoteError> {
        let encoded = |text| utf8_percent_encode(text, NON_ALPHANUMERIC);
        let question = format!("resolve?name={}&version={}", encoded(name), encoded(version));
        let asked = self.call(Method::GET, &question, Bytes::new(), DOCUMENT_BYTES_MAX).await;
        let content: Content = match asked {
            Ok(content) => content,
            Err(RemoteError::Refused { status: StatusCode::NOT_FOUND, problem, .. })
                if problem.kind() == "missing" && !problem.detail.is_empty() =>
            {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        if content.model.name != name {
            return Err(self.strange(format!("asked for {name}, it answered for {}", content.model.name)));
        }
        Ok(Some(content))
    }

    /// Has facts recorded, by the author that the token names.
    ///
    /// # Errors
    /// Where there is no answer, or it does not take them.
    pub async fn record(&mut self, facts: &Facts) -> Result<Recorded, RemoteError> {
        let body = serde_json::to_vec(facts).map_err(|error| self.strange(error.to_string()))?;
        self.call(Method::POST, "facts", body.into(), ANSWER_BYTES_MAX).await
    }

    /// What it answers to a question: `upstream/model%3Afraud%40v1?depth=2` and so on.
    ///
    /// # Errors
    /// Where there is no answer, or none of that shape.
    pub async fn get<T: DeserializeOwned>(&mut self, question: &str) -> Result<T, RemoteError> {
        self.call(Method::GET, question, Bytes::new(), ANSWER_BYTES_MAX).await
    }

    /// One request; its answer has at most `max` bytes.
    async fn call<T: DeserializeOwned>(
        &mut self,
        method: Method,
        what: &str,
        body: Bytes,
        max: usize,
    ) -> Result<T, RemoteError> {
        let server = || self.remote.address();
        let asked = async {
            let answer = exchange(self.remote, &mut self.send, method, what, body).await?;
            let status = answer.status();
            Ok((status, Limited::new(answer.into_body(), max).collect().await?.to_bytes()))
        };
        let (status, body) = timeout(ANSWER_PATIENCE, asked)
            .await
            .unwrap_or_else(|_elapsed| Err::<_, Failure>(late(ANSWER_PATIENCE).into()))
            .map_err(|error| RemoteError::Silent { server: server(), why: error.to_string() })?;
        if status != StatusCode::OK {
            let problem = serde_json::from_slice(&body).unwrap_or_default();
            return Err(RemoteError::Refused { server: server(), status, problem });
        }
        serde_json::from_slice(&body).map_err(|error| self.strange(error.to_string()))
    }

    fn strange(&self, what: String) -> RemoteError {
        RemoteError::Strange { server: self.remote.address(), what }
    }
}

fn late(patience: Duration) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("not within {} seconds", patience.as_secs()))
}

fn bearer(file: &Path) -> Result<HeaderValue, RemoteError> {
    let wrong = |what: String| RemoteError::Token { path: file.to_owned(), what };
    let token = std::fs::read_to_string(file).map_err(|error| wrong(format!("cannot be read: {error}")))?;
    let mut value = HeaderValue::from_str(&format!("Bearer {}", token.trim()))
        .map_err(|_error| wrong("holds what cannot be sent in a header".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

async fn handshake<S>(stream: S) -> io::Result<(SendRequest<Full<Bytes>>, JoinHandle<()>)>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (send, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    // How it ends shows in the answers.
    Ok((send, tokio::spawn(async move { drop(connection.await) })))
}

async fn exchange(
    remote: &Remote,
    send: &mut SendRequest<Full<Bytes>>,
    method: Method,
    what: &str,
    body: Bytes,
) -> Result<Response<Incoming>, Failure> {
    let authority = remote.uri.authority().map_or("", |authority| authority.as_str());
    let path = format!("{}/api/v1/{what}", remote.uri.path().trim_end_matches('/'));
    let told = method == Method::POST;
    let request = Request::builder().method(method).uri(path).header(HOST, authority).header(ACCEPT, JSON);
    let request = if told { request.header(CONTENT_TYPE, JSON) } else { request };
    let mut request = request.body(Full::new(body))?;
    if let Some(value) = &remote.authorization {
        request.headers_mut().insert(AUTHORIZATION, value.clone());
    }
    send.ready().await?;
    Ok(send.send_request(request).await?)
}
