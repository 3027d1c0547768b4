//! What the admin listener answers: one table of paths, and the answers.
//!
//! Answers are whole; nothing here waits, and what has to be read from files is told to whoever may wait. Errors are
//! problem details (RFC 9457).

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use prometheus::TextEncoder;
use serde::Serialize;

use super::auth::Auth;
use super::backends::{self, Backends};
use super::readiness::{Readiness, Reason};
use super::tiles::Asked;
use super::traffic::{self, Traffic};
use crate::ledger::Tiles;
use crate::lineage::catalog::Opening;
use crate::telemetry::Metrics;

/// The Prometheus text format, version 0.0.4.
const TEXT_FORMAT: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const PROBLEM: HeaderValue = HeaderValue::from_static("application/problem+json");
const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD");
const METHODS_TO_CHANGE: HeaderValue = HeaderValue::from_static("GET, HEAD, PUT");
const CHALLENGE: HeaderValue = HeaderValue::from_static(r#"Bearer realm="touchmark""#);
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const NO_SNIFF: HeaderValue = HeaderValue::from_static("nosniff");

/// The description of what is here and nothing more; a test holds it against [`ROUTES`].
const OPENAPI: &str = include_str!("openapi.json");

/// What the listener speaks of.
#[derive(Clone, Debug)]
pub struct Parts {
    /// Rendered at `/metrics`.
    pub metrics: Metrics,
    /// Asked at `/readyz`.
    pub readiness: Readiness,
    /// Shown at `/api/v1/status`.
    pub status: Status,
    /// What callers must show.
    pub auth: Auth,
    /// Moved at `/api/v1/traffic`.
    pub traffic: Arc<dyn Traffic>,
    /// Shown at `/api/v1/backends`.
    pub backends: Arc<dyn Backends>,
    /// Served at `/checkpoint` and `/tile`.
    pub tiles: Arc<Tiles>,
    /// Asked and told under `/api/v1`.
    pub catalog: Opening,
}

/// Who this process is.
#[derive(Clone, Debug)]
pub struct Status {
    deployment: String,
    instance: String,
    started: SystemTime,
    since: Instant,
}

impl Status {
    /// A process that starts now, by `deployment.name` and `deployment.instance`.
    pub fn new(deployment: &str, instance: &str) -> Self {
        Self {
            deployment: deployment.to_owned(),
            instance: instance.to_owned(),
            started: SystemTime::now(),
            since: Instant::now(),
        }
    }
}

pub(super) type Answer = Response<Full<Bytes>>;
type Handler = fn(&Parts) -> Answer;
type Change = fn(&Parts, &[u8]) -> Answer;

/// Who may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Everybody: a kubelet has no token.
    Open,
    /// Who shows the token, where one is configured.
    Token,
}

/// Bytes of a body that is put here, at most.
pub(super) const BODY_BYTES_MAX: usize = 16 << 10;

/// Every path, GET and HEAD.
pub(super) const ROUTES: [(&str, Access, Handler); 7] = [
    ("/livez", Access::Open, livez),
    ("/readyz", Access::Open, readyz),
    ("/metrics", Access::Token, metrics),
    ("/api/v1/openapi.json", Access::Token, openapi),
    ("/api/v1/status", Access::Token, status),
    ("/api/v1/traffic", Access::Token, traffic::get),
    ("/api/v1/backends", Access::Token, backends::get),
];

/// What can be changed, with PUT. Always with the token, where one is configured.
pub(super) const CHANGES: [(&str, Change); 1] = [("/api/v1/traffic", traffic::put)];

/// What becomes of a request.
#[derive(Debug)]
pub(super) enum Reply {
    /// It is answered.
    Whole(Answer),
    /// It may be, once something was read.
    Read(Asked),
}

/// Takes one request. `body` is what a PUT brings; of all others it is not read.
pub(super) fn take<B>(parts: &Parts, request: &Request<B>, body: &Body) -> Reply {
    let path = request.uri().path();
    let change = CHANGES.iter().find(|(known, _)| *known == path).map(|(_, change)| change);
    let route = ROUTES.iter().find(|(known, ..)| *known == path);
    let open = route.is_some_and(|(_, access, _)| *access == Access::Open);
    let reads = [Method::GET, Method::HEAD].contains(request.method());
    // Before anything else, so that a caller without token does not learn what is here.
    Reply::Whole(if !open && !parts.auth.allows(request.headers()) {
        unauthorized()
    } else if let (&Method::PUT, Some(change)) = (request.method(), change) {
        changed(parts, request.headers(), *change, body)
    } else if let Some((_, _, handler)) = route {
        if reads { handler(parts) } else { not_allowed(change.is_some()) }
    } else if let Some(asked) = Asked::parse(path) {
        if reads {
            return Reply::Read(asked);
        }
        not_allowed(false)
    } else {
        problem(StatusCode::NOT_FOUND, "nothing is here; /api/v1/openapi.json says what is")
    })
}

/// Puts in what every answer carries.
pub(super) fn finish(mut answer: Answer) -> Answer {
    answer.headers_mut().entry(CACHE_CONTROL).or_insert(NO_STORE);
    answer.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, NO_SNIFF);
    answer
}

/// What came with a PUT.
#[derive(Debug)]
pub(super) enum Body {
    /// Nothing was read: it is no PUT.
    Unread,
    /// All of it.
    Whole(Bytes),
    /// Longer than [`BODY_BYTES_MAX`].
    TooLong,
    /// It did not come in time, or broke off.
    Broken,
}

fn changed(parts: &Parts, headers: &HeaderMap, change: Change, body: &Body) -> Answer {
    // A page in a browser cannot send this type to another site without being asked first: no change by a forged form.
    let is_json = headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/json"));
    match body {
        _ if !is_json => problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, "send it as 'content-type: application/json'"),
        Body::Whole(bytes) => change(parts, bytes),
        Body::TooLong => problem(StatusCode::PAYLOAD_TOO_LARGE, "the body is longer than 16 KiB"),
        Body::Unread | Body::Broken => problem(StatusCode::BAD_REQUEST, "the body did not come whole"),
    }
}

fn livez(_: &Parts) -> Answer {
    json(StatusCode::OK, &serde_json::json!({ "live": true }))
}

fn readyz(parts: &Parts) -> Answer {
    #[derive(Serialize)]
    struct Body {
        ready: bool,
        reasons: Vec<Reason>,
    }
    let reasons = parts.readiness.objections();
    let ready = reasons.is_empty();
    json(if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, &Body { ready, reasons })
}

fn metrics(parts: &Parts) -> Answer {
    match TextEncoder::new().encode_to_string(&parts.metrics.registry().gather()) {
        Ok(text) => whole(StatusCode::OK, TEXT_FORMAT, text),
        Err(error) => {
            tracing::error!(error = %error, "metrics cannot be rendered");
            problem(StatusCode::INTERNAL_SERVER_ERROR, "metrics cannot be rendered; the log says why")
        }
    }
}

fn openapi(_: &Parts) -> Answer {
    whole(StatusCode::OK, JSON, OPENAPI)
}

fn status(parts: &Parts) -> Answer {
    #[derive(Serialize)]
    struct Body<'a> {
        version: &'a str,
        commit: Option<&'a str>,
        deployment: &'a str,
        instance: &'a str,
        started: Option<String>,
        uptime_seconds: u64,
        ready: bool,
    }
    let Status { deployment, instance, started, since } = &parts.status;
    let started = jiff::Timestamp::try_from(*started).ok().map(|time| format!("{time:.6}"));
    json(
        StatusCode::OK,
        &Body {
            version: env!("CARGO_PKG_VERSION"),
            commit: option_env!("TOUCHMARK_COMMIT"),
            deployment,
            instance,
            started,
            uptime_seconds: since.elapsed().as_secs(),
            ready: parts.readiness.objections().is_empty(),
        },
    )
}

fn not_allowed(changes: bool) -> Answer {
    let (detail, methods) = if changes {
        ("ask with GET or HEAD, change with PUT", METHODS_TO_CHANGE)
    } else {
        ("ask with GET or HEAD", METHODS)
    };
    let mut answer = problem(StatusCode::METHOD_NOT_ALLOWED, detail);
    answer.headers_mut().insert(ALLOW, methods);
    answer
}

fn unauthorized() -> Answer {
    let mut answer = problem(StatusCode::UNAUTHORIZED, "send the configured token as 'authorization: Bearer TOKEN'");
    answer.headers_mut().insert(WWW_AUTHENTICATE, CHALLENGE);
    answer
}

pub(super) fn problem(status: StatusCode, detail: &str) -> Answer {
    let title = status.canonical_reason().unwrap_or_default();
    let body = serde_json::json!({ "title": title, "status": status.as_u16(), "detail": detail });
    whole(status, PROBLEM, body.to_string())
}

pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Answer {
    match serde_json::to_string(body) {
        Ok(text) => whole(status, JSON, text),
        Err(_) => problem(StatusCode::INTERNAL_SERVER_ERROR, "the answer cannot be written as JSON"),
    }
}

fn whole(status: StatusCode, media_type: HeaderValue, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, media_type);
    answer
}
