//! A version of a registered model, with the logged model behind it.

use std::collections::{BTreeMap, BTreeSet};

use super::super::answers::by_name;
use super::run::{logged_id, time};
use super::{Notes, OWN_TAGS, Said, source};
use crate::lineage::catalog::State;
use crate::lineage::{About, ModelFact};

/// Tags whose value is the digest of the model's files.
const DIGEST: [&str; 2] = ["model_digest", "digest"];

/// The model; `run_metrics` are known of its run, and need not be said twice.
pub(super) fn place(said: &Said<'_>, run_metrics: &BTreeSet<String>, notes: &mut Notes) -> ModelFact {
    let version = said.version;
    let what = format!("version {} of '{}'", version.version, version.name);
    let tags = by_name(&version.tags);
    let foreign = tags.iter().filter(|(name, _)| !name.starts_with(OWN_TAGS)).map(|(name, value)| (*name, *value));
    let owners = by_name(&said.registered.tags);
    let owner = tags.get("owner").or(owners.get("owner")).copied().unwrap_or(&version.user_id);
    let logged = said.logged.map_or("", |logged| logged.info.artifact_uri.as_str());
    // What stands for another version or a logged model is no place of files.
    let own = Some(version.source.as_str()).filter(|source| !source.starts_with("models:/")).unwrap_or_default();
    let uri = if logged.is_empty() { own } else { logged };
    let mut about = About {
        owner: notes.text(&what, owner),
        tags: notes.texts(&format!("tag of {what}"), foreign),
        ..About::default()
    };
    for (name, value) in properties(said) {
        if let Some(value) = notes.text(&what, &value) {
            about.properties.insert(name.to_owned(), value.into());
        }
    }
    for (name, value) in metrics(said, run_metrics, &what, notes) {
        about.properties.insert(format!("metric.{name}"), value.into());
    }
    let digest = DIGEST.iter().find_map(|name| tags.get(name).copied()).filter(|digest| is_digest(digest));
    ModelFact {
        id: said.id.to_string(),
        uri: notes.text(&what, &source::without_secrets(uri)),
        digest: digest.map(str::to_owned),
        derivation: tags.get("derivation").and_then(|derivation| notes.text(&what, derivation)),
        state: state(said),
        // Whom aliases name is said of the registered model, for all versions at once.
        aliases: Vec::new(),
        stage: notes.text(&what, &version.current_stage).filter(|stage| stage != "None"),
        about,
    }
}

/// What has no place of its own in the lineage.
fn properties(said: &Said<'_>) -> Vec<(&'static str, String)> {
    let version = said.version;
    let copied = version.source.strip_prefix("models:/").filter(|rest| rest.contains('/'));
    let copied = copied.and_then(|rest| rest.rsplit_once('/')).map(|(name, number)| format!("model:{name}@{number}"));
    vec![
        ("mlflow.server", said.server.to_owned()),
        ("mlflow.version", version.version.clone()),
        ("mlflow.model_id", logged_id(version).unwrap_or_default().to_owned()),
        ("mlflow.source", source::without_secrets(&version.source)),
        ("mlflow.created", time(version.creation_timestamp).map(|time| time.to_string()).unwrap_or_default()),
        ("copied_from", copied.unwrap_or_default()),
        ("description", version.description.clone()),
        ("model_type", said.logged.map(|logged| logged.info.model_type.clone()).unwrap_or_default()),
    ]
}

/// Figures of the logged model that its run has not: those of later evaluations.
fn metrics(said: &Said<'_>, run_metrics: &BTreeSet<String>, what: &str, notes: &mut Notes) -> BTreeMap<String, f64> {
    let Some(logged) = said.logged else { return BTreeMap::new() };
    // The run's own are said with the run, and there alone is a figure that is no number told from nought.
    let of_run = said.run.map(|run| run.data.metrics.iter().map(|metric| metric.key.as_str()).collect::<BTreeSet<_>>());
    let of_run = of_run.unwrap_or_default();
    let mut last: BTreeMap<&str, (Option<i64>, f64)> = BTreeMap::new();
    for metric in &logged.data.metrics {
        let name = metric.key.as_str();
        if of_run.contains(name) || run_metrics.contains(name) {
            continue;
        }
        if last.get(name).is_none_or(|(step, _)| *step <= metric.step) {
            last.insert(name, (metric.step, metric.value));
        }
    }
    let values = last.into_iter().map(|(name, (_, value))| (name, value));
    notes.named(&format!("metric of {what}"), values, |value| {
        if value.is_finite() { Ok(value) } else { Err("it is no finite number".to_owned()) }
    })
}

/// Archived and withdrawn is still there to be asked for.
fn state(said: &Said<'_>) -> Option<State> {
    match (said.version.status.as_str(), said.version.current_stage.as_str()) {
        (_, "Archived") => Some(State::Deleted),
        ("PENDING_REGISTRATION", _) => Some(State::Pending),
        ("FAILED_REGISTRATION", _) => Some(State::Abandoned),
        ("READY", _) => Some(State::Live),
        _ => None,
    }
}

/// Whether a text is `sha256:` and a SHA-256 in lower-case hexadecimal.
pub(super) fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:").is_some_and(crate::lineage::resolve::is_sha256)
}
