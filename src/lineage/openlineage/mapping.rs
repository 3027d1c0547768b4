//! An event as facts, and those as a batch of the graph: a pure function.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::event::{Dataset, Event, EventError, Job, Phase, Run, Subject};
use super::facets::{self, Facets};
use super::{SOURCE, names};
use crate::lineage::catalog::{Batch, MemberRecord, NodeRecord, NodeRef, State, Value, names as types};
use crate::lineage::{DatasetFact, EntityId, Facts, ModelFact, RunFact, RunKind, Used};

/// The tag of a dataset that says what it was used for.
const ROLE_TAG: &str = "role";

/// What an event says, and when that was so.
#[derive(Clone, Debug)]
pub struct Said {
    /// What is to be recorded, every node once.
    pub batch: Batch,
    pub(super) time: Timestamp,
    /// The run that it is about.
    pub(super) run: Option<NodeRef>,
}

impl Event {
    /// What it says, by `author`.
    ///
    /// # Errors
    /// Where something has a name that it cannot have.
    pub fn said(&self, author: &str) -> Result<Said, EventError> {
        let mut run_ref = None;
        let batch = match &self.subject {
            Subject::Run { run, job, phase, inputs, outputs } => {
                let fact = self.run(run, job, *phase, (inputs, outputs))?;
                run_ref = Some(NodeRef::Identity(format!("run:{}", fact.id)));
                let mut facts = data(inputs.iter().chain(outputs))?;
                facts.runs.push(fact);
                let mut batch = batch(&facts, author)?;
                withdrawn(&mut batch, inputs.iter().chain(outputs))?;
                pipeline(&mut batch, job);
                parent(&mut batch, run, job);
                if let Some(record) = batch.nodes.iter_mut().find(|record| is_run(&record.node)) {
                    take_away(record, &run.facets);
                }
                batch
            }
            Subject::Dataset(dataset) => {
                let mut batch = batch(&data([dataset])?, author)?;
                withdrawn(&mut batch, [dataset])?;
                batch
            }
            Subject::Job { job, inputs, outputs } => {
                let mut batch = batch(&data(inputs.iter().chain(outputs))?, author)?;
                withdrawn(&mut batch, inputs.iter().chain(outputs))?;
                design(&mut batch, job, (inputs, outputs))?;
                batch
            }
        };
        Ok(Said { batch: once(batch), time: self.time, run: run_ref })
    }

    fn run(
        &self,
        run: &Run,
        job: &Job,
        phase: Phase,
        (inputs, outputs): (&[Dataset], &[Dataset]),
    ) -> Result<RunFact, EventError> {
        let mut about = facets::about(&run.facets);
        let mut say = |name: &str, value: Option<&str>| {
            about.properties.extend(value.map(|value| (name.to_owned(), Value::from(value))));
        };
        say("producer", Some(self.producer.as_str()).filter(|producer| !producer.is_empty()));
        say("error", facets::text(&run.facets, "errorMessage", "message"));
        say("nominal_start", facets::text(&run.facets, "nominalTime", "nominalStartTime"));
        say("nominal_end", facets::text(&run.facets, "nominalTime", "nominalEndTime"));
        let engine = |name| facets::text(&run.facets, "processing_engine", name);
        let engine = [engine("name"), engine("version")].into_iter().flatten().collect::<Vec<_>>().join(" ");
        say("engine", Some(engine.as_str()).filter(|engine| !engine.is_empty()));
        let (mut used, mut made) = (Vec::new(), Vec::new());
        for input in inputs {
            let id = names::artifact(input)?.to_string();
            if !input.input_facets.is_empty() {
                about.properties.insert(format!("input_facet.{id}"), facets::together(&input.input_facets));
            }
            used.push(Used { id, role: role(input) });
        }
        for output in outputs {
            let id = names::artifact(output)?.to_string();
            if !output.output_facets.is_empty() {
                about.properties.insert(format!("output_facet.{id}"), facets::together(&output.output_facets));
            }
            made.push(id);
        }
        let [parameters, seeds] = facets::parameters(&run.facets);
        Ok(RunFact {
            id: names::part(&run.id, &[]),
            kind: kind(phase, inputs, outputs),
            name: Some(job.name.clone()),
            start: (phase == Phase::Start).then_some(self.time),
            end: phase.is_end().then_some(self.time),
            state: state(phase),
            code: facets::code(&job.facets).map(|code| crate::lineage::Code {
                repo: code.repo.as_deref().map(|repo| names::part(repo, &[])),
                commit: code.commit.as_deref().map(|commit| names::part(commit, &['@'])),
                ..code
            }),
            script_digest: facets::script_digest(&job.facets),
            parameters,
            seeds,
            inputs: used,
            outputs: made,
            pipeline: Some(names::job(job)),
            about,
            ..RunFact::default()
        })
    }
}

/// What kind of run it is, once it has ended; that a model came of it shows before.
fn kind(phase: Phase, inputs: &[Dataset], outputs: &[Dataset]) -> RunKind {
    if outputs.iter().any(names::is_model) {
        return RunKind::Training;
    }
    match (phase.is_end(), inputs.is_empty(), outputs.is_empty()) {
        (true, true, false) => RunKind::Ingestion,
        (true, false, false) => RunKind::Transformation,
        _ => RunKind::Run,
    }
}

fn state(phase: Phase) -> Option<State> {
    match phase {
        Phase::Start | Phase::Running => Some(State::Running),
        Phase::Complete => Some(State::Complete),
        Phase::Fail => Some(State::Failed),
        Phase::Abort => Some(State::Canceled),
        Phase::Other => None,
    }
}

fn role(dataset: &Dataset) -> String {
    facets::tags(&dataset.facets).remove(ROLE_TAG).unwrap_or_default()
}

/// Datasets and models as facts.
fn data<'a>(all: impl IntoIterator<Item = &'a Dataset>) -> Result<Facts, EventError> {
    let mut facts = Facts::default();
    for dataset in all {
        let mut about = facets::about(&dataset.facets);
        // What it was used for differs from run to run.
        about.tags.remove(ROLE_TAG);
        let path = format!("{}/{}", dataset.namespace, dataset.name.trim_start_matches('/'));
        let uri = dataset.namespace.contains("://").then_some(path);
        match names::artifact(dataset)? {
            EntityId::Model(id) => {
                // A model has no namespace of its own.
                about.properties.insert("namespace".to_owned(), dataset.namespace.as_str().into());
                facts.models.push(ModelFact { id: id.to_string(), uri, about, ..ModelFact::default() });
            }
            id => {
                let records = facets::records(&dataset.facets, &dataset.input_facets);
                facts.datasets.push(DatasetFact { id: id.to_string(), uri, records, about, ..DatasetFact::default() });
            }
        }
    }
    Ok(facts)
}

fn batch(facts: &Facts, author: &str) -> Result<Batch, EventError> {
    facts.batch(author, SOURCE).map_err(|error| EventError::Name(error.to_string()))
}

fn context(name: &str) -> NodeRef {
    NodeRef::Named { type_name: types::PIPELINE.to_owned(), name: name.to_owned() }
}

/// What is said of the job, whose runs are held by its context.
fn pipeline(batch: &mut Batch, job: &Job) -> NodeRef {
    let node = context(&names::job(job));
    let about = facets::about(&job.facets);
    let mut record = NodeRecord::new(types::PIPELINE, node.clone()).with_some("owner", about.owner);
    record = record.with("namespace", job.namespace.as_str());
    for (name, value) in about.tags {
        record = record.with(&format!("tag.{name}"), value);
    }
    for (name, value) in about.properties {
        record = record.with(&name, value);
    }
    take_away(&mut record, &job.facets);
    batch.nodes.push(record);
    node
}

/// The job and the run that began this one.
fn parent(batch: &mut Batch, run: &Run, job: &Job) {
    let of = |object: &str, name: &str| run.facets.get("parent")?.get(object)?.get(name)?.as_str();
    if let (Some(id), Some(record)) = (of("run", "runId"), batch.nodes.iter_mut().find(|node| is_run(&node.node))) {
        record.properties.insert("parent_run".to_owned(), Some(format!("run:{}", names::part(id, &[])).into()));
    }
    let (Some(namespace), Some(name)) = (of("job", "namespace"), of("job", "name")) else { return };
    let (holder, held) = (context(&names::pipeline(namespace, name)), context(&names::job(job)));
    if holder != held {
        batch.nodes.push(NodeRecord::new(types::PIPELINE, holder.clone()));
        batch.members.push(MemberRecord { context: holder, node: held, remove: false });
    }
}

fn is_run(node: &NodeRef) -> bool {
    matches!(node, NodeRef::Identity(identity) if identity.starts_with("run:"))
}

/// A job without a run: what it is meant to read and write. Edges are of runs, so that this stands as words.
fn design(batch: &mut Batch, job: &Job, (inputs, outputs): (&[Dataset], &[Dataset])) -> Result<(), EventError> {
    let node = pipeline(batch, job);
    let mut words = BTreeMap::new();
    for (name, all) in [("inputs", inputs), ("outputs", outputs)] {
        let mut identities = Vec::with_capacity(all.len());
        for dataset in all {
            let id = names::artifact(dataset)?;
            batch.members.push(MemberRecord { context: node.clone(), node: NodeRef::from(&id), remove: false });
            identities.push(serde_json::Value::from(id.to_string()));
        }
        words.insert(name.to_owned(), Some(Value::Struct(identities.into())));
    }
    batch.nodes.push(NodeRecord { properties: words, ..NodeRecord::new(types::PIPELINE, node) });
    Ok(())
}

/// What is no longer said of datasets.
fn withdrawn<'a>(batch: &mut Batch, all: impl IntoIterator<Item = &'a Dataset>) -> Result<(), EventError> {
    for dataset in all.into_iter().filter(|dataset| facets::deleted(&dataset.facets).next().is_some()) {
        let id = names::artifact(dataset)?;
        let type_name = if names::is_model(dataset) { types::MODEL } else { types::DATASET };
        let mut record = NodeRecord::new(type_name, NodeRef::from(&id));
        take_away(&mut record, &dataset.facets);
        batch.nodes.push(record);
    }
    Ok(())
}

/// Facets that are deleted take with them what was said by them.
fn take_away(record: &mut NodeRecord, facets: &Facets) {
    for name in facets::deleted(facets) {
        record.properties.insert(format!("facet.{name}"), None);
        match name {
            "ownership" => drop(record.properties.insert("owner".to_owned(), None)),
            "documentation" => drop(record.properties.insert("description".to_owned(), None)),
            _ => {}
        }
    }
}

/// Every node once, with all that is said of it.
fn once(mut batch: Batch) -> Batch {
    let mut nodes: Vec<NodeRecord> = Vec::with_capacity(batch.nodes.len());
    let mut places: BTreeMap<NodeRef, usize> = BTreeMap::new();
    for record in batch.nodes {
        if let Some(place) = places.get(&record.node) {
            let first = &mut nodes[*place];
            first.properties.extend(record.properties);
            first.state = record.state.or(first.state);
            first.uri = record.uri.or(first.uri.take());
        } else {
            places.insert(record.node.clone(), nodes.len());
            nodes.push(record);
        }
    }
    batch.nodes = nodes;
    batch
}
