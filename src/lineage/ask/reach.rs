//! Upstream and downstream, with only the kinds of things that somebody wants to see.
//!
//! What is left out still connects: the dataset that a run used leads to the model that it made.

use std::collections::{HashMap, HashSet};

use serde::Serialize;

use crate::lineage::catalog::{Catalog, CatalogError, Direction, Edge, EventKind, Graph, Moment, Node, Reached};

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

/// A part of the graph as it is given away: its edges by identities.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Lineage {
    /// The identity of the node that it begins with.
    pub of: String,
    /// Which way it goes from there.
    pub direction: Direction,
    /// Nodes, nearest first.
    pub nodes: Vec<Reached>,
    /// The edges between them, the way the data went.
    pub edges: Vec<Arrow>,
    /// Whether there is more than was asked for.
    pub truncated: bool,
}

/// An edge by the identities of its ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Arrow {
    /// Where it comes from.
    pub from: String,
    /// Where it goes.
    pub to: String,
    /// The rest.
    #[serde(flatten)]
    pub edge: Edge,
}

impl Lineage {
    /// The graph around a node.
    pub fn new(of: &Node, direction: Direction, graph: Graph) -> Self {
        let identities: HashMap<i64, &str> =
            graph.nodes.iter().map(|reached| (reached.node.id, reached.node.identity.as_str())).collect();
        let named = |id: i64| identities.get(&id).map(|identity| (*identity).to_owned());
        let arrow = |edge: Edge| Some(Arrow { from: named(edge.source)?, to: named(edge.target)?, edge });
        let edges = graph.edges.into_iter().filter_map(arrow).collect();
        Self { of: of.identity.clone(), direction, edges, nodes: graph.nodes, truncated: graph.truncated }
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
    let (mut edges, mut known) = (Vec::new(), HashSet::new());
    for reached in graph.nodes.iter().filter(|reached| kept.contains(&reached.node.id)) {
        for first in out.get(&reached.node.id).into_iter().flatten() {
            through(first, &out, &kept, |edge| {
                if known.insert(key(&edge)) {
                    edges.push(edge);
                }
            });
        }
    }
    let nodes = graph.nodes.into_iter().filter(|reached| kept.contains(&reached.node.id)).collect();
    Graph { nodes, edges, truncated: graph.truncated }
}

/// Follows an edge through what is left out; its role is that of the first step.
fn through(first: &Edge, out: &HashMap<i64, Vec<&Edge>>, kept: &HashSet<i64>, mut found: impl FnMut(Edge)) {
    let mut seen = HashSet::new();
    let mut ahead = vec![first];
    while let Some(edge) = ahead.pop() {
        if kept.contains(&edge.target) {
            found(Edge { source: first.source, target: edge.target, ..first.clone() });
        } else if seen.insert(edge.target) {
            ahead.extend(out.get(&edge.target).into_iter().flatten().rev());
        }
    }
}

/// What tells edges apart.
fn key(edge: &Edge) -> (i64, i64, EventKind, String) {
    (edge.source, edge.target, edge.kind, edge.path.clone())
}

/// Whether a node is of a kind by any of the words for it.
fn is(node: &Node, kind: &str) -> bool {
    node.type_name.eq_ignore_ascii_case(kind)
        || node.identity.split_once(':').is_some_and(|(prefix, _)| prefix.eq_ignore_ascii_case(kind))
        || format!("{:?}", node.kind).eq_ignore_ascii_case(kind)
}
