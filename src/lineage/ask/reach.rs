//! Upstream and downstream, with only the kinds of things that somebody wants to see.
//!
//! What is left out still connects: the dataset that a run used leads to the model that it made.

use std::collections::{HashMap, HashSet};

use crate::lineage::catalog::{Catalog, CatalogError, Direction, Edge, Graph, Moment, Node};

/// What to ask.
#[derive(Clone, Debug)]
pub struct Question {
    /// Which way.
    pub direction: Direction,
    /// At most so many steps.
    pub depth_max: u32,
    /// At most so many nodes; the answer says where there are more.
    pub nodes_max: usize,
    /// Only these: names of types (`Training`), what identities begin with (`run`), or `artifact`, `execution`,
    /// `context`. Empty: everything.
    pub kinds: Vec<String>,
    /// As of when.
    pub at: Moment,
}

impl Question {
    /// Steps, where it is not said.
    pub const DEPTH: u32 = 64;
    /// Nodes, where it is not said.
    pub const NODES: usize = 1000;

    /// Everything one way, as it stands.
    pub fn new(direction: Direction) -> Self {
        Self { direction, depth_max: Self::DEPTH, nodes_max: Self::NODES, kinds: Vec::new(), at: Moment::NOW }
    }
}

/// The graph on one side of a node.
///
/// # Errors
/// Where the database fails.
pub async fn reach(catalog: &Catalog, from: &Node, question: &Question) -> Result<Graph, CatalogError> {
    let graph =
        catalog.walk(&[from.id], question.direction, question.depth_max, question.nodes_max, question.at).await?;
    Ok(only(graph, from.id, &question.kinds))
}

/// The graph with nothing but some kinds of nodes, and where it begins.
pub fn only(graph: Graph, begin: i64, kinds: &[String]) -> Graph {
    if kinds.is_empty() {
        return graph;
    }
    let kept: HashSet<i64> = graph
        .nodes
        .iter()
        .filter(|reached| reached.node.id == begin || kinds.iter().any(|kind| is(&reached.node, kind)))
        .map(|reached| reached.node.id)
        .collect();
    let mut out: HashMap<i64, Vec<&Edge>> = HashMap::new();
    for edge in &graph.edges {
        out.entry(edge.source).or_default().push(edge);
    }
    let mut edges = Vec::new();
    for reached in graph.nodes.iter().filter(|reached| kept.contains(&reached.node.id)) {
        for first in out.get(&reached.node.id).into_iter().flatten() {
            through(first, &out, &kept, &mut edges);
        }
    }
    let nodes = graph.nodes.into_iter().filter(|reached| kept.contains(&reached.node.id)).collect();
    Graph { nodes, edges, truncated: graph.truncated }
}

/// Follows an edge through what is left out; its role is that of the first step.
fn through(first: &Edge, out: &HashMap<i64, Vec<&Edge>>, kept: &HashSet<i64>, edges: &mut Vec<Edge>) {
    let mut seen = HashSet::new();
    let mut ahead = vec![first];
    while let Some(edge) = ahead.pop() {
        if kept.contains(&edge.target) {
            let whole = Edge { source: first.source, target: edge.target, ..first.clone() };
            if !edges.contains(&whole) {
                edges.push(whole);
            }
        } else if seen.insert(edge.target) {
            ahead.extend(out.get(&edge.target).into_iter().flatten().rev());
        }
    }
}

/// Whether a node is of a kind by any of the words for it.
fn is(node: &Node, kind: &str) -> bool {
    node.type_name.eq_ignore_ascii_case(kind)
        || node.identity.split_once(':').is_some_and(|(prefix, _)| prefix.eq_ignore_ascii_case(kind))
        || format!("{:?}", node.kind).eq_ignore_ascii_case(kind)
}
