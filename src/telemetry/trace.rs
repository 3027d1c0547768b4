//! Every span name, attribute key and fixed value, and the facts that spans are made of.
//!
//! Keys are those of the OpenTelemetry semantic conventions (HTTP stable; RPC and generative AI as of 1.39), our own begin
//! with `touchmark.` or `ml.`. How spans are put together stands in [`super::spans`], how they leave in
//! [`super::export`].

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use crate::exchange::Exchange;

// --- the resource
pub(super) const SERVICE_NAME: &str = "service.name";
pub(super) const SERVICE_VERSION: &str = "service.version";
pub(super) const SERVICE_INSTANCE_ID: &str = "service.instance.id";
pub(super) const DEPLOYMENT: &str = "touchmark.deployment";

// --- the instrumentation scope
pub(super) const SCOPE: &str = "touchmark";

// --- HTTP, both spans
pub(super) const HTTP_REQUEST_METHOD: &str = "http.request.method";
pub(super) const HTTP_REQUEST_METHOD_ORIGINAL: &str = "http.request.method_original";
pub(super) const HTTP_RESPONSE_STATUS_CODE: &str = "http.response.status_code";
pub(super) const NETWORK_PROTOCOL_VERSION: &str = "network.protocol.version";
pub(super) const SERVER_ADDRESS: &str = "server.address";
pub(super) const SERVER_PORT: &str = "server.port";
pub(super) const ERROR_TYPE: &str = "error.type";

/// The value of [`HTTP_REQUEST_METHOD`] for a method that the conventions do not know.
pub(super) const METHOD_OTHER: &str = "_OTHER";
/// What stands for such a method in a span's name.
pub(super) const METHOD_OTHER_IN_NAME: &str = "HTTP";
/// The methods that the conventions know.
pub(super) const METHODS_KNOWN: [&str; 10] =
    ["GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT", "QUERY"];

// --- HTTP, SERVER span
pub(super) const URL_SCHEME: &str = "url.scheme";
pub(super) const URL_PATH: &str = "url.path";
pub(super) const HTTP_ROUTE: &str = "http.route";
pub(super) const CLIENT_ADDRESS: &str = "client.address";
pub(super) const USER_AGENT_ORIGINAL: &str = "user_agent.original";
pub(super) const HTTP_RESPONSE_HEADER_X_MODEL_VERSION: &str = "http.response.header.x-model-version";

// --- HTTP, CLIENT span
pub(super) const URL_FULL: &str = "url.full";
pub(super) const URL_TEMPLATE: &str = "url.template";

// --- gRPC, both spans
pub(super) const RPC_SYSTEM_NAME: &str = "rpc.system.name";
pub(super) const RPC_METHOD: &str = "rpc.method";
pub(super) const RPC_RESPONSE_STATUS_CODE: &str = "rpc.response.status_code";
/// The value of [`RPC_SYSTEM_NAME`].
pub(super) const GRPC: &str = "grpc";
/// The gRPC status codes by number, as [`RPC_RESPONSE_STATUS_CODE`] has them.
pub(super) const GRPC_STATUS: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

// --- the prediction, SERVER span
pub(super) const ML_MODEL_NAME: &str = "ml.model.name";
pub(super) const ML_MODEL_VERSION: &str = "ml.model.version";
pub(super) const ML_DATASET_VERSION: &str = "ml.dataset.version";
pub(super) const PREDICTION_ID: &str = "touchmark.prediction.id";
pub(super) const BACKEND: &str = "touchmark.backend";
pub(super) const OUTCOME: &str = "touchmark.outcome";
pub(super) const INPUT_SHA256: &str = "touchmark.input.sha256";

// --- OpenAI-style calls, SERVER span
pub(super) const GEN_AI_PROVIDER_NAME: &str = "gen_ai.provider.name";
pub(super) const GEN_AI_OPERATION_NAME: &str = "gen_ai.operation.name";
pub(super) const GEN_AI_REQUEST_MODEL: &str = "gen_ai.request.model";
pub(super) const GEN_AI_RESPONSE_MODEL: &str = "gen_ai.response.model";
pub(super) const OPENAI_RESPONSE_SYSTEM_FINGERPRINT: &str = "openai.response.system_fingerprint";
/// The value of [`GEN_AI_PROVIDER_NAME`]: the interface spoken, whoever serves it.
pub(super) const OPENAI: &str = "openai";

/// The span's name: `{method} {route}`, or the method alone where no route is known.
pub(super) fn span_name(method: &str, route: Option<&str>) -> String {
    let method = if METHODS_KNOWN.contains(&method) { method } else { METHOD_OTHER_IN_NAME };
    route.map_or_else(|| method.to_owned(), |route| format!("{method} {route}"))
}

/// Whether a gRPC status means that the server failed, not the caller (semantic conventions, gRPC server spans):
/// UNKNOWN, `DEADLINE_EXCEEDED`, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, `DATA_LOSS`.
pub(super) fn grpc_server_failed(status: u16) -> bool {
    matches!(status, 2 | 4 | 12 | 13 | 14 | 15)
}

/// A finished request, for its SERVER span.
#[derive(Clone, Copy, Debug)]
pub struct RequestSpan<'a> {
    /// The method as sent.
    pub method: &'a str,
    /// `http` or `https`.
    pub scheme: &'a str,
    /// The path without query.
    pub path: &'a str,
    /// The route's template; `None` where no recogniser knew the path.
    pub route: Option<&'a str>,
    /// `1.0`, `1.1` or `2`.
    pub version: &'a str,
    /// The status sent to the caller; `None` where none was.
    pub status: Option<u16>,
    /// Whether the call is gRPC.
    pub grpc: bool,
    /// The answer's `grpc-status`.
    pub grpc_status: Option<u16>,
    /// When the request's head had been read.
    pub start: SystemTime,
    /// From there to the end of the answer.
    pub duration: Duration,
    /// The caller's address.
    pub client: Option<IpAddr>,
    /// `User-Agent`.
    pub user_agent: Option<&'a str>,
    /// The host that the caller asked for.
    pub server_address: Option<&'a str>,
    /// The port that the caller asked for.
    pub server_port: Option<u16>,
    /// What went wrong, as a label of low cardinality; `None` where nothing did or the status says it all.
    pub error: Option<&'a str>,
    /// The leg to the model server; `None` where the request never got there.
    pub upstream: Option<UpstreamLeg<'a>>,
    /// The prediction; `None` for other calls.
    pub exchange: Option<&'a Exchange<'a>>,
    /// What OpenAI-style calls add.
    pub gen_ai: Option<GenAi<'a>>,
}

/// The leg to the model server, for its CLIENT span.
#[derive(Clone, Copy, Debug)]
pub struct UpstreamLeg<'a> {
    /// The model server's host.
    pub address: &'a str,
    /// The model server's port.
    pub port: u16,
    /// The absolute URL, without credentials and query.
    pub url_full: &'a str,
    /// `1.1` or `2`.
    pub version: &'a str,
    /// When the request was handed to the connection.
    pub start: SystemTime,
    /// From there to the end of the answer.
    pub duration: Duration,
    /// The status that came; `None` where none did.
    pub status: Option<u16>,
    /// What went wrong on this leg, as a label of low cardinality.
    pub error: Option<&'a str>,
}

/// What an OpenAI-style call and its answer named.
#[derive(Clone, Copy, Debug)]
pub struct GenAi<'a> {
    /// `chat`, `text_completion` or `embeddings`.
    pub operation: &'a str,
    /// The call's `model`.
    pub request_model: Option<&'a str>,
    /// The answer's `model`.
    pub response_model: Option<&'a str>,
    /// The answer's `system_fingerprint`.
    pub fingerprint: Option<&'a str>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_of_low_cardinality() {
        assert_eq!(span_name("POST", Some("/v2/models/{model}/infer")), "POST /v2/models/{model}/infer");
        assert_eq!(span_name("POST", None), "POST");
        assert_eq!(span_name("BREW", Some("/pot")), "HTTP /pot");
        // The method is case-sensitive.
        assert_eq!(span_name("post", None), "HTTP");
    }
}
