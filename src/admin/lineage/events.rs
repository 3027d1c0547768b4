//! `POST /api/v1/lineage` and `/api/v1/lineage/batch`: OpenLineage's events, as its clients send them.

use std::sync::Arc;

use http::StatusCode;
use serde::Serialize;

use super::{catalog, refused};
use crate::admin::answer::{Answer, Problem, json};
use crate::admin::routes::{Asked, Parts};
use crate::lineage::catalog::Catalog;
use crate::lineage::openlineage::{Event, EventError, Said, events, place};

/// Takes one event.
pub(in crate::admin) async fn event(parts: Arc<Parts>, asked: Asked) -> Answer {
    let catalog = match catalog(&parts) {
        Ok(catalog) => catalog,
        Err(refusal) => return *refusal,
    };
    let said = Event::parse(&asked.body).and_then(|event| event.said(&asked.caller.name, &parts.openlineage));
    match said {
        Err(error) => no_event(&error),
        Ok(said) => match place(catalog, said).await {
            Ok(placed) => json(StatusCode::OK, &placed),
            Err(error) => *refused(&error),
        },
    }
}

/// Takes several. Each stands for itself: those that are wrong do not keep the others out.
pub(in crate::admin) async fn batch(parts: Arc<Parts>, asked: Asked) -> Answer {
    let catalog = match catalog(&parts) {
        Ok(catalog) => catalog,
        Err(refusal) => return *refusal,
    };
    let events = match events(&asked.body) {
        Ok(events) => events,
        Err(error) => return no_event(&error),
    };
    let mut report = Report::default();
    for (index, event) in events.into_iter().enumerate() {
        report.summary.received += 1;
        let said = event.and_then(|event| event.said(&asked.caller.name, &parts.openlineage));
        match take(catalog, said).await {
            Ok(()) => report.summary.successful += 1,
            Err((reason, retriable)) => report.failed(index, reason, retriable),
        }
    }
    json(StatusCode::OK, &report)
}

/// What came of a batch, as OpenLineage's API has it.
#[derive(Debug, Default, Serialize)]
struct Report {
    status: Outcome,
    summary: Summary,
    failed_events: Vec<Failed>,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    #[default]
    Success,
    PartialSuccess,
}

#[derive(Debug, Default, Serialize)]
struct Summary {
    received: usize,
    successful: usize,
    failed: usize,
    retriable: usize,
    non_retriable: usize,
}

#[derive(Debug, Serialize)]
struct Failed {
    index: usize,
    reason: String,
    retriable: bool,
}

impl Report {
    fn failed(&mut self, index: usize, reason: String, retriable: bool) {
        self.status = Outcome::PartialSuccess;
        self.summary.failed += 1;
        *(if retriable { &mut self.summary.retriable } else { &mut self.summary.non_retriable }) += 1;
        self.failed_events.push(Failed { index, reason, retriable });
    }
}

/// Records one event of several. Why not, and whether it may be sent again.
async fn take(catalog: &Catalog, said: Result<Said, EventError>) -> Result<(), (String, bool)> {
    let said = said.map_err(|error| (error.to_string(), false))?;
    place(catalog, said).await.map(drop).map_err(|error| {
        if error.is_callers() {
            return (error.to_string(), false);
        }
        tracing::error!(error = &error as &dyn std::error::Error, "the catalog failed");
        ("the catalog failed".to_owned(), true)
    })
}

fn no_event(error: &EventError) -> Answer {
    let detail = error.to_string();
    Problem { kind: "event", ..Problem::new(StatusCode::BAD_REQUEST, &detail) }.answer()
}
