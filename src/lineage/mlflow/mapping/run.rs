//! A run: what it was given, what it gave, by which code, in what, begun by whom.

use std::collections::BTreeMap;

use super::super::answers::{ModelVersion, Run};
use super::inputs::{self, Inputs};
use super::{Notes, OWN_TAGS, Said, Tags, problem, source};
use crate::lineage::catalog::State;
use crate::lineage::{About, Code, DatasetFact, EntityId, EnvironmentFact, RunFact, RunKind};

/// Who says that a pipeline is of a version of code; what a person or a pipeline said goes before what MLflow saw.
const COMMIT: [&str; 2] = ["git_commit", "mlflow.source.git.commit"];
const REPO: [&str; 4] = ["git_repo", "git_repo_url", "mlflow.source.git.repoURL", "mlflow.databricks.gitRepoUrl"];
const DIRTY: [&str; 2] = ["git_dirty", "mlflow.source.git.dirty"];
const IMAGE: [&str; 3] = ["mlflow.docker.image.uri", "docker_image", "image"];
const PYTHON: [&str; 2] = ["python_version", "python"];
/// Bytes of a name that stands within another.
const PART_BYTES_MAX: usize = 256;

/// A run, and the datasets that it used.
#[derive(Debug)]
pub(super) struct PlacedRun {
    pub(super) fact: RunFact,
    pub(super) datasets: Vec<DatasetFact>,
}

/// The run that made a version, as far as it is known. None where nobody knows of one.
pub(super) fn place(said: &Said<'_>, notes: &mut Notes) -> Option<PlacedRun> {
    let tags = Tags::new(said);
    let id = run_id(said, &tags, notes)?;
    let nothing = Run::default();
    let run = said.run.unwrap_or(&nothing);
    let what = format!("run {id}");
    let Inputs { datasets, used, digests } = inputs::place(&id, &run.inputs.dataset_inputs, &tags, notes);
    let parameters = parameters(run, &what, notes);
    let mut about = about(run, &tags, &what, notes);
    about.properties.extend(digests.into_iter().map(|(name, digest)| (name, digest.into())));
    unregistered(said, run, &what, notes);
    let fact = RunFact {
        kind: RunKind::Training,
        name: notes.text(&what, &run.info.run_name),
        start: time(run.info.start_time),
        end: time(run.info.end_time),
        state: state(&run.info.status),
        command: tags.get(&["mlflow.source.name"]).and_then(|name| notes.text(&what, name)),
        triggered_by: tags.get(&["triggered_by"]).and_then(|by| notes.text(&what, by)),
        code: code(&tags, &what, notes),
        environment: environment(&tags, &what, notes),
        seeds: parameters.iter().filter(|(name, value)| is_seed(name, value)).map(own).collect(),
        parameters,
        metrics: metrics(run, &what, notes),
        inputs: used,
        outputs: vec![format!("model:{}", said.id)],
        experiment: said
            .experiment
            .filter(|name| name.len() <= PART_BYTES_MAX)
            .and_then(|name| notes.text(&what, name)),
        about,
        id,
        ..RunFact::default()
    };
    Some(PlacedRun { fact, datasets })
}

/// The run's id. A version that no run made has one of its own where its tags speak of a training.
fn run_id(said: &Said<'_>, tags: &Tags<'_>, notes: &mut Notes) -> Option<String> {
    let what = format!("version {} of '{}'", said.version.version, said.version.name);
    let source = said.logged.map_or("", |logged| logged.info.source_run_id.as_str());
    let known = [said.version.run_id.as_str(), source].into_iter().find(|id| !id.is_empty());
    let id = match known {
        Some(id) => id.to_owned(),
        None if tags.get(&["dataset_version", "git_commit", "triggered_by"]).is_some() => {
            notes.say(what.as_str(), "no run made it: its tags stand for one");
            format!("mlflow:{}@{}", said.version.name, said.version.version)
        }
        None => {
            notes.say(what, "no run made it: log models within mlflow.start_run()");
            return None;
        }
    };
    match format!("run:{id}").parse::<EntityId>() {
        Ok(_) => Some(id),
        Err(error) => {
            notes.say(what, error.to_string());
            None
        }
    }
}

fn parameters(run: &Run, what: &str, notes: &mut Notes) -> BTreeMap<String, String> {
    let pairs = run.data.params.iter().map(|pair| (pair.key.as_str(), pair.value.as_str()));
    let sorted: BTreeMap<&str, &str> = pairs.collect();
    notes.texts(&format!("parameter of {what}"), sorted)
}

fn metrics(run: &Run, what: &str, notes: &mut Notes) -> BTreeMap<String, f64> {
    let sorted: BTreeMap<&str, f64> =
        run.data.metrics.iter().map(|metric| (metric.key.as_str(), metric.value)).collect();
    notes.named(&format!("metric of {what}"), sorted, |value| {
        if value.is_finite() { Ok(value) } else { Err("it is no finite number".to_owned()) }
    })
}

fn about(run: &Run, tags: &Tags<'_>, what: &str, notes: &mut Notes) -> About {
    let foreign = tags.own.iter().filter(|(name, _)| !name.starts_with(OWN_TAGS));
    let owner = tags.own.get("owner").or(tags.own.get("mlflow.user")).copied().unwrap_or(&run.info.user_id);
    let mut about = About {
        owner: notes.text(what, owner),
        tags: notes.texts(&format!("tag of {what}"), foreign.map(|(name, value)| (*name, *value))),
        ..About::default()
    };
    let own = [
        ("description", tags.own.get("mlflow.note.content").copied()),
        ("branch", tags.own.get("mlflow.source.git.branch").copied()),
        ("parent_run", tags.own.get("mlflow.parentRunId").copied()),
        ("image_id", tags.own.get("mlflow.docker.image.id").copied()),
        ("artifact_uri", Some(run.info.artifact_uri.as_str())),
        ("mlflow.lifecycle", Some(run.info.lifecycle_stage.as_str()).filter(|stage| *stage != "active")),
    ];
    for (name, value) in own {
        if let Some(value) = value.and_then(|value| notes.text(what, value)) {
            about.properties.insert(name.to_owned(), value.into());
        }
    }
    about
}

/// The code that ran. A commit that two tags differ about is said.
fn code(tags: &Tags<'_>, what: &str, notes: &mut Notes) -> Option<Code> {
    let commit = tags.get(&COMMIT);
    if let (Some(said), Some(seen)) = (tags.get(&COMMIT[..1]), tags.get(&COMMIT[1..]))
        && said != seen
    {
        notes.say(what, format!("git_commit says {said} and MLflow saw {seen}: the former holds"));
    }
    let project = tags.get(&["mlflow.source.name"]).filter(|_| tags.get(&["mlflow.source.type"]) == Some("PROJECT"));
    let repo = tags.get(&REPO).or(project.and_then(|name| name.split('#').next()));
    let mut code = Code {
        repo: repo.map(source::without_secrets),
        commit: commit.map(str::to_owned),
        dirty: tags.get(&DIRTY).and_then(truth),
    };
    let repo = code.repo.as_deref().unwrap_or("unknown");
    if let Some(commit) = &code.commit
        && let Err(error) = format!("code:{repo}@{commit}").parse::<EntityId>()
    {
        notes.say(format!("code of {what}"), error.to_string());
        code.commit = None;
    }
    (code != Code::default()).then_some(code)
}

fn environment(tags: &Tags<'_>, what: &str, notes: &mut Notes) -> Option<EnvironmentFact> {
    let mut environment = EnvironmentFact {
        image: tags.get(&IMAGE).map(str::to_owned),
        lock_digest: tags.get(&["lock_digest"]).map(str::to_owned),
        python: tags.get(&PYTHON).and_then(|python| notes.text(what, python)),
        ..EnvironmentFact::default()
    };
    if let Some(image) = &environment.image {
        let pinned = image.contains("@sha256:");
        let unfit = match format!("image:{image}").parse::<EntityId>() {
            Err(error) if pinned => Some(error.to_string()),
            _ => problem(image, PART_BYTES_MAX),
        };
        if let Some(why) = unfit {
            notes.say(format!("image of {what}"), why);
            environment.image = None;
        } else if !pinned {
            notes.say(format!("image of {what}"), format!("'{image}' is not pinned: add its digest, NAME@sha256:…"));
        }
    }
    if environment.lock_digest.as_deref().is_some_and(|digest| !super::model::is_digest(digest)) {
        notes.say(format!("lock_digest of {what}"), "write sha256: and 64 lower-case hexadecimal digits");
        environment.lock_digest = None;
    }
    (environment != EnvironmentFact::default()).then_some(environment)
}

/// Logged models of the run that nobody registered.
fn unregistered(said: &Said<'_>, run: &Run, what: &str, notes: &mut Notes) {
    let registered = |id: &str| said.siblings.iter().any(|version| logged_id(version) == Some(id));
    let outputs = run.outputs.model_outputs.iter().filter(|output| !output.model_id.is_empty());
    let left = outputs.filter(|output| !registered(&output.model_id)).count();
    if left > 0 {
        notes.say(what, format!("{left} of its logged models are not registered, and have no version"));
    }
}

/// The id of the logged model behind a version, where its source names one.
pub(in super::super) fn logged_id(version: &ModelVersion) -> Option<&str> {
    let source = version.source.strip_prefix("models:/").filter(|id| id.starts_with("m-") && !id.contains('/'));
    source.or(Some(version.model_id.as_str()).filter(|id| !id.is_empty()))
}

fn state(status: &str) -> Option<State> {
    match status {
        "RUNNING" => Some(State::Running),
        "SCHEDULED" => Some(State::New),
        "FINISHED" => Some(State::Complete),
        "FAILED" => Some(State::Failed),
        "KILLED" => Some(State::Canceled),
        _ => None,
    }
}

/// Whether a parameter is what randomness began with.
fn is_seed(name: &str, value: &str) -> bool {
    let name = name.to_lowercase();
    let named = ["seed", "random_state"].iter().any(|end| {
        name.strip_suffix(end).is_some_and(|before| before.is_empty() || before.ends_with(['_', '.', '-', '/']))
    });
    named && !value.is_empty() && value != "None"
}

fn truth(text: &str) -> Option<bool> {
    match text.to_lowercase().as_str() {
        "true" | "1" | "yes" | "dirty" => Some(true),
        "false" | "0" | "no" | "clean" => Some(false),
        _ => None,
    }
}

fn own((name, value): (&String, &String)) -> (String, String) {
    (name.clone(), value.clone())
}

/// Milliseconds since 1970; what no time can be is none.
pub(super) fn time(millis: Option<i64>) -> Option<jiff::Timestamp> {
    // MLflow writes 0 where there is none.
    millis.filter(|millis| *millis != 0).and_then(|millis| jiff::Timestamp::from_millisecond(millis).ok())
}
