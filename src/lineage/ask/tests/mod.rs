//! Small graphs of every shape that lineage takes, and what is answered about them.

mod answers;
mod document;

use crate::lineage::catalog::tests::Stores;
use crate::lineage::catalog::{Catalog, Causality, Moment};
use crate::lineage::{
    About, Code, DatasetFact, DeploymentFact, EnvironmentFact, Facts, ModelFact, RunFact, RunKind, Stage, Used,
};

/// Empty catalogs.
pub(super) fn stores() -> Stores {
    Stores::new(Causality::Flag)
}

/// Records facts, and gives the moment after them.
pub(super) async fn tell(catalog: &Catalog, facts: &Facts) -> Moment {
    let done = catalog.record(&facts.batch("ann", "test").unwrap()).await.unwrap();
    done.change.map_or(Moment::NOW, Moment::of_change)
}

pub(super) fn digest(digit: char) -> String {
    format!("sha256:{}", digit.to_string().repeat(64))
}

pub(super) fn dataset(id: &str, digit: char, records: u64) -> DatasetFact {
    DatasetFact { id: id.into(), digest: Some(digest(digit)), records: Some(records), ..DatasetFact::default() }
}

pub(super) fn used(id: &str, role: &str) -> Used {
    Used { id: id.into(), role: role.into() }
}

pub(super) fn model(id: &str) -> ModelFact {
    ModelFact { id: id.into(), digest: Some(digest('e')), ..ModelFact::default() }
}

/// A training with all that makes it reproducible.
pub(super) fn training(id: &str, inputs: &[(&str, &str)], output: &str) -> RunFact {
    RunFact {
        id: id.into(),
        kind: RunKind::Training,
        script_digest: Some(digest('c')),
        code: Some(Code { repo: Some("git@example.org:fraud".into()), commit: Some("abc".into()), dirty: Some(false) }),
        environment: Some(EnvironmentFact {
            image: Some(format!("trainer@{}", digest('a'))),
            hardware: Some("8 × Example CPU".into()),
            packages: [("numpy".to_owned(), "2.1".to_owned())].into(),
            ..EnvironmentFact::default()
        }),
        parameters: [("depth".to_owned(), "6".to_owned())].into(),
        seeds: [("numpy".to_owned(), "42".to_owned())].into(),
        metrics: [("auc".to_owned(), 0.91)].into(),
        inputs: inputs.iter().map(|(id, role)| used(id, role)).collect(),
        outputs: vec![output.into()],
        ..RunFact::default()
    }
}

/// raw → two dataset versions → two runs → two models → two deployments, of which one has moved on.
pub(super) fn fraud() -> Facts {
    let prepare = |id: &str, output: &str| RunFact {
        id: id.into(),
        kind: RunKind::Transformation,
        inputs: vec![used("dataset:raw@2026-01", "")],
        outputs: vec![output.into()],
        ..RunFact::default()
    };
    let deployment = |name: &str, model: &str| DeploymentFact {
        name: name.into(),
        models: vec![model.into()],
        ..Default::default()
    };
    Facts {
        datasets: vec![
            DatasetFact { stage: Some(Stage::Raw), ..dataset("raw@2026-01", '0', 1_000_000) },
            dataset("s3://lake/transactions@v1", '1', 900_000),
            DatasetFact {
                about: About { owner: Some("data".into()), ..About::default() },
                ..dataset("s3://lake/transactions@v2", '2', 950_000)
            },
            dataset("s3://lake/held-out@v1", '3', 10_000),
        ],
        runs: vec![
            prepare("prepare-1", "dataset:s3://lake/transactions@v1"),
            prepare("prepare-2", "dataset:s3://lake/transactions@v2"),
            training(
                "train-1",
                &[("dataset:s3://lake/transactions@v1", "training"), ("dataset:s3://lake/held-out@v1", "test")],
                "model:fraud@v1",
            ),
            training(
                "train-2",
                &[("dataset:s3://lake/transactions@v2", "training"), ("dataset:s3://lake/held-out@v1", "test")],
                "model:fraud@v2",
            ),
        ],
        models: vec![
            ModelFact { aliases: vec!["previous".into()], ..model("fraud@v1") },
            ModelFact {
                aliases: vec!["champion".into()],
                about: About { owner: Some("risk".into()), ..About::default() },
                ..model("fraud@v2")
            },
        ],
        deployments: vec![deployment("fraud-prod", "fraud@v2"), deployment("fraud-batch", "fraud@v1")],
        ..Facts::default()
    }
}
