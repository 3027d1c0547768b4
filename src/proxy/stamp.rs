//! Lineage headers onto an answer, exactly once each, last of all.

use http::{HeaderMap, HeaderValue};
use uuid::Uuid;

use super::headers;
use super::snapshot::Model;

/// A prediction's id as a header value.
pub(super) fn id_value(id: Uuid) -> HeaderValue {
    let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
    let text = id.hyphenated().encode_lower(&mut text);
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""))
}

/// Stamps an answer. `model` is the one that answered: `None` stamps the id alone. What is unknown is absent.
pub(super) fn stamp(headers: &mut HeaderMap, id: &HeaderValue, model: Option<&Model>, version_known: bool) {
    headers.insert(headers::LINEAGE_TRACE_ID, id.clone());
    if let Some(model) = model {
        let stamps = &model.stamps;
        headers.insert(headers::MODEL_NAME, stamps.name.clone());
        if version_known {
            headers.insert(headers::MODEL_VERSION, stamps.version.clone());
            headers.insert(headers::REPRODUCIBLE, stamps.reproducible.clone());
            if let Some(dataset) = &stamps.dataset {
                headers.insert(headers::DATASET_VERSION, dataset.clone());
            }
        }
    }
    headers::expose_stamps(headers);
}
