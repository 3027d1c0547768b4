//! What a real server answered (`tests/real/mlflow_registry.py`), and what becomes of it.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;

use super::super::answers::{
    ModelVersions, OneExperiment, OneLoggedModel, OneModelVersion, OneRegisteredModel, OneRun,
};
use super::super::tests::recorded;
use super::*;
use crate::lineage::catalog::{State, Value};
use crate::lineage::{DatasetFact, ModelFact, RunFact};

fn read<T: DeserializeOwned>(target: &str) -> T {
    serde_json::from_str(&recorded("before")[target].1).unwrap()
}

/// A recorded version with all around it, which a test may change before it is placed.
struct Recorded {
    version: ModelVersion,
    registered: RegisteredModel,
    run: Option<Run>,
    logged: Option<LoggedModel>,
    siblings: Vec<ModelVersion>,
}

impl Recorded {
    fn new(name: &str, number: &str) -> Self {
        let version =
            read::<OneModelVersion>(&format!("model-versions/get?name={name}&version={number}")).model_version;
        let registered = read::<OneRegisteredModel>(&format!("registered-models/get?name={name}")).registered_model;
        let of_run = |id: &str| format!("model-versions/search?max_results=200&filter=run_id%3D%27{id}%27");
        let run = (!version.run_id.is_empty()).then(|| version.run_id.clone());
        Self {
            siblings: run.as_ref().map(|id| read::<ModelVersions>(&of_run(id)).model_versions).unwrap_or_default(),
            run: run.map(|id| read::<OneRun>(&format!("runs/get?run_id={id}")).run),
            logged: logged_id(&version).map(|id| read::<OneLoggedModel>(&format!("logged-models/{id}")).model),
            version,
            registered,
        }
    }

    fn place(&self) -> Placed {
        let experiment = read::<OneExperiment>("experiments/get?experiment_id=1").experiment.name;
        let id = ModelId::new(&self.version.name, &self.version.version).unwrap();
        let placed = place(&Said {
            id: &id,
            version: &self.version,
            registered: &self.registered,
            run: self.run.as_ref(),
            logged: self.logged.as_ref(),
            experiment: Some(&experiment),
            siblings: &self.siblings,
            server: "http://mlflow:5000",
        });
        placed.facts.batch("ann", "mlflow").unwrap().check().unwrap();
        placed
    }

    fn tag(&mut self, key: &str, value: &str) {
        let tag = super::super::answers::Pair { key: key.to_owned(), value: value.to_owned() };
        self.run.as_mut().unwrap().data.tags.push(tag);
    }
}

fn ids(facts: &Facts) -> Vec<&str> {
    facts.datasets.iter().map(|dataset| dataset.id.as_str()).collect()
}

fn says(placed: &Placed, what: &str, why: &str) {
    let found = placed.unplaced.iter().any(|finding| finding.what.contains(what) && finding.why.contains(why));
    assert!(found, "{what}: {why} not in {:#?}", placed.unplaced);
}

#[test]
fn a_version_of_which_all_is_said() {
    let placed = Recorded::new("fraud", "1").place();
    let [run] = &placed.facts.runs[..] else { panic!("{placed:?}") };
    let RunFact { kind, code, parameters, seeds, metrics, environment, .. } = run;
    assert_eq!(
        (*kind, run.state, run.name.as_deref()),
        (crate::lineage::RunKind::Training, Some(State::Complete), Some("whole"))
    );
    let code = code.as_ref().unwrap();
    assert_eq!(code.repo.as_deref(), Some("https://git.example/fraud.git"), "no password");
    assert_eq!((code.commit.as_deref(), code.dirty), (Some("3f2a9c41d8e07b65a1c2d3e4f5061728394a5b6c"), Some(false)));
    assert_eq!((parameters.len(), seeds.get("random_state").map(String::as_str)), (2, Some("42")));
    assert_eq!(metrics, &BTreeMap::from([("auc".to_owned(), 0.91)]));
    says(&placed, "'loss'", "no finite number");
    assert!(environment.as_ref().unwrap().image.as_ref().unwrap().starts_with("registry.example/trainer@sha256:5e5e"));
    assert_eq!((run.triggered_by.as_deref(), run.about.owner.as_deref()), (Some("pipeline/nightly#812"), Some("ann")));
    assert_eq!(run.experiment.as_deref(), Some("fraud detection"));
    assert!(run.start.unwrap() < run.end.unwrap());
    assert_eq!(run.outputs, ["model:fraud@1"]);
    let [model] = &placed.facts.models[..] else { panic!("{placed:?}") };
    let ModelFact { state, stage, about, .. } = model;
    assert_eq!((*state, stage.as_deref()), (Some(State::Live), Some("Production")));
    assert!(model.uri.as_ref().unwrap().starts_with("mlflow-artifacts:/1/models/m-"));
    assert_eq!((about.owner.as_deref(), about.tags["tier"].as_str()), (Some("risk-team"), "high"));
    assert_eq!(about.properties["description"], Value::from("The first that went out."));
}

#[test]
fn datasets_by_tag_and_by_source() {
    let placed = Recorded::new("fraud", "1").place();
    let expected = ["s3://lake/transactions@v2.0", "s3://lake/transactions@v2.0-holdout", "s3://lake/labels@17"];
    assert_eq!(ids(&placed.facts), expected);
    let used: Vec<_> = placed.facts.runs[0].inputs.iter().map(|used| used.role.as_str()).collect();
    assert_eq!(used, ["training", "validation", "test"]);
    let DatasetFact { weak_digest, records, digest, uri, .. } = &placed.facts.datasets[0];
    assert_eq!(
        (weak_digest.as_deref(), *records, digest),
        (Some("aa66b917"), Some(40), &None),
        "weak, and shown as such"
    );
    assert_eq!(uri.as_deref(), Some("s3://lake/transactions/2026.parquet"));
}

#[test]
fn a_weak_digest_is_no_identity() {
    let placed = Recorded::new("fraud", "2").place();
    let run = &placed.facts.runs[0].id;
    assert_eq!(ids(&placed.facts), [format!("s3://lake/transactions@run-{run}-aa66b917")]);
    assert_eq!(placed.facts.datasets[0].about.properties["unversioned"], Value::from(true));
    says(&placed, "dataset 'transactions'", "it has no version");
}

#[test]
fn a_tag_of_the_run_versions_what_was_logged() {
    let mut recorded = Recorded::new("fraud", "2");
    recorded.tag("dataset_version", "v2.1");
    let placed = recorded.place();
    assert_eq!(ids(&placed.facts), ["s3://lake/transactions@v2.1"]);
    // What the dataset itself says goes before.
    let mut recorded = Recorded::new("fraud", "1");
    recorded.tag("dataset_version", "v2.1");
    says(&recorded.place(), "dataset_version 'v2.1'", "logged as 'v2.0', which holds");
    // Two could be meant.
    let mut recorded = Recorded::new("fraud", "2");
    let mut other = recorded.run.as_ref().unwrap().inputs.dataset_inputs[0].clone();
    other.dataset.name = "accounts".to_owned();
    recorded.run.as_mut().unwrap().inputs.dataset_inputs.push(other);
    recorded.tag("dataset_version", "v2.1");
    says(&recorded.place(), "dataset_version 'v2.1'", "2 datasets were logged: write NAME@VERSION");
}

#[test]
fn a_tag_alone_is_understood() {
    let placed = Recorded::new("fraud", "3").place();
    assert_eq!(ids(&placed.facts), ["s3://lake/transactions@v3.0"]);
    assert_eq!(placed.facts.runs[0].inputs[0].role, "training");
    let placed = Recorded::new("clicks", "1").place();
    assert_eq!(ids(&placed.facts), ["clicks@v1"], "the version of the one that was logged");
    assert_eq!(placed.facts.runs[0].inputs[0].role, "training", "train is training");
}

#[test]
fn tags_of_the_version_stand_for_a_run_that_nobody_logged() {
    let mut recorded = Recorded::new("bought", "1");
    let placed = recorded.place();
    assert!(placed.facts.runs.is_empty());
    says(&placed, "version 1 of 'bought'", "no run made it");
    for (key, value) in [("dataset_version", "vendor/cards@2026"), ("git_commit", "abc1234"), ("triggered_by", "ann")] {
        recorded.version.tags.push(super::super::answers::Pair { key: key.to_owned(), value: value.to_owned() });
    }
    recorded.siblings = vec![recorded.version.clone()];
    let placed = recorded.place();
    let run = &placed.facts.runs[0];
    assert_eq!((run.id.as_str(), ids(&placed.facts)), ("mlflow:bought@1", vec!["vendor/cards@2026"]));
    assert_eq!(
        (run.triggered_by.as_deref(), run.code.as_ref().unwrap().commit.as_deref()),
        (Some("ann"), Some("abc1234"))
    );
}

#[test]
fn aliases_and_stages_name_versions_of_the_lineage() {
    let registered_model = Recorded::new("fraud", "1").registered;
    let versions = BTreeMap::from([("1", "v1.0".to_owned())]);
    let (record, unplaced) = registered(&registered_model, &versions, "http://mlflow:5000");
    let text = |name: &str| record.properties.get(name).cloned().flatten().map(|value| value.to_string());
    assert_eq!((text("alias.champion"), text("stage.Production")), (Some("v1.0".to_owned()), Some("v1.0".to_owned())));
    assert_eq!((text("alias.challenger"), text("owner")), (None, Some("risk-team".to_owned())));
    assert!(unplaced[0].what.contains("'challenger'") && unplaced[0].why.contains("import the whole model"));
}

#[test]
fn whatever_is_too_much_is_left_out_and_said() {
    let mut recorded = Recorded::new("fraud", "1");
    let run = recorded.run.as_mut().unwrap();
    let long = super::super::answers::Pair { key: "lock".to_owned(), value: "x".repeat(VALUE_BYTES_MAX + 1) };
    let nul = super::super::answers::Pair { key: "nul".to_owned(), value: "a\0b".to_owned() };
    run.data.params.extend([long, nul]);
    for number in 0..2 * NAMES_MAX {
        run.data.tags.push(super::super::answers::Pair { key: format!("t{number:04}"), value: "x".to_owned() });
    }
    let placed = recorded.place();
    says(&placed, "parameter of run", "at most");
    says(&placed, "'nul'", "NUL");
    says(&placed, "tag of run", "were left out");
    assert_eq!(placed.facts.runs[0].about.tags.len(), NAMES_MAX);
}
