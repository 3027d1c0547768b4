//! A finished prediction as data, and [`Recorder`], the bounded way to hand it on.
//!
//! The proxy builds exactly one [`Exchange`] per recognised prediction, when its answer ends or is dropped.
//! Metrics, spans, log lines and the ledger's entry are all derived from it. The proxy knows nothing of files:
//! `app` gives it the ledger behind the [`Recorder`] trait.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use tokio::sync::oneshot;
use uuid::Uuid;

use crate::lineage::Identity;

/// How an exchange ended; terminal, exactly one per prediction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The server's answer ended as it meant to, whatever its status, and was recorded as promised before its end left.
    Complete,
    /// The client went before that.
    ClientAbort,
    /// No answer head came from the model server.
    UpstreamError,
    /// The model server's answer was cut after its head.
    UpstreamAbort,
    /// A deadline of ours, or the caller's `grpc-timeout`, passed.
    Timeout,
    /// Refused by us: limits, overload, policy.
    Rejected,
    /// A fault of ours.
    ProxyError,
    /// A crash left a `begin` without its end; written at the next start.
    Interrupted,
}

impl Outcome {
    /// Every outcome, in the order of [`Outcome::index`].
    pub const ALL: [Self; 8] = [
        Self::Complete,
        Self::ClientAbort,
        Self::UpstreamError,
        Self::UpstreamAbort,
        Self::Timeout,
        Self::Rejected,
        Self::ProxyError,
        Self::Interrupted,
    ];

    /// The name in ledger entries, metrics and spans.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::ClientAbort => "client_abort",
            Self::UpstreamError => "upstream_error",
            Self::UpstreamAbort => "upstream_abort",
            Self::Timeout => "timeout",
            Self::Rejected => "rejected",
            Self::ProxyError => "proxy_error",
            Self::Interrupted => "interrupted",
        }
    }

    /// The place in [`Outcome::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// Where the stamped version came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VersionSource {
    /// The configuration's word alone.
    Declared,
    /// The call named a version that the configuration maps to this one.
    Path,
    /// The answer named it.
    Response,
    /// The server's metadata named it.
    Discovered,
}

impl VersionSource {
    /// The name in ledger entries.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Declared => "declared",
            Self::Path => "path",
            Self::Response => "response",
            Self::Discovered => "discovered",
        }
    }
}

/// One body as it passed: after transfer coding, before content decoding.
#[derive(Clone, Copy, Debug, Default)]
pub struct Payload<'a> {
    /// Bytes that passed; for gRPC those of the messages, without their 5-byte prefixes.
    pub bytes: u64,
    /// SHA-256 over those bytes; `None` where no body was read at all.
    pub sha256: Option<[u8; 32]>,
    /// `Content-Type`, for inputs.
    pub media_type: Option<&'a str>,
    /// `Content-Encoding`.
    pub encoding: Option<&'a str>,
    /// `grpc-encoding`.
    pub grpc_encoding: Option<&'a str>,
    /// gRPC messages seen.
    pub messages: Option<u64>,
}

/// What is known of a prediction before its answer: a `begin` entry's content.
#[derive(Clone, Copy, Debug)]
pub struct Prediction<'a> {
    /// `X-Lineage-Trace-Id`: a UUIDv7 made here.
    pub id: Uuid,
    /// When the request's head had been read.
    pub time: SystemTime,
    /// The backend's name in the configuration; `None` where none was chosen.
    pub backend: Option<&'a str>,
    /// The serving protocol's label, such as `oip-rest`.
    pub protocol: &'a str,
    /// The route's template, such as `/v2/models/{model}/infer`.
    pub route: &'a str,
    /// The resolved model version; `None` where unresolved.
    pub identity: Option<&'a Arc<Identity>>,
    /// Where the version came from; `None` where unresolved.
    pub version_source: Option<VersionSource>,
    /// The model name that the call stated. Entries fall back to it where `identity` is `None`.
    pub stated_model: Option<&'a str>,
    /// Whether `identity`'s version may be claimed. False where the answer contradicted it and no entry fits.
    pub version_known: bool,
}

/// A finished prediction.
#[derive(Clone, Copy, Debug)]
pub struct Exchange<'a> {
    /// What was known from the start.
    pub prediction: Prediction<'a>,
    /// From the request's head to the end of the answer.
    pub duration: Duration,
    /// The version that the call asked for, in the server's numbering.
    pub requested_version: Option<&'a str>,
    /// The version that the answer named, in the server's numbering.
    pub observed_version: Option<&'a str>,
    /// The model that the answer named, where it is not what the call stated.
    pub observed_model: Option<&'a str>,
    /// The request's body.
    pub input: Payload<'a>,
    /// The answer's HTTP status; `None` where none was sent.
    pub status: Option<u16>,
    /// The answer's `grpc-status`.
    pub grpc_status: Option<u16>,
    /// The answer's body.
    pub output: Payload<'a>,
    /// The configured pointer's value in a held answer, at most 256 bytes.
    pub decision: Option<&'a str>,
    /// How it ended.
    pub outcome: Outcome,
    /// W3C trace id.
    pub trace_id: [u8; 16],
    /// The SERVER span's id.
    pub span_id: [u8; 8],
    /// What the caller sent as `X-Lineage-Trace-Id`, unverified.
    pub parent: Option<Uuid>,
    /// What the caller sent as `X-Request-Id`.
    pub client_request_id: Option<&'a str>,
    /// The caller's address.
    pub client: Option<IpAddr>,
}

/// What the configuration wants where the ledger cannot take an entry (`ledger.on_failure`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// Answer 503.
    #[default]
    Reject,
    /// Serve unrecorded, count, and write a `gap` entry as soon as possible.
    Pass,
}

/// Why a prediction has no entry; the `reason` of `ledger_unrecorded_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unrecorded {
    /// Answered 503, since the ledger could not take it.
    Refused,
    /// Served unrecorded, by policy.
    Passed,
    /// Its entry was accepted and could not be written.
    Failed,
}

impl Unrecorded {
    /// Every reason, in label order.
    pub const ALL: [Self; 3] = [Self::Refused, Self::Passed, Self::Failed];

    /// The label, and the `reason` of a `gap` entry.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Passed => "passed",
            Self::Failed => "failed",
        }
    }
}

/// Why the ledger cannot take another prediction now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Every place in the queue is reserved.
    #[error("the ledger's queue is full")]
    Full,
    /// The ledger cannot write: its disk is full or failing.
    #[error("the ledger cannot write")]
    Failing,
    /// The ledger is sealed: the process is stopping.
    #[error("the ledger is sealed")]
    Sealed,
}

/// An accepted entry could not be made as durable as the mode promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the ledger could not keep the entry")]
pub struct NotRecorded;

/// The way to hand predictions on. Bounded: places are reserved before a request is forwarded.
///
/// Nothing here waits: `begin` and `finish` take the entry at once and give a [`Ticket`] that settles when the
/// entry is as durable as the mode promises. A prediction whose accepted entry fails is counted by the recorder
/// itself (`passed` or `failed`, by policy); one for which no place was reserved is counted through
/// [`Recorder::unrecorded`].
pub trait Recorder: Send + Sync + std::fmt::Debug {
    /// Reserves the two places (begin, end) that one prediction may need.
    fn reserve(&self) -> Result<(), Refusal>;
    /// Gives a reservation back. Called exactly once for each successful [`Recorder::reserve`].
    fn release(&self);
    /// Takes a `begin` entry. Only under a reservation.
    fn begin(&self, prediction: &Prediction<'_>) -> Ticket;
    /// Takes the `prediction` entry. Only under a reservation, once.
    fn finish(&self, exchange: &Exchange<'_>) -> Ticket;
    /// The same, with a signed promise to show the entry (`X-Lineage-Receipt`), where the configuration wants one.
    fn finish_with_receipt(&self, exchange: &Exchange<'_>) -> (Ticket, Option<String>) {
        (self.finish(exchange), None)
    }
    /// Counts a prediction that has no entry and covers it with a later `gap`.
    fn unrecorded(&self, reason: Unrecorded, time: SystemTime);
    /// The policy in force.
    fn on_failure(&self) -> OnFailure;
}

/// Settles when an entry is as durable as the mode promises, or cannot be.
///
/// Dropping it does not take the entry back.
#[derive(Debug)]
pub enum Ticket {
    /// Settled on the spot.
    Settled(Result<(), NotRecorded>),
    /// Settled by another thread later.
    Waiting(oneshot::Receiver<Result<(), NotRecorded>>),
}

impl Future for Ticket {
    type Output = Result<(), NotRecorded>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self {
            Self::Settled(result) => Poll::Ready(*result),
            // A recorder that went away without settling did not keep the entry.
            Self::Waiting(receiver) => Pin::new(receiver).poll(cx).map(|sent| sent.unwrap_or(Err(NotRecorded))),
        }
    }
}

/// Two reserved places; given back when dropped.
#[derive(Debug)]
pub struct Reservation {
    recorder: Arc<dyn Recorder>,
}

impl Reservation {
    /// Reserves places for one prediction.
    pub fn new(recorder: &Arc<dyn Recorder>) -> Result<Self, Refusal> {
        recorder.reserve()?;
        Ok(Self { recorder: Arc::clone(recorder) })
    }

    /// Hands a `begin` entry on.
    pub fn begin(&self, prediction: &Prediction<'_>) -> Ticket {
        self.recorder.begin(prediction)
    }

    /// Hands the `prediction` entry on and gives the places back.
    pub fn finish(self, exchange: &Exchange<'_>) -> Ticket {
        self.recorder.finish(exchange)
    }

    /// The same, with a signed promise to show the entry, where the configuration wants one.
    pub fn finish_with_receipt(self, exchange: &Exchange<'_>) -> (Ticket, Option<String>) {
        self.recorder.finish_with_receipt(exchange)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.recorder.release();
    }
}
