//! Two models or two deployments side by side: everything that is known of each, by section and name, as text.

use std::collections::BTreeMap;

use serde::Serialize;

use super::document::{content, graph_of, maker, packages};
use crate::lineage::catalog::{Catalog, CatalogError, Direction, Graph, Moment, Node, Value, names};
use crate::lineage::{Content, Role};

/// What something is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Section {
    /// Which model it is.
    Model,
    /// What it was trained on.
    Data,
    /// What ran.
    Code,
    /// What the run was given.
    Parameters,
    /// What made chance repeatable.
    Seeds,
    /// Packages and hardware.
    Environment,
    /// The containers.
    Image,
    /// The models that it began with.
    Base,
    /// The figures that came out.
    Metrics,
}

impl Section {
    /// As it stands in a sentence.
    pub fn word(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Data => "data",
            Self::Code => "code",
            Self::Parameters => "parameters",
            Self::Seeds => "seeds",
            Self::Environment => "environment",
            Self::Image => "image",
            Self::Base => "base models",
            Self::Metrics => "metrics",
        }
    }
}

/// What is known of one side.
pub(super) type Facets = BTreeMap<(Section, String), String>;

/// All of it, of a model or of a deployment and the models that it serves.
pub(super) async fn of(catalog: &Catalog, node: &Node, moment: Moment) -> Result<Facets, CatalogError> {
    let mut found = Facets::new();
    if node.type_name != names::DEPLOYMENT {
        let graph = graph_with_metrics(catalog, node, moment).await?;
        model(&graph, node, "", &mut found);
        return Ok(found);
    }
    let served = catalog.walk(&[node.id], Direction::Upstream, 1, usize::MAX, moment).await?;
    let models: Vec<&Node> =
        served.inputs(node.id).map(|(_, input)| input).filter(|input| input.type_name == names::MODEL).collect();
    for input in served.inputs(node.id).map(|(_, input)| input).filter(|input| input.type_name == names::IMAGE) {
        add(&mut found, Section::Image, "serving", input.identity.trim_start_matches("image:"));
    }
    for served in &models {
        let name = served.identity.trim_start_matches("model:").rsplit_once('@').map_or("", |(name, _)| name);
        // Of one model its facts alone are told; of several, whose they are.
        let prefix = if models.len() == 1 { String::new() } else { format!("{name}: ") };
        let graph = graph_with_metrics(catalog, served, moment).await?;
        model(&graph, served, &prefix, &mut found);
    }
    Ok(found)
}

/// What lies upstream of a model, and the figures that its run gave.
async fn graph_with_metrics(catalog: &Catalog, model: &Node, moment: Moment) -> Result<Graph, CatalogError> {
    let mut graph = graph_of(catalog, model, moment).await?;
    if let Some(run) = maker(&graph, model).map(|run| run.id) {
        let made = catalog.walk(&[run], Direction::Downstream, 1, usize::MAX, moment).await?;
        let metrics: Vec<i64> = made
            .outputs(run)
            .map(|(_, node)| node)
            .filter(|node| node.type_name == names::METRICS)
            .map(|node| node.id)
            .collect();
        graph.edges.extend(made.edges.into_iter().filter(|edge| metrics.contains(&edge.target)));
        graph.nodes.extend(made.nodes.into_iter().filter(|reached| metrics.contains(&reached.node.id)));
    }
    Ok(graph)
}

fn model(graph: &Graph, node: &Node, prefix: &str, found: &mut Facets) {
    let content = content(graph, node);
    let mut put = |section, name: &str, value: Option<&str>| {
        if let Some(value) = value {
            add(found, section, &format!("{prefix}{name}"), value);
        }
    };
    put(Section::Model, "name", Some(&content.model.name));
    put(Section::Model, "version", Some(&content.model.version));
    put(Section::Model, "digest", content.model.digest.as_deref());
    put(Section::Model, "derivation", node.text("derivation"));
    for base in &content.bases {
        put(Section::Base, "model", Some(base));
    }
    let run = content.run.clone().unwrap_or_default();
    let code = run.code.unwrap_or_default();
    put(Section::Code, "repository", code.repo.as_deref());
    put(Section::Code, "commit", code.commit.as_deref());
    put(Section::Code, "tree", code.dirty.map(|dirty| if dirty { "changed" } else { "clean" }));
    put(Section::Code, "script", run.script_digest.as_deref());
    for (section, values) in [(Section::Parameters, &run.parameters), (Section::Seeds, &run.seeds)] {
        for (name, value) in values {
            put(section, name, Some(value));
        }
    }
    let environment = run.environment.unwrap_or_default();
    put(Section::Image, "training", environment.image.as_deref());
    put(Section::Environment, "lock digest", environment.lock_digest.as_deref());
    put(Section::Environment, "hardware", environment.hardware.as_deref());
    data(&content, &mut put);
    let Some(run) = maker(graph, node) else { return };
    for (_, node) in graph.inputs(run.id).filter(|(_, node)| node.type_name == names::ENVIRONMENT) {
        put(Section::Environment, "python", node.text("python"));
        for (name, version) in packages(node) {
            put(Section::Environment, &format!("package {name}"), Some(&version));
        }
    }
    for (_, node) in graph.outputs(run.id).filter(|(_, node)| node.type_name == names::METRICS) {
        for (name, value) in &node.properties {
            if matches!(value, Value::Int(_) | Value::Double(_)) {
                put(Section::Metrics, name, Some(&value.to_string()));
            }
        }
    }
}

/// By what a dataset is called and used for, so that another version of it is a change and not another dataset.
fn data(content: &Content, put: &mut impl FnMut(Section, &str, Option<&str>)) {
    for dataset in &content.datasets {
        let namespace = dataset.namespace.as_ref().map(|namespace| format!("{namespace}/")).unwrap_or_default();
        let role = match dataset.role {
            Role::Training => "training",
            Role::Validation => "validation",
            Role::Test => "test",
        };
        let name = format!("{namespace}{} ({role})", dataset.name);
        put(Section::Data, &format!("{name} version"), Some(&dataset.version));
        put(Section::Data, &format!("{name} records"), dataset.records.map(|records| records.to_string()).as_deref());
        put(Section::Data, &format!("{name} digest"), dataset.digest.as_deref());
    }
}

/// Several values of one name, such as the parts of a dataset, stand side by side.
fn add(found: &mut Facets, section: Section, name: &str, value: &str) {
    let held = found.entry((section, name.to_owned())).or_default();
    if !held.is_empty() {
        held.push_str(", ");
    }
    held.push_str(value);
}
