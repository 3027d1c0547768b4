//! What can go wrong with one request, and the one table that turns a cause into an answer.
//!
//! An answer of ours says what went wrong in a sentence; what a model server or a client sent is never quoted.

use std::time::Duration;

use http::StatusCode;

use crate::exchange::{Outcome, Refusal};
use crate::protocol::grpc;

/// Who is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// The client.
    Downstream,
    /// The model server.
    Upstream,
    /// Touchmark, by limit, policy or fault.
    Internal,
}

/// Why a request has no answer from the model server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ProxyError {
    /// RFC 9110 or 9112 forbids forwarding it.
    #[error("bad request: {0}")]
    BadRequest(&'static str),
    /// Longer than `proxy.limits.uri`.
    #[error("the request target is longer than proxy.limits.uri")]
    UriTooLong,
    /// Longer than `proxy.limits.body`.
    #[error("the request body is longer than proxy.limits.body")]
    BodyTooLarge,
    /// A method that a gateway does not forward.
    #[error("the method is not forwarded")]
    MethodNotForwarded,
    /// `proxy.inflight` requests are on their way already.
    #[error("too many requests in flight (proxy.inflight)")]
    Overloaded,
    /// The ledger cannot take the prediction and `ledger.on_failure` is `reject`.
    #[error("the prediction cannot be recorded: {0}")]
    Unrecorded(Refusal),
    /// The client stopped sending or reading, or left.
    #[error("the client left or stalled")]
    ClientGone,
    /// No connection to the model server.
    #[error("the model server cannot be reached")]
    Unreachable,
    /// The model server broke off or broke the protocol before an answer's head.
    #[error("the model server broke off before it answered")]
    BrokenOff,
    /// A deadline passed before an answer's head.
    #[error("the model server did not answer in time")]
    Timeout,
    /// gRPC needs HTTP/2 to the model server, which the configuration rules out.
    #[error("gRPC needs HTTP/2 to the backend: set its protocol to auto or http2")]
    GrpcOverHttp1,
}

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Verdict {
    /// The status of the answer to an HTTP caller.
    pub status: StatusCode,
    /// The status to a gRPC caller (`grpc-status`).
    pub grpc: grpc::Status,
    /// Who is at fault.
    pub source: Source,
    /// The value of `error.type`.
    pub label: &'static str,
    /// How a prediction that met it ended.
    pub outcome: Outcome,
}

impl ProxyError {
    /// The table: cause → status, source, label, outcome.
    pub(super) const fn verdict(self) -> Verdict {
        use grpc::Status as Code;
        let (status, grpc, source, label, outcome) = match self {
            Self::BadRequest(_) => (400, Code::InvalidArgument, Source::Downstream, "bad_request", Outcome::Rejected),
            Self::UriTooLong => (414, Code::InvalidArgument, Source::Downstream, "uri_too_long", Outcome::Rejected),
            Self::BodyTooLarge => {
                (413, Code::ResourceExhausted, Source::Downstream, "body_too_large", Outcome::Rejected)
            }
            Self::MethodNotForwarded => {
                (501, Code::Unimplemented, Source::Downstream, "method_not_forwarded", Outcome::Rejected)
            }
            Self::Overloaded => (503, Code::Unavailable, Source::Internal, "overloaded", Outcome::Rejected),
            Self::Unrecorded(_) => (503, Code::Unavailable, Source::Internal, "unrecorded", Outcome::Rejected),
            Self::ClientGone => (408, Code::Cancelled, Source::Downstream, "client_gone", Outcome::ClientAbort),
            Self::Unreachable => (502, Code::Unavailable, Source::Upstream, "unreachable", Outcome::UpstreamError),
            Self::BrokenOff => (502, Code::Unavailable, Source::Upstream, "broken_off", Outcome::UpstreamError),
            Self::Timeout => (504, Code::DeadlineExceeded, Source::Upstream, "timeout", Outcome::Timeout),
            Self::GrpcOverHttp1 => (502, Code::Internal, Source::Internal, "grpc_over_http1", Outcome::ProxyError),
        };
        Verdict { status: status_of(status), grpc, source, label, outcome }
    }

    /// How long a caller should wait before it tries again, where waiting can help.
    pub(super) const fn retry_after(self, configured: Duration) -> Option<Duration> {
        match self {
            Self::Overloaded | Self::Unrecorded(_) => Some(configured),
            _ => None,
        }
    }
}

const fn status_of(code: u16) -> StatusCode {
    match StatusCode::from_u16(code) {
        Ok(status) => status,
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_overload_invites_a_retry() {
        let wait = Duration::from_secs(1);
        assert_eq!(ProxyError::Overloaded.retry_after(wait), Some(wait));
        assert_eq!(ProxyError::Unrecorded(Refusal::Full).retry_after(wait), Some(wait));
        assert_eq!(ProxyError::BrokenOff.retry_after(wait), None);
    }

    #[test]
    fn faults_of_the_model_server_are_gateway_errors() {
        for error in [ProxyError::Unreachable, ProxyError::BrokenOff, ProxyError::Timeout] {
            let verdict = error.verdict();
            assert_eq!(verdict.source, Source::Upstream);
            assert!(matches!(verdict.status.as_u16(), 502 | 504));
        }
    }
}
