//! Puts a question to a model server over a connection of its own, and reads a bounded answer.
//!
//! Not the workers' connections: a check must not wait behind calls, nor a call behind a check, and what it finds must
//! hold for a connection that is made anew. Time is bounded by whoever asks.

use std::error::Error;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Version, header};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::task::JoinSet;

use crate::protocol::grpc;
use crate::protocol::health::{Question, Reply};
use crate::proxy::upstream::Address;

/// Bytes of an answer's body, at most: enough for the metadata of a model with a thousand tensors.
const BODY_BYTES_MAX: usize = 256 << 10;
/// Bytes of an answer's head, at most.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// Bytes of a reason, at most.
const REASON_BYTES_MAX: usize = 200;
/// How a check says who it is.
const USER_AGENT: HeaderValue = HeaderValue::from_static(concat!("touchmark-health/", env!("CARGO_PKG_VERSION")));

/// A connection to one address, made when it is first needed and again where the server has closed it.
#[derive(Debug)]
pub(super) struct Prober<'a> {
    address: &'a Address,
    over_http2: bool,
    sender: Option<Sender>,
    /// Drives the connection, and ends with this.
    driver: JoinSet<()>,
}

#[derive(Debug)]
enum Sender {
    H1(http1::SendRequest<Full<Bytes>>),
    H2(http2::SendRequest<Full<Bytes>>),
}

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    status: u16,
    grpc_status: Option<u16>,
    body: Bytes,
}

/// Why there is none. The text says why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ProbeError {
    /// No connection.
    #[error("no connection: {0}")]
    Connect(String),
    /// A connection, and no answer by this protocol.
    #[error("no answer: {0}")]
    Broken(String),
}

impl Answer {
    /// As `protocol` reads it.
    pub(super) fn reply(&self) -> Reply<'_> {
        Reply { status: self.status, grpc_status: self.grpc_status, body: &self.body }
    }
}

impl<'a> Prober<'a> {
    pub(super) fn new(address: &'a Address, over_http2: bool) -> Self {
        Self { address, over_http2, sender: None, driver: JoinSet::new() }
    }

    /// Whether a connection can be made.
    pub(super) async fn connect(&mut self) -> Result<(), ProbeError> {
        self.address.dial(self.over_http2).await.map(drop).map_err(|error| ProbeError::Connect(reason(&error)))
    }

    /// Asks, and reads the whole answer.
    pub(super) async fn ask(&mut self, question: &Question) -> Result<Answer, ProbeError> {
        let response = self.send(question).await?;
        let (parts, body) = response.into_parts();
        let whole = Limited::new(body, BODY_BYTES_MAX).collect().await.map_err(|error| {
            self.sender = None;
            let long = error.is::<LengthLimitError>();
            ProbeError::Broken(if long { "it is longer than 256 KiB".to_owned() } else { reason(&*error) })
        })?;
        let trailers = whole.trailers().and_then(grpc::parse_status);
        let grpc_status = trailers.or_else(|| grpc::parse_status(&parts.headers));
        Ok(Answer { status: parts.status.as_u16(), grpc_status, body: whole.to_bytes() })
    }

    /// Asks for the status alone; the body is not read, however long it is.
    pub(super) async fn status(&mut self, question: &Question) -> Result<u16, ProbeError> {
        let response = self.send(question).await?;
        self.sender = None;
        Ok(response.status().as_u16())
    }

    async fn send(&mut self, question: &Question) -> Result<http::Response<Incoming>, ProbeError> {
        if let Some(sender) = &mut self.sender {
            let ready = match sender {
                Sender::H1(sender) => sender.ready().await.is_ok(),
                Sender::H2(sender) => sender.ready().await.is_ok(),
            };
            if !ready {
                self.sender = None;
            }
        }
        let sender = match &mut self.sender {
            Some(sender) => sender,
            none => none.insert(handshake(self.address, self.over_http2, &mut self.driver).await?),
        };
        let request = request(self.address, self.over_http2, question)?;
        let answered = match sender {
            Sender::H1(sender) => sender.send_request(request).await,
            Sender::H2(sender) => sender.send_request(request).await,
        };
        answered.map_err(|error| {
            self.sender = None;
            ProbeError::Broken(reason(&error))
        })
    }
}

async fn handshake(address: &Address, over_http2: bool, driver: &mut JoinSet<()>) -> Result<Sender, ProbeError> {
    // Ends what drove the last one.
    *driver = JoinSet::new();
    let transport = address.dial(over_http2).await.map_err(|error| ProbeError::Connect(reason(&error)))?;
    let io = TokioIo::new(transport);
    let broken = |error: hyper::Error| ProbeError::Broken(reason(&error));
    // How the connection ends shows in the answers.
    if over_http2 {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.max_header_list_size(u32::try_from(HEAD_BYTES_MAX).unwrap_or(u32::MAX));
        let (sender, connection) = builder.handshake(io).await.map_err(broken)?;
        driver.spawn(async move { drop(connection.await) });
        return Ok(Sender::H2(sender));
    }
    let (sender, connection) =
        http1::Builder::new().max_buf_size(HEAD_BYTES_MAX).handshake(io).await.map_err(broken)?;
    driver.spawn(async move { drop(connection.await) });
    Ok(Sender::H1(sender))
}

fn request(address: &Address, over_http2: bool, question: &Question) -> Result<Request<Full<Bytes>>, ProbeError> {
    let url = address.url();
    let builder = if over_http2 {
        Request::builder().version(Version::HTTP_2).uri(format!("{url}{}", question.path))
    } else {
        let host = url.split_once("://").map_or(url.as_str(), |(_, host)| host);
        Request::builder().uri(&question.path).header(header::HOST, host)
    };
    let builder = builder.header(header::USER_AGENT, USER_AGENT);
    let made = match &question.message {
        None => builder.method(Method::GET).header(header::ACCEPT, "*/*").body(Full::default()),
        Some(message) => builder
            .method(Method::POST)
            .header(header::CONTENT_TYPE, "application/grpc")
            .header(header::TE, "trailers")
            .body(Full::from(message.clone())),
    };
    made.map_err(|error| ProbeError::Broken(reason(&error)))
}

/// An error and what is behind it, as one line of bounded length.
fn reason(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let inner = error.to_string();
        if !text.contains(&inner) {
            text = format!("{text}: {inner}");
        }
        source = error.source();
    }
    text.truncate(text.floor_char_boundary(REASON_BYTES_MAX));
    text
}
