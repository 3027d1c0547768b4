//! What the catalog knew already: what MLflow says no more is taken back, and what a dataset version was does not change.

use std::collections::BTreeSet;

use super::SOURCE;
use super::report::Report;
use crate::lineage::Facts;
use crate::lineage::catalog::{Batch, Catalog, CatalogError, Moment, Node, NodeRecord, NodeRef, Value};

/// Adds to a batch what takes back the properties of a node that MLflow said once and the batch does not. What others
/// said stays, and so does what begins with `keep`.
pub(super) async fn withdraw(
    catalog: &Catalog,
    batch: &mut Batch,
    node: &Node,
    reference: &NodeRef,
    keep: Option<&str>,
) -> Result<(), CatalogError> {
    let records = batch.nodes.iter().filter(|record| record.node == *reference);
    let now: BTreeSet<&String> = records.flat_map(|record| record.properties.keys()).collect();
    let said = catalog.said(node.id, SOURCE).await?;
    let gone = said.into_iter().filter(|name| !now.contains(name) && !keep.is_some_and(|keep| name.starts_with(keep)));
    let mut record = NodeRecord::new(&node.type_name, reference.clone());
    record.properties = gone.map(|name| (name, None)).collect();
    if !record.properties.is_empty() {
        batch.nodes.push(record);
    }
    Ok(())
}

/// The same for a node that goes by an identity, and for what a run used, where the catalog knows it.
pub(super) async fn withdraw_named(catalog: &Catalog, batch: &mut Batch, identity: &str) -> Result<(), CatalogError> {
    let Some(node) = catalog.node(identity, Moment::NOW).await? else { return Ok(()) };
    let reference = NodeRef::Identity(identity.to_owned());
    withdraw(catalog, batch, &node, &reference, None).await?;
    if identity.starts_with("run:") {
        for mut edge in catalog.inputs_said(node.id, &reference, SOURCE).await? {
            let still = batch.edges.iter().any(|now| {
                now.artifact == edge.artifact
                    && now.execution == edge.execution
                    && now.kind == edge.kind
                    && now.role == edge.role
            });
            if !still {
                edge.remove = true;
                batch.edges.push(edge);
            }
        }
    }
    Ok(())
}

/// Leaves out of facts what they say otherwise of a dataset version than the catalog does, and says so: a version that
/// is used for other data is no version.
pub(super) async fn settle(catalog: &Catalog, facts: &mut Facts, report: &mut Report) -> Result<(), CatalogError> {
    for fact in &mut facts.datasets {
        let Some(node) = catalog.node(&format!("dataset:{}", fact.id), Moment::NOW).await? else { continue };
        let text = |name: &str| node.properties.get(name).map(Value::to_string);
        let mut differs = Vec::new();
        let mut differ = |what: &str, known: Option<String>, said: Option<String>| match (known, said) {
            (Some(known), Some(said)) if known != said => {
                differs.push(format!("{what} {known}, not {said}"));
                true
            }
            _ => false,
        };
        if differ("weak digest", text("weak_digest"), fact.weak_digest.clone()) {
            fact.weak_digest = None;
        }
        if differ("records", text("records"), fact.records.map(|records| records.to_string())) {
            fact.records = None;
        }
        if differ("address", node.uri.clone(), fact.uri.clone()) {
            fact.uri = None;
        }
        if !differs.is_empty() {
            let runs: Vec<&str> = facts.runs.iter().map(|run| run.id.as_str()).collect();
            let why = format!("known with {}: was the version used for other data?", differs.join(", "));
            report.unplaced(format!("dataset {} of run {}", fact.id, runs.join(", ")), why);
        }
    }
    Ok(())
}
