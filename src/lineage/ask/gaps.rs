//! How much is linked: which models and datasets lead back to where they come from, and what the others lack.
//!
//! A model is fully linked where a run made it, and that run has its data (or the models that it began with), its code
//! and its environment. A dataset is, where it came in as it is (`stage: raw`, or from outside by an ingestion) or a run
//! made it.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::lineage::catalog::{Catalog, CatalogError, Direction, Filter, Graph, Moment, Node, names};

/// Nodes of one page. Each takes one walk together with the others.
const PAGE: u32 = 500;
/// Nodes that a page may lead to.
const NODES_MAX: usize = 200_000;
/// Gaps that are told one by one; the others are counted.
const GAPS_MAX: usize = 1000;

/// How many of how many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Share {
    /// All.
    pub artifacts: u64,
    /// Those that are fully linked.
    pub linked: u64,
}

impl Share {
    /// From 0 to 1; of nothing, 1.
    #[expect(clippy::cast_precision_loss, reason = "a share for people")]
    pub fn ratio(self) -> f64 {
        if self.artifacts == 0 { 1.0 } else { self.linked as f64 / self.artifacts as f64 }
    }

    fn count(&mut self, linked: bool) {
        self.artifacts += 1;
        self.linked += u64::from(linked);
    }
}

/// What one artifact lacks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Gap {
    /// Its identity.
    pub id: String,
    /// Who answers for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// `run`, `dataset`, `code`, `environment`.
    pub missing: Vec<&'static str>,
}

/// How much is linked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Completeness {
    /// Models and datasets together.
    pub all: Share,
    /// By owner; empty for those without one.
    pub by_owner: BTreeMap<String, Share>,
    /// Models by name, over all versions.
    pub by_model: BTreeMap<String, Share>,
    /// What is missing, models first; 1,000 at most.
    pub gaps: Vec<Gap>,
    /// Gaps beyond those.
    pub more: u64,
}

/// Goes through every model and dataset.
///
/// # Errors
/// Where the database fails.
pub async fn completeness(catalog: &Catalog, moment: Moment) -> Result<Completeness, CatalogError> {
    let mut found = Completeness::default();
    for type_name in [names::MODEL, names::DATASET] {
        let mut filter = Filter { type_name: Some(type_name.to_owned()), limit: Some(PAGE), ..Filter::default() };
        loop {
            let page = catalog.search(&filter, moment).await?;
            let ids: Vec<i64> = page.nodes.iter().map(|node| node.id).collect();
            let graph = catalog.walk(&ids, Direction::Upstream, 2, NODES_MAX, moment).await?;
            let index = Index::new(&graph);
            for node in &page.nodes {
                let missing = if type_name == names::MODEL { index.model(node) } else { index.dataset(node) };
                found.take(node, missing);
            }
            filter.after = page.next;
            if page.next.is_none() {
                break;
            }
        }
    }
    Ok(found)
}

/// What a model lacks.
///
/// # Errors
/// Where the database fails.
pub async fn gaps_of(catalog: &Catalog, model: &Node, moment: Moment) -> Result<Vec<&'static str>, CatalogError> {
    let graph = catalog.walk(&[model.id], Direction::Upstream, 2, NODES_MAX, moment).await?;
    Ok(Index::new(&graph).model(model))
}

impl Completeness {
    fn take(&mut self, node: &Node, missing: Vec<&'static str>) {
        let (linked, owner) = (missing.is_empty(), node.text("owner"));
        self.all.count(linked);
        self.by_owner.entry(owner.unwrap_or_default().to_owned()).or_default().count(linked);
        if node.type_name == names::MODEL {
            let name = node.identity.trim_start_matches("model:");
            let name = name.rsplit_once('@').map_or(name, |(name, _)| name);
            self.by_model.entry(name.to_owned()).or_default().count(linked);
        }
        if linked {
            return;
        }
        if self.gaps.len() < GAPS_MAX {
            self.gaps.push(Gap { id: node.identity.clone(), owner: owner.map(str::to_owned), missing });
        } else {
            self.more += 1;
        }
    }
}

/// What each node came from, by type: a page is too large to look through all edges for each of its nodes.
struct Index<'a>(BTreeMap<i64, Vec<&'a Node>>);

impl<'a> Index<'a> {
    fn new(graph: &'a Graph) -> Self {
        let nodes: BTreeMap<i64, &Node> = graph.nodes.iter().map(|reached| (reached.node.id, &reached.node)).collect();
        let mut inputs: BTreeMap<i64, Vec<&Node>> = BTreeMap::new();
        for edge in &graph.edges {
            inputs.entry(edge.target).or_default().extend(nodes.get(&edge.source).copied());
        }
        Self(inputs)
    }

    fn inputs(&self, id: i64) -> &[&'a Node] {
        self.0.get(&id).map_or(&[], Vec::as_slice)
    }

    fn model(&self, node: &Node) -> Vec<&'static str> {
        let makers = self.inputs(node.id);
        let training = makers.iter().find(|run| run.type_name == names::TRAINING).or_else(|| makers.first());
        let Some(run) = training else { return vec!["run", "dataset", "code", "environment"] };
        let has = |types: &[&str]| self.inputs(run.id).iter().any(|input| types.contains(&input.type_name.as_str()));
        [
            ("dataset", has(&[names::DATASET, names::MODEL])),
            ("code", has(&[names::CODE])),
            ("environment", has(&[names::ENVIRONMENT, names::IMAGE])),
        ]
        .into_iter()
        .filter(|(_, there)| !there)
        .map(|(name, _)| name)
        .collect()
    }

    fn dataset(&self, node: &Node) -> Vec<&'static str> {
        let linked = node.text("stage") == Some("raw") || !self.inputs(node.id).is_empty();
        if linked { Vec::new() } else { vec!["run"] }
    }
}
