//! All that is known of one node: what it used, what used it, what holds it, and how it became what it is.

use serde::Serialize;

use crate::lineage::catalog::{Catalog, CatalogError, Changed, Direction, Edge, Graph, Moment, Node};

/// Nodes on either side that are told.
const NEIGHBOURS_MAX: usize = 1000;
/// Changes that are told, the newest.
const HISTORY_MAX: usize = 1000;

/// A node, and what is around it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Detail {
    /// The node.
    #[serde(flatten)]
    pub node: Node,
    /// Experiments, pipelines, releases and registered models that hold it.
    pub contexts: Vec<Holder>,
    /// One step upstream.
    pub inputs: Vec<Link>,
    /// One step downstream.
    pub outputs: Vec<Link>,
    /// What changed, oldest first, up to the present whatever moment was asked about.
    pub history: Vec<Changed>,
    /// Whether there are more neighbours or changes than are told.
    pub truncated: bool,
}

/// A context that holds something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Holder {
    /// The name of its type, such as `Experiment`.
    #[serde(rename = "type")]
    pub type_name: String,
    /// Its name there.
    pub name: String,
}

/// What is on the other end of an edge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Link {
    /// Its identity.
    pub id: String,
    /// The name of its type.
    #[serde(rename = "type")]
    pub type_name: String,
    /// The edge.
    #[serde(flatten)]
    pub edge: Edge,
}

/// Looks around a node.
///
/// # Errors
/// Where the database fails.
pub async fn detail(catalog: &Catalog, node: Node, moment: Moment) -> Result<Detail, CatalogError> {
    let side = async |direction| catalog.walk(&[node.id], direction, 1, NEIGHBOURS_MAX, moment).await;
    let (up, down) = (side(Direction::Upstream).await?, side(Direction::Downstream).await?);
    let full = |graph: &Graph| graph.nodes.len() >= NEIGHBOURS_MAX;
    let link = |(edge, other): (&Edge, &Node)| Link {
        id: other.identity.clone(),
        type_name: other.type_name.clone(),
        edge: edge.clone(),
    };
    let mut history = catalog.changes(node.id, Moment::of_change(0)).await?;
    let older = history.len().saturating_sub(HISTORY_MAX);
    history.drain(..older);
    let contexts = catalog
        .contexts(node.id, moment)
        .await?
        .into_iter()
        .map(|context| Holder { name: context.name.unwrap_or(context.identity), type_name: context.type_name });
    Ok(Detail {
        contexts: contexts.collect(),
        inputs: up.inputs(node.id).map(link).collect(),
        outputs: down.outputs(node.id).map(link).collect(),
        history,
        truncated: older > 0 || full(&up) || full(&down),
        node,
    })
}
