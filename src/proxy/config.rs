//! The `proxy` section: where clients are met, and every limit of the data path with what happens at it.
//!
//! What a backend is and which models it serves stands in [`super::BackendConfig`]. How long an answer may be held
//! is the ledger's to say (`ledger.hold_limit`). Nothing here reads a file or checks a relation between sections.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::protocol::PatternConfig;
use crate::tls::TlsConfig;
use crate::units::{Period, Size};

/// The default of `proxy.listen`. Loopback, since predictions are served without authentication: a container or a
/// pod says `0.0.0.0:8080` knowingly.
const LISTEN_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

/// The `proxy` section.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "ProxyConfig"))]
#[serde(default)]
pub struct Config {
    /// The address that clients connect to. Cannot change at run time.
    pub listen: SocketAddr,
    /// TLS on the clients' side; without it clients are met in the clear. Files are read again when they change.
    pub tls: Option<TlsConfig>,
    /// Worker threads, each with its own runtime and upstream connections. Default: the cores that this process
    /// may use, at most 4. Cannot change at run time.
    pub workers: Option<usize>,
    /// Open client connections, of all workers together. At the limit further ones wait in the kernel's queue.
    pub connections: usize,
    /// Calls in flight, from the request's head to the end of the answer. At the limit a call is answered 503 with
    /// `Retry-After`, and a prediction among them is recorded as `rejected`.
    pub inflight: usize,
    /// What `Retry-After` says, rounded up to whole seconds.
    pub retry_after: Period,
    /// Bounds on a single request.
    pub limits: LimitsConfig,
    /// Bounds on time.
    pub timeouts: TimeoutsConfig,
    /// Whether a client that closes its sending half after the request is still answered. A client that went away
    /// looks the same on the wire; `false` takes it for gone, and the model server stops working for nobody.
    pub half_close: bool,
    /// HTTP/2 on the clients' side.
    pub http2: Http2Config,
    /// What is stamped when an answer names another version than declared.
    pub on_mismatch: OnMismatch,
    /// Whether callers keep their backend where several serve the same model.
    pub sticky: StickyConfig,
    /// What is done with the `Forwarded` and `X-Forwarded-*` fields that arrive.
    pub forwarded: ForwardedConfig,
    /// Further routes that are predictions, beside those of the known serving protocols.
    pub patterns: Vec<PatternConfig>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: LISTEN_DEFAULT,
            tls: None,
            workers: None,
            connections: 10_000,
            inflight: 1024,
            retry_after: Period::secs(1),
            limits: LimitsConfig::default(),
            timeouts: TimeoutsConfig::default(),
            half_close: true,
            http2: Http2Config::default(),
            on_mismatch: OnMismatch::default(),
            sticky: StickyConfig::default(),
            forwarded: ForwardedConfig::default(),
            patterns: Vec::new(),
        }
    }
}

/// `proxy.limits`: bounds on a single request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct LimitsConfig {
    /// Bytes of a request's head, its request line and fields together. Beyond it: 431. The buffers of HTTP/1.1
    /// connections grow as large, so that it bounds memory too, and what is read at once: the default takes a body of
    /// 16 KiB with its head.
    pub head: Size,
    /// Fields of a request's head. Beyond it: 431.
    pub headers: usize,
    /// Bytes of a request's target. Beyond it: 414.
    pub uri: Size,
    /// Bytes of a request's body. Beyond it: 413 where it is announced, else the exchange is cut and recorded as
    /// `rejected`. `0B` is no limit: a body streams through and is never held whole.
    pub body: Size,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self { head: Size(20 << 10), headers: 100, uri: Size(8 << 10), body: Size(1 << 30) }
    }
}

/// `proxy.timeouts`: bounds on time. `0s` switches one off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct TimeoutsConfig {
    /// Reading a request's head, and an idle kept-alive connection. Beyond it the connection is closed.
    pub head: Period,
    /// A client that neither sends the body that it owes nor reads the answer that waits for it. Beyond it the
    /// exchange is cut and recorded as `client_abort`.
    pub client: Period,
    /// Connecting to a model server. Beyond it: 504, recorded as `timeout`.
    pub connect: Period,
    /// From the request's end to the head of the answer. Beyond it: 504, recorded as `timeout`. A slow model that
    /// answers in one piece needs as long as it thinks.
    pub first_byte: Period,
    /// Silence between the bytes of an answer whose length is known. Beyond it the exchange is cut and recorded as
    /// `timeout`.
    pub idle: Period,
    /// Silence between the bytes of a streamed answer, or either way in a tunnel such as a WebSocket's. Off, since a
    /// stream may rightly pause for long.
    pub stream_idle: Period,
    /// From a request's head to the end of its answer. Off: a caller's `grpc-timeout` and the bounds above do.
    pub total: Period,
    /// An unused connection to a model server. Below the 5 s after which common Python servers close it, so that a
    /// request does not meet a connection that is just being closed.
    pub upstream_idle: Period,
}

impl Default for TimeoutsConfig {
    fn default() -> Self {
        Self {
            head: Period::secs(30),
            client: Period::secs(60),
            connect: Period::secs(1),
            first_byte: Period::secs(120),
            idle: Period::secs(60),
            stream_idle: Period::secs(0),
            total: Period::secs(0),
            upstream_idle: Period::secs(4),
        }
    }
}

/// `proxy.http2`: HTTP/2 on the clients' side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Http2Config {
    /// Concurrent streams of one connection. Beyond it a client waits, or is refused with `REFUSED_STREAM`.
    pub streams: u32,
    /// Unread bytes of one stream. Beyond it the client must wait. With `proxy.inflight` it bounds the memory that
    /// slow model servers can make clients fill: 1024 × 1 MiB.
    pub stream_window: Size,
    /// Unread bytes of one connection. Beyond it the client must wait.
    pub connection_window: Size,
}

impl Default for Http2Config {
    fn default() -> Self {
        Self { streams: 256, stream_window: Size(1 << 20), connection_window: Size(16 << 20) }
    }
}

/// `proxy.on_mismatch`: what is stamped when an answer names another version than declared. It is counted, logged
/// and recorded either way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum OnMismatch {
    /// A held answer is stamped from the entry that fits what was observed, or without version where none does.
    #[default]
    Correct,
    /// What was declared is stamped.
    Warn,
}

/// `proxy.sticky`: what a caller is known by, so that it keeps its backend. One of the two, or neither: then each call
/// is dealt out anew. A call without it is dealt out too.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct StickyConfig {
    /// The name of a header field, such as `x-user-id`; in gRPC, of metadata.
    pub header: Option<String>,
    /// The name of a cookie. None is ever set here.
    pub cookie: Option<String>,
}

/// `proxy.forwarded`: what is done with the `Forwarded` and `X-Forwarded-*` fields that arrive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct ForwardedConfig {
    /// `true` appends to what arrives, and takes the caller's address from it: right behind a proxy of one's own.
    /// `false` replaces what arrives, since any client can write it.
    pub trust: bool,
}
