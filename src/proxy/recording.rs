//! One prediction from its request's head to its end: exactly one [`Exchange`], at the end or on drop.
//!
//! Whatever happens to the future or the body that owns a [`Recording`] (the client leaves, the model server dies, a
//! panic), its drop writes the entry, counts and ends the span.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, header, request};
use uuid::Uuid;

use super::digest::{BodyDigest, Digested};
use super::input::{Input, InputError, SharedInput};
use super::lanes::UnderWay;
use super::passage::{Passage, unix_millis};
use super::route::{self, Observed, Verdict, Wanted};
use super::snapshot::{Model, ModelMetrics};
use super::stamp::id_value;
use crate::exchange::{
    Exchange, Outcome, Payload, Prediction, Refusal, Reservation, Ticket, Unrecorded, VersionSource,
};
use crate::protocol::{Call, Reader, Shape};
use crate::telemetry::{self, GenAi};

/// A prediction under way.
#[derive(Debug)]
pub(super) struct Recording {
    /// What it has as a request.
    pub passage: Passage,
    /// What it asks for.
    pub call: Call,
    /// Its id as a header value.
    pub id_value: HeaderValue,
    /// The model version that answers, as far as is known.
    pub model: Option<Arc<Model>>,
    /// Whether that version may be claimed.
    pub version_known: bool,
    /// The decision in a held answer.
    pub decision: Option<String>,
    /// The answer's body in passing.
    pub output: Option<BodyDigest>,
    /// A signed promise to show the entry, for a held answer; there once it is finished, where one is wanted.
    pub receipt: Option<HeaderValue>,
    id: Uuid,
    version_source: Option<VersionSource>,
    input: SharedInput,
    reservation: Option<Reservation>,
    refusal: Option<Refusal>,
    parent: Option<Uuid>,
    client_request_id: Option<HeaderValue>,
    input_type: Option<HeaderValue>,
    input_encoding: Option<HeaderValue>,
    input_grpc_encoding: Option<HeaderValue>,
    output_encoding: Option<HeaderValue>,
    output_grpc_encoding: Option<HeaderValue>,
    finished: Option<Outcome>,
    counted: bool,
    _under_way: UnderWay,
}

impl Recording {
    /// A prediction begins: its places in the ledger's queue are reserved here, before anything is forwarded.
    pub(super) fn begin(passage: Passage, call: Call, parts: &request::Parts, input: SharedInput) -> Box<Self> {
        let worker = &passage.worker;
        let id = worker.prediction_id(unix_millis(passage.time));
        worker.shared.metrics.inflight_predictions.inc();
        let (reservation, refusal) = match Reservation::new(&worker.shared.recorder) {
            Ok(reservation) => (Some(reservation), None),
            Err(refusal) => (None, Some(refusal)),
        };
        let field = |name: header::HeaderName| parts.headers.get(name).cloned();
        let parent = parts.headers.get(super::headers::LINEAGE_TRACE_ID);
        Box::new(Self {
            id,
            id_value: id_value(id),
            model: None,
            version_known: false,
            version_source: None,
            decision: None,
            output: None,
            receipt: None,
            reservation,
            refusal,
            parent: parent.and_then(|value| Uuid::try_parse_ascii(value.as_bytes()).ok()),
            client_request_id: field(super::headers::X_REQUEST_ID),
            input_type: field(header::CONTENT_TYPE),
            input_encoding: field(header::CONTENT_ENCODING),
            input_grpc_encoding: if passage.grpc { parts.headers.get("grpc-encoding").cloned() } else { None },
            output_encoding: None,
            output_grpc_encoding: None,
            finished: None,
            counted: false,
            _under_way: worker.lanes.enter(),
            passage,
            call,
            input,
        })
    }

    /// Why no place could be reserved.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        self.refusal
    }

    /// Why the request's body broke off, where it did.
    pub(super) fn input_error(&self) -> Option<InputError> {
        self.input.borrow().error()
    }

    /// Chooses the backend and the model version by what the call states, in its path or in what was read of its body.
    pub(super) fn resolve(&mut self, head: &HeaderMap) {
        let (deal, began) = (self.passage.deal(head), self.passage.began);
        let snapshot = Arc::clone(&self.passage.snapshot);
        let backend = self.with_wanted(|wanted| route::backend(&snapshot, wanted, began, deal).cloned());
        self.passage.backend = backend;
        self.resolve_model();
    }

    /// Chooses the model version anew: the body may have stated by now what its head did not.
    pub(super) fn resolve_model(&mut self) {
        let Some(backend) = self.passage.backend.clone() else { return };
        let found = self
            .with_wanted(|wanted| route::model(&backend, wanted).map(|(model, source)| (Arc::clone(model), source)));
        self.version_known = found.is_some();
        (self.model, self.version_source) = found.map_or((None, None), |(model, source)| (Some(model), Some(source)));
    }

    /// Notes the answer's head, and prepares to read its body in passing.
    pub(super) fn note_head(&mut self, answer: &http::response::Parts) {
        let head = &answer.headers;
        self.passage.note_head(answer.status.as_u16(), head);
        self.output_encoding = head.get(header::CONTENT_ENCODING).cloned();
        if self.passage.grpc {
            self.output_grpc_encoding = head.get("grpc-encoding").cloned();
        }
        let reader = self.call.answer_reader(head);
        self.output = Some(BodyDigest::new(self.call.shape, reader, &self.passage.worker.lanes));
        // What the body states is known by now, unless the answer is an early one.
        if self.call.states_model_in_body() {
            self.input.borrow_mut().catch_up();
            self.resolve_model();
        }
    }

    /// Prepares to account for the tunnel that follows the head.
    pub(super) fn note_switch(&mut self) {
        self.output = Some(BodyDigest::new(Shape::Http, Reader::off(), &self.passage.worker.lanes));
    }

    /// The model server took these bytes of a tunnel.
    pub(super) fn took(&mut self, bytes: &[u8]) {
        self.input.borrow_mut().take(bytes);
    }

    /// The client took these bytes of a tunnel.
    pub(super) fn gave(&mut self, bytes: &[u8]) {
        if let Some(output) = &mut self.output {
            output.feed_rest(bytes);
        }
    }

    /// Compares the declared version with the answer's own word; corrects a held answer's stamp.
    pub(super) fn observe(&mut self, held: bool) {
        let Some(backend) = self.passage.backend.clone() else { return };
        let Some(output) = self.output.as_ref() else { return };
        let reader = output.reader();
        let observed = Observed { model: reader.model(), version: reader.version().or_else(|| reader.fingerprint()) };
        let on_mismatch = self.passage.snapshot.on_mismatch;
        let Some(declared) = self.model.clone() else {
            let named = || self.with_wanted(|wanted| route::named(&backend, wanted, observed, on_mismatch).cloned());
            return self.answered_by(if held { named() } else { None });
        };
        let protocol = self.call.protocol;
        let verdict = self.with_wanted(|wanted| route::verdict(&backend, &declared, wanted, observed, protocol));
        if matches!(verdict, Verdict::Agrees) {
            return;
        }
        self.report_mismatch(&declared, &verdict, observed);
        if held {
            let corrected = route::correct(&verdict, on_mismatch);
            self.version_known = corrected.version_known;
            self.answered_by(corrected.model);
        }
    }

    /// Takes the answer's word for who gave it.
    fn answered_by(&mut self, model: Option<Arc<Model>>) {
        if let Some(model) = model {
            self.model = Some(model);
            self.version_known = true;
            self.version_source = Some(VersionSource::Response);
        }
    }

    fn report_mismatch(&self, declared: &Model, verdict: &Verdict<'_>, observed: Observed<'_>) {
        let configured = match verdict {
            Verdict::Is(model) => model.identity.version.as_str(),
            _ => telemetry::OTHER,
        };
        let identity = &declared.identity;
        let labels = [identity.model.as_str(), identity.version.as_str(), configured];
        self.passage.worker.shared.metrics.version_mismatch.with_label_values(&labels).inc();
        if declared.claims_anew(observed) {
            tracing::warn!(
                model = %identity.model, declared = %identity.version, configured,
                observed_model = ?observed.model, observed_version = ?observed.version,
                "the answers name another model version than declared"
            );
        }
    }

    /// Hands a `begin` entry on, where places were reserved.
    pub(super) fn begin_entry(&self) -> Option<Ticket> {
        self.reservation.as_ref().map(|reservation| reservation.begin(&self.prediction()))
    }

    /// Ends the prediction of a held answer, which can still carry a receipt.
    pub(super) fn finish_held(&mut self) -> Ticket {
        self.end(Outcome::Complete, true)
    }

    /// Ends the prediction: hands its entry on and ends its span. Only the first call counts.
    pub(super) fn finish(&mut self, outcome: Outcome) -> Ticket {
        self.end(outcome, false)
    }

    fn end(&mut self, outcome: Outcome, held: bool) -> Ticket {
        if self.finished.is_some() {
            return Ticket::Settled(Ok(()));
        }
        self.finished = Some(outcome);
        let reservation = self.reservation.take();
        let read = self.input.borrow_mut().finish();
        let output = self.output.as_mut().and_then(BodyDigest::finish);
        let input = self.input.borrow();
        // A call that was refused before its body was asked for has no input to speak of.
        let read = read.filter(|_| input.begun() || input.ended());
        let exchange = self.exchange(outcome, &input, read, output);
        let shared = &self.passage.worker.shared;
        let (ticket, receipt) = match reservation {
            Some(reservation) if held => reservation.finish_with_receipt(&exchange),
            Some(reservation) => (reservation.finish(&exchange), None),
            None => {
                let reason = if outcome == Outcome::Rejected { Unrecorded::Refused } else { Unrecorded::Passed };
                shared.recorder.unrecorded(reason, exchange.prediction.time);
                (Ticket::Settled(Ok(())), None)
            }
        };
        telemetry::log_exchange(&exchange, shared.log);
        self.passage.end(Some(&exchange), self.gen_ai(&exchange));
        self.measure(exchange.duration, read, output);
        drop(input);
        self.receipt = receipt.and_then(|receipt| HeaderValue::try_from(receipt).ok());
        ticket
    }

    /// Counts the prediction under its outcome, once its ticket has settled: what waiting for the ledger took is ours.
    /// Only the first call counts.
    pub(super) fn count(&mut self, outcome: Outcome) {
        if std::mem::replace(&mut self.counted, true) {
            return;
        }
        let (passage, metrics) = (&self.passage, self.metrics());
        let duration = passage.began.elapsed();
        metrics.ended(self.call.protocol, outcome).inc();
        metrics.duration.observe(duration.as_secs_f64());
        let own = duration.saturating_sub(passage.meter.waited());
        passage.worker.shared.metrics.overhead.observe(own.as_secs_f64());
        // One that was refused before anybody looked for its model is no riddle.
        if self.model.is_none() && passage.backend.is_some() {
            passage.worker.shared.metrics.unresolved_predictions.inc();
        }
    }

    fn prediction(&self) -> Prediction<'_> {
        Prediction {
            id: self.id,
            time: self.passage.time,
            backend: self.passage.backend.as_ref().map(|backend| backend.name.as_str()),
            protocol: self.call.protocol.as_str(),
            route: &self.call.route,
            identity: self.model.as_ref().map(|model| &model.identity),
            version_source: self.version_source,
            stated_model: self.call.model.as_deref(),
            version_known: self.version_known,
        }
    }

    fn exchange<'a>(
        &'a self,
        outcome: Outcome,
        input: &'a Input,
        read: Option<Digested>,
        output: Option<Digested>,
    ) -> Exchange<'a> {
        let passage = &self.passage;
        let asked = input.digest().map(BodyDigest::reader);
        let said = self.output.as_ref().map(BodyDigest::reader);
        let stated_model = self.call.model.as_deref().or_else(|| asked.and_then(Reader::model));
        let observed_version = said.and_then(|said| said.version().or_else(|| said.fingerprint()));
        Exchange {
            prediction: Prediction { stated_model, ..self.prediction() },
            duration: passage.began.elapsed(),
            requested_version: self.call.version.as_deref().or_else(|| asked.and_then(Reader::version)),
            observed_version,
            observed_model: said.and_then(Reader::model).filter(|model| Some(*model) != stated_model),
            input: Payload {
                media_type: text(self.input_type.as_ref()),
                encoding: text(self.input_encoding.as_ref()),
                grpc_encoding: text(self.input_grpc_encoding.as_ref()),
                ..payload(read)
            },
            status: passage.status,
            grpc_status: passage.grpc_status,
            output: Payload {
                encoding: text(self.output_encoding.as_ref()),
                grpc_encoding: text(self.output_grpc_encoding.as_ref()),
                ..payload(output)
            },
            decision: self.decision.as_deref(),
            outcome,
            trace_id: passage.trace.trace_id,
            span_id: passage.trace.server_span,
            parent: self.parent,
            client_request_id: text(self.client_request_id.as_ref()),
            client: Some(passage.client()),
        }
    }

    fn gen_ai<'a>(&'a self, exchange: &Exchange<'a>) -> Option<GenAi<'a>> {
        self.call.operation.map(|operation| GenAi {
            operation,
            request_model: exchange.prediction.stated_model,
            response_model: exchange.observed_model.or(exchange.prediction.stated_model),
            fingerprint: exchange.observed_version,
        })
    }

    fn metrics(&self) -> &ModelMetrics {
        self.model.as_ref().map_or(&self.passage.snapshot.unresolved, |model| &model.metrics)
    }

    fn measure(&self, duration: Duration, read: Option<Digested>, output: Option<Digested>) {
        let (metrics, meter) = (self.metrics(), &self.passage.meter);
        metrics.input_bytes.inc_by(read.map_or(0, |read| read.bytes));
        metrics.output_bytes.inc_by(output.map_or(0, |output| output.bytes));
        if let (Some(sent), Some(backend)) = (meter.sent(), &self.passage.backend) {
            let leg = duration.saturating_sub(sent.duration_since(self.passage.began));
            backend.upstream_duration.observe(leg.as_secs_f64());
        }
    }

    fn with_wanted<T>(&self, use_it: impl FnOnce(Wanted<'_>) -> T) -> T {
        let input = self.input.borrow();
        let asked = input.digest().map(BodyDigest::reader);
        let model = self.call.model.as_deref().or_else(|| asked.and_then(Reader::model));
        let version = self.call.version.as_deref().or_else(|| asked.and_then(Reader::version));
        use_it(Wanted { model, version, label: self.call.label.as_deref() })
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        // Nobody said how it ended: its owner was dropped with the client's connection. As a rule the client left.
        let stopped = self.passage.exchange.is_cut_by_stop();
        let outcome = if stopped { Outcome::Timeout } else { Outcome::ClientAbort };
        drop(self.finish(outcome));
        self.count(self.finished.unwrap_or(outcome));
        self.passage.worker.shared.metrics.inflight_predictions.dec();
    }
}

fn text(value: Option<&HeaderValue>) -> Option<&str> {
    value.and_then(|value| value.to_str().ok())
}

fn payload<'a>(digested: Option<Digested>) -> Payload<'a> {
    digested.map_or_else(Payload::default, |digested| Payload {
        bytes: digested.bytes,
        sha256: Some(digested.sha256),
        messages: digested.messages,
        ..Payload::default()
    })
}
