//! `touchmark lineage` as people run it, beside a process that serves: from a prediction's id back to raw data, from a
//! dataset forward to the predictions, with the exit statuses that scripts rely on.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};
use touchmark::lineage::SourceKind;

use crate::sourced::{facts, record};
use crate::support::eventually;
use crate::support::message::{INFER, OUTPUT, ok, post};
use crate::support::model_server::ModelServer;
use crate::support::touchmark::Setup;
use touchmark::units::Period;

fn run(data: &Path, words: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_touchmark"));
    command.args(words.split_whitespace()).arg("--data").arg(data).output().unwrap()
}

/// The exit status, and both outputs.
fn said(data: &Path, words: &str) -> (Option<i32>, String) {
    let output = run(data, words);
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

fn json_of(data: &Path, words: &str) -> Value {
    let output = run(data, &format!("{words} --json"));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{words}: {error}: {output:?}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_a_prediction_back_and_from_a_dataset_forward() {
    let model = ModelServer::answering(ok(OUTPUT)).await;
    let models =
        json!([{"name": "fraud", "version": "@champion", "default": true}, {"name": "rogue", "version": "v0"}]);
    let setup = Setup::with_models(&model, &models).with(|config| config.lineage.source = SourceKind::Catalog);
    record(&setup.folder, facts("v1")).await;
    let folder = setup.folder.clone();
    let touchmark = setup.start();
    let answer = touchmark.call(post(INFER, "{}")).await;
    let id = answer.head.all("x-lineage-trace-id")[0].to_owned();
    touchmark.predictions(1).await;
    let data = folder.path();

    let back = json_of(data, &format!("lineage prediction {id}"));
    assert_eq!((&back["prediction"]["version"], &back["model"]), (&json!("v1"), &json!("model:fraud@v1")));
    assert_eq!(back["document"]["source"], "catalog");
    let nodes = back["upstream"]["nodes"].as_array().unwrap();
    assert!(nodes.iter().any(|node| node["id"] == "dataset:s3://lake/transactions@v1"), "{nodes:?}");
    assert_eq!(back["since"], json!([]));
    record(&folder, facts("v2")).await;
    let (status, text) = said(data, &format!("lineage prediction prediction:{id}"));
    assert_eq!(status, Some(0), "{text}");
    assert!(text.contains("alias champion names v2 now"), "{text}");

    let forward = json_of(data, "lineage impact dataset:s3://lake/transactions@v1");
    assert_eq!(forward["models"][0]["id"], "model:fraud@v1");
    assert_eq!(
        (&forward["predictions"]["total"], &forward["predictions"]["by_day"][0]["predictions"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(json_of(data, "lineage impact transactions@v1 --ids")["id"], json!(id));
    assert_eq!(json_of(data, "lineage impact transactions@v2")["predictions"]["total"], 0);
    assert_eq!(json_of(data, "lineage impact transactions@v1 --to 2020-01-01")["predictions"]["total"], 0);

    let (status, text) = said(data, "lineage untracked");
    assert_eq!((status, text.as_str()), (Some(0), "every model in traffic is in the catalog\n"));
    let (status, text) = said(data, "lineage prediction 0192f0c1-7c4e-7a3b-8c11-2f6d0f3e9a10");
    assert_eq!(status, Some(1), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_question_and_its_exit_status() {
    let model = ModelServer::answering(ok(OUTPUT)).await;
    let setup = Setup::with_models(&model, &json!([{"name": "other", "version": "v0"}]));
    record(&setup.folder, facts("v1")).await;
    let folder = setup.folder.clone();
    let data = folder.path();
    for (words, status, shows) in [
        ("lineage search --type dataset", 0, "dataset:holdout@v1"),
        ("lineage search nothing", 1, "nothing found"),
        ("lineage search --type model --limit 1", 0, "there is more: --after"),
        ("lineage show fraud@champion", 0, "made from           run:r1"),
        ("lineage show fraud", 2, "'fraud' may be model:fraud@v1, model:fraud@v2: write one of them"),
        ("lineage show fraud@v9", 1, "'fraud@v9' is not in the catalog"),
        ("lineage show fraud@v1 --as-of 2020-01-01", 1, "is not in the catalog as of that time"),
        ("lineage upstream fraud@v1", 0, "└─ run:r1 (training)"),
        ("lineage upstream fraud@v1 --kind dataset --format table", 0, "training"),
        ("lineage downstream transactions@v2 --format dot", 0, "digraph lineage {"),
        ("lineage downstream transactions@v2 --format mermaid", 0, "flowchart LR"),
        ("lineage upstream fraud@v1 --depth 1", 0, "… and more"),
        ("lineage upstream prediction:0192f0c1-7c4e-7a3b-8c11-2f6d0f3e9a10", 2, "lineage prediction"),
        ("lineage diff fraud@v1 fraud@v2", 0, "data changed"),
        ("lineage diff fraud@v1 run:r1", 2, "'run:r1' is no model or deployment"),
        ("lineage reproducible fraud@v1", 1, "random_seed"),
        ("lineage completeness", 0, "models and datasets are fully linked"),
        ("check lineage fraud@v1 --require dataset_version,run", 0, "all that is required is known"),
        (
            "check lineage fraud@v1 --require dataset_version,git_commit,owner",
            1,
            "model:fraud@v1: git_commit is missing",
        ),
        ("check lineage fraud@v1 --require colour", 2, "write some of dataset_version,"),
        ("lineage impact fraud@v1", 0, "there is no ledger here"),
        ("lineage untracked", 3, "ledger"),
    ] {
        let (found, text) = said(data, words);
        assert_eq!(found, Some(status), "{words}: {text}");
        assert!(text.contains(shows), "{words}: {text}");
    }
    let up = json_of(data, "lineage upstream fraud@v1");
    assert_eq!(
        (&up["of"], &up["direction"], &up["truncated"]),
        (&json!("model:fraud@v1"), &json!("upstream"), &json!(false))
    );
    assert_eq!((&up["edges"][0]["from"], &up["edges"][0]["to"]), (&json!("run:r1"), &json!("model:fraud@v1")));
    let gate = json_of(data, "check lineage fraud@v1 --require owner");
    assert_eq!(gate, json!({"model": "model:fraud@v1", "passed": false, "missing": ["owner"]}));

    let copy = data.join("copy.db");
    let (status, text) = said(data, &format!("lineage backup {}", copy.display()));
    assert_eq!(status, Some(0), "{text}");
    assert_eq!(said(data, &format!("lineage backup {}", copy.display())).0, Some(3), "it was written over");
    let (status, text) = said(data, &format!("lineage show fraud@v1 --catalog {}", copy.display()));
    assert_eq!(status, Some(0), "{text}");
    let (status, text) = said(data, "lineage show fraud@v1 --catalog mysql://nowhere/x");
    assert_eq!(status, Some(2), "{text}");
    let nowhere = data.join("nowhere");
    let (status, text) = said(&nowhere, "lineage search");
    assert!(status == Some(3) && text.contains("there is no catalog at") && !nowhere.exists(), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_graph_leads_back_to_data_is_a_metric() {
    let model = ModelServer::answering(ok(OUTPUT)).await;
    let models = json!([{"name": "fraud", "version": "v1", "default": true}, {"name": "rogue", "version": "v0"}]);
    let setup = Setup::with_models(&model, &models).with(|config| config.lineage.refresh = Period::millis(100));
    let folder = setup.folder.clone();
    let touchmark = setup.start();
    assert!(touchmark.metrics.deployment_traceable.get().abs() < 1e-9);
    record(&folder, facts("v1")).await;
    eventually("half of the models being traceable", || {
        let ratio = touchmark.metrics.deployment_traceable.get();
        ((ratio - 0.5).abs() < 1e-9).then_some(())
    })
    .await;
    assert!(touchmark.metrics.lineage_query.with_label_values(&["document"]).get_sample_count() > 0);
}
