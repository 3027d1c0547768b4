//! From a finished request to the SDK's [`SpanData`]: the semantic conventions, applied.
//!
//! Pure, and called only for requests that are exported. Text that came from a client is cut at
//! [`ATTRIBUTE_BYTES_MAX`], so that a full queue holds no more memory than its spans' number allows.

use std::time::{Duration, SystemTime};

use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{Array, InstrumentationScope, KeyValue, StringValue, Value};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use super::context::TraceContext;
use super::trace::{self, GenAi, RequestSpan, UpstreamLeg};
use crate::exchange::Exchange;

/// Bytes of one attribute's text.
pub(super) const ATTRIBUTE_BYTES_MAX: usize = 1024;

/// The SERVER span of a request.
pub(super) fn server(
    context: &TraceContext,
    span: &RequestSpan<'_>,
    scope: &InstrumentationScope,
    input_hash: bool,
) -> SpanData {
    let mut attributes = Attributes::with_capacity(24);
    attributes.method(span.method);
    attributes.text(trace::URL_SCHEME, span.scheme);
    attributes.text(trace::URL_PATH, span.path);
    attributes.text_if(trace::HTTP_ROUTE, span.route);
    attributes.text(trace::NETWORK_PROTOCOL_VERSION, span.version);
    attributes.text_if(trace::SERVER_ADDRESS, span.server_address);
    attributes.number_if(trace::SERVER_PORT, span.server_port);
    attributes.number_if(trace::HTTP_RESPONSE_STATUS_CODE, span.status);
    attributes.text_if(trace::USER_AGENT_ORIGINAL, span.user_agent);
    if let Some(client) = span.client {
        attributes.push(trace::CLIENT_ADDRESS, client.to_canonical().to_string());
    }
    if span.grpc {
        attributes.grpc(span.path, span.grpc_status);
    }
    if let Some(exchange) = span.exchange {
        attributes.prediction(exchange, input_hash);
    }
    if let Some(gen_ai) = &span.gen_ai {
        attributes.gen_ai(gen_ai);
    }
    // 4xx is the caller's fault, unless something else went wrong as well; 5xx is ours.
    let failed = match span.status {
        Some(400..=499) => false,
        Some(500..) => true,
        _ => span.error.is_some() || span.grpc_status.is_some_and(trace::grpc_server_failed),
    };
    let status = attributes.verdict(failed, span.error, span.status, span.grpc_status);
    SpanData {
        parent_span_id: context.parent_span.map_or(SpanId::INVALID, SpanId::from_bytes),
        parent_span_is_remote: context.parent_span.is_some(),
        name: trace::span_name(span.method, span.route).into(),
        attributes: attributes.0,
        status,
        ..blank(context, context.server_span, SpanKind::Server, (span.start, span.duration), scope)
    }
}

/// The CLIENT span of a request's leg to the model server.
pub(super) fn client(
    context: &TraceContext,
    span: &RequestSpan<'_>,
    leg: &UpstreamLeg<'_>,
    scope: &InstrumentationScope,
) -> SpanData {
    let mut attributes = Attributes::with_capacity(12);
    attributes.method(span.method);
    attributes.text(trace::URL_FULL, leg.url_full);
    attributes.text_if(trace::URL_TEMPLATE, span.route);
    attributes.text(trace::NETWORK_PROTOCOL_VERSION, leg.version);
    attributes.text(trace::SERVER_ADDRESS, leg.address);
    attributes.number_if(trace::SERVER_PORT, Some(leg.port));
    attributes.number_if(trace::HTTP_RESPONSE_STATUS_CODE, leg.status);
    // What the model server said by gRPC is known only where its answer came.
    let grpc_status = span.grpc_status.filter(|_| leg.status.is_some());
    if span.grpc {
        attributes.grpc(span.path, grpc_status);
    }
    let failed =
        leg.error.is_some() || leg.status.is_some_and(|s| s >= 400) || grpc_status.is_some_and(|status| status != 0);
    let status = attributes.verdict(failed, leg.error, leg.status, grpc_status);
    SpanData {
        parent_span_id: SpanId::from_bytes(context.server_span),
        name: trace::span_name(span.method, span.route).into(),
        attributes: attributes.0,
        status,
        ..blank(context, context.client_span, SpanKind::Client, (leg.start, leg.duration), scope)
    }
}

fn blank(
    context: &TraceContext,
    id: [u8; 8],
    span_kind: SpanKind,
    (start_time, duration): (SystemTime, Duration),
    scope: &InstrumentationScope,
) -> SpanData {
    let (trace_id, span_id) = (TraceId::from_bytes(context.trace_id), SpanId::from_bytes(id));
    SpanData {
        span_context: SpanContext::new(trace_id, span_id, TraceFlags::SAMPLED, false, TraceState::NONE),
        parent_span_id: SpanId::INVALID,
        parent_span_is_remote: false,
        span_kind,
        name: "".into(),
        start_time,
        end_time: start_time.checked_add(duration).unwrap_or(start_time),
        attributes: Vec::new(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: Status::Unset,
        instrumentation_scope: scope.clone(),
    }
}

struct Attributes(Vec<KeyValue>);

impl Attributes {
    fn with_capacity(capacity: usize) -> Self {
        Self(Vec::with_capacity(capacity))
    }

    fn push(&mut self, key: &'static str, value: impl Into<Value>) {
        self.0.push(KeyValue::new(key, value));
    }

    fn text(&mut self, key: &'static str, value: &str) {
        self.push(key, cut(value).to_owned());
    }

    fn text_if(&mut self, key: &'static str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(key, value);
        }
    }

    fn number_if(&mut self, key: &'static str, value: Option<u16>) {
        if let Some(value) = value {
            self.push(key, i64::from(value));
        }
    }

    fn method(&mut self, method: &str) {
        if trace::METHODS_KNOWN.contains(&method) {
            self.text(trace::HTTP_REQUEST_METHOD, method);
        } else {
            self.push(trace::HTTP_REQUEST_METHOD, trace::METHOD_OTHER);
            self.text(trace::HTTP_REQUEST_METHOD_ORIGINAL, method);
        }
    }

    fn grpc(&mut self, path: &str, status: Option<u16>) {
        self.push(trace::RPC_SYSTEM_NAME, trace::GRPC);
        self.text(trace::RPC_METHOD, path.strip_prefix('/').unwrap_or(path));
        if let Some(status) = status {
            self.push(trace::RPC_RESPONSE_STATUS_CODE, grpc_status(status));
        }
    }

    fn prediction(&mut self, exchange: &Exchange<'_>, input_hash: bool) {
        let prediction = &exchange.prediction;
        self.push(trace::PREDICTION_ID, prediction.id.to_string());
        self.push(trace::OUTCOME, exchange.outcome.as_str());
        self.text_if(trace::BACKEND, prediction.backend);
        if let Some(identity) = prediction.identity {
            self.text(trace::ML_MODEL_NAME, &identity.model);
            // A version that the answer contradicted is not claimed, nor what it was trained on.
            if prediction.version_known {
                let stamped = StringValue::from(cut(&identity.version).to_owned());
                self.text(trace::ML_MODEL_VERSION, &identity.version);
                self.push(trace::HTTP_RESPONSE_HEADER_X_MODEL_VERSION, Value::Array(Array::String(vec![stamped])));
                self.text_if(trace::ML_DATASET_VERSION, identity.dataset_version.as_deref());
            }
        }
        if let Some(hash) = exchange.input.sha256.filter(|_| input_hash) {
            self.push(trace::INPUT_SHA256, crate::sha256::hex(hash));
        }
    }

    fn gen_ai(&mut self, gen_ai: &GenAi<'_>) {
        self.push(trace::GEN_AI_PROVIDER_NAME, trace::OPENAI);
        self.text(trace::GEN_AI_OPERATION_NAME, gen_ai.operation);
        self.text_if(trace::GEN_AI_REQUEST_MODEL, gen_ai.request_model);
        self.text_if(trace::GEN_AI_RESPONSE_MODEL, gen_ai.response_model);
        self.text_if(trace::OPENAI_RESPONSE_SYSTEM_FINGERPRINT, gen_ai.fingerprint);
    }

    /// Sets `error.type` and gives the span's status. The description stays empty: `error.type` says it.
    fn verdict(&mut self, failed: bool, error: Option<&str>, http: Option<u16>, grpc: Option<u16>) -> Status {
        if let Some(error) = error {
            self.text(trace::ERROR_TYPE, error);
        } else if failed {
            let failing = http.filter(|status| *status >= 400).map(|status| status.to_string());
            self.push(trace::ERROR_TYPE, failing.or_else(|| grpc.map(grpc_status)).unwrap_or_else(|| "_OTHER".into()));
        }
        if failed { Status::error("") } else { Status::Unset }
    }
}

fn grpc_status(status: u16) -> String {
    trace::GRPC_STATUS.get(usize::from(status)).map_or_else(|| status.to_string(), |&name| name.to_owned())
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(ATTRIBUTE_BYTES_MAX)]
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTEXT: TraceContext =
        TraceContext { trace_id: [1; 16], parent_span: None, server_span: [2; 8], client_span: [3; 8], sampled: true };

    fn span(status: Option<u16>, grpc_status: Option<u16>, error: Option<&str>) -> RequestSpan<'_> {
        let leg = UpstreamLeg {
            address: "m",
            port: 1,
            url_full: "http://m:1/",
            version: "2",
            start: SystemTime::UNIX_EPOCH,
            duration: Duration::ZERO,
            status,
            error,
        };
        RequestSpan {
            method: "POST",
            scheme: "http",
            path: "/",
            route: None,
            version: "2",
            status,
            grpc: grpc_status.is_some(),
            grpc_status,
            start: SystemTime::UNIX_EPOCH,
            duration: Duration::ZERO,
            client: None,
            user_agent: None,
            server_address: None,
            server_port: None,
            error,
            upstream: Some(leg),
            exchange: None,
            gen_ai: None,
        }
    }

    fn verdict(span: &SpanData) -> (bool, Option<String>) {
        let error = span.attributes.iter().find(|kv| kv.key.as_str() == trace::ERROR_TYPE);
        (span.status != Status::Unset, error.map(|kv| kv.value.to_string()))
    }

    #[test]
    fn who_failed_is_said_by_the_conventions_rules() {
        let no = (false, None);
        let yes = |error: &str| (true, Some(error.to_owned()));
        let table = [
            (span(Some(200), None, None), no.clone(), no.clone()),
            (span(Some(302), None, None), no.clone(), no.clone()),
            // 4xx is the caller's fault: no error of the server, one of its client.
            (span(Some(404), None, None), no.clone(), yes("404")),
            (span(Some(503), None, None), yes("503"), yes("503")),
            // The answer broke off after a good head.
            (span(Some(200), None, Some("reset")), yes("reset"), yes("reset")),
            (span(None, None, Some("timeout")), yes("timeout"), yes("timeout")),
            (span(Some(200), Some(0), None), no.clone(), no.clone()),
            (span(Some(200), Some(3), None), no, yes("INVALID_ARGUMENT")),
            (span(Some(200), Some(13), None), yes("INTERNAL"), yes("INTERNAL")),
            (span(Some(200), Some(99), None), (false, None), yes("99")),
        ];
        let scope = InstrumentationScope::builder("test").build();
        for (span, on_server, on_client) in table {
            assert_eq!(verdict(&server(&CONTEXT, &span, &scope, false)), on_server, "SERVER {span:?}");
            let leg = span.upstream.unwrap();
            assert_eq!(verdict(&client(&CONTEXT, &span, &leg, &scope)), on_client, "CLIENT {span:?}");
        }
    }

    #[test]
    fn what_a_client_sent_is_cut_at_a_character() {
        let long = "é".repeat(ATTRIBUTE_BYTES_MAX);
        let span = RequestSpan { path: &format!("x{long}"), method: "BREW", ..span(None, None, None) };
        let scope = InstrumentationScope::builder("test").build();
        let data = server(&CONTEXT, &span, &scope, false);
        let value = |key| data.attributes.iter().find(|kv| kv.key.as_str() == key).map(|kv| kv.value.to_string());
        assert_eq!(value(trace::URL_PATH).unwrap().len(), ATTRIBUTE_BYTES_MAX - 1);
        assert_eq!(value(trace::HTTP_REQUEST_METHOD).as_deref(), Some("_OTHER"));
        assert_eq!(value(trace::HTTP_REQUEST_METHOD_ORIGINAL).as_deref(), Some("BREW"));
    }
}
