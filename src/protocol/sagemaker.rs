//! Amazon SageMaker inference containers: `POST /invocations` with an `X-Amzn-SageMaker-*` header.
//!
//! The target model of a multi-model endpoint, else the target variant, counts as the model's name. The
//! bidirectional stream is a WebSocket and no prediction here.

use http::{HeaderMap, HeaderName};

use super::found::cut;
use super::mlflow::INVOCATIONS;
use super::path::Path;
use super::reader::Rule;
use super::{Call, Protocol, Shape};

const PREFIX: &str = "x-amzn-sagemaker-";
const TARGET_MODEL: HeaderName = HeaderName::from_static("x-amzn-sagemaker-target-model");
const TARGET_VARIANT: HeaderName = HeaderName::from_static("x-amzn-sagemaker-target-variant");

/// The prediction that path and headers name.
pub(super) fn recognise(path: Path<'_>, headers: &HeaderMap) -> Option<Call> {
    if path.text != INVOCATIONS || !headers.keys().any(|name| name.as_str().starts_with(PREFIX)) {
        return None;
    }
    let call = Call::new(Protocol::SageMaker, Shape::Http, INVOCATIONS, Rule::Nothing, Rule::Nothing);
    Some(Call { model: text(headers, &TARGET_MODEL).or_else(|| text(headers, &TARGET_VARIANT)), ..call })
}

fn text(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let value = String::from_utf8_lossy(headers.get(name)?.as_bytes());
    let value = value.trim();
    (!value.is_empty()).then(|| cut(value.to_owned()))
}
