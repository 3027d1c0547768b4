//! Upstream and downstream: the graph around some nodes, as it stood at a moment.
//!
//! It goes level by level, one question for each 500 nodes of a level, each answered from an index, so that the cost
//! is of what is reached and never of what is kept. It stops at a number of nodes and says so.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};
use sqlx::Row as _;
use sqlx::any::AnyRow;

use super::graph::{Edge, EventKind, Node};
use super::guard::id_list;
use super::{Catalog, CatalogError, Moment, timestamp};

/// Nodes that one question names.
const CHUNK: usize = 500;

/// Which way to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// To what it was made from.
    Upstream,
    /// To what was made from it.
    Downstream,
}

/// A node that was reached, and by how many steps.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Reached {
    /// The node.
    #[serde(flatten)]
    pub node: Node,
    /// Steps from where the walk began; 0 is where.
    pub depth: u32,
}

/// A part of the graph.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Graph {
    /// Nodes, nearest first.
    pub nodes: Vec<Reached>,
    /// The edges between them.
    pub edges: Vec<Edge>,
    /// Whether there is more than was asked for.
    pub truncated: bool,
}

impl Graph {
    /// A node by its number.
    pub fn node(&self, id: i64) -> Option<&Node> {
        self.nodes.iter().map(|reached| &reached.node).find(|node| node.id == id)
    }

    /// What went into a node, with the edges, in the order in which it was recorded.
    pub fn inputs(&self, id: i64) -> impl Iterator<Item = (&Edge, &Node)> {
        self.edges.iter().filter(move |edge| edge.target == id).filter_map(|edge| Some((edge, self.node(edge.source)?)))
    }

    /// What came out of a node, with the edges.
    pub fn outputs(&self, id: i64) -> impl Iterator<Item = (&Edge, &Node)> {
        self.edges.iter().filter(move |edge| edge.source == id).filter_map(|edge| Some((edge, self.node(edge.target)?)))
    }
}

impl Catalog {
    /// Walks from some nodes, at most so many steps and to at most so many nodes.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn walk(
        &self,
        from: &[i64],
        direction: Direction,
        depth_max: u32,
        nodes_max: usize,
        moment: Moment,
    ) -> Result<Graph, CatalogError> {
        let mut depths: HashMap<i64, u32> = from.iter().map(|id| (*id, 0)).collect();
        let mut order = from.to_vec();
        let mut edges = Vec::new();
        let mut frontier = from.to_vec();
        let mut truncated = false;
        for depth in 1.. {
            if frontier.is_empty() || truncated {
                break;
            }
            let found = self.edges(&frontier, direction, moment).await?;
            if depth > depth_max {
                // Only whether there is more.
                truncated = !found.is_empty();
                break;
            }
            frontier.clear();
            for edge in found {
                let next = if direction == Direction::Upstream { edge.source } else { edge.target };
                if let Entry::Vacant(unseen) = depths.entry(next) {
                    if order.len() >= nodes_max {
                        truncated = true;
                        continue;
                    }
                    unseen.insert(depth);
                    order.push(next);
                    frontier.push(next);
                }
                edges.push(edge);
            }
        }
        let nodes = self.nodes(&order, moment).await?;
        let there: HashSet<i64> = nodes.iter().map(|node| node.id).collect();
        edges.retain(|edge| there.contains(&edge.source) && there.contains(&edge.target));
        let nodes = nodes.into_iter().map(|node| Reached { depth: depths.get(&node.id).copied().unwrap_or(0), node });
        Ok(Graph { nodes: nodes.collect(), edges, truncated })
    }

    async fn edges(&self, of: &[i64], direction: Direction, moment: Moment) -> Result<Vec<Edge>, CatalogError> {
        let text = match direction {
            Direction::Upstream => UPSTREAM,
            Direction::Downstream => DOWNSTREAM,
        };
        let mut edges = Vec::new();
        for chunk in of.chunks(CHUNK) {
            let rows = sqlx::query(self.store.dialect.sql(text))
                .bind(id_list(chunk))
                .bind(moment.0)
                .fetch_all(&self.store.pool)
                .await?;
            for row in rows {
                edges.push(edge(&row)?);
            }
        }
        Ok(edges)
    }
}

pub(super) const UPSTREAM: &str = "SELECT source, target, kind, path, time, flaw FROM edge \
     WHERE target IN {ids} AND since <= $2 AND (until IS NULL OR until > $2) ORDER BY id";
pub(super) const DOWNSTREAM: &str = "SELECT source, target, kind, path, time, flaw FROM edge \
     WHERE source IN {ids} AND since <= $2 AND (until IS NULL OR until > $2) ORDER BY id";

pub(super) fn edge(row: &AnyRow) -> Result<Edge, CatalogError> {
    let kind: i64 = row.try_get(2)?;
    Ok(Edge {
        source: row.try_get(0)?,
        target: row.try_get(1)?,
        kind: EventKind::from_code(kind)
            .ok_or_else(|| CatalogError::Row { what: format!("an event of kind {kind}") })?,
        path: row.try_get(3)?,
        time: row.try_get::<Option<i64>, _>(4)?.map(timestamp).transpose()?,
        flaw: row.try_get(5)?,
    })
}
