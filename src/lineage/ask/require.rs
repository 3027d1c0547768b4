//! What is known of one model, check by check: whether it could be made again, and what a gate may ask for.

use serde::{Deserialize, Serialize};

use super::document::{content, graph_of};
use crate::lineage::catalog::{Catalog, CatalogError, Moment, Node};
use crate::lineage::{Content, Role, Run, checks};

/// Fields that a gate may ask for beyond the checks of reproducibility.
const FURTHER: [&str; 6] = ["run", "owner", "parameters", "dataset_records", "code_repo", "model_uri"];

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Its name, such as `git_commit`.
    pub name: &'static str,
    /// Whether what it asks for is there.
    pub passed: bool,
    /// What is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// Whether a model could be made again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reproduction {
    /// `model:NAME@VERSION`
    pub model: String,
    /// Whether every check has passed; `X-Reproducible`.
    pub reproducible: bool,
    /// The checks that have not passed, by name.
    pub missing: Vec<&'static str>,
    /// Every check with what was found.
    pub checks: Vec<Check>,
}

/// What a gate asked for, and what of it is not there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Required {
    /// `model:NAME@VERSION`
    pub model: String,
    /// Fields that were asked for and are not known, in the order in which they were asked.
    pub missing: Vec<String>,
}

/// The checks that make a model reproducible, each with what is known; `X-Reproducible` once all have passed.
///
/// # Errors
/// Where the database fails.
pub async fn reproduction(catalog: &Catalog, model: &Node, moment: Moment) -> Result<Reproduction, CatalogError> {
    let content = content(&graph_of(catalog, model, moment).await?, model);
    let checks = checks::checks(&content).into_iter();
    let checks: Vec<Check> =
        checks.map(|(name, passed)| Check { name, passed, value: value(&content, name) }).collect();
    let missing: Vec<_> = checks.iter().filter(|check| !check.passed).map(|check| check.name).collect();
    Ok(Reproduction { model: model.identity.clone(), reproducible: missing.is_empty(), missing, checks })
}

/// Every field that can be asked for, in order.
pub fn fields() -> Vec<&'static str> {
    let nothing = Content {
        model: crate::lineage::Model::default(),
        datasets: Vec::new(),
        bases: Vec::new(),
        run: None,
        reproducible: crate::lineage::Reproducible::default(),
        source: crate::lineage::Source::Catalog,
    };
    checks::checks(&nothing).into_iter().map(|(name, _)| name).chain(FURTHER).collect()
}

/// Of the fields that are asked for, those that are missing, in the order in which they are asked.
///
/// # Errors
/// Where the database fails.
pub async fn required(
    catalog: &Catalog,
    model: &Node,
    wanted: &[String],
    moment: Moment,
) -> Result<Required, CatalogError> {
    let content = content(&graph_of(catalog, model, moment).await?, model);
    let checks = checks::checks(&content);
    let there = |field: &str| {
        checks
            .iter()
            .find(|(name, _)| *name == field)
            .map_or_else(|| further(&content, model, field), |(_, passed)| *passed)
    };
    let missing = wanted.iter().filter(|field| !there(field)).cloned().collect();
    Ok(Required { model: model.identity.clone(), missing })
}

fn further(content: &Content, model: &Node, field: &str) -> bool {
    let empty = Run::default();
    let run = content.run.as_ref().unwrap_or(&empty);
    let mut training = content.datasets.iter().filter(|dataset| dataset.role == Role::Training).peekable();
    match field {
        "run" => content.run.is_some(),
        "owner" => model.text("owner").is_some(),
        "parameters" => !run.parameters.is_empty(),
        "dataset_records" => training.peek().is_some() && training.all(|dataset| dataset.records.is_some()),
        "code_repo" => run.code.as_ref().is_some_and(|code| code.repo.is_some()),
        "model_uri" => content.model.uri.is_some(),
        _ => false,
    }
}

/// What a check found.
fn value(content: &Content, name: &str) -> Option<String> {
    let training = content.datasets.iter().filter(|dataset| dataset.role == Role::Training);
    let joined = |texts: Vec<String>| (!texts.is_empty()).then(|| texts.join(", "));
    let run = content.run.as_ref();
    let code = run.and_then(|run| run.code.as_ref());
    let environment = run.and_then(|run| run.environment.as_ref());
    match name {
        "dataset_version" => joined(training.map(|dataset| format!("{}@{}", dataset.name, dataset.version)).collect()),
        "dataset_digest" => joined(training.filter_map(|dataset| dataset.digest.clone()).collect()),
        "git_commit" => code?.commit.clone(),
        "clean_tree" => code?.dirty.map(|dirty| if dirty { "changed".to_owned() } else { "clean".to_owned() }),
        "random_seed" => joined(run?.seeds.iter().map(|(name, seed)| format!("{name}={seed}")).collect()),
        "lock_digest" => environment?.lock_digest.clone(),
        "image_digest" => environment?.image.clone(),
        "model_digest" => content.model.digest.clone(),
        "hardware" => environment?.hardware.clone(),
        "script_digest" => run?.script_digest.clone(),
        _ => None,
    }
}
