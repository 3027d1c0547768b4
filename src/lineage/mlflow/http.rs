//! `GET` over HTTP/1.1, under TLS or in the clear: one connection, used again while it lasts.
//!
//! Every step has its end, and an answer has a size. It follows no redirection and knows nothing of MLflow's paths.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use ::http::{HeaderValue, Request, StatusCode, Uri, header};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::MlflowError;

/// How long one answer may take, from the connection to its end.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes of an answer, at most: a page of 200 versions has some 200 KiB.
pub(super) const ANSWER_BYTES_MAX: usize = 16 << 20;

/// What a server answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) location: Option<String>,
    pub(super) body: Bytes,
}

/// A server, and the connection to it.
pub(super) struct Http {
    uri: Uri,
    /// Its address as it is shown, without a `/` at its end and without credentials.
    pub(super) shown: String,
    authorization: Option<HeaderValue>,
    tls: Option<Arc<ClientConfig>>,
    connection: Option<Connection>,
}

type Driver = Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>;

/// A connection, and what has to be driven so that it moves.
struct Connection {
    send: SendRequest<Empty<Bytes>>,
    driver: Driver,
}

/// Why a call came to nothing.
enum Failed {
    TooLarge,
    Io(io::Error),
}

impl std::fmt::Debug for Http {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Http").field("server", &self.shown).finish_non_exhaustive()
    }
}

impl Http {
    pub(super) fn new(address: &str, authorization: Option<HeaderValue>) -> Result<Self, MlflowError> {
        let wrong = |problem| MlflowError::Address { uri: shown(address), problem };
        if address.starts_with("databricks") {
            return Err(wrong("Databricks' own registry is not supported; write http:// or https://"));
        }
        let uri: Uri =
            address.trim_end_matches('/').parse().map_err(|_error| wrong("write http://HOST:PORT or https://HOST"))?;
        let tls = match uri.scheme_str() {
            Some("http") => None,
            Some("https") => Some(client_config().map_err(|_error| wrong("TLS cannot be set up here"))?),
            _ => return Err(wrong("write http://HOST:PORT or https://HOST")),
        };
        if uri.host().is_none_or(str::is_empty) {
            return Err(wrong("it names no host"));
        }
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err(wrong("credentials go into MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"));
        }
        if uri.query().is_some() {
            return Err(wrong("it must not have a query"));
        }
        let shown = uri.to_string().trim_end_matches('/').to_owned();
        Ok(Self { uri, shown, authorization, tls, connection: None })
    }

    /// Asks for a path with a query; `what` it is about, for errors.
    pub(super) async fn get(&mut self, path_and_query: &str, what: &str) -> Result<Answer, MlflowError> {
        let answered = tokio::time::timeout(PATIENCE, self.ask(path_and_query)).await;
        let failed = match answered {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(Failed::TooLarge)) => MlflowError::TooLarge { what: what.to_owned() },
            Ok(Err(Failed::Io(error))) => {
                MlflowError::Unreachable { server: self.shown.clone(), problem: error.to_string() }
            }
            Err(_elapsed) => MlflowError::Silent { server: self.shown.clone() },
        };
        // Whatever is under way on it is no answer to the next question.
        self.connection = None;
        Err(failed)
    }

    async fn ask(&mut self, path_and_query: &str) -> Result<Answer, Failed> {
        if let Some(mut connection) = self.connection.take() {
            match self.exchange(&mut connection, path_and_query).await {
                Err(Failed::Io(_)) => {} // It had been closed meanwhile: a question may be asked again.
                other => return self.keep(connection, other),
            }
        }
        let mut connection = self.connect().await.map_err(Failed::Io)?;
        let answered = self.exchange(&mut connection, path_and_query).await;
        self.keep(connection, answered)
    }

    fn keep(&mut self, connection: Connection, answered: Result<Answer, Failed>) -> Result<Answer, Failed> {
        if answered.is_ok() {
            self.connection = Some(connection);
        }
        answered
    }

    async fn connect(&mut self) -> io::Result<Connection> {
        let host = self.uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let port = self.uri.port_u16().unwrap_or(if self.tls.is_some() { 443 } else { 80 });
        let socket = TcpStream::connect((host, port)).await?;
        socket.set_nodelay(true)?;
        match &self.tls {
            None => handshake(socket).await,
            Some(config) => {
                let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
                handshake(TlsConnector::from(Arc::clone(config)).connect(name, socket).await?).await
            }
        }
    }

    async fn exchange(&mut self, connection: &mut Connection, path_and_query: &str) -> Result<Answer, Failed> {
        let io = |error| Failed::Io(io::Error::other(error));
        let authority = self.uri.authority().map_or("", |authority| authority.as_str());
        let path = self.uri.path().trim_end_matches('/');
        let mut request = Request::get(format!("{path}{path_and_query}"))
            .header(header::HOST, authority)
            .header(header::ACCEPT, "application/json")
            .header(header::USER_AGENT, concat!("touchmark/", env!("CARGO_PKG_VERSION")))
            .body(Empty::new())
            .map_err(|error| Failed::Io(io::Error::other(error)))?;
        if let Some(value) = &self.authorization {
            request.headers_mut().insert(header::AUTHORIZATION, value.clone());
        }
        let send = &mut connection.send;
        let exchange = async {
            send.ready().await.map_err(io)?;
            let response = send.send_request(request).await.map_err(io)?;
            let status = response.status();
            let location = response.headers().get(header::LOCATION);
            let location = location.and_then(|value| value.to_str().ok()).map(str::to_owned);
            match Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await {
                Ok(body) => Ok(Answer { status, location, body: body.to_bytes() }),
                Err(error) if error.is::<LengthLimitError>() => Err(Failed::TooLarge),
                Err(error) => Err(Failed::Io(io::Error::other(error))),
            }
        };
        // An answer that ends with its connection is whole when both end at once: the answer is looked at first.
        tokio::select! {
            biased;
            answered = exchange => answered,
            ended = &mut connection.driver => Err(match ended {
                Ok(()) => Failed::Io(io::ErrorKind::UnexpectedEof.into()),
                Err(error) => Failed::Io(io::Error::other(error)),
            }),
        }
    }
}

async fn handshake<S>(stream: S) -> io::Result<Connection>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (send, driver) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    Ok(Connection { send, driver: Box::pin(driver) })
}

fn client_config() -> io::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    Ok(Arc::new(builder.map_err(io::Error::other)?.with_root_certificates(roots).with_no_client_auth()))
}

/// An address as it may be shown.
fn shown(address: &str) -> String {
    super::mapping::without_secrets(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_is_none_says_what_to_write() {
        let message = |address: &str| Http::new(address, None).unwrap_err().to_string();
        assert!(message("databricks://profile").contains("not supported"));
        assert!(message("mlflow:5000").contains("write http://HOST:PORT"));
        assert!(message("sqlite:///mlflow.db").contains("write http://HOST:PORT or https://HOST"));
        let said = message("http://ann:s3cret@mlflow:5000");
        assert!(said.contains("MLFLOW_TRACKING_USERNAME") && !said.contains("s3cret"), "{said}");
        assert!(message("http://mlflow:5000/?a=b").contains("query"));
        assert_eq!(Http::new("http://mlflow:5000/behind/", None).unwrap().shown, "http://mlflow:5000/behind");
    }
}
