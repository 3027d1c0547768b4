//! How facts lie in the graph: the one mapping from the words of the domain to nodes and edges, a pure function.
//!
//! In the graph: a run's parameters and seeds are its properties `param.NAME` and `seed.NAME`; its code, environment
//! and image are artifacts that it used, in the roles `code`, `environment` and `image`; datasets that it used have the
//! role `training`, `validation` or `test`, a model that it began with `base`; its figures are a `Metrics` artifact
//! that it made. All versions of a model are held by a `RegisteredModel`, whose properties `alias.NAME` and `stage.NAME`
//! name one of them. Owners and tags are `owner` and `tag.NAME`.

use super::{About, DatasetFact, DeploymentFact, EnvironmentFact, Facts, ModelFact, RunFact};
use crate::lineage::catalog::{Batch, EdgeRecord, EventKind, MemberRecord, NodeRecord, NodeRef, State, Value, names};
use crate::lineage::{Code, DatasetId, EntityId, IdentityError, ModelId};

impl Facts {
    /// What is to be recorded, said by `author` and come by way of `source`.
    ///
    /// # Errors
    /// Where something has a name that it cannot have.
    pub fn batch(&self, author: &str, source: &str) -> Result<Batch, IdentityError> {
        let mut batch = Batch { author: author.to_owned(), source: source.to_owned(), ..Batch::default() };
        for dataset in &self.datasets {
            batch.nodes.push(dataset.record()?);
        }
        for image in &self.images {
            let id: EntityId = format!("image:{}", image.id).parse()?;
            batch.nodes.push(image.about.on(bare(&id)));
        }
        for model in &self.models {
            model.record(&mut batch)?;
        }
        for run in &self.runs {
            run.record(&mut batch)?;
        }
        for deployment in &self.deployments {
            deployment.record(&mut batch)?;
        }
        Ok(batch)
    }
}

impl About {
    fn on(&self, mut record: NodeRecord) -> NodeRecord {
        record = record.with_some("owner", self.owner.clone());
        for (name, value) in &self.tags {
            record = record.with(&format!("tag.{name}"), value.clone());
        }
        for (name, value) in &self.properties {
            record = record.with(name, value.clone());
        }
        record
    }
}

impl DatasetFact {
    fn record(&self) -> Result<NodeRecord, IdentityError> {
        let id: DatasetId = self.id.strip_prefix("dataset:").unwrap_or(&self.id).parse()?;
        let stage = self.stage.map(|stage| format!("{stage:?}").to_lowercase());
        let mut record = bare(&EntityId::Dataset(id))
            .with_some("digest", self.digest.clone())
            .with_some("weak_digest", self.weak_digest.clone())
            .with_some("records", self.records.and_then(|records| i64::try_from(records).ok()))
            .with_some("stage", stage);
        record.uri.clone_from(&self.uri);
        Ok(self.about.on(record))
    }
}

impl ModelFact {
    fn record(&self, batch: &mut Batch) -> Result<(), IdentityError> {
        let id: ModelId = self.id.strip_prefix("model:").unwrap_or(&self.id).parse()?;
        let entity = EntityId::Model(id.clone());
        let mut record = bare(&entity)
            .with_some("digest", self.digest.clone())
            .with_some("derivation", self.derivation.clone())
            .with_some("stage", self.stage.clone());
        record.uri.clone_from(&self.uri);
        record.state = self.state;
        batch.nodes.push(self.about.on(record));
        let registered = NodeRef::Named { type_name: names::REGISTERED_MODEL.to_owned(), name: id.name.clone() };
        let mut context = NodeRecord::new(names::REGISTERED_MODEL, registered.clone());
        for alias in &self.aliases {
            context = context.with(&format!("alias.{alias}"), id.version.clone());
        }
        batch.nodes.push(context);
        batch.members.push(MemberRecord { context: registered, node: NodeRef::from(&entity), remove: false });
        Ok(())
    }
}

impl RunFact {
    fn record(&self, batch: &mut Batch) -> Result<(), IdentityError> {
        let entity: EntityId = format!("run:{}", self.id).parse()?;
        let run = NodeRef::from(&entity);
        let mut record = NodeRecord::new(self.kind.type_name(), run.clone())
            .with_some("name", self.name.clone())
            .with_some("start", self.start.map(|time| time.to_string()))
            .with_some("end", self.end.map(|time| time.to_string()))
            .with_some("command", self.command.clone())
            .with_some("script_digest", self.script_digest.clone())
            .with_some("triggered_by", self.triggered_by.clone())
            .with_some("code_dirty", self.code.as_ref().and_then(|code| code.dirty));
        for (name, value) in &self.parameters {
            record = record.with(&format!("param.{name}"), value.clone());
        }
        for (name, value) in &self.seeds {
            record = record.with(&format!("seed.{name}"), value.clone());
        }
        record.state = self.state;
        batch.nodes.push(self.about.on(record));
        let mut link = |artifact: NodeRef, kind: EventKind, role: &str| {
            let (execution, role) = (run.clone(), role.to_owned());
            batch.edges.push(EdgeRecord { artifact, execution, kind, role, time: None, remove: false });
        };
        for used in &self.inputs {
            let id: EntityId = used.id.parse()?;
            link(NodeRef::from(&id), EventKind::Input, &used.role);
        }
        for made in &self.outputs {
            let id: EntityId = made.parse()?;
            link(NodeRef::from(&id), EventKind::Output, "");
        }
        // What is used or made is there, whatever else is known of it.
        for id in self.inputs.iter().map(|used| &used.id).chain(&self.outputs) {
            batch.nodes.push(bare(&id.parse()?));
        }
        self.surroundings(batch, &run)?;
        for (type_name, name) in [(names::EXPERIMENT, &self.experiment), (names::PIPELINE, &self.pipeline)] {
            let Some(name) = name else { continue };
            let context = NodeRef::Named { type_name: type_name.to_owned(), name: name.clone() };
            batch.nodes.push(NodeRecord::new(type_name, context.clone()));
            batch.members.push(MemberRecord { context, node: run.clone(), remove: false });
        }
        Ok(())
    }

    /// Code, environment, image and figures.
    fn surroundings(&self, batch: &mut Batch, run: &NodeRef) -> Result<(), IdentityError> {
        let mut link = |record: NodeRecord, kind: EventKind, role: &str| {
            let (artifact, execution) = (record.node.clone(), run.clone());
            batch.nodes.push(record);
            let role = role.to_owned();
            batch.edges.push(EdgeRecord { artifact, execution, kind, role, time: None, remove: false });
        };
        if let Some(Code { repo, commit: Some(commit), .. }) = &self.code {
            let repo = repo.as_deref().unwrap_or("unknown");
            link(bare(&format!("code:{repo}@{commit}").parse()?), EventKind::Input, "code");
        }
        let environment = self.environment.clone().unwrap_or_default();
        if let Some(image) = &environment.image {
            // One that is not pinned names no image that could be told from another; it stays a word of the run's.
            let record = if image.contains("@sha256:") {
                bare(&format!("image:{image}").parse()?)
            } else {
                named(names::ENVIRONMENT, &format!("image {image}")).with("image", image.clone())
            };
            link(record, EventKind::Input, "image");
        }
        if environment != (EnvironmentFact { image: environment.image.clone(), ..EnvironmentFact::default() }) {
            let name = environment.lock_digest.clone().unwrap_or_else(|| format!("run:{}", self.id));
            let packages = (!environment.packages.is_empty())
                .then(|| Value::Struct(serde_json::Value::from_iter(environment.packages.clone())));
            let record = named(names::ENVIRONMENT, &name)
                .with_some("lock_digest", environment.lock_digest)
                .with_some("python", environment.python)
                .with_some("hardware", environment.hardware)
                .with_some("packages", packages);
            link(record, EventKind::Input, "environment");
        }
        if !self.metrics.is_empty() {
            let mut record = named(names::METRICS, &format!("run:{}", self.id));
            for (name, value) in &self.metrics {
                record = record.with(name, *value);
            }
            link(record, EventKind::Output, "metrics");
        }
        Ok(())
    }
}

impl DeploymentFact {
    fn record(&self, batch: &mut Batch) -> Result<(), IdentityError> {
        let entity: EntityId = format!("deployment:{}", self.name).parse()?;
        let deployment = NodeRef::from(&entity);
        let mut record = bare(&entity)
            .with_some("start", self.start.map(|time| time.to_string()))
            .with_some("end", self.end.map(|time| time.to_string()));
        record.state = Some(if self.end.is_some() { State::Complete } else { State::Running });
        batch.nodes.push(self.about.on(record));
        let models = self.models.iter().map(|model| (format!("model:{model}"), "model"));
        let image = self.image.iter().map(|image| (format!("image:{image}"), "image"));
        for (id, role) in models.chain(image) {
            let id: EntityId = id.parse()?;
            batch.nodes.push(bare(&id));
            let (artifact, execution, role) = (NodeRef::from(&id), deployment.clone(), role.to_owned());
            let kind = EventKind::Input;
            batch.edges.push(EdgeRecord { artifact, execution, kind, role, time: None, remove: false });
        }
        Ok(())
    }
}

/// A node of which nothing but its name is said.
pub(crate) fn bare(id: &EntityId) -> NodeRecord {
    let node = NodeRef::from(id);
    match id {
        EntityId::Model(model) => NodeRecord::new(names::MODEL, node).with("version", model.version.clone()),
        EntityId::Dataset(dataset) => NodeRecord::new(names::DATASET, node)
            .with("version", dataset.version.clone())
            .with_some("namespace", dataset.namespace.clone()),
        EntityId::Run(_) => NodeRecord::new(names::RUN, node),
        EntityId::Code { repo, commit } => {
            NodeRecord::new(names::CODE, node).with("repo", repo.clone()).with("commit", commit.clone())
        }
        EntityId::Image { digest, .. } => NodeRecord::new(names::IMAGE, node).with("digest", digest.clone()),
        EntityId::Deployment(_) => NodeRecord::new(names::DEPLOYMENT, node),
        // Predictions stand in the ledger; the graph has none.
        EntityId::Prediction(_) => NodeRecord::new("Prediction", node),
    }
}

fn named(type_name: &str, name: &str) -> NodeRecord {
    let node = NodeRef::Named { type_name: type_name.to_owned(), name: name.to_owned() };
    NodeRecord::new(type_name, node)
}

#[cfg(test)]
mod tests {
    use super::super::{RunKind, Used};
    use super::*;

    #[test]
    fn a_training_becomes_nodes_and_edges() {
        let facts = Facts {
            datasets: vec![DatasetFact { id: "s3://lake/d@v2".into(), records: Some(7), ..DatasetFact::default() }],
            runs: vec![RunFact {
                id: "r1".into(),
                kind: RunKind::Training,
                code: Some(Code { repo: Some("git@x:y".into()), commit: Some("abc".into()), dirty: Some(false) }),
                environment: Some(EnvironmentFact {
                    lock_digest: Some("sha256:1".into()),
                    ..EnvironmentFact::default()
                }),
                parameters: [("depth".to_owned(), "6".to_owned())].into(),
                metrics: [("auc".to_owned(), 0.9)].into(),
                inputs: vec![Used { id: "dataset:s3://lake/d@v2".into(), role: "training".into() }],
                outputs: vec!["model:m@1".into()],
                ..RunFact::default()
            }],
            models: vec![ModelFact { id: "m@1".into(), aliases: vec!["champion".into()], ..ModelFact::default() }],
            ..Facts::default()
        };
        let batch = facts.batch("ann", "cli").unwrap();
        let edges: Vec<_> = batch
            .edges
            .iter()
            .map(|edge| (edge.artifact.to_string(), edge.kind.is_output(), edge.role.as_str()))
            .collect();
        assert_eq!(
            edges,
            [
                ("dataset:s3://lake/d@v2".to_owned(), false, "training"),
                ("model:m@1".to_owned(), true, ""),
                ("code:git@x:y@abc".to_owned(), false, "code"),
                ("Environment 'sha256:1'".to_owned(), false, "environment"),
                ("Metrics 'run:r1'".to_owned(), true, "metrics"),
            ]
        );
    }
}
