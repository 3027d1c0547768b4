//! The MLflow server that stamps come from: asked for what the configuration names, and for all else of those models.
//!
//! What it says goes into the catalog, and what is stamped is the catalog's document of the version that MLflow names: so
//! the stamp, and what is later asked of the graph, are one. Which version that is, MLflow alone says.

use std::collections::{BTreeMap, BTreeSet};

use tokio::sync::Mutex;

use super::lineage::{Asked, Known};
use crate::config::Config;
use crate::lineage::ask::content_of;
use crate::lineage::catalog::{Catalog, Moment, Opening};
use crate::lineage::mlflow::{Client, Credentials, Importer, MlflowError, Report, Scope, Settings, Unplaced};
use crate::lineage::{MlflowConfig, Source};

/// Findings that are remembered, so that each is told once.
const TOLD_MAX: usize = 10_000;

/// The server, and what was seen of it. One question at a time.
#[derive(Debug, Default)]
pub(super) struct Registry(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// For the configuration that it was made of.
    importer: Option<(MlflowConfig, Importer)>,
    told: BTreeSet<Unplaced>,
}

impl Registry {
    /// What stands behind the versions and aliases that are asked for. A model that these credentials may not read keeps
    /// what was known `before`.
    pub(super) async fn known(
        &self,
        config: &Config,
        opening: &Opening,
        asked: &BTreeSet<Asked>,
        before: &Known,
    ) -> Result<Known, String> {
        let catalog = opening.get()?;
        let mut inner = self.0.lock().await;
        let mut known = Known::new();
        for (name, versions) in by_name(asked) {
            let resolved = inner.importer(config)?.resolve(catalog, &name, &versions).await;
            match resolved {
                Ok((resolved, report)) => {
                    inner.tell(&report);
                    for (version, id) in resolved {
                        let content = content_of(catalog, &id, Moment::NOW).await.map_err(|error| error.to_string())?;
                        known.extend(content.map(|mut content| {
                            content.source = Source::Mlflow;
                            (format!("{name}@{version}"), content)
                        }));
                    }
                }
                Err(stopped) if stopped.error.is_of_one() => {
                    tracing::warn!(model = name, error = %stopped.error, "what was last known of the model stands");
                    let keys = versions.iter().map(|version| format!("{name}@{version}"));
                    known.extend(keys.filter_map(|key| Some((key.clone(), before.get(&key)?.clone()))));
                }
                Err(stopped) => return Err(stopped.error.to_string()),
            }
        }
        Ok(known)
    }

    /// Brings all versions of the models that are asked for into the catalog, as far as they have changed.
    pub(super) async fn import(&self, config: &Config, catalog: &Catalog, asked: &BTreeSet<Asked>) {
        let mut inner = self.0.lock().await;
        for (name, _) in by_name(asked) {
            let imported = match inner.importer(config) {
                Ok(importer) => importer.import(catalog, &Scope::Model(name.clone())).await,
                Err(error) => return tracing::warn!(error, "MLflow cannot be asked"),
            };
            match imported {
                Ok(report) => inner.tell(&report),
                // What it does not know, it has said before.
                Err(stopped) if matches!(stopped.error, MlflowError::Unknown(_)) => {}
                Err(stopped) => {
                    inner.tell(&stopped.report);
                    tracing::warn!(model = name, error = %stopped.error, "the model was not imported whole");
                }
            }
        }
    }
}

impl Inner {
    fn importer(&mut self, config: &Config) -> Result<&mut Importer, String> {
        let mlflow = &config.lineage.mlflow;
        let old = self.importer.take().filter(|(made_of, _)| made_of == mlflow);
        let importer = match old {
            Some((_, importer)) => importer,
            None => importer(mlflow, &config.deployment.name)?,
        };
        Ok(&mut self.importer.insert((mlflow.clone(), importer)).1)
    }

    /// Logs what is new, and each finding once.
    fn tell(&mut self, report: &Report) {
        if report.is_news() {
            tracing::info!(server = report.server, "MLflow: {report}");
        }
        for finding in &report.unplaced {
            if self.told.len() < TOLD_MAX && self.told.insert(finding.clone()) {
                tracing::warn!(what = finding.what, why = finding.why, "MLflow says what has no place in the lineage");
            }
        }
    }
}

fn importer(config: &MlflowConfig, deployment: &str) -> Result<Importer, String> {
    let uri = config.uri.as_deref().unwrap_or_default();
    let credentials = match &config.token_file {
        Some(file) => Credentials::file(file).map_err(|error| format!("{}: {error}", file.display()))?,
        None => Credentials::find(|name| std::env::var(name).ok()),
    };
    let client = Client::new(uri, &credentials).map_err(|error| error.to_string())?;
    Ok(Importer::new(client, Settings { author: deployment.to_owned(), dry_run: false, skip_unchanged: true }))
}

fn by_name(asked: &BTreeSet<Asked>) -> BTreeMap<String, BTreeSet<String>> {
    let mut by_name: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (name, version) in asked {
        by_name.entry(name.clone()).or_default().insert(version.clone());
    }
    by_name
}
