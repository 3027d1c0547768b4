//! Walks a registry and records what it says, a version at a time, so that what was recorded before an outage stays.
//!
//! Each version is one batch with its run; what is said of the registered model (aliases, stages, tags) comes last, when
//! its versions are there. Twice is once: the catalog writes only what differs.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::answers::ModelVersion;
use super::report::{Report, Stopped};
use super::walk::{Walk, Wanted};
use super::{Client, MlflowError, Scope};
use crate::lineage::ModelId;
use crate::lineage::catalog::Catalog;

/// Runs of versions that have not changed are looked at again after this time: their tags may have.
const FULL_LOOK: Duration = Duration::from_hours(1);

/// As whom and how to import.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The author of what is recorded.
    pub author: String,
    /// Only say what would be recorded.
    pub dry_run: bool,
    /// Pass over versions that are as they were when this importer last saw them.
    pub skip_unchanged: bool,
}

/// Brings a registry into a catalog.
#[derive(Debug)]
pub struct Importer {
    pub(super) client: Client,
    pub(super) settings: Settings,
    /// Names of experiments by id, where they could be had; they hardly ever change.
    pub(super) experiments: BTreeMap<String, Option<String>>,
    /// What versions were like, by model and number.
    pub(super) seen: BTreeMap<(String, String), u64>,
    /// When runs were last looked at whatever had changed.
    full: Option<Instant>,
}

impl Importer {
    /// Nothing is asked yet.
    pub fn new(client: Client, settings: Settings) -> Self {
        Self { client, settings, experiments: BTreeMap::new(), seen: BTreeMap::new(), full: None }
    }

    /// Records what the registry says of a scope.
    ///
    /// # Errors
    /// Where MLflow or the catalog fails, with what had been recorded until then.
    pub async fn import(&mut self, catalog: &Catalog, scope: &Scope) -> Result<Report, Stopped> {
        if self.full.is_none_or(|full| full.elapsed() >= FULL_LOOK) {
            self.seen.clear();
            self.experiments.clear();
            self.full = Some(Instant::now());
        }
        let skip_unchanged = self.settings.skip_unchanged;
        let mut walk = Walk::new(self, catalog, skip_unchanged);
        match walk.scope(scope).await {
            Ok(()) => Ok(walk.finish()),
            Err(error) => Err(Stopped { report: Box::new(walk.finish()), error }),
        }
    }

    /// Records the versions of a model that a configuration names, by the lineage's name or as `@ALIAS`, and answers
    /// which they are. What the registry does not know is left out.
    ///
    /// # Errors
    /// As [`Self::import`].
    pub async fn resolve(
        &mut self,
        catalog: &Catalog,
        name: &str,
        asked: &BTreeSet<String>,
    ) -> Result<(BTreeMap<String, ModelId>, Report), Stopped> {
        let mut walk = Walk::new(self, catalog, false);
        let resolved = walk.resolve(name, asked).await;
        let report = walk.finish();
        match resolved {
            Ok(resolved) => Ok((resolved, report)),
            Err(MlflowError::Unknown(_)) => Ok((BTreeMap::new(), report)),
            Err(error) => Err(Stopped { report: Box::new(report), error }),
        }
    }
}

impl Walk<'_> {
    async fn scope(&mut self, scope: &Scope) -> Result<(), MlflowError> {
        match scope {
            Scope::All => self.all().await,
            Scope::Model(name) => self.model(name, Wanted::All).await.map(drop),
            Scope::Alias(name, alias) => {
                let version = self.importer.client.by_alias(name, alias).await?;
                self.model(name, Wanted::Some(vec![version])).await.map(drop)
            }
            Scope::Version(name, number) => {
                let version = self.importer.client.version(name, number).await?;
                self.model(name, Wanted::Some(vec![version])).await.map(drop)
            }
        }
    }

    async fn all(&mut self) -> Result<(), MlflowError> {
        let mut page = None;
        for _ in 0..super::walk::PAGES_MAX {
            let found = self.importer.client.registered_models(page.as_deref()).await?;
            for model in &found.items {
                // A list leaves out what a model's own answer says.
                match self.model(&model.name, Wanted::All).await {
                    Err(error) if error.is_of_one() => {
                        self.report.unplaced(format!("registered model '{}'", model.name), error.to_string());
                    }
                    other => drop(other?),
                }
            }
            page = found.next;
            if page.is_none() {
                return Ok(());
            }
        }
        Err(MlflowError::Endless { what: "the registered models".to_owned() })
    }

    async fn resolve(
        &mut self,
        name: &str,
        asked: &BTreeSet<String>,
    ) -> Result<BTreeMap<String, ModelId>, MlflowError> {
        let mut model = self.begin(name).await?;
        let mut listed: Option<Vec<ModelVersion>> = None;
        let mut resolved = BTreeMap::new();
        for one in asked {
            let number = match one.strip_prefix('@') {
                Some(alias) => match model.registered.aliases.iter().find(|known| known.alias == alias) {
                    Some(known) => known.version.clone(),
                    None => continue,
                },
                None => model.names.number(one).unwrap_or(one).to_owned(),
            };
            let found = if number.bytes().all(|byte| byte.is_ascii_digit()) {
                match self.importer.client.version(name, &number).await {
                    Err(MlflowError::Unknown(_)) => None,
                    other => Some(other?),
                }
            } else {
                if listed.is_none() {
                    listed = Some(self.versions_of(name).await?);
                }
                self.called(&mut model, listed.as_deref().unwrap_or_default(), one).await?
            };
            let Some(version) = found else { continue };
            let Some(id) = self.version(&mut model, &version).await? else { continue };
            if one.starts_with('@') || id.version == *one {
                resolved.insert(one.clone(), id);
            }
        }
        self.end(model, None).await?;
        Ok(resolved)
    }
}
