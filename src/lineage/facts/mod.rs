//! What people and tools say about datasets, runs, models and deployments, as types.
//!
//! `touchmark.lineage.yaml`, the command line and the importers all speak [`Facts`]. How they lie in the graph is
//! `batch`'s to say. It knows no database.

mod batch;
mod content;
mod parse;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use parse::FactsError;

use super::Code;
use super::catalog::{State, Value, names};
use crate::sha256::{self, Sha256};

/// Several things at once, to be recorded together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Facts {
    /// Dataset versions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub datasets: Vec<DatasetFact>,
    /// Runs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub runs: Vec<RunFact>,
    /// Model versions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<ModelFact>,
    /// Container images.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<ImageFact>,
    /// Deployments.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deployments: Vec<DeploymentFact>,
}

/// What can be said of anything.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct About {
    /// Who answers for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Tags by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// Anything else, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub properties: BTreeMap<String, Value>,
}

/// What a dataset version is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// As it came in.
    Raw,
    /// Made of others.
    Prepared,
    /// What a model sees.
    Features,
}

/// A dataset version.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DatasetFact {
    /// `[NAMESPACE/]NAME@VERSION`
    pub id: String,
    /// Where its files lie.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
    /// The digest of its files, `sha256:…`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// A digest that does not tell two datasets apart for certain, such as MLflow's; shown, never believed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weak_digest: Option<String>,
    /// How many records it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub records: Option<u64>,
    /// Raw, prepared or features.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage: Option<Stage>,
    /// Owner, tags and the rest.
    #[serde(flatten)]
    pub about: About,
}

/// What a run did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunKind {
    /// Nobody has said.
    #[default]
    Run,
    /// Data came in.
    Ingestion,
    /// Data was made of data.
    Transformation,
    /// A model was made.
    Training,
    /// A model was measured.
    Evaluation,
    /// A model was put into an image.
    Packaging,
    /// Somebody said that a model may go out.
    Approval,
}

impl RunKind {
    /// The name of its type in the graph.
    pub fn type_name(self) -> &'static str {
        match self {
            Self::Run => names::RUN,
            Self::Ingestion => names::INGESTION,
            Self::Transformation => names::TRANSFORMATION,
            Self::Training => names::TRAINING,
            Self::Evaluation => names::EVALUATION,
            Self::Packaging => names::PACKAGING,
            Self::Approval => names::APPROVAL,
        }
    }
}

/// The environment of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EnvironmentFact {
    /// The container image, by digest where it is pinned: `NAME@sha256:…`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The digest of the lock file of its packages, `sha256:…`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lock_digest: Option<String>,
    /// The version of Python, where it was Python.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub python: Option<String>,
    /// Processors and accelerators.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hardware: Option<String>,
    /// Packages by name, with their versions.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub packages: BTreeMap<String, String>,
}

impl EnvironmentFact {
    /// The digest of packages that are pinned one by one: of `NAME==VERSION` and a line feed for each, by name.
    pub fn digest_of(packages: &BTreeMap<String, String>) -> String {
        let mut hash = Sha256::new();
        for (name, version) in packages {
            hash.update(format!("{name}=={version}\n"));
        }
        sha256::named(hash.finish())
    }
}

/// What a run used: `{dataset: …, role: training}` or `{model: …, role: base}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Used {
    /// `dataset:[NAMESPACE/]NAME@VERSION`, `model:NAME@VERSION` and so on.
    pub id: String,
    /// `training`, `validation`, `test`, `base`; empty where none is said.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub role: String,
}

/// A run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunFact {
    /// Its id; `run:ID`.
    pub id: String,
    /// What it did.
    pub kind: RunKind,
    /// What people call it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// When it began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<jiff::Timestamp>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<jiff::Timestamp>,
    /// How it stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
    /// The command that ran.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// The digest of the script that ran, `sha256:…`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub script_digest: Option<String>,
    /// Who or what began it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub triggered_by: Option<String>,
    /// The code that ran.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<Code>,
    /// What it ran in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment: Option<EnvironmentFact>,
    /// The parameters that it was given, as text.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, String>,
    /// The random seeds, by what they seed, as text.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub seeds: BTreeMap<String, String>,
    /// The figures that it gave.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metrics: BTreeMap<String, f64>,
    /// What it used.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<Used>,
    /// What it made: identities.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<String>,
    /// The experiment that it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub experiment: Option<String>,
    /// The pipeline that it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pipeline: Option<String>,
    /// Owner, tags and the rest.
    #[serde(flatten)]
    pub about: About,
}

/// A model version.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ModelFact {
    /// `NAME@VERSION`
    pub id: String,
    /// Where its files lie.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
    /// The digest of its files, `sha256:…`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// How it came of the model that its run began with: `fine-tuned`, `quantised`, `pruned`, `distilled`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub derivation: Option<String>,
    /// How it stands: `live`, or `deleted` once it is archived.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
    /// The aliases that name it now. What another version had goes over to it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// The registry's stage that it is in: `Staging`, `Production`, `Archived`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// Owner, tags and the rest.
    #[serde(flatten)]
    pub about: About,
}

/// A container image.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageFact {
    /// `NAME@sha256:…`
    pub id: String,
    /// Owner, tags and the rest.
    #[serde(flatten)]
    pub about: About,
}

/// A deployment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeploymentFact {
    /// Its name; `deployment:NAME`.
    pub name: String,
    /// The models that it serves: `NAME@VERSION`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<String>,
    /// The image that it runs: `NAME@sha256:…`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// When it began to serve.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<jiff::Timestamp>,
    /// When it stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<jiff::Timestamp>,
    /// Owner, tags and the rest.
    #[serde(flatten)]
    pub about: About,
}
