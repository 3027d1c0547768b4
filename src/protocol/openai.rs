//! The OpenAI API as vLLM, Triton and others offer it, under `/v1` or `KServe`'s `/openai/v1`.
//!
//! Body and answer name the model, which is an alias; there is no version. `system_fingerprint` identifies the
//! server's configuration, not the weights.

use super::json::Names;
use super::path::Path;
use super::reader::Rule;
use super::{Call, Protocol, Shape};

static MODEL: Names = Names::top_level(Some("model"), None, None);
static MODEL_AND_FINGERPRINT: Names = Names::top_level(Some("model"), None, Some("system_fingerprint"));
/// Events of `/v1/responses` wrap the answer: `{"type":"response.created","response":{"model":…}}`.
static RESPONSE_EVENT: Names = Names::under("response", "model");

/// The prediction that a path names.
pub(super) fn recognise(path: Path<'_>) -> Option<Call> {
    let operation = path.text.strip_prefix("/openai").unwrap_or(path.text).strip_prefix("/v1/")?;
    let kserve = path.text.starts_with("/openai");
    // The names are OpenTelemetry's `gen_ai.operation.name`, which has none of its own for responses.
    let (operation, route, answer) = match (operation, kserve) {
        ("chat/completions", false) => ("chat", "/v1/chat/completions", Rule::json(&MODEL_AND_FINGERPRINT)),
        ("chat/completions", true) => ("chat", "/openai/v1/chat/completions", Rule::json(&MODEL_AND_FINGERPRINT)),
        ("completions", false) => ("text_completion", "/v1/completions", Rule::json(&MODEL_AND_FINGERPRINT)),
        ("completions", true) => ("text_completion", "/openai/v1/completions", Rule::json(&MODEL_AND_FINGERPRINT)),
        ("embeddings", false) => ("embeddings", "/v1/embeddings", Rule::json(&MODEL)),
        ("embeddings", true) => ("embeddings", "/openai/v1/embeddings", Rule::json(&MODEL)),
        ("responses", false) => ("chat", "/v1/responses", Rule::json_or_events(&MODEL, &RESPONSE_EVENT)),
        ("responses", true) => ("chat", "/openai/v1/responses", Rule::json_or_events(&MODEL, &RESPONSE_EVENT)),
        _ => return None,
    };
    let call = Call::new(Protocol::OpenAi, Shape::Http, route, Rule::json(&MODEL), answer);
    Some(Call { operation: Some(operation), ..call })
}
