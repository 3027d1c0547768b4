//! Putting what an event says into the graph, whatever came before it.
//!
//! Events arrive twice, late and in any order. For each property that came this way its node keeps the time of the event
//! that said it, so that an older one does not replace it; the graph comes out the same in every order.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::Mutex;

use super::UNVERSIONED;
use super::mapping::{self, Said};
use super::names::Base;
use crate::lineage::catalog::{
    Batch, Catalog, CatalogError, Direction, EdgeRecord, EventKind, Moment, Node, NodeRecord, NodeRef, Recorded, State,
    Value, names as types, refines,
};

/// The property that holds the times of the others.
const TIMES: &str = "openlineage.times";
/// What names the state and the URI among the times.
const STATE: &str = "(state)";
const URI: &str = "(uri)";
/// The property of a run that names what could not be placed.
const LEFT_OUT: &str = "left_out";
/// What identities of data and of models begin with.
const DATASET: &str = "dataset:";
const MODEL: &str = "model:";
/// Edges of a run that are looked at, each way.
const EDGES_MAX: usize = 10_000;
/// Edges that one event may lose to circles.
const CIRCLES_MAX: usize = 64;

/// One event at a time: another one about the same run must see what the first one left.
static ONE: Mutex<()> = Mutex::const_new(());

/// What an event came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Placed {
    /// What was recorded.
    #[serde(flatten)]
    pub recorded: Recorded,
    /// What could not be placed, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
}

/// Records what an event says.
///
/// # Errors
/// Where the catalog refuses it, or fails.
pub async fn place(catalog: &Catalog, said: Said) -> Result<Placed, CatalogError> {
    let _one = ONE.lock().await;
    let Said { mut batch, time, run } = said;
    for record in &mut batch.nodes {
        let known = match &record.node {
            NodeRef::Identity(identity) => catalog.node(identity, Moment::NOW).await?,
            NodeRef::Named { type_name, name } => catalog.named(type_name, name, Moment::NOW).await?,
        };
        settle(record, known.as_ref(), time);
    }
    if let Some(NodeRef::Identity(run)) = &run {
        let node = catalog.node(run, Moment::NOW).await?;
        let known = match &node {
            Some(node) => edges(catalog, node).await?,
            None => Vec::new(),
        };
        versions(&mut batch, &known);
        kind(&mut batch, node.as_ref(), &known);
    }
    let mut left_out = Vec::new();
    loop {
        match catalog.record(&batch).await {
            Ok(recorded) => return Ok(Placed { recorded, left_out }),
            Err(CatalogError::Cycle { source_node, target_node })
                if left_out.len() < CIRCLES_MAX && leave_out(&mut batch, &source_node, &target_node) =>
            {
                left_out.push(format!("{source_node} → {target_node}: would close a circle"));
                let words = serde_json::Value::from(left_out.clone());
                let record = batch.nodes.iter_mut().find(|record| Some(&record.node) == run.as_ref());
                if let Some(record) = record {
                    record.properties.insert(LEFT_OUT.to_owned(), Some(Value::Struct(words)));
                }
            }
            Err(error) => return Err(error),
        }
    }
}

/// Takes out of a record what was said later already, and notes when the rest was.
fn settle(record: &mut NodeRecord, known: Option<&Node>, time: Timestamp) {
    let mut times: BTreeMap<String, Timestamp> = match known.and_then(|node| node.properties.get(TIMES)) {
        Some(Value::Struct(times)) => serde_json::from_value(times.clone()).unwrap_or_default(),
        _ => BTreeMap::new(),
    };
    let before = times.clone();
    if let Some(node) = known {
        let is_older = |name: &str| before.get(name).is_some_and(|known| time < *known);
        record.properties.retain(|name, _| !is_older(name));
        record.uri = record.uri.take().filter(|_| !is_older(URI));
        record.state = record.state.filter(|state| match (is_end(node.state), is_end(*state)) {
            (true, false) => false,
            (false, true) => true,
            _ => !is_older(STATE),
        });
    }
    let mut note = |name: &str, says_more: bool| {
        if says_more {
            times.insert(name.to_owned(), time);
        }
    };
    for (name, value) in &record.properties {
        note(name, known.is_none_or(|node| node.properties.get(name) != value.as_ref()));
    }
    note(URI, record.uri.is_some() && known.is_none_or(|node| node.uri != record.uri));
    note(STATE, record.state.is_some_and(|state| known.is_none_or(|node| node.state != state)));
    if times != before {
        let times = serde_json::to_value(&times).unwrap_or_default();
        record.properties.insert(TIMES.to_owned(), Some(Value::Struct(times)));
    }
}

fn is_end(state: State) -> bool {
    matches!(state, State::Complete | State::Failed | State::Canceled | State::Cached)
}

/// What a run is known to have used or made: its identity, and its role.
type Known = (EventKind, String, String);

/// What a run is known to have used and made.
async fn edges(catalog: &Catalog, run: &Node) -> Result<Vec<Known>, CatalogError> {
    let mut known = Vec::new();
    for direction in [Direction::Upstream, Direction::Downstream] {
        let graph = catalog.walk(&[run.id], direction, 1, EDGES_MAX, Moment::NOW).await?;
        for edge in &graph.edges {
            let artifact = if direction == Direction::Upstream { edge.source } else { edge.target };
            let Some(node) = graph.node(artifact) else { continue };
            known.push((edge.kind, node.identity.clone(), edge.path.clone()));
        }
    }
    Ok(known)
}

/// A version that one event names stands for what another leaves without.
fn versions(batch: &mut Batch, known: &[Known]) {
    let unversioned = |identity: &str| identity.rsplit_once('@').is_some_and(|(_, version)| version == UNVERSIONED);
    let mut gone = Vec::new();
    let mut needless = Vec::new();
    for edge in &batch.edges {
        let NodeRef::Identity(identity) = &edge.artifact else { continue };
        let Some(base) = Base::of(identity) else { continue };
        let others = known.iter().filter(|(kind, other, _)| {
            kind.is_output() == edge.kind.is_output() && other != identity && base.has(other)
        });
        for (_, other, role) in others {
            if unversioned(identity) {
                needless.push((edge.artifact.clone(), edge.kind));
            } else if unversioned(other) {
                let artifact = NodeRef::Identity(other.clone());
                gone.push(EdgeRecord { artifact, role: role.clone(), remove: true, ..edge.clone() });
            }
        }
    }
    // A table may be read in a version and written without.
    batch.edges.retain(|edge| !needless.contains(&(edge.artifact.clone(), edge.kind)));
    let edges = &batch.edges;
    batch.nodes.retain(|record| {
        let is_needless = needless.iter().any(|(artifact, _)| record.node == *artifact);
        !is_needless || edges.iter().any(|edge| edge.artifact == record.node)
    });
    batch.edges.extend(gone);
}

/// What kind of run it is, by all that is known of it: that a model came of it shows at once, the rest once it ended.
/// Spark names at the start what it reads and at the end what it wrote.
fn kind(batch: &mut Batch, node: Option<&Node>, known: &[Known]) {
    let told = batch.edges.iter().filter(|edge| !edge.remove).map(|edge| (edge.kind, edge.artifact.to_string()));
    let ends: Vec<_> = known.iter().map(|(kind, identity, _)| (*kind, identity.clone())).chain(told).collect();
    let has = |is_output: bool, prefix: &str| {
        ends.iter().any(|(kind, identity)| kind.is_output() == is_output && identity.starts_with(prefix))
    };
    let Some(record) = batch.nodes.iter_mut().find(|record| mapping::is_run(&record.node)) else { return };
    let ended = node.map(|node| node.state).into_iter().chain(record.state).any(is_end);
    let seen = if has(true, MODEL) {
        types::TRAINING
    } else if !ended || !has(true, DATASET) {
        types::RUN
    } else if has(false, DATASET) || has(false, MODEL) {
        types::TRANSFORMATION
    } else {
        types::INGESTION
    };
    // Who else spoke of it may know better.
    let contradicts = node.is_some_and(|node| node.type_name != seen && !refines(&node.type_name, seen));
    let seen = if contradicts { types::RUN } else { seen };
    seen.clone_into(&mut record.type_name);
}

/// Takes an edge, or a member, out of a batch. Whether it was there.
fn leave_out(batch: &mut Batch, source: &str, target: &str) -> bool {
    let before = batch.edges.len() + batch.members.len();
    batch.edges.retain(|edge| {
        let (artifact, execution) = (edge.artifact.to_string(), edge.execution.to_string());
        let ends = if edge.kind.is_output() { (execution, artifact) } else { (artifact, execution) };
        edge.remove || (ends.0 != source || ends.1 != target)
    });
    batch.members.retain(|member| member.context.to_string() != source || member.node.to_string() != target);
    batch.edges.len() + batch.members.len() < before
}
