//! What the configuration may declare of a model's lineage.
//!
//! The types follow the document's ([`super::Content`]) and add only what makes them easy to write: a dataset may
//! be a string. A value that is wrong by meaning is found by [`super::resolve()`].

use std::collections::BTreeMap;
use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::{Dataset, DatasetId, Role};

/// What is declared of one model version's lineage.
#[derive(Clone, Copy, Debug)]
pub struct Declared<'a> {
    /// The model's name.
    pub name: &'a str,
    /// The model's version.
    pub version: &'a str,
    /// Where its files lie.
    pub uri: Option<&'a str>,
    /// The digest of its files.
    pub digest: Option<&'a str>,
    /// What it was made from.
    pub datasets: &'a [DatasetConfig],
    /// The run that made it.
    pub run: Option<&'a RunConfig>,
}

/// `datasets[]`: `[NAMESPACE/]NAME@VERSION`, or a mapping that says more.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DatasetConfig {
    /// The namespace of its name, such as `s3://lake`.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// What it was used for.
    pub role: Role,
    /// Where its files lie.
    pub uri: Option<String>,
    /// The digest of its files, `sha256:` and 64 hexadecimal digits.
    pub digest: Option<String>,
    /// How many records it has.
    pub records: Option<u64>,
}

/// `run`: the training run that made a model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct RunConfig {
    /// Its id; `run:ID`.
    pub id: Option<String>,
    /// The code that ran.
    pub code: CodeConfig,
    /// The parameters that it was given, by name. Numbers are kept as they are written here.
    pub parameters: BTreeMap<String, String>,
    /// The random seeds, by what they seed. Numbers are kept as they are written here.
    pub seeds: BTreeMap<String, String>,
    /// What it ran in.
    pub environment: EnvironmentConfig,
}

/// `run.code`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct CodeConfig {
    /// The repository.
    pub repo: Option<String>,
    /// The commit.
    pub commit: Option<String>,
    /// Whether the work tree had changes that the commit has not.
    pub dirty: Option<bool>,
}

/// `run.environment`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct EnvironmentConfig {
    /// The container image, by digest where it is pinned: `NAME@sha256:…`.
    pub image: Option<String>,
    /// The digest of the lock file of its packages, `sha256:` and 64 hexadecimal digits.
    pub lock_digest: Option<String>,
}

impl From<DatasetId> for DatasetConfig {
    fn from(id: DatasetId) -> Self {
        Self { namespace: id.namespace, name: id.name, version: id.version, ..Self::default() }
    }
}

impl DatasetConfig {
    /// The dataset as a document has it.
    pub fn content(&self) -> Dataset {
        Dataset {
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            version: self.version.clone(),
            role: self.role,
            uri: self.uri.clone(),
            digest: self.digest.clone(),
            records: self.records,
        }
    }
}

/// The mapping form: the document's keys.
#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct DatasetMapping {
    /// The namespace of its name, such as `s3://lake`.
    #[serde(default)]
    namespace: Option<String>,
    /// Its name.
    name: String,
    /// Its version.
    version: String,
    /// What it was used for.
    #[serde(default)]
    role: Role,
    /// Where its files lie.
    #[serde(default)]
    uri: Option<String>,
    /// The digest of its files, `sha256:` and 64 hexadecimal digits.
    #[serde(default)]
    digest: Option<String>,
    /// How many records it has.
    #[serde(default)]
    records: Option<u64>,
}

impl<'de> Deserialize<'de> for DatasetConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DatasetVisitor)
    }
}

/// Written by hand, since an untagged enum would lose what exactly is wrong, and turn `1.10` into `1.1`.
struct DatasetVisitor;

impl<'de> Visitor<'de> for DatasetVisitor {
    type Value = DatasetConfig;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[NAMESPACE/]NAME@VERSION or a mapping with name and version")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<DatasetConfig, E> {
        text.parse::<DatasetId>().map(DatasetConfig::from).map_err(E::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<DatasetConfig, A::Error> {
        let DatasetMapping { namespace, name, version, role, uri, digest, records } =
            DatasetMapping::deserialize(MapAccessDeserializer::new(map))?;
        Ok(DatasetConfig { namespace, name, version, role, uri, digest, records })
    }
}
