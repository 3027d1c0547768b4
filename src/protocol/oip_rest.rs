//! Open Inference Protocol V2 over REST, with Triton's `generate` and `generate_stream` and MLServer's
//! `infer_stream`.
//!
//! The path names the model and perhaps the version; the answer's JSON says `model_name` and `model_version`, both
//! optional. Health, metadata, repository and shared-memory calls are no predictions.

use http::{HeaderMap, HeaderName};

use super::json::Names;
use super::path::Path;
use super::reader::Rule;
use super::{Call, Protocol, Shape};

/// Operations: the path's last segment, the route's template without and with a version.
const OPERATIONS: [(&str, &str, &str); 4] = [
    ("infer", "/v2/models/{model}/infer", "/v2/models/{model}/versions/{version}/infer"),
    ("generate", "/v2/models/{model}/generate", "/v2/models/{model}/versions/{version}/generate"),
    ("generate_stream", "/v2/models/{model}/generate_stream", "/v2/models/{model}/versions/{version}/generate_stream"),
    ("infer_stream", "/v2/models/{model}/infer_stream", "/v2/models/{model}/versions/{version}/infer_stream"),
];

/// In the binary tensor extension, the bytes of the JSON before the tensors.
const HEADER_LENGTH: HeaderName = HeaderName::from_static("inference-header-content-length");

static ANSWER: Names = Names::top_level(Some("model_name"), Some("model_version"), None);

/// The prediction that a path names: `/v2/models/{model}[/versions/{version}]/{operation}`.
pub(super) fn recognise(path: Path<'_>) -> Option<Call> {
    let (subject, operation) = path.text.strip_prefix("/v2/models/")?.rsplit_once('/')?;
    let (_, bare, versioned) = OPERATIONS.iter().find(|(name, ..)| *name == operation)?;
    // As a rule the subject is a bare name, and the longer search is spared.
    let versioned_subject = if subject.contains('/') { subject.rsplit_once("/versions/") } else { None };
    let (model, version, route) = match versioned_subject {
        Some((model, version)) => (path.name(model)?, Some(path.name(version)?), *versioned),
        // An empty version, which cleaning up has taken away.
        None if subject.ends_with("/versions") => return None,
        None => (path.name(subject)?, None, *bare),
    };
    let call = Call::new(Protocol::OipRest, Shape::Http, route, Rule::Nothing, Rule::json(&ANSWER));
    Some(Call { model: Some(model), version, ..call })
}

/// How many bytes of a body are JSON; `u64::MAX` where the headers do not say.
pub(super) fn json_bytes(headers: &HeaderMap) -> u64 {
    let length = headers.get(HEADER_LENGTH).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    length.unwrap_or(u64::MAX)
}
