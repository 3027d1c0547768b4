//! What somebody says, as data: a batch of nodes, edges and members, and what it came to.
//!
//! What is given is merged: a property that is not named stays as it is. Who writes it down is `writer`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::CatalogError;
use super::graph::{EventKind, State, Value};

/// Nodes, edges and members of one batch, each.
const BATCH_MAX: usize = 10_000;
/// Bytes of one property's value, or of a URI.
const VALUE_BYTES_MAX: usize = 256 * 1024;
/// Bytes of a name, an id, or a property's name.
const NAME_BYTES_MAX: usize = 1024;
/// Properties that one record may name.
const PROPERTIES_MAX: usize = 2000;

/// A node by what people call it, or by type and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum NodeRef {
    /// `model:fraud@v1` and so on.
    Identity(String),
    /// The name of its type, and its name there.
    Named {
        /// `Metrics`, `Experiment` and so on.
        #[serde(rename = "type")]
        type_name: String,
        /// Unique within the type.
        name: String,
    },
}

/// What is said of a node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodeRecord {
    /// Which one; made where it is not there.
    pub node: NodeRef,
    /// The name of its type.
    #[serde(rename = "type")]
    pub type_name: String,
    /// Its state, where it is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
    /// Where it lies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
    /// Its id elsewhere; kept from the first time on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// Properties to set; `null` takes one away.
    #[serde(default)]
    pub properties: BTreeMap<String, Option<Value>>,
}

impl NodeRecord {
    /// A record that says nothing but that the node is there.
    pub fn new(type_name: &str, node: NodeRef) -> Self {
        Self {
            node,
            type_name: type_name.to_owned(),
            state: None,
            uri: None,
            external_id: None,
            properties: BTreeMap::new(),
        }
    }

    /// With a property.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.properties.insert(name.to_owned(), Some(value.into()));
        self
    }

    /// With a property, where there is a value.
    #[must_use]
    pub fn with_some(self, name: &str, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }
}

/// That an artifact was used or made by an execution.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EdgeRecord {
    /// The artifact.
    pub artifact: NodeRef,
    /// The execution.
    pub execution: NodeRef,
    /// Used or made.
    pub kind: EventKind,
    /// The artifact's role, such as `training`.
    #[serde(default)]
    pub role: String,
    /// When; where it is not said, the run's `start` for what it used and its `end` for what it made, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<jiff::Timestamp>,
    /// Take the edge away.
    #[serde(default)]
    pub remove: bool,
}

/// That a context holds a node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MemberRecord {
    /// The context.
    pub context: NodeRef,
    /// An artifact, an execution or a context.
    pub node: NodeRef,
    /// Take it out.
    #[serde(default)]
    pub remove: bool,
}

/// What somebody says, to be recorded whole or not at all.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Batch {
    /// Who says it: a user, a token's name.
    pub author: String,
    /// By which way it came: `cli`, `openlineage`, `mlflow`, `serve`.
    pub source: String,
    /// Nodes, in any order.
    #[serde(default)]
    pub nodes: Vec<NodeRecord>,
    /// Edges between nodes of this batch or of the catalog.
    #[serde(default)]
    pub edges: Vec<EdgeRecord>,
    /// Members of contexts.
    #[serde(default)]
    pub members: Vec<MemberRecord>,
}

/// What a batch came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    /// The number of the change; none where all was known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<i64>,
    /// Nodes that were new.
    pub created: Vec<String>,
    /// Nodes of which something is different now.
    pub changed: Vec<String>,
    /// Edges and members that were added or taken away.
    pub linked: usize,
    /// Edges that were recorded although they are doubtful, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flagged: Vec<String>,
}

impl Batch {
    /// What can be said of it without looking anything up.
    ///
    /// # Errors
    /// Where something in it is not right by itself.
    pub fn check(&self) -> Result<(), CatalogError> {
        check(self)
    }
}

/// What can be said of a batch without looking anything up.
pub(super) fn check(batch: &Batch) -> Result<(), CatalogError> {
    let invalid = |message: String| Err(CatalogError::Invalid(message));
    for (what, len) in [("nodes", batch.nodes.len()), ("edges", batch.edges.len()), ("members", batch.members.len())] {
        if len > BATCH_MAX {
            return invalid(format!("{len} {what} at once: at most {BATCH_MAX}, split the batch"));
        }
    }
    for record in &batch.nodes {
        let label = &record.node;
        let names = record.properties.keys().map(String::as_str).chain([record.type_name.as_str()]);
        let names = names.chain(label.parts()).chain(record.external_id.as_deref());
        if let Some(name) =
            names.into_iter().find(|name| name.is_empty() || name.len() > NAME_BYTES_MAX || name.contains('\0'))
        {
            return invalid(format!(
                "a name of {} bytes in {}: 1 to {NAME_BYTES_MAX}, without NUL",
                name.len(),
                label.brief()
            ));
        }
        if record.properties.len() > PROPERTIES_MAX {
            return invalid(format!("{label} has {} properties: at most {PROPERTIES_MAX}", record.properties.len()));
        }
        for (name, value) in record.properties.iter().filter_map(|(name, value)| Some((name, value.as_ref()?))) {
            let text = value.to_string();
            if text.len() > VALUE_BYTES_MAX || text.contains('\0') {
                return invalid(format!(
                    "{name} of {label} has {} bytes: at most {VALUE_BYTES_MAX}, without NUL",
                    text.len()
                ));
            }
        }
        if record.uri.as_ref().is_some_and(|uri| uri.len() > VALUE_BYTES_MAX || uri.contains('\0')) {
            return invalid(format!("the URI of {label}: at most {VALUE_BYTES_MAX} bytes, without NUL"));
        }
    }
    Ok(())
}

impl NodeRef {
    fn parts(&self) -> impl Iterator<Item = &str> {
        let (first, second) = match self {
            Self::Identity(identity) => (identity, None),
            Self::Named { type_name, name } => (type_name, Some(name)),
        };
        std::iter::once(first.as_str()).chain(second.map(String::as_str))
    }

    /// Its beginning, for messages about one that is too long.
    fn brief(&self) -> String {
        self.to_string().chars().take(80).collect()
    }
}

impl std::fmt::Display for NodeRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Identity(identity) => f.write_str(identity),
            Self::Named { type_name, name } => write!(f, "{type_name} '{name}'"),
        }
    }
}

impl From<&super::super::EntityId> for NodeRef {
    fn from(id: &super::super::EntityId) -> Self {
        Self::Identity(id.to_string())
    }
}
