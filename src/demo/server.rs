//! The model server: one version of the model behind a socket on loopback, on a thread of its own.
//!
//! What is answered stands in [`super::v2`]. It stands beside the proxy as any model server would, and the two
//! speak over TCP alone.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tokio::time::sleep;

use super::v2::{self, Servable};

/// Bytes of a request's body; 1024 transactions need less. Beyond it: 413.
const BODY_BYTES_MAX: usize = 1 << 20;
/// Reading a request's head. Beyond it the connection is closed.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// The pause after a failed accept: out of file descriptors, mostly.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A running model server. Dropping it stops it and waits for its thread.
#[derive(Debug)]
pub(super) struct ModelServer {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl ModelServer {
    /// Listens on a free port of loopback and serves.
    pub(super) fn start(servable: Servable) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name(format!("model-server-{}", servable.version))
            .spawn(move || run(&runtime, listener, servable, stopped))?;
        Ok(Self { address, stop: Some(stop), thread: Some(thread) })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for ModelServer {
    fn drop(&mut self) {
        // The other end is gone only where the thread is.
        let _ended = self.stop.take().map(|stop| stop.send(()));
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!(address = %self.address, "the demo's model server panicked");
        }
    }
}

fn run(runtime: &Runtime, listener: TcpListener, servable: Servable, stopped: oneshot::Receiver<()>) {
    let servable = Arc::new(servable);
    runtime.block_on(async {
        match tokio::net::TcpListener::from_std(listener) {
            Ok(listener) => tokio::select! {
                () = accept(&listener, &servable) => {}
                _ = stopped => {}
            },
            Err(error) => tracing::error!(%error, "the demo's model server cannot be served"),
        }
    });
}

async fn accept(listener: &tokio::net::TcpListener, servable: &Arc<Servable>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(connection(stream, Arc::clone(servable)));
            }
            Err(error) => {
                tracing::warn!(%error, "the demo's model server cannot accept");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, servable: Arc<Servable>) {
    // Small answers should leave at once; where that cannot be set, they leave a little later.
    let _unset = stream.set_nodelay(true);
    let service = service_fn(|request| {
        let servable = Arc::clone(&servable);
        async move { Ok::<_, Infallible>(respond(&servable, request).await) }
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    if let Err(error) = server.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "a connection to the demo's model server broke");
    }
}

async fn respond(servable: &Servable, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let (status, body) = match Limited::new(body, BODY_BYTES_MAX).collect().await {
        Ok(body) => v2::answer(servable, &head.method, head.uri.path(), &body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            refusal(StatusCode::PAYLOAD_TOO_LARGE, &format!("body: more than {BODY_BYTES_MAX} bytes"))
        }
        Err(error) => refusal(StatusCode::BAD_REQUEST, &format!("body: {error}")),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    if status == StatusCode::METHOD_NOT_ALLOWED {
        let allow = if head.uri.path().ends_with("/infer") { "POST" } else { "GET" };
        response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    }
    response
}

fn refusal(status: StatusCode, error: &str) -> v2::Answer {
    (status, json!({ "error": error }).to_string())
}

#[cfg(test)]
mod tests {
    use super::super::client::{Call, Client};
    use super::super::data::Dataset;
    use super::super::model::{Model, Parameters};
    use super::*;

    fn start() -> ModelServer {
        let model = Model::train(&Dataset::v1(), &Parameters { epochs: 1, rate: 0.5, seed: 1 });
        ModelServer::start(Servable { name: "fraud", version: "1", model }).unwrap()
    }

    #[test]
    fn it_speaks_http() {
        let server = start();
        let mut client = Client::new().unwrap();
        let ready = client.call(server.address(), &Call::get("/v2/health/ready")).unwrap();
        assert_eq!((ready.status, ready.body.as_str()), (200, r#"{"ready":true}"#));
        assert_eq!(ready.header("content-type"), Some("application/json"));
        let wrong = client.call(server.address(), &Call::post("/v2/health/ready", "{}")).unwrap();
        assert_eq!((wrong.status, wrong.header("allow")), (405, Some("GET")));
        let large = " ".repeat(BODY_BYTES_MAX + 1);
        let large = client.call(server.address(), &Call::post("/v2/models/fraud/infer", &large)).unwrap();
        assert_eq!((large.status, large.body.as_str()), (413, r#"{"error":"body: more than 1048576 bytes"}"#));
    }

    #[test]
    fn dropping_it_stops_it() {
        let server = start();
        let address = server.address();
        drop(server);
        assert!(std::net::TcpStream::connect(address).is_err());
        assert!(Client::new().unwrap().call(address, &Call::get("/v2")).is_err());
    }
}
