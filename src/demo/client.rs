//! The demo's own caller: one request after another over kept-alive connections, as a simple client would do it.
//!
//! It shows what arrives and hides nothing: every header field in the order of the wire. It knows loopback only.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{Method, Request};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

/// What one answer may take, on a machine that is busy with other things.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of an answer; metrics are the largest.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// A call that did not get an answer.
#[derive(Debug, thiserror::Error)]
#[error("{method} http://{address}{path}: {problem}")]
pub struct CallError {
    method: Method,
    address: SocketAddr,
    path: String,
    problem: String,
}

/// What to ask.
#[derive(Clone, Debug)]
pub(super) struct Call<'a> {
    method: Method,
    path: &'a str,
    body: Option<&'a str>,
}

impl<'a> Call<'a> {
    pub(super) fn get(path: &'a str) -> Self {
        Self { method: Method::GET, path, body: None }
    }

    /// Posts JSON.
    pub(super) fn post(path: &'a str, body: &'a str) -> Self {
        Self { method: Method::POST, path, body: Some(body) }
    }

    fn request(&self, address: SocketAddr) -> Result<Request<Full<Bytes>>, http::Error> {
        let request = Request::builder().method(&self.method).uri(self.path).header(HOST, address.to_string());
        let request = if self.body.is_some() { request.header(CONTENT_TYPE, "application/json") } else { request };
        request.body(Full::new(Bytes::from(self.body.unwrap_or_default().to_owned())))
    }
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Every header field: name in lower case, value.
    pub headers: Vec<(String, String)>,
    /// The body's text.
    pub body: String,
}

impl Answer {
    /// A field's value, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
    }
}

/// Calls, and keeps a connection for each address.
#[derive(Debug)]
pub(super) struct Client {
    runtime: Runtime,
    connections: HashMap<SocketAddr, SendRequest<Full<Bytes>>>,
}

impl Client {
    pub(super) fn new() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        Ok(Self { runtime, connections: HashMap::new() })
    }

    /// Asks, and waits for the whole answer.
    pub(super) fn call(&mut self, address: SocketAddr, call: &Call<'_>) -> Result<Answer, CallError> {
        let Self { runtime, connections } = self;
        let answer = runtime.block_on(async {
            let whole = timeout(ANSWER_TIMEOUT, exchange(connections, address, call)).await;
            whole.unwrap_or_else(|_| Err(format!("no answer within {} s", ANSWER_TIMEOUT.as_secs())))
        });
        answer.map_err(|problem| {
            connections.remove(&address);
            CallError { method: call.method.clone(), address, path: call.path.to_owned(), problem }
        })
    }
}

async fn exchange(
    connections: &mut HashMap<SocketAddr, SendRequest<Full<Bytes>>>,
    address: SocketAddr,
    call: &Call<'_>,
) -> Result<Answer, String> {
    let mut sender = match connections.remove(&address) {
        // Servers close idle connections as they like.
        Some(open) if !open.is_closed() => open,
        _ => connect(address).await?,
    };
    sender.ready().await.map_err(|error| error.to_string())?;
    let request = call.request(address).map_err(|error| error.to_string())?;
    let (head, body) = sender.send_request(request).await.map_err(|error| error.to_string())?.into_parts();
    let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(|error| error.to_string())?.to_bytes();
    connections.insert(address, sender);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let headers = head.headers.iter().map(|(name, value)| (name.to_string(), text(value.as_bytes())));
    Ok(Answer { status: head.status.as_u16(), headers: headers.collect(), body: text(&body) })
}

async fn connect(address: SocketAddr) -> Result<SendRequest<Full<Bytes>>, String> {
    let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
    // A request of one small write should leave at once; where that cannot be set, it leaves a little later.
    let _unset = stream.set_nodelay(true);
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection of the demo's client broke");
        }
    });
    Ok(sender)
}
