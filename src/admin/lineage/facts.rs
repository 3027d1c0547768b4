//! `POST /api/v1/facts`: what people and CI jobs say, as `touchmark lineage record` says it to a catalog of its own.
//!
//! The token says who speaks: an author that the caller could name would be worth nothing to an auditor.

use std::sync::Arc;

use http::StatusCode;

use super::{catalog, refused};
use crate::admin::answer::{Answer, Problem, Refusal, json};
use crate::admin::routes::{Asked, Parts};
use crate::lineage::Facts;

/// By which way it came.
const SOURCE: &str = "api";

/// Records facts, whole or not at all.
pub(in crate::admin) async fn facts(parts: Arc<Parts>, asked: Asked) -> Answer {
    taken(&parts, &asked).await.unwrap_or_else(|refusal| *refusal)
}

async fn taken(parts: &Parts, asked: &Asked) -> Result<Answer, Refusal> {
    let catalog = catalog(parts)?;
    let facts = Facts::parse_json(&asked.body).map_err(|error| wrong(StatusCode::BAD_REQUEST, "facts", &error))?;
    let batch = facts.batch(&asked.caller.name, SOURCE);
    let batch = batch.map_err(|error| wrong(StatusCode::UNPROCESSABLE_ENTITY, "identity", &error))?;
    let recorded = catalog.record(&batch).await.map_err(|error| refused(&error))?;
    Ok(json(StatusCode::OK, &recorded))
}

fn wrong(status: StatusCode, kind: &'static str, error: &dyn std::error::Error) -> Refusal {
    let detail = error.to_string();
    Problem { kind, ..Problem::new(status, &detail) }.answer().into()
}
