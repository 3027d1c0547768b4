//! The first layer: what kind of call is this, and may it pass at all? Never waits, never fails.
//!
//! A call that must not be forwarded is not answered here but marked: a refused prediction is recorded too.

use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Instant, SystemTime};

use http::{HeaderValue, Method, Request, Version, header, request};
use hyper::body::Incoming;
use tower::{Layer, Service};

use super::client::ClientConn;
use super::error::ProxyError;
use super::headers;
use super::snapshot::Snapshot;
use super::upgrade::Offer;
use super::worker::Worker;
use crate::protocol::{Call, Shape, grpc, recognise, recognise_upgrade};

/// A request with what its head says of it.
#[derive(Debug)]
pub(super) struct Inbound {
    /// Head, as the client sent it.
    pub parts: request::Parts,
    /// Body.
    pub body: Incoming,
    /// The client's connection.
    pub conn: Rc<ClientConn>,
    /// The configuration in force.
    pub snapshot: Arc<Snapshot>,
    /// When the head had been read.
    pub time: SystemTime,
    /// The same moment on the monotonic clock.
    pub began: Instant,
    /// The prediction that it asks for; `None` where it is another call.
    pub call: Option<Call>,
    /// Whether it is a gRPC call.
    pub grpc: bool,
    /// The protocols that it would switch to.
    pub offer: Option<Offer>,
    /// Why it must not be forwarded.
    pub refused: Option<ProxyError>,
}

/// Identifies the calls of one client connection.
#[derive(Clone, Debug)]
pub(super) struct IdentifyLayer {
    /// The worker that serves the connection.
    pub worker: Rc<Worker>,
    /// The connection.
    pub conn: Rc<ClientConn>,
}

/// See [`IdentifyLayer`].
#[derive(Clone, Debug)]
pub(super) struct Identify<S> {
    worker: Rc<Worker>,
    conn: Rc<ClientConn>,
    inner: S,
}

impl<S> Layer<S> for IdentifyLayer {
    type Service = Identify<S>;

    fn layer(&self, inner: S) -> Identify<S> {
        Identify { worker: Rc::clone(&self.worker), conn: Rc::clone(&self.conn), inner }
    }
}

impl<S: Service<Inbound>> Service<Request<Incoming>> for Identify<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Incoming>) -> S::Future {
        let began = Instant::now();
        let snapshot = self.worker.shared.snapshot.load_full();
        let (parts, body) = request.into_parts();
        let call = recognise(&parts, &snapshot.patterns);
        let framed = call.as_ref().is_some_and(|call| call.shape != Shape::Http);
        let offer = if framed { None } else { Offer::of(&parts) };
        let upgrade = || offer.as_ref().and_then(|_| recognise_upgrade(&parts, &snapshot.patterns));
        self.inner.call(Inbound {
            call: call.or_else(upgrade),
            offer,
            refused: refuse(&parts, &snapshot),
            grpc: grpc::is_grpc(&parts.headers),
            conn: Rc::clone(&self.conn),
            time: SystemTime::now(),
            began,
            snapshot,
            parts,
            body,
        })
    }
}

/// What RFC 9110 to 9113 and the limits forbid to forward, and hyper lets through.
fn refuse(parts: &request::Parts, snapshot: &Snapshot) -> Option<ProxyError> {
    if matches!(parts.method, Method::CONNECT | Method::TRACE) {
        return Some(ProxyError::MethodNotForwarded);
    }
    if parts.method == Method::OPTIONS && headers::max_forwards(&parts.headers) == Some(0) {
        return Some(ProxyError::MethodNotForwarded);
    }
    let target = parts.uri.path_and_query().map_or(1, |target| target.as_str().len());
    if target > snapshot.uri_bytes_max {
        return Some(ProxyError::UriTooLong);
    }
    if let Some(wrong) = wrong_host(parts) {
        return Some(ProxyError::BadRequest(wrong));
    }
    let announced =
        parts.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if snapshot.body_bytes_max > 0 && announced.is_some_and(|bytes| bytes > snapshot.body_bytes_max) {
        return Some(ProxyError::BodyTooLarge);
    }
    None
}

/// Exactly one `Host` in HTTP/1.1 (RFC 9112, section 3.2); in HTTP/2 none that contradicts `:authority` (RFC 9113, 8.3.1).
fn wrong_host(parts: &request::Parts) -> Option<&'static str> {
    let mut hosts = parts.headers.get_all(header::HOST).iter();
    let first = hosts.next();
    if hosts.next().is_some() {
        return Some("more than one Host");
    }
    match (parts.version, first) {
        (Version::HTTP_11, None) => Some("no Host"),
        (_, Some(host)) if !is_authority(host) => Some("Host is no host and port"),
        (Version::HTTP_2, Some(host)) => {
            let differs =
                parts.uri.authority().is_some_and(|authority| authority.as_str().as_bytes() != host.as_bytes());
            differs.then_some("Host contradicts :authority")
        }
        _ => None,
    }
}

fn is_authority(host: &HeaderValue) -> bool {
    host.as_bytes()
        .iter()
        .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'/' | b'?' | b'#' | b'@' | b'\\' | b','))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(version: Version, uri: &str, hosts: &[&str]) -> request::Parts {
        let mut request = Request::builder().version(version).uri(uri);
        for host in hosts {
            request = request.header("host", *host);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn exactly_one_host() {
        let wrong = |version, uri, hosts: &[&str]| wrong_host(&parts(version, uri, hosts));
        assert_eq!(wrong(Version::HTTP_11, "/", &["h:1"]), None);
        assert_eq!(wrong(Version::HTTP_11, "/", &["[::1]:8080"]), None);
        assert!(wrong(Version::HTTP_11, "/", &[]).is_some());
        assert!(wrong(Version::HTTP_11, "/", &["a", "a"]).is_some());
        assert!(wrong(Version::HTTP_11, "/", &["a/b"]).is_some());
        assert!(wrong(Version::HTTP_11, "/", &["u@b"]).is_some());
        assert_eq!(wrong(Version::HTTP_10, "/", &[]), None);
        assert_eq!(wrong(Version::HTTP_2, "http://a/", &[]), None);
        assert_eq!(wrong(Version::HTTP_2, "http://a/", &["a"]), None);
        assert!(wrong(Version::HTTP_2, "http://a/", &["b"]).is_some());
    }
}
