//! What a lineage document says, as types: the `document` of a `lineage` entry.
//!
//! Members that are not known are absent. There are no floats, since their text differs between writers:
//! parameters and seeds are kept as the text that was declared. Nothing here changes from one load to the next
//! unless the lineage does, so that the digest stays the same.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A whole document, in the order in which it is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// The model version that this is about.
    pub model: Model,
    /// What it was made from, in the declared order.
    pub datasets: Vec<Dataset>,
    /// The models that its run began with, `NAME@VERSION`: what it was fine-tuned, quantised or put together from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bases: Vec<String>,
    /// The run that made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<Run>,
    /// Whether it could be made again.
    pub reproducible: Reproducible,
    /// Who said all this.
    pub source: Source,
}

/// A model version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Model {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Where its files lie.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
    /// The digest of its files, `sha256:…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

/// A dataset version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dataset {
    /// The namespace of its name, such as `s3://lake`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// What it was used for.
    #[serde(default)]
    pub role: Role,
    /// Where its files lie.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
    /// The digest of its files, `sha256:…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// How many records it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub records: Option<u64>,
}

/// What a dataset was used for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The model was fitted to it. Only these are stamped.
    #[default]
    Training,
    /// Choices were made by it.
    Validation,
    /// The model was measured by it.
    Test,
}

/// A training run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Its id; `run:ID`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The code that ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Code>,
    /// The parameters that it was given, by name, as text.
    #[serde(default)]
    pub parameters: BTreeMap<String, String>,
    /// The random seeds, by what they seed, as text.
    #[serde(default)]
    pub seeds: BTreeMap<String, String>,
    /// What it ran in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<Environment>,
    /// The digest of the script that ran, `sha256:…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub script_digest: Option<String>,
}

/// The code of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Code {
    /// The repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repo: Option<String>,
    /// The commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// Whether the work tree had changes that the commit has not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dirty: Option<bool>,
}

/// What a run ran in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    /// The container image, by digest where it is pinned: `NAME@sha256:…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The digest of the lock file of its packages, `sha256:…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock_digest: Option<String>,
    /// Processors and accelerators.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hardware: Option<String>,
}

/// Whether a model could be made again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reproducible {
    /// True once every check has passed; `X-Reproducible`.
    pub verdict: bool,
    /// The checks that have not, by name.
    pub missing: Vec<String>,
}

/// Who said what stands in a document.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The configuration.
    #[default]
    Static,
    /// A file of facts.
    File,
    /// The catalog.
    Catalog,
    /// An MLflow server; its answers lie in the catalog.
    Mlflow,
}
