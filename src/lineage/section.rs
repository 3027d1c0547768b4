//! The `lineage` section of the configuration: where stamps come from, and where the catalog lies.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::catalog::{Causality, Location};
use super::mlflow::{Client, Credentials};
use super::openlineage;
use crate::tls::BackendTlsConfig;
use crate::units::Period;

/// The catalog's file in the data directory.
pub const CATALOG_FILE: &str = "catalog.db";

/// Who says what stands behind a stamp.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "LineageSource"))]
#[serde(rename_all = "snake_case")]
pub enum SourceKind {
    /// The configuration: what `backends[].models[]` declare.
    #[default]
    Static,
    /// A file of facts, `lineage.file`.
    File,
    /// The catalog: the one here, or that of another Touchmark.
    Catalog,
    /// An MLflow server, whose answers are kept in the catalog here.
    Mlflow,
}

/// The `lineage` section.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "LineageConfig"))]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Who says what stands behind a stamp. A model that it does not know keeps what is declared of it.
    pub source: SourceKind,
    /// The file of facts, such as `touchmark.lineage.yaml`; read again when it changes.
    pub file: Option<PathBuf>,
    /// The admin address of the Touchmark whose catalog is asked; `null`: the one here.
    pub server: Option<String>,
    /// A file with the bearer token for that server; a viewer's is enough.
    pub token_file: Option<PathBuf>,
    /// TLS to that server, where its address begins with `https://`; `null`: by the system's authorities.
    pub tls: Option<BackendTlsConfig>,
    /// The MLflow server that is asked.
    pub mlflow: MlflowConfig,
    /// How the events of pipelines are read.
    pub openlineage: openlineage::Config,
    /// The longest that a change in the source goes unseen.
    pub refresh: Period,
    /// The catalog here.
    pub catalog: CatalogConfig,
}

/// `lineage.mlflow`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct MlflowConfig {
    /// Its address, such as `http://mlflow:5000`.
    pub uri: Option<String>,
    /// A file that holds the bearer token, read when the server is first asked; `null`: the variables of MLflow's own
    /// clients, if they are set.
    pub token_file: Option<PathBuf>,
    /// A file that holds the secret by which the registry's webhooks are signed, read at the start; `null`: none are
    /// taken.
    pub webhook_secret_file: Option<PathBuf>,
}

/// `lineage.catalog`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct CatalogConfig {
    /// A PostgreSQL database, `postgres://…`; `null`: the file `catalog.db` in the data directory.
    pub url: Option<String>,
    /// What to do with an edge that has something used before it was made.
    pub causality: Causality,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            source: SourceKind::default(),
            file: None,
            server: None,
            token_file: None,
            tls: None,
            mlflow: MlflowConfig::default(),
            openlineage: openlineage::Config::default(),
            refresh: Period::millis(10_000),
            catalog: CatalogConfig::default(),
        }
    }
}

impl CatalogConfig {
    /// Where the catalog lies, with the data directory that is in force.
    pub fn location(&self, dir: &Path) -> Location {
        self.url.clone().map_or_else(|| Location::File(dir.join(CATALOG_FILE)), Location::Url)
    }
}

impl Config {
    /// Everything that is wrong by meaning, by key.
    pub fn problems(&self) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        let mut wrong = |key: &str, what: &str| problems.push((key.to_owned(), what.to_owned()));
        match (self.source, &self.file) {
            (SourceKind::File, None) => wrong("lineage.file", "is needed by lineage.source: file"),
            (SourceKind::Static | SourceKind::Catalog | SourceKind::Mlflow, Some(_)) => {
                wrong("lineage.file", "is read by lineage.source: file alone: set that, or leave the file out");
            }
            _ => {}
        }
        if let Some(server) = &self.server {
            if self.source != SourceKind::Catalog {
                wrong("lineage.server", "is asked by lineage.source: catalog alone: set that, or leave the server out");
            }
            if !server.starts_with("http://") && !server.starts_with("https://") {
                wrong("lineage.server", "must begin with http:// or https://");
            }
        }
        let (server, secure) = (self.server.as_deref(), "https://");
        if server.is_none() && self.token_file.is_some() {
            wrong("lineage.token_file", "is for lineage.server alone: set that, or leave the file out");
        }
        if self.tls.is_some() && !server.is_some_and(|server| server.starts_with(secure)) {
            wrong("lineage.tls", "lineage.server does not begin with https://: write that, or remove tls");
        }
        if self.tls.as_ref().is_some_and(|tls| tls.certificate.is_some() != tls.key.is_some()) {
            wrong("lineage.tls.certificate", "certificate and key go together: name both files, or none");
        }
        match (self.source, &self.mlflow.uri) {
            (SourceKind::Mlflow, None) => wrong("lineage.mlflow.uri", "is needed by lineage.source: mlflow"),
            (SourceKind::Mlflow, Some(uri)) => {
                if let Err(error) = Client::new(uri, &Credentials::None) {
                    wrong("lineage.mlflow.uri", &error.to_string());
                }
            }
            _ if self.mlflow != MlflowConfig::default() => {
                wrong("lineage.mlflow", "is asked by lineage.source: mlflow alone: set that, or leave it out");
            }
            _ => {}
        }
        if let Err(error) = openlineage::Rules::new(&self.openlineage) {
            wrong(&error.key, error.what);
        }
        let url = self.catalog.url.as_deref();
        if url.is_some_and(|url| !url.starts_with("postgres://") && !url.starts_with("postgresql://")) {
            wrong("lineage.catalog.url", "must begin with postgres://; leave it out for a file in the data directory");
        }
        problems
    }
}
