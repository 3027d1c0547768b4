//! `/api/v1/traffic`: how calls are shared among backends, shown and moved while the process runs.
//!
//! What a share is, and what it means to move one, is for whoever implements [`Traffic`]; here is only the form.

use std::collections::BTreeMap;

use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::answer::{Answer, alone, json, problem};
use super::routes::{Asked, Parts};

/// Moves traffic between backends.
pub trait Traffic: Send + Sync + std::fmt::Debug {
    /// Every backend's weight, by name.
    fn weights(&self) -> BTreeMap<String, u32>;

    /// Gives backends other weights; those that are not named keep theirs. All or nothing.
    ///
    /// # Errors
    /// What is wrong, and how to mend it: a name that is no backend's, or weights that are all 0.
    fn shift(&self, weights: &BTreeMap<String, u32>) -> Result<(), String>;
}

/// What is asked and answered.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Body {
    weights: BTreeMap<String, u32>,
}

pub(super) fn get(parts: &Parts, _: &Asked) -> Answer {
    let Some(serving) = &parts.serving else { return alone() };
    json(StatusCode::OK, &Body { weights: serving.traffic.weights() })
}

pub(super) fn put(parts: &Parts, asked: &Asked) -> Answer {
    let Some(serving) = &parts.serving else { return alone() };
    let body: Body = match serde_json::from_slice(&asked.body) {
        Ok(body) => body,
        Err(error) => {
            let detail = format!(r#"{error}: send {{"weights": {{"BACKEND": 1, …}}}}"#);
            return problem(StatusCode::BAD_REQUEST, &detail);
        }
    };
    match serving.traffic.shift(&body.weights) {
        Ok(()) => get(parts, asked),
        Err(detail) => problem(StatusCode::UNPROCESSABLE_ENTITY, &detail),
    }
}
