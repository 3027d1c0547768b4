//! `touchmark lineage record run`: a run as somebody tells it, or a command that is run and watched.
//!
//! A command's run stands in the catalog before it begins, so that one that never comes back is seen as running and not
//! forgotten. How the command ended is how this ends. What cannot be recorded at the end is kept in a file.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use super::things::qualified;
use super::{Common, capture, digest, environment, output, pair, tell, word};
use crate::cli::Status;
use crate::lineage::catalog::State;
use crate::lineage::{Facts, ModelFact, RunFact, RunKind, Used};

/// By which a command can name its own run.
const RUN_ID: &str = "TOUCHMARK_RUN_ID";
/// What the shell adds to a signal that ended a command.
const SIGNALLED: i32 = 128;

/// `touchmark lineage record run`
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Its id [default: a new one]
    #[arg(long, value_name = "ID", required_unless_present = "command")]
    id: Option<String>,
    /// What it does: run, ingestion, transformation, training, evaluation, packaging, approval
    /// [default: training where it makes a model]
    #[arg(long, value_name = "KIND", value_parser = word::<RunKind>)]
    kind: Option<RunKind>,
    /// What people call it
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
    /// A dataset to train on, [NAMESPACE/]NAME@VERSION
    #[arg(long = "dataset", value_name = "DATASET")]
    training: Vec<String>,
    /// A dataset to validate with
    #[arg(long, value_name = "DATASET")]
    validation: Vec<String>,
    /// A dataset to test with
    #[arg(long, value_name = "DATASET")]
    test: Vec<String>,
    /// Anything else that it uses: dataset:…, model:…
    #[arg(long = "input", value_name = "ID")]
    inputs: Vec<String>,
    /// The model that it begins with, NAME@VERSION
    #[arg(long, value_name = "MODEL")]
    base: Option<String>,
    /// How its model comes of that: fine-tuned, quantised, pruned, distilled
    #[arg(long, value_name = "HOW", requires = "base", requires = "model")]
    derivation: Option<String>,
    /// The model that it makes, NAME@VERSION
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// That model's file or folder, to be hashed once it is there
    #[arg(long, value_name = "PATH", requires = "model")]
    model_file: Option<PathBuf>,
    /// Where the model lies
    #[arg(long, value_name = "URI", requires = "model")]
    model_uri: Option<String>,
    /// Anything else that it makes: dataset:…, model:…
    #[arg(long = "output", value_name = "ID")]
    outputs: Vec<String>,
    /// A parameter
    #[arg(long = "parameter", value_name = "NAME=VALUE", value_parser = pair)]
    parameters: Vec<(String, String)>,
    /// A random seed, beside those that the environment names (…SEED)
    #[arg(long = "seed", value_name = "NAME=VALUE", value_parser = pair)]
    seeds: Vec<(String, String)>,
    /// A JSON file of figures by name, read once it has ended
    #[arg(long, value_name = "FILE")]
    metrics: Option<PathBuf>,
    /// The image that it runs in, NAME@sha256:HEX
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,
    /// The lock file of its packages [default: the packages that its Python finds]
    #[arg(long, value_name = "FILE")]
    lock: Option<PathBuf>,
    /// The experiment that it belongs to
    #[arg(long, value_name = "NAME")]
    experiment: Option<String>,
    /// The pipeline that it belongs to
    #[arg(long, value_name = "NAME")]
    pipeline: Option<String>,
    /// Who or what began it [default: the CI job]
    #[arg(long, value_name = "TEXT")]
    triggered_by: Option<String>,
    #[command(flatten)]
    common: Common,
    /// What to run
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

impl Args {
    pub(super) async fn record(&self, out: &mut dyn Write) -> Result<Status> {
        let told = self.told();
        if self.command.is_empty() {
            let mut problems = Vec::new();
            let run = RunFact { outputs: self.outputs(), metrics: self.figures()?, ..told };
            let facts = Facts { runs: vec![run], models: self.made(&mut problems), ..Facts::default() };
            return problems.pop().map_or_else(|| Ok(()), Err).and(self.common.target.record(&facts, out).await);
        }
        let mut run = self.found(told)?;
        // Where it cannot be recorded, that is said before an hour of training.
        let target = &self.common.target;
        let keeper = target.open().await?;
        let started = RunFact { start: Some(Timestamp::now()), state: Some(State::Running), ..run };
        keeper.record(&Facts { runs: vec![started.clone()], ..Facts::default() }).await?;
        run = started;
        let ended = self.execute(&run.id).await;
        run.end = Some(Timestamp::now());
        let done = ended.as_ref().is_ok_and(ExitStatus::success);
        run.state = Some(if done { State::Complete } else { State::Failed });
        // What cannot be read of what it made does not keep the rest from the record.
        let mut problems = Vec::new();
        let models = if done {
            run.outputs = self.outputs();
            run.metrics = self.figures().map_err(|error| problems.push(error)).unwrap_or_default();
            self.made(&mut problems)
        } else {
            Vec::new()
        };
        let facts = Facts { runs: vec![run.clone()], models, ..Facts::default() };
        let recorded = keeper.record(&facts).await;
        let recorded = recorded.map_err(|error| keep(Path::new(""), &facts, &run.id, &target.server.flags(), error));
        keeper.close().await;
        let status = ended.with_context(|| format!("{} cannot be run", self.command[0]))?;
        let recorded = recorded?;
        if target.json {
            writeln!(out, "{}", json!({"run": run, "missing": missing(&run), "recorded": recorded}))?;
        } else {
            tell(&recorded);
            describe(&run);
        }
        match problems.pop() {
            Some(problem) => Err(problem.context(format!("run:{} is recorded, but not all that it made", run.id))),
            None => Ok(passed_on(status)),
        }
    }

    /// What the flags say.
    fn told(&self) -> RunFact {
        let kind = self.kind.unwrap_or(if self.model.is_some() { RunKind::Training } else { RunKind::Run });
        let roles = [("training", &self.training), ("validation", &self.validation), ("test", &self.test)];
        let datasets = roles.iter().flat_map(|(role, ids)| {
            ids.iter().map(|id| Used { id: qualified("dataset", id), role: (*role).to_owned() })
        });
        let base = self.base.iter().map(|id| Used { id: qualified("model", id), role: "base".into() });
        let others = self.inputs.iter().map(|id| Used { id: id.clone(), role: String::new() });
        RunFact {
            id: self.id.clone().unwrap_or_else(new_id),
            kind,
            name: self.name.clone(),
            triggered_by: self.triggered_by.clone(),
            inputs: datasets.chain(base).chain(others).collect(),
            parameters: self.parameters.iter().cloned().collect(),
            seeds: self.seeds.iter().cloned().collect(),
            experiment: self.experiment.clone(),
            pipeline: self.pipeline.clone(),
            about: self.common.about(),
            ..RunFact::default()
        }
    }

    /// With what is to be found out here.
    fn found(&self, told: RunFact) -> Result<RunFact> {
        let mut seeds = capture::seeds(std::env::vars());
        seeds.extend(told.seeds);
        Ok(RunFact {
            command: Some(capture::line(&self.command)),
            script_digest: capture::script(&self.command).map(|(_, digest)| digest),
            triggered_by: told.triggered_by.or_else(capture::triggered_by),
            code: capture::code(),
            environment: Some(environment::of(&self.command, self.image.as_deref(), self.lock.as_deref())?),
            seeds,
            ..told
        })
    }

    fn outputs(&self) -> Vec<String> {
        self.model.iter().map(|model| qualified("model", model)).chain(self.outputs.iter().cloned()).collect()
    }

    fn figures(&self) -> Result<BTreeMap<String, f64>> {
        let Some(file) = &self.metrics else { return Ok(BTreeMap::new()) };
        let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
        serde_json::from_str(&text).with_context(|| format!("{}: write {{\"NAME\": NUMBER}}", file.display()))
    }

    /// The model that it made.
    fn made(&self, problems: &mut Vec<anyhow::Error>) -> Vec<ModelFact> {
        let digest = |path: &PathBuf| digest::of(path).map_err(|error| problems.push(error)).ok();
        let digest = self.model_file.as_ref().and_then(digest);
        let model = |id: &String| ModelFact {
            id: id.clone(),
            uri: self.model_uri.clone(),
            digest: digest.clone(),
            derivation: self.derivation.clone(),
            ..ModelFact::default()
        };
        self.model.iter().map(model).collect()
    }

    /// Runs it, with the signals that are sent here passed on to it.
    async fn execute(&self, id: &str) -> std::io::Result<ExitStatus> {
        let mut child =
            tokio::process::Command::new(&self.command[0]).args(&self.command[1..]).env(RUN_ID, id).spawn()?;
        let [mut terminated, mut interrupted] = [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?];
        loop {
            tokio::select! {
                ended = child.wait() => return ended,
                _ = terminated.recv() => {
                    let process = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
                    if let Some(process) = process {
                        // It may have ended meanwhile.
                        let _gone = kill_process(process, Signal::TERM);
                    }
                }
                // The terminal has told it too.
                _ = interrupted.recv() => {}
            }
        }
    }
}

/// A UUIDv7 (RFC 9562, section 5.7).
fn new_id() -> String {
    let mut random = [0; 10];
    // Without randomness the time alone tells runs apart.
    let _left_zero = aws_lc_rs::rand::fill(&mut random);
    let millis = u64::try_from(Timestamp::now().as_millisecond()).unwrap_or_default();
    uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid().to_string()
}

/// Keeps what cannot be recorded, and says how it can be later, with the flags that say where.
fn keep(folder: &Path, facts: &Facts, id: &str, flags: &str, error: anyhow::Error) -> anyhow::Error {
    let path = folder.join(format!("touchmark-run-{id}.json"));
    let name = path.display();
    let kept = serde_json::to_vec(facts).map_err(std::io::Error::other).and_then(|bytes| std::fs::write(&path, bytes));
    match kept {
        Ok(()) => {
            let command = format!("touchmark lineage record file {name}{flags}");
            error.context(format!("the run is kept in {name}: '{command}' records it"))
        }
        Err(kept) => error.context(format!("and {name}, where it would be kept, cannot be written: {kept}")),
    }
}

/// What would be needed to run it again, and was not found.
fn missing(run: &RunFact) -> Vec<&'static str> {
    let environment = run.environment.clone().unwrap_or_default();
    let code = run.code.clone().unwrap_or_default();
    let known = [
        (code.commit.is_some(), "code: no git repository here"),
        (code.dirty != Some(true), "a clean tree: there are changes that no commit holds"),
        (run.script_digest.is_some(), "script: no word of the command is a file here"),
        (environment.lock_digest.is_some(), "packages: not a Python command; name a lock file by --lock"),
        (environment.image.is_some(), "image: name it by --image"),
        (!run.seeds.is_empty(), "seeds: set PYTHONHASHSEED, or name one by --seed"),
        (run.inputs.iter().any(|used| used.id.starts_with("dataset:")), "datasets: name them by --dataset"),
    ];
    known.into_iter().filter(|(known, _)| !known).map(|(_, what)| what).collect()
}

fn describe(run: &RunFact) {
    let state = run.state.map(|state| format!("{state:?}").to_lowercase()).unwrap_or_default();
    output::note(&format!("run:{}: {state}", run.id));
    if let Some(code) = &run.code {
        let tree = if code.dirty == Some(false) { ", clean" } else { "" };
        let [repo, commit] = [&code.repo, &code.commit].map(|word| word.as_deref().unwrap_or("unknown"));
        output::note(&format!("  code         {repo}@{commit}{tree}"));
    }
    if let Some(environment) = &run.environment {
        if let Some(python) = &environment.python {
            output::note(&format!("  environment  Python {python}, {} packages", environment.packages.len()));
        }
        output::note(&format!("  hardware     {}", environment.hardware.as_deref().unwrap_or_default()));
    }
    for (name, value) in &run.seeds {
        output::note(&format!("  seed         {name}={value}"));
    }
    for what in missing(run) {
        output::note(&format!("  not found    {what}"));
    }
}

/// How the command ended, as a shell says it.
fn passed_on(status: ExitStatus) -> Status {
    use std::os::unix::process::ExitStatusExt as _;
    let code = status.code().or_else(|| status.signal().map(|signal| SIGNALLED + signal)).unwrap_or(1);
    if code == 0 { Status::Done } else { Status::Of(u8::try_from(code).unwrap_or(u8::MAX)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_recorded_is_kept() {
        let folder = std::env::temp_dir();
        let run = RunFact { id: format!("kept-{}", std::process::id()), ..RunFact::default() };
        let facts = Facts { runs: vec![run.clone()], ..Facts::default() };
        let error = format!("{:#}", keep(&folder, &facts, &run.id, "", anyhow::anyhow!("the disk is full")));
        let file = folder.join(format!("touchmark-run-{}.json", run.id));
        assert!(error.contains(file.to_str().unwrap()) && error.ends_with("the disk is full"), "{error}");
        assert_eq!(Facts::parse(&std::fs::read_to_string(&file).unwrap()).unwrap(), facts);
        std::fs::remove_file(file).unwrap();
    }
}
