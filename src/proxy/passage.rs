//! One request on its way through: its ids, its times, its span. Prediction or not.

use std::cell::Cell;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use http::{HeaderMap, HeaderValue, Method, Uri, Version, header, request};

use super::UpstreamProtocol;
use super::client::InExchange;
use super::error::ProxyError;
use super::headers;
use super::health::Failure;
use super::identify::Inbound;
use super::meter::Meter;
use super::route::Deal;
use super::snapshot::{Backend, Snapshot};
use super::worker::Worker;
use crate::exchange::Exchange;
use crate::protocol::grpc;
use crate::telemetry::{GenAi, RequestSpan, TraceContext, UpstreamLeg};

/// What every request has. Its SERVER span ends when it is dropped.
#[derive(Debug)]
pub(super) struct Passage {
    /// The worker that it stays on.
    pub worker: Rc<Worker>,
    /// The configuration in force when it came.
    pub snapshot: Arc<Snapshot>,
    /// The exchange on the client's connection.
    pub exchange: InExchange,
    /// Its trace.
    pub trace: TraceContext,
    /// When its head had been read.
    pub time: SystemTime,
    /// The same moment on the monotonic clock.
    pub began: Instant,
    /// Where its time goes.
    pub meter: Rc<Meter>,
    /// The backend that it went to.
    pub backend: Option<Arc<Backend>>,
    /// Whether it is a gRPC call.
    pub grpc: bool,
    /// The answer's status.
    pub status: Option<u16>,
    /// The answer's `grpc-status`.
    pub grpc_status: Option<u16>,
    error: Option<&'static str>,
    /// Only where the request is sampled.
    detail: Option<Box<Detail>>,
    spanned: Cell<bool>,
}

/// What only a span wants to know.
#[derive(Debug)]
struct Detail {
    method: Method,
    uri: Uri,
    version: Version,
    host: Option<HeaderValue>,
    user_agent: Option<HeaderValue>,
    route: Option<String>,
}

impl Passage {
    /// A request begins.
    pub(super) fn begin(worker: &Rc<Worker>, inbound: &Inbound) -> Self {
        let exchange = inbound.conn.enter(inbound.parts.version);
        let trace = worker.shared.tracer.begin(&inbound.parts.headers);
        let detail = trace.sampled.then(|| Box::new(Detail::new(inbound)));
        Self {
            worker: Rc::clone(worker),
            snapshot: Arc::clone(&inbound.snapshot),
            exchange,
            trace,
            time: inbound.time,
            began: inbound.began,
            meter: Rc::default(),
            backend: None,
            grpc: inbound.grpc,
            status: None,
            grpc_status: None,
            error: None,
            detail,
            spanned: Cell::new(false),
        }
    }

    /// The caller's address.
    pub(super) fn client(&self) -> IpAddr {
        self.exchange.conn().peer.ip()
    }

    /// What decides among backends: who calls, where callers keep theirs; else chance.
    pub(super) fn deal<'a>(&self, head: &'a HeaderMap) -> Deal<'a> {
        let key = self.snapshot.sticky.as_ref().and_then(|sticky| sticky.key(head));
        key.map_or_else(|| Deal::Dice(self.worker.dice()), Deal::Key)
    }

    /// Completes a request's head for the model server: what ends here goes, who asked and in which trace comes.
    pub(super) fn complete(&self, parts: &mut request::Parts, id: Option<&HeaderValue>) {
        let trailers = headers::accepts_trailers(&parts.headers);
        let head = &mut parts.headers;
        headers::clean(head);
        if self.grpc || (trailers && parts.version == Version::HTTP_2) {
            head.insert(header::TE, HeaderValue::from_static("trailers"));
        }
        if head.get(header::EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
            // Ours to answer: hyper does, when the body is asked for.
            head.remove(header::EXPECT);
        }
        headers::add_via(head, parts.version);
        if parts.method == Method::OPTIONS
            && let Some(left) = headers::max_forwards(head)
        {
            // None left is answered here: see `identify`.
            head.insert(header::MAX_FORWARDS, left.saturating_sub(1).into());
        }
        let host = head.get(header::HOST).cloned();
        let host = host.or_else(|| HeaderValue::from_str(parts.uri.authority()?.as_str()).ok());
        headers::add_forwarded(head, &self.exchange.conn().names, host.as_ref(), self.snapshot.trust_forwarded);
        self.trace.propagate(head);
        if let Some(id) = id {
            head.insert(headers::LINEAGE_TRACE_ID, id.clone());
        }
        if !head.contains_key(headers::X_REQUEST_ID) {
            let own = || super::stamp::id_value(self.worker.prediction_id(unix_millis(self.time)));
            head.insert(headers::X_REQUEST_ID, id.cloned().unwrap_or_else(own));
        }
    }

    /// Notes the answer's head.
    pub(super) fn note_head(&mut self, status: u16, head: &HeaderMap) {
        self.status = Some(status);
        if self.grpc {
            // Trailers-Only: the status stands in the head.
            self.note_trailers(head);
        }
    }

    /// Notes `grpc-status`, where it stands.
    pub(super) fn note_trailers(&mut self, trailers: &HeaderMap) {
        if let Some(status) = grpc::parse_status(trailers) {
            self.grpc_status = Some(status);
        }
    }

    /// Notes the trailers of an answer from the model server.
    pub(super) fn note_end(&mut self, trailers: &HeaderMap) {
        self.note_trailers(trailers);
        if let (true, Some(status), Some(backend)) = (self.grpc, grpc::parse_status(trailers), &self.backend) {
            self.snapshot.note_grpc_status(backend, status);
        }
    }

    /// Notes that the model server broke off its answer.
    pub(super) fn note_break(&self) {
        if let Some(backend) = &self.backend {
            self.snapshot.note_failure(backend, Instant::now(), Failure::Late, ProxyError::BrokenOff);
        }
    }

    /// Notes what went wrong (`error.type`).
    pub(super) fn note_error(&mut self, label: &'static str) {
        self.error = Some(label);
    }

    /// Ends the span. A prediction's says what was predicted by whom.
    pub(super) fn end(&self, exchange: Option<&Exchange<'_>>, gen_ai: Option<GenAi<'_>>) {
        if self.spanned.replace(true) {
            return;
        }
        let Some(detail) = &self.detail else { return };
        let text =
            |value: &'_ Option<HeaderValue>| value.as_ref().and_then(|value| value.to_str().ok().map(str::to_owned));
        let (host, user_agent) = (text(&detail.host), text(&detail.user_agent));
        let url = self.backend.as_ref().map_or_else(String::new, |backend| {
            let address = if self.grpc { &backend.grpc } else { &backend.http };
            format!("{}://{}:{}{}", address.scheme(), address.host, address.port, detail.uri.path())
        });
        let upstream = self.meter.sent().zip(self.backend.as_ref()).map(|(sent, backend)| {
            let address = if self.grpc { &backend.grpc } else { &backend.http };
            let over_http2 = match backend.protocol {
                UpstreamProtocol::Auto => self.grpc,
                protocol => protocol == UpstreamProtocol::Http2,
            };
            UpstreamLeg {
                address: &address.host,
                port: address.port,
                url_full: &url,
                version: if over_http2 { "2" } else { "1.1" },
                error: self.error.filter(|_| self.meter.status().is_none()),
                start: self.time + sent.duration_since(self.began),
                duration: sent.elapsed(),
                status: self.meter.status(),
            }
        });
        let span = RequestSpan {
            method: detail.method.as_str(),
            scheme: self.exchange.conn().names.scheme,
            path: detail.uri.path(),
            route: detail.route.as_deref(),
            version: if detail.version == Version::HTTP_2 { "2" } else { "1.1" },
            status: self.status,
            grpc_status: self.grpc_status,
            grpc: self.grpc,
            start: self.time,
            duration: self.began.elapsed(),
            client: Some(self.client()),
            user_agent: user_agent.as_deref(),
            server_address: host.as_deref().map(|host| host.rsplit_once(':').map_or(host, |(host, _)| host)),
            server_port: host.as_deref().and_then(|host| host.rsplit_once(':')?.1.parse().ok()),
            error: self.error,
            upstream,
            exchange,
            gen_ai,
        };
        self.worker.shared.tracer.finish(&self.trace, &span);
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        self.end(None, None);
    }
}

impl Detail {
    fn new(inbound: &Inbound) -> Self {
        let parts = &inbound.parts;
        Self {
            method: parts.method.clone(),
            uri: parts.uri.clone(),
            version: parts.version,
            host: parts.headers.get(header::HOST).cloned(),
            user_agent: parts.headers.get(header::USER_AGENT).cloned(),
            route: inbound.call.as_ref().map(|call| call.route.to_string()),
        }
    }
}

/// Milliseconds since 1970, as UUIDv7 counts them.
pub(super) fn unix_millis(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
