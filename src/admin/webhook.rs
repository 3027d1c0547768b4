//! `/api/v1/webhooks/mlflow`: MLflow's registry says that something has changed.
//!
//! Whether it is to be believed is for `lineage::mlflow::webhook`; what has changed is asked of MLflow itself, on the
//! control plane, which is woken here.

use std::time::SystemTime;

use http::StatusCode;
use serde_json::json;

use super::answer::{Answer, json, problem};
use super::routes::{Asked, Parts};

pub(super) fn mlflow(parts: &Parts, asked: &Asked) -> Answer {
    match parts.webhooks.take(&asked.headers, &asked.body, SystemTime::now()) {
        Ok(event) => {
            tracing::debug!(
                entity = event.entity,
                action = event.action,
                model = event.model.as_deref().unwrap_or_default(),
                delivery = event.delivery,
                "MLflow has told of a change"
            );
            json(StatusCode::OK, &json!({"delivery": event.delivery, "model": event.model}))
        }
        Err(error) => problem(error.status(), &error.to_string()),
    }
}
