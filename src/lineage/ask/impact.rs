//! What hangs on something: the models made from it, the deployments that serve them now and served them then, and the
//! predictions that they made. The recall report.
//!
//! Predictions stand in the ledger, which is not known here: whoever has it gives each to a [`Tally`].

use std::collections::{BTreeMap, BTreeSet, HashSet};

use serde::Serialize;
use serde::ser::{SerializeStruct as _, Serializer};

use crate::lineage::catalog::{Catalog, CatalogError, Direction, Moment, Node, names};

/// Nodes that may hang on one, far more than anybody reads; the answer says where there are more.
const NODES_MAX: usize = 200_000;
/// Rows of a tally. Beyond them predictions are still counted, in the row of the rest.
const ROWS_MAX: usize = 100_000;

/// A model that something went into.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Affected {
    /// `model:NAME@VERSION`
    pub id: String,
    /// Who answers for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Steps to it.
    pub depth: u32,
}

/// That a deployment serves or served one of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Serving {
    /// `deployment:NAME`
    pub deployment: String,
    /// The model.
    pub model: String,
    /// From when on, as recorded.
    pub since: jiff::Timestamp,
    /// Until when; none where it serves it now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<jiff::Timestamp>,
}

/// What the graph knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Impact {
    /// What it hangs on.
    pub of: String,
    /// Models, nearest first.
    pub models: Vec<Affected>,
    /// Datasets that were made from it, itself among them, where it is one.
    pub datasets: Vec<String>,
    /// Deployments, in the order in which they were recorded.
    pub deployments: Vec<Serving>,
    /// Whether there is more than can be told.
    pub truncated: bool,
}

impl Impact {
    /// The models and the datasets as predictions name them, without their kinds.
    pub fn versions(&self) -> (BTreeSet<String>, BTreeSet<String>) {
        let bare = |id: &str| id.split_once(':').map_or(id, |(_, rest)| rest).to_owned();
        let models = self.models.iter().map(|model| bare(&model.id)).collect();
        (models, self.datasets.iter().map(|id| bare(id)).collect())
    }
}

/// What hangs on a node: the graph as of a moment, and who served between two.
///
/// # Errors
/// Where the database fails.
pub async fn impact(
    catalog: &Catalog,
    of: &Node,
    at: Moment,
    (from, to): (Moment, Moment),
) -> Result<Impact, CatalogError> {
    let graph = catalog.walk(&[of.id], Direction::Downstream, u32::MAX, NODES_MAX, at).await?;
    let is = |type_name: &'static str| graph.nodes.iter().filter(move |reached| reached.node.type_name == type_name);
    let models: Vec<_> = is(names::MODEL).collect();
    let ids: Vec<i64> = models.iter().map(|reached| reached.node.id).collect();
    let held = catalog.held(&ids, Direction::Downstream, from, to).await?;
    let users: Vec<i64> = held.iter().map(|held| held.edge.target).collect::<HashSet<_>>().into_iter().collect();
    let users = catalog.nodes(&users, Moment::NOW).await?;
    let deployments = held.iter().filter_map(|held| {
        let deployment = users.iter().find(|user| user.id == held.edge.target)?;
        let model = models.iter().find(|reached| reached.node.id == held.edge.source)?;
        (deployment.type_name == names::DEPLOYMENT).then(|| Serving {
            deployment: deployment.identity.clone(),
            model: model.node.identity.clone(),
            since: held.since,
            until: held.until.or_else(|| deployment.text("end").and_then(|end| end.parse().ok())),
        })
    });
    Ok(Impact {
        of: of.identity.clone(),
        deployments: deployments.collect(),
        datasets: is(names::DATASET).map(|reached| reached.node.identity.clone()).collect(),
        models: models
            .iter()
            .map(|reached| Affected {
                id: reached.node.identity.clone(),
                owner: reached.node.text("owner").map(str::to_owned),
                depth: reached.depth,
            })
            .collect(),
        truncated: graph.truncated,
    })
}

/// A prediction, as far as it matters here.
#[derive(Clone, Copy, Debug)]
pub struct Prediction<'a> {
    /// RFC 3339, UTC.
    pub time: &'a str,
    /// The deployment's name.
    pub deployment: &'a str,
    /// The model's name, where one is known.
    pub model: Option<&'a str>,
    /// The model's version, where one is known.
    pub version: Option<&'a str>,
    /// The training datasets that it was stamped with, `[NAMESPACE/]NAME@VERSION`.
    pub datasets: &'a [&'a str],
}

/// Predictions of one model by one deployment on one day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// `model:NAME@VERSION`
    pub model: String,
    /// `deployment:NAME`
    pub deployment: String,
    /// The day in UTC, `2026-11-20`.
    pub day: String,
    /// How many.
    pub predictions: u64,
}

/// Counts the predictions that hang on something.
#[derive(Debug)]
pub struct Tally {
    models: HashSet<String>,
    datasets: HashSet<String>,
    rows: BTreeMap<(String, String, String), u64>,
    total: u64,
}

impl Tally {
    /// A tally of what the graph says is affected. A prediction also counts where its own stamp names such a dataset,
    /// whether or not the graph knows its model.
    pub fn new(impact: &Impact) -> Self {
        let bare = |ids: &mut dyn Iterator<Item = &String>, kind: &str| -> HashSet<String> {
            ids.filter_map(|id| id.strip_prefix(kind)).map(str::to_owned).collect()
        };
        Self {
            models: bare(&mut impact.models.iter().map(|model| &model.id), "model:"),
            datasets: bare(&mut impact.datasets.iter(), "dataset:"),
            rows: BTreeMap::new(),
            total: 0,
        }
    }

    /// Counts one, where it is affected. Whether it is.
    pub fn take(&mut self, prediction: &Prediction<'_>) -> bool {
        let model = match (prediction.model, prediction.version) {
            (Some(model), Some(version)) => format!("{model}@{version}"),
            (Some(model), None) => model.to_owned(),
            _ => String::from("unresolved"),
        };
        let affected =
            self.models.contains(&model) || prediction.datasets.iter().any(|dataset| self.datasets.contains(*dataset));
        if affected {
            self.total += 1;
            let day = prediction.time.get(..10).unwrap_or(prediction.time).to_owned();
            let key = (format!("model:{model}"), format!("deployment:{}", prediction.deployment), day);
            let key = if self.rows.len() < ROWS_MAX || self.rows.contains_key(&key) { key } else { rest() };
            *self.rows.entry(key).or_default() += 1;
        }
        affected
    }

    /// How many in all.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Counts by model, deployment and day.
    pub fn rows(&self) -> Vec<Row> {
        let row = |((model, deployment, day), predictions): (&(String, String, String), &u64)| Row {
            model: model.clone(),
            deployment: deployment.clone(),
            day: day.clone(),
            predictions: *predictions,
        };
        self.rows.iter().map(row).collect()
    }
}

/// `{"total": …, "by_day": […]}`.
impl Serialize for Tally {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut counts = serializer.serialize_struct("Tally", 2)?;
        counts.serialize_field("total", &self.total)?;
        counts.serialize_field("by_day", &self.rows())?;
        counts.end()
    }
}

/// Where those are counted that have no row of their own.
fn rest() -> (String, String, String) {
    (String::from("other"), String::from("other"), String::from("other"))
}
