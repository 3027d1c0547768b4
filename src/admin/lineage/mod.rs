//! `/api/v1/…` about lineage: pipelines tell the catalog, people and tools ask it.
//!
//! What is answered are the same types as on the command line; here is only how they are asked for over HTTP.

mod events;
mod facts;
mod ledger;
mod questions;

pub(super) use events::{batch, event};
pub(super) use facts::facts;
pub(super) use ledger::{impact, prediction, untracked};
pub(super) use questions::{completeness, diff, downstream, node, nodes, reproducible, required, resolve, upstream};

use http::StatusCode;

use super::answer::{Problem, Refusal, bad_parameter, later, problem};
use super::query::{Query, decoded};
use super::routes::{Asked, Parts};
use crate::lineage::ask::{NameError, find, find_among};
use crate::lineage::catalog::{Catalog, CatalogError, Moment, Node};

/// The parameter that says as of when.
const AS_OF: &str = "as_of";

/// The catalog, once it is open.
fn catalog(parts: &Parts) -> Result<&Catalog, Refusal> {
    parts.catalog.get().map_err(|reason| later(StatusCode::SERVICE_UNAVAILABLE, &reason, 1).into())
}

/// The moment that is asked about.
async fn moment(catalog: &Catalog, query: &Query, name: &str) -> Result<Moment, Refusal> {
    match query.time(name)? {
        Some(time) => catalog.moment(time).await.map_err(|error| refused(&error)),
        None => Ok(Moment::NOW),
    }
}

/// The thing whose name stands in the path.
async fn named(catalog: &Catalog, asked: &Asked, at: Moment) -> Result<Node, Refusal> {
    let name = decoded(&asked.rest.replace('+', "%2B")).ok_or_else(|| bad_parameter("id", "is not UTF-8"))?;
    find(catalog, &name, at).await.map_err(|error| unknown(&error))
}

/// A thing of certain kinds that a parameter names.
async fn given(catalog: &Catalog, name: &str, kinds: &[&'static str], at: Moment) -> Result<Node, Refusal> {
    find_among(catalog, name, kinds, at).await.map_err(|error| unknown(&error))
}

/// A name that does not lead to one thing.
fn unknown(error: &NameError) -> Refusal {
    let detail = error.to_string();
    match error {
        NameError::Catalog(error) => refused(error),
        NameError::Several { candidates, .. } => {
            let status = StatusCode::CONFLICT;
            Problem { kind: "ambiguous", candidates, ..Problem::new(status, &detail) }.answer().into()
        }
        NameError::Missing { .. } => problem(StatusCode::NOT_FOUND, &detail).into(),
        NameError::Kind { .. } | NameError::Prediction(_) => {
            Problem { kind: "kind", ..Problem::new(StatusCode::UNPROCESSABLE_ENTITY, &detail) }.answer().into()
        }
    }
}

/// What the catalog does not take, or cannot do.
fn refused(error: &CatalogError) -> Refusal {
    let detail = error.to_string();
    if !error.is_callers() {
        tracing::error!(error = error as &dyn std::error::Error, "the catalog failed");
        return later(StatusCode::SERVICE_UNAVAILABLE, "the catalog failed; the log says how", 1).into();
    }
    let kind = match error {
        CatalogError::Cycle { .. } => "circle",
        CatalogError::Causality(_) => "causality",
        _ => "refused",
    };
    Problem { kind, ..Problem::new(StatusCode::UNPROCESSABLE_ENTITY, &detail) }.answer().into()
}
