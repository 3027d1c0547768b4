//! The catalog of another Touchmark, asked for what stands behind stamps.
//!
//! One connection for all questions of a refresh. A server that answers otherwise than a catalog does not count as one
//! that knows nothing: what was last known must not be forgotten for a proxy in between that says 404.

use std::io;
use std::path::Path;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, HOST};
use http::{HeaderValue, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::Content;
use crate::tls::{BackendTlsConfig, ClientTls, Maker};

/// Bytes of a document, at most.
const ANSWER_BYTES_MAX: usize = 4 << 20;
/// What a catalog says of a model that it does not know.
const MISSING: &str = "urn:touchmark:problem:missing";

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
    send: SendRequest<Empty<Bytes>>,
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
    /// What is wrong, by its key.
    pub fn new(server: &str, token_file: Option<&Path>, tls: Option<&BackendTlsConfig>) -> Result<Self, String> {
        let uri: Uri = server.trim_end_matches('/').parse().map_err(|error| format!("lineage.server: {error}"))?;
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let tls = match uri.scheme_str() {
            Some("https") => {
                let made = Maker::new().client("lineage.tls", tls.unwrap_or(&BackendTlsConfig::default()), &host);
                Some(made.map_err(|error| error.to_string())?)
            }
            _ => None,
        };
        let authorization = token_file.map(bearer).transpose()?;
        Ok(Self { uri, authorization, tls })
    }

    /// Connects.
    ///
    /// # Errors
    /// Where it cannot be reached.
    pub async fn connect(&self) -> Result<Asking<'_>, String> {
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
        let (send, driver) = connected.await.map_err(|error| format!("{}: {error}", self.uri))?;
        Ok(Asking { remote: self, send, driver })
    }
}

impl Asking<'_> {
    /// The document of a model by its version, or by `@ALIAS`; none where that catalog does not know it.
    ///
    /// # Errors
    /// Where there is no answer, or none of a catalog's.
    pub async fn resolve(&mut self, name: &str, version: &str) -> Result<Option<Content>, String> {
        let wrong = |what: String| format!("{}: {what}", self.remote.uri);
        let encoded = |text| utf8_percent_encode(text, NON_ALPHANUMERIC);
        let path = self.remote.uri.path().trim_end_matches('/');
        let path = format!("{path}/api/v1/resolve?name={}&version={}", encoded(name), encoded(version));
        let (status, body) = get(self.remote, &mut self.send, &path).await.map_err(|error| wrong(error.to_string()))?;
        if status == StatusCode::OK {
            let content: Content = serde_json::from_slice(&body).map_err(|error| wrong(error.to_string()))?;
            if content.model.name != name {
                return Err(wrong(format!("asked for {name}, it answered for {}", content.model.name)));
            }
            return Ok(Some(content));
        }
        let problem: Problem = serde_json::from_slice(&body).unwrap_or_default();
        if status == StatusCode::NOT_FOUND && problem.r#type == MISSING && !problem.detail.is_empty() {
            return Ok(None);
        }
        Err(wrong(format!("{status} {}", problem.detail)))
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Problem {
    r#type: String,
    detail: String,
}

fn bearer(file: &Path) -> Result<HeaderValue, String> {
    let wrong = |what: &str| format!("lineage.token_file: {} {what}", file.display());
    let token = std::fs::read_to_string(file).map_err(|error| wrong(&format!("cannot be read: {error}")))?;
    let mut value = HeaderValue::from_str(&format!("Bearer {}", token.trim()))
        .map_err(|_error| wrong("holds what cannot be sent in a header"))?;
    value.set_sensitive(true);
    Ok(value)
}

async fn handshake<S>(stream: S) -> io::Result<(SendRequest<Empty<Bytes>>, JoinHandle<()>)>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (send, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    // How it ends shows in the answers.
    Ok((send, tokio::spawn(async move { drop(connection.await) })))
}

async fn get(
    remote: &Remote,
    send: &mut SendRequest<Empty<Bytes>>,
    path: &str,
) -> Result<(StatusCode, Bytes), Box<dyn std::error::Error + Send + Sync>> {
    let authority = remote.uri.authority().map_or("", |authority| authority.as_str());
    let mut request =
        Request::get(path).header(HOST, authority).header(ACCEPT, "application/json").body(Empty::new())?;
    if let Some(value) = &remote.authorization {
        request.headers_mut().insert(AUTHORIZATION, value.clone());
    }
    send.ready().await?;
    let answer = send.send_request(request).await?;
    let status = answer.status();
    Ok((status, Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await?.to_bytes()))
}
