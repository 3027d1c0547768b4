//! What each call tells of the backend that it went to.
//!
//! Counted against a backend is what shows that the server fails: no connection, no answer in time, an answer that breaks
//! off, a status that says so (`health.statuses`, gRPC's `UNAVAILABLE`). A 400 or a 500 may be the input's doing, and a
//! deadline that the caller chose is the caller's.

use std::fmt::Display;
use std::time::{Duration, Instant};

use http::Response;

use super::outlier::Ejection;
use super::{Failure, Health};
use crate::protocol::grpc;
use crate::proxy::snapshot::{Backend, Snapshot};

impl Snapshot {
    /// The head of an answer came.
    pub(in crate::proxy) fn note_answer(&self, backend: &Backend, head: &Response<()>, over_grpc: bool, now: Instant) {
        let health = &backend.health;
        let status = head.status().as_u16();
        // Trailers-Only: the status stands in the head.
        let unavailable = over_grpc && grpc::parse_status(head.headers()).is_some_and(is_unavailable);
        if health.answered(now) {
            tracing::info!(backend = %backend.name, "the backend answers again: it takes calls");
        }
        if unavailable {
            self.note_failure(backend, now, Failure::Status, "it answers UNAVAILABLE");
        } else if health.is_failure(status) {
            self.note_failure(backend, now, Failure::Status, format_args!("it answers {status}"));
        } else {
            health.count();
        }
    }

    /// No head came, or the answer broke off after it.
    pub(in crate::proxy) fn note_failure(
        &self,
        backend: &Backend,
        now: Instant,
        failure: Failure,
        reason: impl Display,
    ) {
        let may_eject = || {
            let one_at_a_time = self.ejecting();
            self.may_be_out_too(backend, now).then_some(one_at_a_time)
        };
        if let Some(ejection) = backend.health.failed(now, failure, may_eject) {
            let Ejection { cause, since, until, repeat } = ejection;
            let time = Duration::from_millis(until.saturating_sub(since));
            tracing::warn!(
                backend = %backend.name, %reason, cause = cause.as_str(), seconds = time.as_secs_f64(), repeat,
                "the backend fails: left out for a while where another fits"
            );
        }
    }

    /// The trailers of a gRPC answer came.
    pub(in crate::proxy) fn note_grpc_status(&self, backend: &Backend, status: u16) {
        if is_unavailable(status) {
            self.note_failure(backend, Instant::now(), Failure::Late, "it answers UNAVAILABLE");
        }
    }

    /// Whether this backend may be left out for its share of failed calls, given how many of those that serve the same are
    /// out: where too many are, the cause is likelier common to all, and the rest would only be overrun.
    fn may_be_out_too(&self, backend: &Backend, now: Instant) -> bool {
        let alike = self.backends.iter().filter(|other| other.weight() > 0 && other.serves_as(backend));
        let (mut all, mut out) = (0_u64, 1);
        for other in alike {
            all += 1;
            out += u64::from(other.name != backend.name && !other.health.is_in(now));
        }
        out * 100 <= all * backend.health.max_ejection_percent
    }
}

impl Health {
    /// Whether an answer's status says that the server fails.
    fn is_failure(&self, status: u16) -> bool {
        // The lists are short, and almost every answer is below them.
        status >= 400 && self.statuses.contains(&status)
    }
}

fn is_unavailable(status: u16) -> bool {
    status == grpc::Status::Unavailable.code()
}
