//! The datasets and models of an event, each with the identity that it has in the graph.

use super::event::{Dataset, EventError};
use super::rules::{Named, Rules, path};
use super::{facets, mapping, names};
use crate::lineage::catalog::{Batch, NodeRecord, NodeRef, names as types};
use crate::lineage::{DatasetFact, EntityId, Facts, ModelFact};

/// The tag of a dataset that says what it was used for.
const ROLE_TAG: &str = "role";
/// The namespace of files of the machine that a run ran on.
const FILE: &str = "file";

/// What a run used or made.
#[derive(Debug)]
pub(super) struct Artifact<'a> {
    pub(super) sent: &'a Dataset,
    pub(super) id: EntityId,
    namespace: String,
    uri: Option<String>,
}

impl<'a> Artifact<'a> {
    pub(super) fn new(sent: &'a Dataset, rules: &Rules) -> Result<Self, EventError> {
        let named = rules.named(sent);
        let id = names::artifact(sent, &named)?;
        let Named { namespace, location: (space, name), .. } = named;
        let uri = match space.as_str() {
            FILE => Some(format!("file:///{name}")),
            space => space.contains("://").then(|| path(space, &name)),
        };
        Ok(Self { sent, id, namespace, uri })
    }

    pub(super) fn all(sent: &'a [Dataset], rules: &Rules) -> Result<Vec<Self>, EventError> {
        sent.iter().map(|dataset| Self::new(dataset, rules)).collect()
    }

    pub(super) fn is_model(&self) -> bool {
        matches!(self.id, EntityId::Model(_))
    }

    /// What it was used for.
    pub(super) fn role(&self) -> String {
        facets::tags(&self.sent.facets).remove(ROLE_TAG).unwrap_or_default()
    }

    /// Adds what is said of it.
    pub(super) fn say(&self, facts: &mut Facts) {
        let mut about = facets::about(&self.sent.facets);
        // What it was used for differs from run to run.
        about.tags.remove(ROLE_TAG);
        let (id, uri) = (self.id.to_string(), self.uri.clone());
        if self.is_model() {
            // A model has no namespace of its own.
            about.properties.insert("namespace".to_owned(), self.namespace.as_str().into());
            facts.models.push(ModelFact { id, uri, about, ..ModelFact::default() });
        } else {
            let records = facets::records(&self.sent.facets, &self.sent.input_facets);
            facts.datasets.push(DatasetFact { id, uri, records, about, ..DatasetFact::default() });
        }
    }

    /// Takes back what is no longer said of it.
    pub(super) fn withdraw(&self, batch: &mut Batch) {
        if facets::deleted(&self.sent.facets).next().is_some() {
            let type_name = if self.is_model() { types::MODEL } else { types::DATASET };
            let mut record = NodeRecord::new(type_name, NodeRef::from(&self.id));
            mapping::take_away(&mut record, &self.sent.facets);
            batch.nodes.push(record);
        }
    }
}
