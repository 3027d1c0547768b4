//! Stamps that come from the graph or from a file: what is known is stamped, what is not is not guessed.

use serde_json::{Value, json};
use touchmark::lineage::catalog::{Catalog, Causality, Direction, Location, Moment, Node};
use touchmark::lineage::{CATALOG_FILE, Facts, SourceKind};

use super::support::message::{INFER, OUTPUT, message, ok, post};
use super::support::model_server::ModelServer;
use super::support::touchmark::{Folder, Setup, Touchmark, token};
use super::support::wire::Wire;
use super::support::{eventually, soon};

/// Two versions of a model, each of its own dataset version, and an alias of the first.
pub(crate) fn facts(champion: &str) -> Value {
    let model = |version: &str| {
        let aliases: Vec<&str> = if version == champion { vec!["champion"] } else { Vec::new() };
        json!({"id": format!("fraud@{version}"), "aliases": aliases})
    };
    let run = |id: &str, dataset: &str, version: &str| {
        json!({
            "id": id,
            "kind": "training",
            "inputs": [{"id": format!("dataset:{dataset}"), "role": "training"}, {"id": "dataset:holdout@v1", "role": "test"}],
            "outputs": [format!("model:fraud@{version}")],
        })
    };
    json!({
        "datasets": [{"id": "s3://lake/transactions@v1"}, {"id": "s3://lake/transactions@v2"}, {"id": "holdout@v1"}],
        "models": [model("v1"), model("v2")],
        "runs": [run("r1", "s3://lake/transactions@v1", "v1"), run("r2", "s3://lake/transactions@v2", "v2")],
    })
}

pub(crate) async fn record(folder: &Folder, facts: Value) {
    let file = Location::File(folder.path().join(CATALOG_FILE));
    let catalog = Catalog::open(&file, Causality::Flag).await.unwrap();
    let facts: Facts = serde_json::from_value(facts).unwrap();
    catalog.record(&facts.batch("test", "test").unwrap()).await.unwrap();
    catalog.close().await;
}

fn setup(model: &ModelServer, version: &str, source: SourceKind) -> Setup {
    Setup::with_models(model, &json!([{"name": "fraud", "version": version}])).with(|config| {
        config.lineage.source = source;
    })
}

async fn stamps(touchmark: &Touchmark) -> [Option<String>; 2] {
    let answer = touchmark.call(post(INFER, "{}")).await;
    assert_eq!(answer.head.status(), 200);
    ["x-model-version", "x-dataset-version"].map(|name| answer.head.all(name).first().map(|value| (*value).to_owned()))
}

fn stamped(version: &str, dataset: &str) -> [Option<String>; 2] {
    [Some(version.to_owned()), Some(dataset.to_owned())]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_graph_is_stamped_and_a_moved_alias_with_it() {
    let model = ModelServer::answering(ok(OUTPUT)).await;
    let setup = setup(&model, "@champion", SourceKind::Catalog);
    record(&setup.folder, facts("v1")).await;
    let folder = setup.folder.clone();
    let mut touchmark = setup.start();
    assert_eq!(stamps(&touchmark).await, stamped("v1", "v1"));
    record(&folder, facts("v2")).await;
    tokio::task::block_in_place(|| touchmark.app().refresh_lineage());
    assert_eq!(stamps(&touchmark).await, stamped("v2", "v2"));
    touchmark.stop().await;
    let entries = touchmark.ledger.entries();
    let said = |kind: &str| entries.iter().filter(|entry| entry.kind() == kind).count();
    assert_eq!((said("lineage"), said("prediction")), (2, 2), "each document once");
    let document = entries.iter().find(|entry| entry.kind() == "lineage").unwrap();
    assert_eq!(document.text("/document/source"), Some("catalog"));
    assert_eq!(document.text("/document/run/id"), Some("r1"));
    let moved = entries.iter().find(|entry| entry.text("/event") == Some("identity")).unwrap();
    assert_eq!(moved.0["detail"]["backends"][0]["models"], json!(["fraud@v2"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alias_that_nobody_knows_is_not_guessed() {
    let model = ModelServer::answering(ok(OUTPUT)).await;
    let touchmark = setup(&model, "@nobody", SourceKind::Catalog).start();
    assert_eq!(stamps(&touchmark).await, [None, None]);
    assert_eq!(touchmark.metrics.unresolved_predictions.get(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_source_does_not_know_keeps_what_is_declared() {
    let model = ModelServer::answering(ok(OUTPUT)).await;
    let declared = json!([{"name": "fraud", "version": "v9", "datasets": ["own@v3"]}]);
    let touchmark =
        Setup::with_models(&model, &declared).with(|config| config.lineage.source = SourceKind::Catalog).start();
    assert_eq!(stamps(&touchmark).await, stamped("v9", "v3"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_of_facts_is_stamped_and_survives_its_loss() {
    let model = ModelServer::answering(ok(OUTPUT)).await;
    let setup = setup(&model, "v2", SourceKind::File);
    let file = setup.folder.path().join("touchmark.lineage.yaml");
    std::fs::write(&file, facts("v1").to_string()).unwrap();
    let setup = setup.with(|config| config.lineage.file = Some(file.clone()));
    let (config, folder) = (setup.config.clone(), setup.folder.clone());
    let mut touchmark = setup.start();
    assert_eq!(stamps(&touchmark).await, stamped("v2", "v2"));
    // Gone while it runs, and at the next start.
    std::fs::remove_file(&file).unwrap();
    tokio::task::block_in_place(|| touchmark.app().refresh_lineage());
    assert_eq!(stamps(&touchmark).await, stamped("v2", "v2"));
    let failures = touchmark.metrics.lineage_refresh_failures.with_label_values(&["file"]).get();
    assert_eq!(failures, 1);
    touchmark.stop().await;
    let again = Setup::from(config, folder).start();
    assert_eq!(stamps(&again).await, stamped("v2", "v2"));
    // Its ledger holds the entries of the first one too.
    again.forget();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_deployment_stands_in_the_graph() {
    let model = ModelServer::answering(ok(OUTPUT)).await;
    let image = format!("registry.example/triton@sha256:{}", "5e".repeat(32));
    let mut touchmark = setup(&model, "v7", SourceKind::Static)
        .with(|config| {
            config.backends[0].image = Some(image.clone());
            config.admin.tokens = vec![token("hand", "operator")];
        })
        .start();
    let file = Location::File(touchmark.folder.path().join(CATALOG_FILE));
    let catalog = soon("the catalog", Catalog::open(&file, Causality::Flag)).await.unwrap();
    let weight = |node: &Node| node.properties["weights"].to_string();
    let deployment = async |with: &str| {
        eventually("the deployment", || {
            let node = tokio::task::block_in_place(|| {
                tokio::runtime::Handle::current().block_on(catalog.node("deployment:fraud-test", Moment::NOW))
            });
            node.unwrap().filter(|node| weight(node).contains(with))
        })
        .await
    };
    let node = deployment("1").await;
    assert!(node.text("config_digest").unwrap().starts_with("sha256:"));
    let near = catalog.walk(&[node.id], Direction::Upstream, 1, 10, Moment::NOW).await.unwrap();
    let used: Vec<&str> = near.inputs(node.id).map(|(_, artifact)| artifact.identity.as_str()).collect();
    assert_eq!(used, ["model:fraud@v7", &format!("image:{image}")]);

    // A share that is moved by hand, and in the end what was answered.
    let fields = [("host", "admin"), ("content-type", "application/json"), ("authorization", "Bearer hand")];
    let mut admin = Wire::connect(touchmark.admin).await;
    let weights = json!({"weights": {"champion": 7}}).to_string();
    admin.send(message("PUT /api/v1/traffic HTTP/1.1", &fields, weights)).await;
    assert_eq!(admin.answer().await.head.status(), 200);
    deployment("7").await;
    stamps(&touchmark).await;
    touchmark.stop().await;
    let own =
        soon("the copy", catalog.named("Metrics", "deployment:fraud-test/it", Moment::NOW)).await.unwrap().unwrap();
    assert_eq!(own.properties["predictions"].to_string(), json!({"fraud@v7": 1}).to_string());
    assert_eq!(own.text("log"), node.text("log"));
    catalog.close().await;
}
