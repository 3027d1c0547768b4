//! The datasets of a run, by `log_input` and by the tag `dataset_version`: which they are, and of which version.
//!
//! A version is, in this order: the tag `dataset_version` of the input; that of the run, which may name several as
//! `NAME@VERSION`, or the version alone where one dataset alone can be meant; what the source names. Else none is known:
//! MLflow's digest covers the first rows of some columns, so that two datasets may share it. Such a dataset is its
//! run's own, `NAME@run-RUN_ID-DIGEST`, has `unversioned`, and is never taken for another run's.

use super::super::answers::{DatasetInput, by_name};
use super::source::Source;
use super::{Notes, Tags, source};
use crate::lineage::{DatasetFact, DatasetId, Used};

/// The tag that says of which version a dataset is.
const VERSION: &[&str] = &["dataset_version"];
/// The tags that name the dataset that a version alone is of.
const NAME: &[&str] = &["dataset_name", "dataset"];
/// The tag that says what a dataset was used for.
const CONTEXT: &str = "mlflow.data.context";
/// Bytes of a role.
const ROLE_BYTES_MAX: usize = 64;
/// Datasets of one run, at most.
const INPUTS_MAX: usize = 1000;
/// What a run may say to be believed next time.
const MEND: &str = "log it with the tag dataset_version, as in log_input(…, tags={\"dataset_version\": \"v1\"})";

/// A dataset of a run.
#[derive(Debug)]
struct Input<'a> {
    name: &'a str,
    digest: &'a str,
    role: String,
    source: Source,
    records: Option<u64>,
    /// As the input's own tag says.
    said: Option<&'a str>,
    /// As the run's tag says.
    of_run: Option<DatasetId>,
}

/// What a run used, ready to be recorded.
#[derive(Debug, Default)]
pub(super) struct Inputs {
    pub(super) datasets: Vec<DatasetFact>,
    pub(super) used: Vec<Used>,
    /// MLflow's digests, by role and dataset.
    pub(super) digests: Vec<(String, String)>,
}

pub(super) fn place(run: &str, logged: &[DatasetInput], tags: &Tags<'_>, notes: &mut Notes) -> Inputs {
    let mut inputs: Vec<Input<'_>> = Vec::new();
    for one in logged.iter().take(INPUTS_MAX) {
        match Input::read(one) {
            Some(input) => inputs.push(input),
            None => notes.say(format!("a dataset of run {run}"), "it has no name"),
        }
    }
    if logged.len() > INPUTS_MAX {
        notes.say(format!("datasets of run {run}"), format!("{} of them: the first {INPUTS_MAX}", logged.len()));
    }
    let more = by_tag(run, &mut inputs, tags, notes);
    let mut placed = Inputs::default();
    for input in &inputs {
        if let Some(fact) = input.fact(run, notes) {
            placed.add(fact, input);
        }
    }
    for id in more {
        placed.used.push(Used { id: format!("dataset:{id}"), role: "training".to_owned() });
        placed.datasets.push(DatasetFact { id: id.to_string(), ..DatasetFact::default() });
    }
    placed
}

impl<'a> Input<'a> {
    fn read(one: &'a DatasetInput) -> Option<Self> {
        let name = one.dataset.name.trim();
        let tags = by_name(&one.tags);
        let tag = |name: &str| tags.get(name).copied().map(str::trim).filter(|value| !value.is_empty());
        let profile = serde_json::from_str::<serde_json::Value>(&one.dataset.profile).unwrap_or_default();
        (!name.is_empty()).then(|| Self {
            name,
            digest: one.dataset.digest.trim(),
            role: role(tag(CONTEXT).unwrap_or_default()),
            source: source::read(&one.dataset.source),
            records: profile.get("num_rows").and_then(serde_json::Value::as_u64),
            said: VERSION.iter().find_map(|name| tag(name)),
            of_run: None,
        })
    }

    /// Whether a tag of the run may be meant for it.
    fn is_for_training(&self) -> bool {
        self.role == "training" || self.role.is_empty()
    }

    /// Its namespace and name: what stands before a `/` in a name belongs to where it lies.
    fn place(&self) -> (Option<String>, &'a str) {
        let namespace = self.source.namespace.clone();
        match (self.name.rsplit_once('/'), namespace) {
            (None, namespace) => (namespace, self.name),
            (Some((folder, name)), Some(namespace)) if !folder.contains("://") => {
                (Some(format!("{namespace}/{folder}")), name)
            }
            (Some((folder, name)), _) => (Some(folder.to_owned()), name),
        }
    }

    fn is_named(&self, id: &DatasetId) -> bool {
        let (namespace, name) = self.place();
        name == id.name && (id.namespace.is_none() || namespace.is_none() || id.namespace == namespace)
    }

    /// Its version where one is known.
    fn versioned(&self, what: &str, notes: &mut Notes) -> Option<DatasetId> {
        let (namespace, name) = self.place();
        let whole = self.said.filter(|said| said.contains('@')).map(|said| said.trim_start_matches("dataset:"));
        let said = match (whole, self.said) {
            (Some(whole), _) => Some(whole.parse::<DatasetId>()),
            (None, Some(version)) => Some(DatasetId::new(namespace.as_deref(), name, version)),
            (None, None) => None,
        };
        let of_source = || {
            let version = self.source.version.as_deref()?;
            Some(DatasetId::new(namespace.as_deref(), name, version))
        };
        match said.or_else(|| self.of_run.clone().map(Ok)).or_else(of_source)? {
            Ok(id) => Some(DatasetId { namespace: id.namespace.or(namespace), ..id }),
            Err(error) => {
                notes.say(what, error.to_string());
                None
            }
        }
    }

    fn fact(&self, run: &str, notes: &mut Notes) -> Option<DatasetFact> {
        let what = format!("dataset '{}' of run {run}", self.name);
        if self.role.is_empty() {
            notes.say(&what, "what it was used for is not said: log it with context=\"training\"");
        }
        let mut fact = DatasetFact {
            uri: notes.text(&what, self.source.uri.as_deref().unwrap_or_default()),
            weak_digest: notes.text(&what, self.digest),
            records: self.records,
            ..DatasetFact::default()
        };
        if let Some(id) = self.versioned(&what, notes) {
            fact.id = id.to_string();
            return Some(fact);
        }
        let (namespace, name) = self.place();
        let version = format!("run-{run}{}{}", if self.digest.is_empty() { "" } else { "-" }, self.digest);
        match DatasetId::new(namespace.as_deref(), name, &version) {
            Ok(id) => {
                notes.say(&what, format!("it has no version, and is this run's alone: {MEND}"));
                fact.id = id.to_string();
                fact.about.properties.insert("unversioned".to_owned(), true.into());
                Some(fact)
            }
            Err(error) => {
                notes.say(&what, error.to_string());
                None
            }
        }
    }
}

impl Inputs {
    fn add(&mut self, fact: DatasetFact, input: &Input<'_>) {
        let used = Used { id: format!("dataset:{}", fact.id), role: input.role.clone() };
        if let Some(digest) = &fact.weak_digest {
            let role = if input.role.is_empty() { "any" } else { &input.role };
            self.digests.push((format!("weak_digest.{role}.{}", fact.id), digest.clone()));
        }
        match self.datasets.iter_mut().find(|known| known.id == fact.id) {
            None => self.datasets.push(fact),
            // Parts of one version, such as a split: what is said of each is not said of the whole.
            Some(known) if known.weak_digest != fact.weak_digest || known.records != fact.records => {
                known.weak_digest = None;
                known.records = None;
            }
            Some(_) => {}
        }
        if !self.used.contains(&used) {
            self.used.push(used);
        }
    }
}

/// Gives inputs the versions that the run's tag says, and answers with the datasets that it alone names.
fn by_tag(run: &str, inputs: &mut [Input<'_>], tags: &Tags<'_>, notes: &mut Notes) -> Vec<DatasetId> {
    let mut more: Vec<DatasetId> = Vec::new();
    let Some(text) = tags.get(VERSION) else { return more };
    for word in text.split([',', ' ', '\t', '\n']).filter(|word| !word.is_empty()).take(INPUTS_MAX) {
        let what = format!("tag dataset_version '{word}' of run {run}");
        let id = if word.contains('@') {
            word.trim_start_matches("dataset:").parse::<DatasetId>()
        } else {
            match alone(word, inputs, tags) {
                Ok(id) => id,
                Err(why) => {
                    notes.say(what, why);
                    continue;
                }
            }
        };
        let id = match id {
            Ok(id) => id,
            Err(error) => {
                notes.say(what, error.to_string());
                continue;
            }
        };
        let named: Vec<_> = inputs.iter_mut().filter(|input| input.is_for_training() && input.is_named(&id)).collect();
        if named.is_empty() && !more.contains(&id) {
            more.push(id.clone());
        }
        for input in named {
            let other = input.said.filter(|said| said.rsplit('@').next() != Some(id.version.as_str()));
            if let Some(said) = other {
                notes.say(&what, format!("the dataset itself was logged as '{said}', which holds"));
            }
            input.of_run = Some(id.clone());
        }
    }
    more
}

/// The dataset that a version alone is of.
fn alone(
    version: &str,
    inputs: &[Input<'_>],
    tags: &Tags<'_>,
) -> Result<Result<DatasetId, crate::lineage::IdentityError>, String> {
    if let Some(name) = tags.get(NAME) {
        return Ok(format!("{name}@{version}").parse());
    }
    let mut places: Vec<_> = inputs.iter().filter(|input| input.is_for_training()).map(Input::place).collect();
    places.sort();
    places.dedup();
    match &places[..] {
        [(namespace, name)] => Ok(DatasetId::new(namespace.as_deref(), name, version)),
        [] => Err("it names no dataset, and none was logged: write NAME@VERSION".to_owned()),
        several => Err(format!("{} datasets were logged: write NAME@VERSION", several.len())),
    }
}

/// What a dataset was used for, by the words that are in use.
fn role(context: &str) -> String {
    let context = context.trim().to_lowercase();
    match context.as_str() {
        "train" | "training" | "fit" => "training".to_owned(),
        "val" | "valid" | "validation" | "dev" | "eval" | "evaluation" => "validation".to_owned(),
        "test" | "testing" | "holdout" => "test".to_owned(),
        _ if context.len() > ROLE_BYTES_MAX || context.contains(char::is_control) => String::new(),
        _ => context,
    }
}
