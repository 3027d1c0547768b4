//! The graph around a model, frozen into the document that stands behind a stamp.
//!
//! The way is model ← run ← what the run used. Its order is that in which edges were recorded, so that the same
//! lineage gives the same document at every refresh. A run that used no training data of its own, but models, as in
//! quantising or ensembles, has the training data of those.

use std::collections::{BTreeMap, HashSet};

use crate::lineage::catalog::{Catalog, CatalogError, Direction, Edge, Graph, Moment, Node, Value, names};
use crate::lineage::{
    Code, Content, Dataset, DatasetId, Environment, EnvironmentFact, Model, ModelId, Reproducible, Role, Run, Source,
    checks,
};

/// What an alias begins with, where a version could stand.
pub const ALIAS: char = '@';
/// Steps from a model to what its run used.
const INPUTS_DEPTH: u32 = 2;
/// Models that a model may come from, one after the other, before their training data is no longer looked for.
const BASES_MAX: u32 = 16;
/// Nodes of a document, far more than fit one.
const NODES_MAX: usize = 10_000;
/// What a source says of a repository that it does not know.
const REPO_UNKNOWN: &str = "unknown";

/// The document of a model version as the catalog knew it at a moment; `None` where it did not.
///
/// # Errors
/// Where the database fails.
pub async fn content_of(catalog: &Catalog, id: &ModelId, moment: Moment) -> Result<Option<Content>, CatalogError> {
    let Some(model) = catalog.node(&format!("model:{id}"), moment).await? else { return Ok(None) };
    Ok(Some(content(&graph_of(catalog, &model, moment).await?, &model)))
}

/// The document of a model by its version, or by an alias where that begins with `@`, as the graph stands.
///
/// # Errors
/// Where the database fails.
pub async fn resolved(catalog: &Catalog, name: &str, version: &str) -> Result<Option<Content>, CatalogError> {
    match named(catalog, name, version).await? {
        Some(id) => content_of(catalog, &id, Moment::NOW).await,
        None => Ok(None),
    }
}

/// The model version that a version or an `@ALIAS` names now; `None` where an alias names none.
async fn named(catalog: &Catalog, name: &str, version: &str) -> Result<Option<ModelId>, CatalogError> {
    let Some(alias) = version.strip_prefix(ALIAS) else { return Ok(ModelId::new(name, version).ok()) };
    let model = catalog.named(names::REGISTERED_MODEL, name, Moment::NOW).await?;
    let version = model.as_ref().and_then(|model| model.text(&format!("alias.{alias}")));
    Ok(version.and_then(|version| ModelId::new(name, version).ok()))
}

/// As much of the graph upstream of a model as its document is made of.
///
/// # Errors
/// Where the database fails.
pub(super) async fn graph_of(catalog: &Catalog, model: &Node, moment: Moment) -> Result<Graph, CatalogError> {
    let near = catalog.walk(&[model.id], Direction::Upstream, INPUTS_DEPTH, NODES_MAX, moment).await?;
    let own = content(&near, model);
    if own.bases.is_empty() || own.datasets.iter().any(|dataset| dataset.role == Role::Training) {
        return Ok(near);
    }
    catalog.walk(&[model.id], Direction::Upstream, INPUTS_DEPTH * BASES_MAX, NODES_MAX, moment).await
}

/// The run that made a model: of several the training, of several of those the first that was recorded.
pub fn maker<'a>(graph: &'a Graph, model: &Node) -> Option<&'a Node> {
    let makers = || graph.inputs(model.id).map(|(_, run)| run);
    makers().find(|run| run.type_name == names::TRAINING).or_else(|| makers().next())
}

/// The document of a model by a graph that holds what lies upstream of it.
pub fn content(graph: &Graph, model: &Node) -> Content {
    let run = maker(graph, model);
    let (name, version) = model
        .identity
        .strip_prefix("model:")
        .and_then(|rest| rest.rsplit_once('@'))
        .unwrap_or((model.name.as_deref().unwrap_or(&model.identity), ""));
    let mut content = Content {
        model: Model {
            name: name.to_owned(),
            version: version.to_owned(),
            uri: model.uri.clone(),
            digest: model.text("digest").map(str::to_owned),
        },
        datasets: Vec::new(),
        bases: Vec::new(),
        run: run.map(|run| described(graph, run)),
        reproducible: Reproducible::default(),
        source: Source::Catalog,
    };
    if let Some(run) = run {
        content.bases = bases(graph, run).map(|(_, base)| base.identity.replacen("model:", "", 1)).collect();
        unique(&mut content.bases);
        datasets(graph, run, &mut content.datasets);
        let mut seen = HashSet::from([run.id]);
        inherited(graph, run, &mut content.datasets, &mut seen);
    }
    content.reproducible = checks::reproducible(&content);
    content
}

/// The models that a run began with.
fn bases<'a>(graph: &'a Graph, run: &Node) -> impl Iterator<Item = (&'a Edge, &'a Node)> {
    graph.inputs(run.id).filter(|(_, node)| node.type_name == names::MODEL)
}

/// What a run used as data, added to what is there already.
fn datasets(graph: &Graph, run: &Node, found: &mut Vec<Dataset>) {
    for (edge, node) in graph.inputs(run.id).filter(|(_, node)| node.type_name == names::DATASET) {
        let Some(id) = node.identity.strip_prefix("dataset:").and_then(|id| id.parse::<DatasetId>().ok()) else {
            continue;
        };
        let dataset = Dataset {
            namespace: id.namespace,
            name: id.name,
            version: id.version,
            role: role(&edge.path),
            uri: node.uri.clone(),
            digest: node.text("digest").map(str::to_owned),
            records: match node.properties.get("records") {
                Some(Value::Int(records)) => u64::try_from(*records).ok(),
                _ => None,
            },
        };
        if !found.contains(&dataset) {
            found.push(dataset);
        }
    }
}

/// The training data of the models that a run began with, where it used none itself.
fn inherited(graph: &Graph, run: &Node, found: &mut Vec<Dataset>, seen: &mut HashSet<i64>) {
    if found.iter().any(|dataset| dataset.role == Role::Training) {
        return;
    }
    let mut training = Vec::new();
    for base in bases(graph, run).filter_map(|(_, base)| maker(graph, base)) {
        if seen.insert(base.id) {
            let mut theirs = Vec::new();
            datasets(graph, base, &mut theirs);
            inherited(graph, base, &mut theirs, seen);
            training.extend(theirs.into_iter().filter(|dataset| dataset.role == Role::Training));
        }
    }
    for dataset in training {
        if !found.contains(&dataset) {
            found.push(dataset);
        }
    }
}

/// What a dataset was used for. A source that does not say means what was trained on.
fn role(path: &str) -> Role {
    match path {
        "validation" => Role::Validation,
        "test" | "evaluation" => Role::Test,
        _ => Role::Training,
    }
}

fn described(graph: &Graph, run: &Node) -> Run {
    let prefixed = |prefix: &str| -> BTreeMap<String, String> {
        let named = run.properties.iter().filter_map(|(name, value)| Some((name.strip_prefix(prefix)?, value)));
        named.map(|(name, value)| (name.to_owned(), value.to_string())).collect()
    };
    let code = used(graph, run, names::CODE).map(|node| Code {
        repo: node.text("repo").filter(|repo| *repo != REPO_UNKNOWN).map(str::to_owned),
        commit: node.text("commit").map(str::to_owned),
        dirty: None,
    });
    let dirty = match run.properties.get("code_dirty") {
        Some(Value::Bool(dirty)) => Some(*dirty),
        _ => None,
    };
    let code = Code { dirty, ..code.unwrap_or_default() };
    let environment = environment(graph, run);
    Run {
        id: run.identity.strip_prefix("run:").map(str::to_owned),
        code: (code != Code::default()).then_some(code),
        parameters: prefixed("param."),
        seeds: prefixed("seed."),
        environment: (environment != Environment::default()).then_some(environment),
        script_digest: run.text("script_digest").map(str::to_owned),
    }
}

/// What a run ran in, put together from the image and the environments that it used.
fn environment(graph: &Graph, run: &Node) -> Environment {
    let mut found = Environment::default();
    if let Some(image) = used(graph, run, names::IMAGE) {
        found.image = image.identity.strip_prefix("image:").map(str::to_owned);
    }
    for (_, node) in graph.inputs(run.id).filter(|(_, node)| node.type_name == names::ENVIRONMENT) {
        let text = |name: &str| node.text(name).map(str::to_owned);
        found.image = found.image.or_else(|| text("image"));
        found.hardware = found.hardware.or_else(|| text("hardware"));
        found.lock_digest = found.lock_digest.or_else(|| text("lock_digest")).or_else(|| {
            // Pinned one by one is pinned too.
            let packages = packages(node);
            (!packages.is_empty()).then(|| EnvironmentFact::digest_of(&packages))
        });
    }
    found
}

/// The packages of an environment, by name.
pub(super) fn packages(environment: &Node) -> BTreeMap<String, String> {
    let Some(Value::Struct(serde_json::Value::Object(packages))) = environment.properties.get("packages") else {
        return BTreeMap::new();
    };
    let version = |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    packages.iter().map(|(name, value)| (name.clone(), version(value))).collect()
}

/// The first artifact of a type that a run used.
fn used<'a>(graph: &'a Graph, run: &Node, type_name: &str) -> Option<&'a Node> {
    graph.inputs(run.id).map(|(_, node)| node).find(|node| node.type_name == type_name)
}

fn unique(texts: &mut Vec<String>) {
    let mut seen = HashSet::new();
    texts.retain(|text| seen.insert(text.clone()));
}
