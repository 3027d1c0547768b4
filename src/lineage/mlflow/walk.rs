//! One walk over a registry: what is asked for each model and version, and how the answers become batches.
//!
//! What stands in the way of one version alone (its run was deleted, its name is none) is said and passed over; what
//! stands in the way of all ends the walk.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use super::answers::{ModelVersion, RegisteredModel};
use super::import::Importer;
use super::known::{settle, withdraw, withdraw_named};
use super::mapping::{self, Said};
use super::report::Report;
use super::version::{FIXED, Versions};
use super::{MlflowError, SOURCE};
use crate::lineage::catalog::{Batch, Catalog, Filter, Moment, Node, NodeKind, NodeRecord, NodeRef, State, names};
use crate::lineage::{ModelFact, ModelId};

/// Pages of one list, at most.
pub(super) const PAGES_MAX: usize = 1000;

/// Which versions of a model are walked.
pub(super) enum Wanted {
    All,
    Some(Vec<ModelVersion>),
}

/// A registered model under way.
pub(super) struct Model {
    pub(super) registered: RegisteredModel,
    pub(super) names: Versions,
    /// As the catalog knew it.
    context: Option<Node>,
}

/// A walk and what it found.
pub(super) struct Walk<'a> {
    pub(super) importer: &'a mut Importer,
    pub(super) report: Report,
    /// Pass over versions that are as they were.
    skip_unchanged: bool,
    catalog: &'a Catalog,
    runs: BTreeSet<String>,
    datasets: BTreeSet<String>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(importer: &'a mut Importer, catalog: &'a Catalog, skip_unchanged: bool) -> Self {
        let server = importer.client.server().to_owned();
        let report = Report { server, dry_run: importer.settings.dry_run, ..Report::default() };
        Self { importer, report, skip_unchanged, catalog, runs: BTreeSet::new(), datasets: BTreeSet::new() }
    }

    pub(super) fn finish(&mut self) -> Report {
        self.report.found.runs = self.runs.len();
        self.report.found.datasets = self.datasets.len();
        std::mem::take(&mut self.report)
    }

    /// A model with the versions that are wanted.
    pub(super) async fn model(&mut self, name: &str, wanted: Wanted) -> Result<(), MlflowError> {
        let mut model = self.begin(name).await?;
        let (versions, all) = match wanted {
            Wanted::All => (self.versions_of(name).await?, true),
            Wanted::Some(versions) => (versions, false),
        };
        for version in &versions {
            self.version(&mut model, version).await?;
        }
        self.end(model, all.then_some(&versions[..])).await
    }

    /// Asks for a registered model.
    pub(super) async fn begin(&mut self, name: &str) -> Result<Model, MlflowError> {
        let registered = self.importer.client.registered_model(name).await?;
        self.report.found.models += 1;
        let context = self.catalog.named(names::REGISTERED_MODEL, name, Moment::NOW).await?;
        Ok(Model { registered, names: Versions::of(context.as_ref()), context })
    }

    pub(super) async fn versions_of(&mut self, name: &str) -> Result<Vec<ModelVersion>, MlflowError> {
        self.listed(("name", name)).await
    }

    /// The version that goes by a name of the lineage's.
    pub(super) async fn called(
        &mut self,
        model: &mut Model,
        versions: &[ModelVersion],
        name: &str,
    ) -> Result<Option<ModelVersion>, MlflowError> {
        for version in versions {
            let id = model.names.name(self.catalog, version, &mut self.report).await?;
            if id.is_some_and(|id| id.version == name) {
                return Ok(Some(version.clone()));
            }
        }
        Ok(None)
    }

    /// Records a version with its run. `None` where it could not be placed.
    pub(super) async fn version(
        &mut self,
        model: &mut Model,
        version: &ModelVersion,
    ) -> Result<Option<ModelId>, MlflowError> {
        self.report.found.versions += 1;
        let Some(id) = model.names.name(self.catalog, version, &mut self.report).await? else { return Ok(None) };
        let key = (version.name.clone(), version.version.clone());
        let mut hasher = DefaultHasher::new();
        version.hash(&mut hasher);
        let print = hasher.finish();
        if self.skip_unchanged && self.importer.seen.get(&key) == Some(&print) {
            self.report.found.unchanged += 1;
            return Ok(Some(id));
        }
        let around = self.around(version).await?;
        let placed = mapping::place(&Said {
            id: &id,
            version,
            registered: &model.registered,
            run: around.run.as_ref(),
            logged: around.logged.as_ref(),
            experiment: around.experiment.as_deref(),
            siblings: &around.siblings,
            server: self.importer.client.server(),
        });
        let mut facts = placed.facts;
        let identity = format!("model:{id}");
        if let Some(why) = another(self.catalog, &identity, &facts.models[0]).await? {
            self.report.unplaced(format!("version {} of '{}'", version.version, version.name), why);
            return Ok(None);
        }
        for finding in placed.unplaced {
            self.report.unplaced(finding.what, finding.why);
        }
        settle(self.catalog, &mut facts, &mut self.report).await?;
        self.runs.extend(facts.runs.iter().map(|run| run.id.clone()));
        self.datasets.extend(facts.datasets.iter().map(|dataset| dataset.id.clone()));
        let mut batch = match facts.batch(&self.importer.settings.author, SOURCE) {
            Ok(batch) => batch,
            Err(error) => {
                self.report.unplaced(identity, error.to_string());
                return Ok(None);
            }
        };
        if let Some(name) = model.names.fresh.get(&version.version) {
            // In one change with the version: it must never be there under another name.
            batch.nodes.push(registered(&version.name).with(&format!("{FIXED}{}", version.version), name.clone()));
        }
        for run in &facts.runs {
            withdraw_named(self.catalog, &mut batch, &format!("run:{}", run.id)).await?;
        }
        withdraw_named(self.catalog, &mut batch, &identity).await?;
        if !self.record(&batch, &identity).await? {
            return Ok(None);
        }
        self.importer.seen.insert(key, print);
        Ok(Some(id))
    }

    /// Records what is said of a registered model, and of versions that are no longer there, where `all` are known.
    pub(super) async fn end(&mut self, model: Model, all: Option<&[ModelVersion]>) -> Result<(), MlflowError> {
        let name = model.registered.name.as_str();
        let mut versions = BTreeMap::new();
        let moving = model.registered.aliases.iter().map(|alias| &alias.version);
        for number in moving.chain(model.registered.latest_versions.iter().map(|version| &version.version)) {
            let known = if let Some(known) = model.names.known(number) {
                Some(known.to_owned())
            } else {
                let node = self.catalog.node(&format!("model:{name}@{number}"), Moment::NOW).await?;
                node.filter(|node| node.text("mlflow.version") == Some(number)).map(|_| number.clone())
            };
            versions.extend(known.map(|known| (number.as_str(), known)));
        }
        let (record, unplaced) = mapping::registered(&model.registered, &versions, self.importer.client.server());
        for finding in unplaced {
            self.report.unplaced(finding.what, finding.why);
        }
        let mut batch = Batch { author: self.importer.settings.author.clone(), ..Batch::default() };
        SOURCE.clone_into(&mut batch.source);
        let reference = record.node.clone();
        batch.nodes.push(record);
        if let Some(context) = &model.context {
            withdraw(self.catalog, &mut batch, context, &reference, Some(FIXED)).await?;
            if let Some(all) = all {
                self.gone(context, all, &mut batch).await?;
            }
        }
        self.record(&batch, &format!("registered model '{name}'")).await.map(drop)
    }

    /// Adds that versions were deleted in MLflow.
    async fn gone(&mut self, context: &Node, all: &[ModelVersion], batch: &mut Batch) -> Result<(), MlflowError> {
        let there: BTreeSet<&str> = all.iter().map(|version| version.version.as_str()).collect();
        let mut filter = Filter { context: Some(context.id), kind: Some(NodeKind::Artifact), ..Filter::default() };
        loop {
            let page = self.catalog.search(&filter, Moment::NOW).await?;
            for node in page.nodes {
                let gone = node.text("mlflow.version").is_some_and(|number| !there.contains(number));
                if gone && node.text("mlflow.server") == Some(self.importer.client.server()) {
                    let mut record = NodeRecord::new(&node.type_name, NodeRef::Identity(node.identity));
                    record.state = Some(State::Deleted);
                    batch.nodes.push(record);
                }
            }
            filter.after = page.next;
            if page.next.is_none() {
                return Ok(());
            }
        }
    }

    /// Whether it was recorded: what the catalog refuses is said.
    async fn record(&mut self, batch: &Batch, what: &str) -> Result<bool, MlflowError> {
        let recorded = if self.importer.settings.dry_run {
            self.catalog.preview(batch).await
        } else {
            self.catalog.record(batch).await
        };
        match recorded {
            Ok(recorded) => self.report.add(recorded),
            Err(error) if error.is_callers() => {
                self.report.unplaced(what, error.to_string());
                return Ok(false);
            }
            Err(error) => return Err(error.into()),
        }
        Ok(true)
    }
}

/// Why a name that the catalog knows is not this version's: a registered model that was deleted and made anew begins with
/// version 1 again.
async fn another(catalog: &Catalog, identity: &str, fact: &ModelFact) -> Result<Option<String>, MlflowError> {
    let node = catalog.node(identity, Moment::NOW).await?;
    let known = node.as_ref().and_then(|node| node.text("mlflow.created"));
    let said = fact.about.properties.get("mlflow.created").and_then(|value| value.as_str());
    Ok(match (known, said) {
        (Some(known), Some(said)) if known != said => Some(format!(
            "{identity} is known as made at {known}, and this one was made at {said}: register it under another name"
        )),
        _ => None,
    })
}

fn registered(name: &str) -> NodeRecord {
    let reference = NodeRef::Named { type_name: names::REGISTERED_MODEL.to_owned(), name: name.to_owned() };
    NodeRecord::new(names::REGISTERED_MODEL, reference)
}
