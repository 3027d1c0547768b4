//! Models that answered and that the graph does not know.
//!
//! What a call names may come from a client, so their number is bounded; the ledger is not known here: whoever has it
//! gives each prediction to [`Traffic`].

use std::collections::BTreeMap;

use serde::Serialize;

use super::impact::Prediction;
use crate::lineage::catalog::{Catalog, CatalogError, Moment};

/// Models that are told apart; the predictions of others are counted together.
const MODELS_MAX: usize = 10_000;

/// A model in traffic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Untracked {
    /// Its name; none where no call was resolved to a model.
    pub model: Option<String>,
    /// Its version, where one was known.
    pub version: Option<String>,
    /// The deployment that served it.
    pub deployment: String,
    /// Why it is not tracked.
    pub reason: &'static str,
    /// How many predictions.
    pub predictions: u64,
    /// The first and the last of them, RFC 3339.
    pub first: String,
    /// The last of them.
    pub last: String,
}

/// What is counted of one model in one deployment: how many, the first and the last.
type Seen = (u64, String, String);

/// Counts predictions by model and deployment.
#[derive(Debug, Default)]
pub struct Traffic {
    seen: BTreeMap<(Option<String>, Option<String>, String), Seen>,
    more: u64,
}

impl Traffic {
    /// Counts one.
    pub fn take(&mut self, prediction: &Prediction<'_>) {
        let key = (
            prediction.model.map(str::to_owned),
            prediction.version.map(str::to_owned),
            prediction.deployment.to_owned(),
        );
        if self.seen.len() >= MODELS_MAX && !self.seen.contains_key(&key) {
            self.more += 1;
            return;
        }
        let seen = self.seen.entry(key).or_insert_with(|| (0, prediction.time.to_owned(), String::new()));
        seen.0 += 1;
        // Entries of several calls may stand in another order than they began in.
        if *prediction.time < *seen.1 {
            prediction.time.clone_into(&mut seen.1);
        }
        if *prediction.time > *seen.2 {
            prediction.time.clone_into(&mut seen.2);
        }
    }

    /// Predictions of models beyond those that are told apart.
    pub fn more(&self) -> u64 {
        self.more
    }

    /// What the catalog does not know of what was counted.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn untracked(&self, catalog: &Catalog, moment: Moment) -> Result<Vec<Untracked>, CatalogError> {
        let mut found = Vec::new();
        for ((model, version, deployment), (predictions, first, last)) in &self.seen {
            let reason = match (model, version) {
                (Some(model), Some(version)) => {
                    if catalog.node(&format!("model:{model}@{version}"), moment).await?.is_some() {
                        continue;
                    }
                    "not in the catalog"
                }
                (Some(_), None) => "no version known",
                (None, _) => "no model known",
            };
            found.push(Untracked {
                model: model.clone(),
                version: version.clone(),
                deployment: deployment.clone(),
                reason,
                predictions: *predictions,
                first: first.clone(),
                last: last.clone(),
            });
        }
        Ok(found)
    }
}
