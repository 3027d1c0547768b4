//! An event as facts, and those as a batch of the graph: a pure function.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::artifact::Artifact;
use super::event::{Event, EventError, Job, Phase, Run, Subject};
use super::facets::{self, Facets};
use super::rules::Rules;
use super::{SOURCE, names};
use crate::lineage::catalog::{Batch, MemberRecord, NodeRecord, NodeRef, State, Value, names as types};
use crate::lineage::{Facts, RunFact, Used};

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
    /// What it says, by `author`, in the names that `rules` give.
    ///
    /// # Errors
    /// Where something has a name that it cannot have.
    pub fn said(&self, author: &str, rules: &Rules) -> Result<Said, EventError> {
        let mut run_ref = None;
        let batch = match &self.subject {
            Subject::Run { run, job, phase, inputs, outputs } => {
                let (inputs, outputs) = (Artifact::all(inputs, rules)?, Artifact::all(outputs, rules)?);
                let mut facts = Facts::default();
                facts.runs.push(self.run(run, job, *phase, (&inputs, &outputs)));
                run_ref = Some(NodeRef::Identity(format!("run:{}", facts.runs[0].id)));
                let mut batch = batch(facts, inputs.iter().chain(&outputs), author)?;
                pipeline(&mut batch, job);
                parent(&mut batch, run, job);
                if let Some(record) = batch.nodes.iter_mut().find(|record| is_run(&record.node)) {
                    take_away(record, &run.facets);
                }
                batch
            }
            Subject::Dataset(dataset) => batch(Facts::default(), &[Artifact::new(dataset, rules)?], author)?,
            Subject::Job { job, inputs, outputs } => {
                let (inputs, outputs) = (Artifact::all(inputs, rules)?, Artifact::all(outputs, rules)?);
                let mut batch = batch(Facts::default(), inputs.iter().chain(&outputs), author)?;
                design(&mut batch, job, (&inputs, &outputs));
                batch
            }
        };
        Ok(Said { batch: once(batch), time: self.time, run: run_ref })
    }

    fn run(&self, run: &Run, job: &Job, phase: Phase, (inputs, outputs): (&[Artifact], &[Artifact])) -> RunFact {
        let mut about = facets::about(&run.facets);
        let mut say = |name: &str, value: Option<&str>| {
            about.properties.extend(value.map(|value| (name.to_owned(), Value::from(value))));
        };
        say("producer", Some(self.producer.as_str()).filter(|producer| !producer.is_empty()));
        say("error", facets::text(&run.facets, "errorMessage", "message"));
        say("nominal_start", facets::text(&run.facets, "nominalTime", "nominalStartTime"));
        say("nominal_end", facets::text(&run.facets, "nominalTime", "nominalEndTime"));
        say("engine", facets::engine(&run.facets).as_deref());
        say("dag_run", facets::dag_run(&run.facets, "run_id"));
        let checks = facets::checks(&run.facets, inputs.iter().map(|input| input.sent));
        about.properties.extend(checks.into_iter().map(|(name, count)| (name.to_owned(), count.into())));
        let (mut used, mut made) = (Vec::new(), Vec::new());
        for input in inputs {
            let id = input.id.to_string();
            if !input.sent.input_facets.is_empty() {
                about.properties.insert(format!("input_facet.{id}"), facets::together(&input.sent.input_facets));
            }
            used.push(Used { id, role: input.role() });
        }
        for output in outputs {
            let id = output.id.to_string();
            if !output.sent.output_facets.is_empty() {
                about.properties.insert(format!("output_facet.{id}"), facets::together(&output.sent.output_facets));
            }
            made.push(id);
        }
        let [parameters, seeds] = facets::parameters(&run.facets);
        RunFact {
            id: names::part(&run.id, &[]),
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
            triggered_by: facets::dag_run(&run.facets, "run_type").map(str::to_owned),
            parameters,
            seeds,
            inputs: used,
            outputs: made,
            pipeline: Some(names::job(job)),
            about,
            ..RunFact::default()
        }
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

/// Facts, and what is said of datasets and models.
fn batch<'a>(
    mut facts: Facts,
    all: impl IntoIterator<Item = &'a Artifact<'a>, IntoIter: Clone>,
    author: &str,
) -> Result<Batch, EventError> {
    let all = all.into_iter();
    all.clone().for_each(|artifact| artifact.say(&mut facts));
    let mut batch = facts.batch(author, SOURCE).map_err(|error| EventError::Name(error.to_string()))?;
    all.for_each(|artifact| artifact.withdraw(&mut batch));
    Ok(batch)
}

fn context(name: &str) -> NodeRef {
    NodeRef::Named { type_name: types::PIPELINE.to_owned(), name: name.to_owned() }
}

/// What is said of the job, whose runs are held by its context.
fn pipeline(batch: &mut Batch, job: &Job) -> NodeRef {
    let node = context(&names::job(job));
    let about = facets::about(&job.facets);
    let mut record = NodeRecord::new(types::PIPELINE, node.clone())
        .with_some("owner", about.owner)
        .with_some("job_type", facets::job_type(&job.facets))
        .with("namespace", job.namespace.as_str());
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

/// The job and the run that began this one, and the run that began them all.
fn parent(batch: &mut Batch, run: &Run, job: &Job) {
    let Some(facet) = facets::parent(&run.facets) else { return };
    if let Some(record) = batch.nodes.iter_mut().find(|node| is_run(&node.node)) {
        for (name, of) in [("parent_run", Some(facet)), ("root_run", facet.get("root"))] {
            if let Some(id) = of.and_then(|of| of.get("run")?.get("runId")?.as_str()) {
                record.properties.insert(name.to_owned(), Some(format!("run:{}", names::part(id, &[])).into()));
            }
        }
    }
    let of = |name: &str| facet.get("job")?.get(name)?.as_str();
    let (Some(namespace), Some(name)) = (of("namespace"), of("name")) else { return };
    let (holder, held) = (context(&names::pipeline(namespace, name)), context(&names::job(job)));
    if holder != held {
        batch.nodes.push(NodeRecord::new(types::PIPELINE, holder.clone()));
        batch.members.push(MemberRecord { context: holder, node: held, remove: false });
    }
}

pub(super) fn is_run(node: &NodeRef) -> bool {
    matches!(node, NodeRef::Identity(identity) if identity.starts_with("run:"))
}

/// A job without a run: what it is meant to read and write. Edges are of runs, so that this stands as words.
fn design(batch: &mut Batch, job: &Job, (inputs, outputs): (&[Artifact], &[Artifact])) {
    let node = pipeline(batch, job);
    let mut words = BTreeMap::new();
    for (name, all) in [("inputs", inputs), ("outputs", outputs)] {
        let members = all.iter().map(|artifact| NodeRef::from(&artifact.id));
        batch.members.extend(members.map(|held| MemberRecord { context: node.clone(), node: held, remove: false }));
        let identities: serde_json::Value = all.iter().map(|artifact| artifact.id.to_string()).collect();
        words.insert(name.to_owned(), Some(Value::Struct(identities)));
    }
    batch.nodes.push(NodeRecord { properties: words, ..NodeRecord::new(types::PIPELINE, node) });
}

/// Facets that are deleted take with them what was said by them.
pub(super) fn take_away(record: &mut NodeRecord, facets: &Facets) {
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
