//! What becomes what: a version, its run and its logged model as [`Facts`], and what of them has no place.
//!
//! | MLflow | lineage |
//! | --- | --- |
//! | version 3 of `fraud` | `model:fraud@3`, or what its tag `model_version` said when it was first seen (`version`) |
//! | its run | `run:RUN_ID`, a training; parameters, metrics, tags, code, image, times, user |
//! | a logged dataset | `dataset:[NAMESPACE/]NAME@VERSION` by tag or by its source; else `@run-RUN_ID-DIGEST` (`inputs`) |
//! | its experiment | `Experiment` |
//! | aliases, the model's tags | properties of `RegisteredModel` |
//!
//! A pure function: it asks nobody and knows no catalog. Whatever a server writes, what comes out can be recorded:
//! names that the lineage cannot have, values that are too large and numbers that are none are left out and said.

mod inputs;
mod model;
mod registered;
mod run;
mod source;

use std::collections::BTreeMap;

use super::answers::{LoggedModel, ModelVersion, RegisteredModel, Run, by_name};
use super::report::Unplaced;
use crate::lineage::{Facts, ModelId};

/// Bytes of a value, at most; the catalog takes somewhat more.
const VALUE_BYTES_MAX: usize = 200 * 1024;
/// Bytes of a parameter's, metric's or tag's name, at most; the catalog takes somewhat more, with a prefix.
pub(super) const NAME_BYTES_MAX: usize = 900;
/// Parameters, metrics, or tags of one thing, at most: together fewer than a node may have properties.
const NAMES_MAX: usize = 600;
/// What MLflow's own tags begin with.
const OWN_TAGS: &str = "mlflow.";

/// All that MLflow says of one version.
#[derive(Clone, Copy, Debug)]
pub(super) struct Said<'a> {
    /// Its name in the lineage.
    pub(super) id: &'a ModelId,
    pub(super) version: &'a ModelVersion,
    pub(super) registered: &'a RegisteredModel,
    /// None where there is none, or where it cannot be had.
    pub(super) run: Option<&'a Run>,
    pub(super) logged: Option<&'a LoggedModel>,
    /// The experiment's name.
    pub(super) experiment: Option<&'a str>,
    /// All versions that its run made, itself among them: what their tags say of a run that says nothing holds for it.
    pub(super) siblings: &'a [ModelVersion],
    /// The server's address.
    pub(super) server: &'a str,
}

/// What has a place, and what has none.
#[derive(Debug, Default)]
pub(super) struct Placed {
    pub(super) facts: Facts,
    pub(super) unplaced: Vec<Unplaced>,
}

/// Places a version with its run.
pub(super) fn place(said: &Said<'_>) -> Placed {
    let mut notes = Notes::default();
    let mut facts = Facts::default();
    let run = run::place(said, &mut notes);
    let metrics = run.as_ref().map(|run| run.fact.metrics.keys().cloned().collect()).unwrap_or_default();
    facts.models.push(model::place(said, &metrics, &mut notes));
    if let Some(run) = run {
        facts.datasets = run.datasets;
        facts.runs.push(run.fact);
    }
    Placed { facts, unplaced: notes.0 }
}

pub(super) use registered::place as registered;
pub(super) use run::logged_id;

/// Places whatever it is, and makes a batch of it: for fuzzing. What comes out must be recordable.
pub(super) fn place_any(
    version: &ModelVersion,
    registered: &RegisteredModel,
    run: Option<&Run>,
    logged: Option<&LoggedModel>,
) {
    let Ok(id) = ModelId::new(&version.name, &version.version) else { return };
    let siblings = std::slice::from_ref(version);
    let server = "http://mlflow";
    let said = Said { id: &id, version, registered, run, logged, experiment: run.map(|_| "e"), siblings, server };
    let batch = place(&said).facts.batch("fuzz", super::SOURCE);
    debug_assert!(batch.as_ref().is_ok_and(|batch| batch.check().is_ok()), "{batch:?}");
}

/// An address without user, password, or a query that looks like one.
pub(super) fn without_secrets(uri: &str) -> String {
    source::without_secrets(uri)
}

/// What has no place, and why.
#[derive(Debug, Default)]
struct Notes(Vec<Unplaced>);

impl Notes {
    fn say(&mut self, what: impl Into<String>, why: impl Into<String>) {
        self.0.push(Unplaced { what: what.into(), why: why.into() });
    }

    /// A text that can be recorded, where there is one.
    fn text(&mut self, what: &str, text: &str) -> Option<String> {
        if text.is_empty() {
            return None;
        }
        if let Some(problem) = problem(text, VALUE_BYTES_MAX) {
            self.say(what, problem);
            return None;
        }
        Some(text.to_owned())
    }

    /// What of some named values can be recorded: the first in order, and only those that are text of a fair size.
    fn named<'a, V>(
        &mut self,
        what: &str,
        values: impl IntoIterator<Item = (&'a str, V)>,
        mut keep: impl FnMut(V) -> Result<V, String>,
    ) -> BTreeMap<String, V> {
        let mut kept = BTreeMap::new();
        let mut beyond = 0_usize;
        for (name, value) in values {
            let name_problem =
                if name.is_empty() { Some("it has no name".to_owned()) } else { problem(name, NAME_BYTES_MAX) };
            let short: String = name.chars().take(80).collect();
            match (name_problem, keep(value)) {
                (Some(problem), _) | (None, Err(problem)) => self.say(format!("{what} '{short}'"), problem),
                (None, Ok(_)) if kept.len() >= NAMES_MAX => beyond += 1,
                (None, Ok(value)) => drop(kept.insert(name.to_owned(), value)),
            }
        }
        if beyond > 0 {
            self.say(what, format!("{beyond} more than {NAMES_MAX} were left out: the first in order are kept"));
        }
        kept
    }

    fn texts<'a>(
        &mut self,
        what: &str,
        values: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> BTreeMap<String, String> {
        let kept = self.named(what, values, |value| problem(value, VALUE_BYTES_MAX).map_or(Ok(value), Err));
        kept.into_iter().map(|(name, value)| (name, value.to_owned())).collect()
    }
}

/// Why a text cannot be recorded.
fn problem(text: &str, bytes_max: usize) -> Option<String> {
    if text.len() > bytes_max {
        return Some(format!("{} bytes, at most {bytes_max}", text.len()));
    }
    text.contains('\0').then(|| "it has a NUL".to_owned())
}

/// The tags of a run and, for what it does not say, of the versions that it made.
#[derive(Debug)]
struct Tags<'a> {
    own: BTreeMap<&'a str, &'a str>,
    versions: Vec<BTreeMap<&'a str, &'a str>>,
}

impl<'a> Tags<'a> {
    fn new(said: &Said<'a>) -> Self {
        let mut siblings: Vec<&ModelVersion> = said.siblings.iter().collect();
        // The same answer, whichever of them is imported.
        siblings.sort_by_key(|version| (version.name.as_str(), version.version.parse::<u64>().ok()));
        Self {
            own: said.run.map(|run| by_name(&run.data.tags)).unwrap_or_default(),
            versions: siblings.iter().map(|version| by_name(&version.tags)).collect(),
        }
    }

    /// The value of the first of some names that is there and not empty.
    fn get(&self, names: &[&str]) -> Option<&'a str> {
        let of = |tags: &BTreeMap<&'a str, &'a str>| {
            names.iter().find_map(|name| tags.get(name).copied().map(str::trim).filter(|value| !value.is_empty()))
        };
        of(&self.own).or_else(|| self.versions.iter().find_map(of))
    }
}

#[cfg(test)]
mod tests;
