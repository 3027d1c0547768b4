//! The graph behind the demo's stamps: recorded before the proxy starts, which stamps what it says, and asked afterwards.
//!
//! Each file in it is there, with the digest that the graph gives; each run took place, in this process.

use std::path::Path;

use serde::Serialize;
use tokio::runtime::{Builder, Runtime};

use super::versions::{MODEL, Version};
use super::{DemoError, Found, data};
use crate::lineage::ask::{self, Diff, NameError, Prediction, Question, Row, Share, Tally};
use crate::lineage::catalog::{Catalog, Causality, Direction, Location, Moment};
use crate::lineage::{CATALOG_FILE, DatasetFact, Facts, ModelId, RunFact, RunKind, Stage, Used, reproducible};

/// Who says it all.
const AUTHOR: &str = "demo";
/// What stands on the way from a model back to raw data.
const WAY: [&str; 3] = ["model", "run", "dataset"];

/// What the graph answers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GraphFacts {
    /// From the model of the first prediction that was found back to raw data: identities, with how many steps away.
    pub back: Vec<(u32, String)>,
    /// What changed between the two versions.
    pub diff: Diff,
    /// The dataset in doubt, and the predictions that hang on it.
    pub impact: ImpactFacts,
    /// How many models and datasets lead back to where they came from.
    pub complete: Share,
}

/// The recall report.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ImpactFacts {
    /// The dataset.
    pub of: String,
    /// The models that learned from it.
    pub models: Vec<String>,
    /// Their predictions, by model and day.
    pub predictions: Vec<Row>,
}

/// The catalog in the demo's directory, and something to wait with.
#[derive(Debug)]
pub(super) struct Graph {
    runtime: Runtime,
    location: Location,
}

impl Graph {
    pub(super) fn new(dir: &Path) -> Result<Self, DemoError> {
        let runtime = Builder::new_current_thread().enable_all().build().map_err(DemoError::Server)?;
        Ok(Self { runtime, location: Location::File(dir.join(CATALOG_FILE)) })
    }

    /// Records where both versions come from, and tells each what its lineage lacks.
    pub(super) fn record(
        &self,
        files: &Path,
        versions: &mut [Version],
        program: Option<&str>,
    ) -> Result<(), DemoError> {
        let mut facts = raw(files).map_err(|source| DemoError::Files { path: files.to_owned(), source })?;
        for version in versions.iter() {
            version.describe(program, &mut facts);
        }
        let batch = facts.batch(AUTHOR, AUTHOR).map_err(|error| DemoError::Lineage(error.to_string()))?;
        self.with(async |catalog| {
            catalog.record(&batch).await?;
            for version in versions {
                version.facts.missing = missing(catalog, version.facts.version).await?;
            }
            Ok(())
        })
    }

    /// What it answers about the predictions that were made.
    pub(super) fn ask(&self, versions: &[Version], found: &[Found]) -> Result<GraphFacts, DemoError> {
        let dataset = versions.first().map(|version| format!("dataset:{}", version.facts.dataset)).unwrap_or_default();
        let models: Vec<String> =
            versions.iter().map(|version| format!("model:{MODEL}@{}", version.facts.version)).collect();
        let [before, after] = models.as_slice() else { return Err(DemoError::Lineage("two versions".to_owned())) };
        self.with(async |catalog| {
            let node = async |id: &str| ask::find(catalog, id, Moment::NOW).await;
            let (before, after) = (node(before).await?, node(after).await?);
            let question = Question { kinds: WAY.map(str::to_owned).to_vec(), ..Question::new(Direction::Upstream) };
            let way = ask::reach(catalog, &before, &question).await?;
            let range = (Moment::of_change(0), Moment::NOW);
            let impact = ask::impact(catalog, &node(&dataset).await?, Moment::NOW, range).await?;
            let mut tally = Tally::new(&impact);
            for found in found {
                let dataset = [found.text("/datasets/0")];
                let text = |pointer| Some(found.text(pointer)).filter(|text| !text.is_empty());
                tally.take(&Prediction {
                    time: found.text("/time"),
                    deployment: found.text("/deployment"),
                    model: text("/model"),
                    version: text("/version"),
                    datasets: &dataset,
                });
            }
            Ok(GraphFacts {
                back: way.nodes.iter().map(|reached| (reached.depth, reached.node.identity.clone())).collect(),
                diff: ask::diff(catalog, (&before, Moment::NOW), (&after, Moment::NOW)).await?,
                impact: ImpactFacts {
                    of: dataset.clone(),
                    models: impact.models.iter().map(|model| model.id.clone()).collect(),
                    predictions: tally.rows(),
                },
                complete: ask::completeness(catalog, Moment::NOW).await?.all,
            })
        })
    }

    fn with<T>(&self, work: impl AsyncFnOnce(&Catalog) -> Result<T, NameError>) -> Result<T, DemoError> {
        let done = self.runtime.block_on(async {
            let catalog = Catalog::open(&self.location, Causality::Refuse).await?;
            let done = work(&catalog).await;
            catalog.close().await;
            done
        });
        done.map_err(|error| DemoError::Lineage(error.to_string()))
    }
}

/// The seasons' raw payments, as files, and the runs that made datasets of them.
fn raw(files: &Path) -> std::io::Result<Facts> {
    let mut facts = Facts::default();
    for raw in data::raw() {
        let file = super::versions::file(files, &raw)?;
        facts.datasets.push(DatasetFact { stage: Some(Stage::Raw), ..file });
    }
    for dataset in [data::Dataset::v1(), data::Dataset::v2()] {
        let inputs = dataset.seasons.iter().map(|season| Used { id: format!("dataset:{season}"), role: String::new() });
        facts.runs.push(RunFact {
            id: format!("prepare-{}", dataset.version),
            kind: RunKind::Transformation,
            inputs: inputs.collect(),
            outputs: vec![format!("dataset:{}@{}", dataset.name, dataset.version)],
            ..RunFact::default()
        });
    }
    Ok(facts)
}

/// Which checks the lineage of a version does not pass.
async fn missing(catalog: &Catalog, version: &str) -> Result<Vec<String>, NameError> {
    let Ok(id) = ModelId::new(MODEL, version) else { return Ok(Vec::new()) };
    let content = ask::content_of(catalog, &id, Moment::NOW).await?;
    Ok(content.map(|content| reproducible(&content).missing).unwrap_or_default())
}
