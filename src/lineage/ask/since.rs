//! What has changed about a model since it served: its properties and state, the aliases that name it, newer versions of
//! what it was trained on, and what its deployment serves today.

use std::collections::HashSet;

use serde::Serialize;

use super::document::{content, graph_of};
use crate::lineage::Role;
use crate::lineage::catalog::{Catalog, CatalogError, Direction, Filter, Moment, Node, Value, names};

/// Newer versions of a dataset that are counted.
const NEWER_MAX: u32 = 1000;

/// One thing that is different now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Since {
    /// What it is about, an identity.
    pub about: String,
    /// What happened, for people.
    pub what: String,
    /// When, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<jiff::Timestamp>,
    /// Who said so, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
}

/// What is different about a model, and about the deployment that served it, since a moment.
///
/// # Errors
/// Where the database fails.
pub async fn since(
    catalog: &Catalog,
    model: &Node,
    deployment: Option<&str>,
    then: Moment,
) -> Result<Vec<Since>, CatalogError> {
    let mut found = Vec::new();
    changed(catalog, model, then, &mut found).await?;
    aliases(catalog, model, then, &mut found).await?;
    newer_data(catalog, model, then, &mut found).await?;
    if let Some(name) = deployment {
        serving(catalog, model, name, &mut found).await?;
    }
    Ok(found)
}

async fn changed(catalog: &Catalog, model: &Node, then: Moment, found: &mut Vec<Since>) -> Result<(), CatalogError> {
    for change in catalog.changes(model.id, then).await? {
        let what = match &change.value {
            Some(Value::String(state)) if change.name == "state" && state == "deleted" => "archived".to_owned(),
            Some(value) => format!("{} is {value} now", change.name),
            None => format!("{} was taken away", change.name),
        };
        let about = model.identity.clone();
        found.push(Since { about, what, time: Some(change.time), author: Some(change.author) });
    }
    Ok(())
}

/// Aliases that named the model then and name another version now, and those that came to it.
async fn aliases(catalog: &Catalog, model: &Node, then: Moment, found: &mut Vec<Since>) -> Result<(), CatalogError> {
    let Some((name, version)) = model.identity.trim_start_matches("model:").rsplit_once('@') else { return Ok(()) };
    let Some(now) = catalog.named(names::REGISTERED_MODEL, name, Moment::NOW).await? else { return Ok(()) };
    let before = catalog.nodes(&[now.id], then).await?.pop();
    let before = before.map(|node| node.properties).unwrap_or_default();
    let changes = catalog.changes(now.id, then).await?;
    let named = |properties: &crate::lineage::catalog::Properties, alias: &str| {
        properties.get(alias).and_then(Value::as_str).map(str::to_owned)
    };
    let mut keys: Vec<&String> = before.keys().chain(now.properties.keys()).collect();
    keys.sort();
    keys.dedup();
    for key in keys {
        let Some(alias) = key.strip_prefix("alias.") else { continue };
        let (was, is) = (named(&before, key), named(&now.properties, key));
        if was == is || ![&was, &is].into_iter().flatten().any(|named| named == version) {
            continue;
        }
        let what = match is {
            Some(is) => format!("alias {alias} names {is} now"),
            None => format!("alias {alias} names nothing now"),
        };
        let last = changes.iter().rev().find(|change| change.name == *key);
        found.push(Since {
            about: format!("model:{name}@{version}"),
            what,
            time: last.map(|change| change.time),
            author: last.map(|change| change.author.clone()),
        });
    }
    Ok(())
}

/// Versions of its training data that came after the one that it has, and after the moment: the newest, and how many.
async fn newer_data(catalog: &Catalog, model: &Node, then: Moment, found: &mut Vec<Since>) -> Result<(), CatalogError> {
    let graph = graph_of(catalog, model, Moment::NOW).await?;
    for dataset in content(&graph, model).datasets.iter().filter(|dataset| dataset.role == Role::Training) {
        let namespace = dataset.namespace.as_ref().map(|namespace| format!("{namespace}/")).unwrap_or_default();
        let stem = format!("{namespace}{}@", dataset.name);
        let Some(ours) = catalog.node(&format!("dataset:{stem}{}", dataset.version), Moment::NOW).await? else {
            continue;
        };
        // Numbers only grow.
        let later = Filter {
            type_name: Some(names::DATASET.to_owned()),
            name: Some(stem),
            after: Some(ours.id),
            limit: Some(NEWER_MAX),
            ..Filter::default()
        };
        let mut later = catalog.search(&later, Moment::NOW).await?;
        let ids: Vec<i64> = later.nodes.iter().map(|node| node.id).collect();
        let known: HashSet<i64> = catalog.nodes(&ids, then).await?.iter().map(|node| node.id).collect();
        later.nodes.retain(|node| !known.contains(&node.id));
        if let Some(newest) = later.nodes.last() {
            let what = match later.nodes.len() - 1 {
                _ if later.next.is_some() => format!("more than {NEWER_MAX} versions are newer"),
                0 => format!("{} is newer", newest.identity),
                others => format!("{} is newer, and {others} before it", newest.identity),
            };
            found.push(Since { about: ours.identity, what, time: Some(newest.created), author: None });
        }
    }
    Ok(())
}

async fn serving(catalog: &Catalog, model: &Node, name: &str, found: &mut Vec<Since>) -> Result<(), CatalogError> {
    let identity = format!("deployment:{name}");
    let Some(deployment) = catalog.node(&identity, Moment::NOW).await? else { return Ok(()) };
    let graph = catalog.walk(&[deployment.id], Direction::Upstream, 1, usize::MAX, Moment::NOW).await?;
    let models: Vec<&Node> =
        graph.inputs(deployment.id).map(|(_, node)| node).filter(|node| node.type_name == names::MODEL).collect();
    if !models.is_empty() && models.iter().all(|served| served.id != model.id) {
        let served: Vec<&str> = models.iter().map(|served| served.identity.as_str()).collect();
        let what = format!("serves {} now", served.join(", "));
        found.push(Since { about: identity, what, time: None, author: None });
    }
    Ok(())
}
