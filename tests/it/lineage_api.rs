//! Lineage over HTTP: pipelines tell it, people ask it, proxies elsewhere stamp from it; each by its role, and logged.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use serde_json::{Value, json};
use touchmark::lineage::SourceKind;
use touchmark::tls::{BackendTlsConfig, TlsConfig};

use super::support::message::{INFER, Message, OUTPUT, get, ok, post, post_with};
use super::support::model_server::ModelServer;
use super::support::process::Fleet;
use super::support::soon;
use super::support::tls::{Authority, NAME};
use super::support::touchmark::{Folder, Setup, Touchmark, token};
use super::support::wire::Wire;

const EVENTS: &str = "/api/v1/lineage";

/// A training that made `fraud@v1` of `s3://lake/tx@VERSION`.
fn training(run: &str, dataset: &str, model: &str) -> Value {
    let facets = |version: &str| json!({"version": {"datasetVersion": version}});
    let mut of = facets(model);
    of["datasetType"] = json!({"datasetType": "MODEL"});
    json!({
        "eventType": "COMPLETE", "eventTime": "2026-11-20T12:00:00Z", "producer": "https://example.com/p",
        "run": {"runId": run}, "job": {"namespace": "airflow", "name": "train"},
        "inputs": [{"namespace": "s3://lake", "name": "tx", "facets": facets(dataset)}],
        "outputs": [{"namespace": "mlflow", "name": "fraud", "facets": of}],
    })
}

async fn ask(admin: SocketAddr, request: Vec<u8>) -> Message {
    let mut client = Wire::connect(admin).await;
    client.send(request).await;
    client.answer().await
}

async fn tell(admin: SocketAddr, path: &str, body: &Value, fields: &[(&str, &str)]) -> Message {
    let fields: Vec<_> = [("content-type", "application/json")].iter().chain(fields).copied().collect();
    ask(admin, post_with(path, &fields, body.to_string())).await
}

fn object(message: &Message) -> Value {
    serde_json::from_slice(&message.body).unwrap_or_else(|error| panic!("{error}: {}", message.text()))
}

/// The catalog is opened in the background.
async fn opened(admin: SocketAddr, fields: &[(&str, &str)]) {
    let asked = async {
        loop {
            let status = ask(admin, get("/api/v1/nodes", fields)).await.head.status();
            if status != 503 {
                return status;
            }
        }
    };
    assert_eq!(soon("the catalog", asked).await, 200);
}

fn access(folder: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(folder.join("access.jsonl")).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn each_role_may_what_it_says_and_is_logged() {
    let model = ModelServer::listen().await;
    let roles = ["viewer", "recorder", "auditor", "operator"];
    let setup = Setup::new(&model).with(|config| config.admin.tokens = roles.map(|role| token(role, role)).to_vec());
    let touchmark = setup.start();
    let event = training("r1", "v1", "v1");
    opened(touchmark.admin, &[("authorization", "Bearer viewer")]).await;
    assert_eq!(tell(touchmark.admin, EVENTS, &event, &[]).await.head.status(), 401);
    for (role, [record, view, audit, operate]) in [
        ("viewer", [403, 200, 403, 403]),
        ("recorder", [200, 200, 403, 403]),
        ("auditor", [403, 200, 200, 403]),
        ("operator", [200, 200, 200, 400]),
    ] {
        let bearer = format!("Bearer {role}");
        let fields = [("authorization", bearer.as_str())];
        assert_eq!(tell(touchmark.admin, EVENTS, &event, &fields).await.head.status(), record, "{role}");
        let shown = ask(touchmark.admin, get("/api/v1/upstream/model:fraud@v1", &fields)).await;
        // The viewer comes first, before anybody has recorded anything.
        assert_eq!(shown.head.status(), if role == "viewer" { 404 } else { view }, "{role}");
        let untracked = ask(touchmark.admin, get("/api/v1/untracked", &fields)).await;
        assert_eq!(untracked.head.status(), audit, "{role}: {}", untracked.text());
        let moved = message_put(&fields);
        assert_eq!(ask(touchmark.admin, moved).await.head.status(), operate, "{role}");
    }
    let lines = access(touchmark.folder.path());
    let line = |author: &str, path: &str, status: Option<u64>| {
        let fits = |line: &&Value| {
            line["author"].as_str() == Some(author) && line["path"] == path && line["status"].as_u64() == status
        };
        lines.iter().filter(fits).count()
    };
    assert_eq!((line("the recorder", EVENTS, None), line("the recorder", EVENTS, Some(200))), (1, 1), "{lines:?}");
    assert_eq!((line("the viewer", EVENTS, None), line("the viewer", EVENTS, Some(403))), (0, 1));
    assert_eq!(line("the auditor", "/api/v1/untracked", Some(200)), 1);
    assert_eq!(line("the viewer", "/api/v1/upstream/model:fraud@v1", Some(200)), 0, "the graph is no secret");
    assert_eq!(lines.iter().filter(|line| line["author"].is_null()).count(), 1, "somebody without a token");
    assert!(!lines.iter().any(|line| line.to_string().contains("Bearer")));
}

fn message_put(fields: &[(&str, &str)]) -> Vec<u8> {
    let fields: Vec<_> = [("content-type", "application/json")].iter().chain(fields).copied().collect();
    super::support::message::message("PUT /api/v1/traffic HTTP/1.1", &[&[("host", "admin")], &*fields].concat(), "no")
}

#[tokio::test]
async fn what_is_told_can_be_asked() {
    let model = ModelServer::answering(ok(OUTPUT)).await;
    let models = json!([{"name": "fraud", "version": "v1", "datasets": ["s3://lake/tx@v1"]}]);
    let touchmark = Setup::with_models(&model, &models).start();
    opened(touchmark.admin, &[]).await;
    let events = json!([training("r1", "v1", "v1"), training("r2", "v2", "v2"), {"eventTime": "now"}]);
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    packer.write_all(events.to_string().as_bytes()).unwrap();
    let fields = [("content-type", "application/json"), ("content-encoding", "gzip")];
    let request = post_with("/api/v1/lineage/batch", &fields, packer.finish().unwrap());
    let report = object(&ask(touchmark.admin, request).await);
    assert_eq!((&report["status"], &report["summary"]["successful"]), (&json!("partial_success"), &json!(2)));
    assert_eq!(
        (&report["failed_events"][0]["index"], &report["failed_events"][0]["retriable"]),
        (&json!(2), &json!(false))
    );

    let asked = async |path: &str| object(&touchmark.admin(path).await);
    let upstream = asked("/api/v1/upstream/model%3Afraud%40v1?kind=dataset").await;
    assert_eq!(upstream["nodes"][1]["id"], "dataset:s3://lake/tx@v1", "{upstream}");
    let downstream = asked("/api/v1/downstream/dataset:s3://lake/tx@v2").await;
    assert!(downstream["nodes"].as_array().unwrap().iter().any(|node| node["id"] == "model:fraud@v2"), "{downstream}");
    let diff = asked("/api/v1/diff?before=fraud@v1&after=fraud@v2").await;
    assert!(diff["sentence"].as_str().unwrap().contains("data changed"), "{diff}");
    assert_eq!(asked("/api/v1/reproducible/model:fraud@v1").await["reproducible"], false);
    assert!(asked("/api/v1/completeness").await["all"].is_object());
    assert_eq!(asked("/api/v1/resolve?name=fraud&version=v2").await["datasets"][0]["version"], "v2");
    let page = asked("/api/v1/nodes?type=model&limit=1").await;
    let next = asked(&format!("/api/v1/nodes?type=model&limit=1&after={}", page["next"])).await;
    assert_ne!(page["nodes"][0]["id"], next["nodes"][0]["id"]);
    assert_eq!(asked("/api/v1/nodes/model:fraud@v1").await["id"], "model:fraud@v1");

    touchmark.call(post(INFER, "{}")).await;
    let prediction = touchmark.prediction().await;
    let impact = asked("/api/v1/impact/dataset:s3://lake/tx@v1").await;
    assert_eq!(impact["predictions"]["total"], 1, "{impact}");
    let traced = asked(&format!("/api/v1/prediction/{}", prediction.text("/id").unwrap())).await;
    assert_eq!((&traced["model"], &traced["prediction"]["version"]), (&json!("model:fraud@v1"), &json!("v1")));
    assert_eq!(traced["document"]["datasets"][0]["version"], "v1");
    assert_eq!(asked("/api/v1/untracked").await["models"], json!([]));

    for (path, status, kind) in [
        ("/api/v1/upstream/model:none@v1", 404, "missing"),
        ("/api/v1/upstream/fraud?dept=1", 400, "parameter"),
        ("/api/v1/upstream/model:fraud", 409, "ambiguous"),
        ("/api/v1/reproducible/dataset:s3://lake/tx@v1", 422, "kind"),
        ("/api/v1/diff?before=fraud@v1", 400, "parameter"),
        ("/api/v1/prediction/17", 400, "parameter"),
    ] {
        let answer = touchmark.admin(path).await;
        let kind = format!("urn:touchmark:problem:{kind}");
        assert_eq!((answer.head.status(), object(&answer)["type"].as_str()), (status, Some(&*kind)), "{path}");
    }
    let wrong = tell(touchmark.admin, EVENTS, &json!({}), &[]).await;
    assert_eq!((wrong.head.status(), &object(&wrong)["type"]), (400, &json!("urn:touchmark:problem:event")));
}

fn asking(model: &ModelServer, server: String) -> Setup {
    Setup::with_models(model, &json!([{"name": "fraud", "version": "v1"}])).with(|config| {
        config.lineage.source = SourceKind::Catalog;
        config.lineage.server = Some(server);
    })
}

async fn dataset(touchmark: &Touchmark) -> Vec<String> {
    let answer = touchmark.call(post(INFER, "{}")).await;
    answer.head.all("x-dataset-version").into_iter().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_catalog_is_stamped_and_outlived() {
    let model = ModelServer::answering(ok(OUTPUT)).await;
    let authority = Authority::new();
    let folder = Folder::new();
    let (certificate, key) = authority.issue(&[NAME]).write(folder.path());
    let (ca, secret) = (folder.path().join("ca.pem"), folder.path().join("token"));
    std::fs::write(&ca, &authority.pem).unwrap();
    std::fs::write(&secret, "viewer\n").unwrap();
    let mut fleet = Setup::new(&model)
        .with(|config| {
            config.admin.tokens = vec![token("viewer", "viewer"), token("recorder", "recorder")];
            config.lineage.catalog.url = None;
        })
        .start();
    // Recorded in the clear, asked under TLS: the same folder, another start.
    let recorder = [("authorization", "Bearer recorder")];
    opened(fleet.admin, &recorder).await;
    let told = tell(fleet.admin, EVENTS, &training("r1", "v7", "v1"), &recorder).await;
    assert_eq!(told.head.status(), 200, "{}", told.text());
    let data = fleet.folder.clone();
    fleet.stop().await;
    let mut fleet = Setup::from(Setup::new(&model).config, data)
        .with(|config| {
            config.admin.tokens = vec![token("viewer", "viewer")];
            config.admin.tls = Some(TlsConfig { certificate, key, client_ca: None, client_names: Vec::new() });
        })
        .start();
    let tls = BackendTlsConfig { ca: Some(ca), server_name: Some(NAME.to_owned()), ..BackendTlsConfig::default() };
    let setup = asking(&model, format!("https://{}", fleet.admin)).with(|config| {
        config.lineage.token_file = Some(secret);
        config.lineage.tls = Some(tls);
    });
    let (config, folder) = (setup.config.clone(), setup.folder.clone());
    let mut touchmark = setup.start();
    for _ in 0..100 {
        tokio::task::block_in_place(|| touchmark.app().refresh_lineage());
        if !dataset(&touchmark).await.is_empty() {
            break;
        }
    }
    assert_eq!(dataset(&touchmark).await, ["v7"]);
    fleet.stop().await;
    tokio::task::block_in_place(|| touchmark.app().refresh_lineage());
    assert_eq!(dataset(&touchmark).await, ["v7"], "an outage changes nothing");
    touchmark.stop().await;
    let again = Setup { config, folder }.start();
    assert_eq!(dataset(&again).await, ["v7"], "nor does a start during one");
    again.forget();
}

/// Whoever says 404 is not thereby a catalog that does not know the model.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_no_catalog_is_not_believed() {
    let model = ModelServer::answering(ok(OUTPUT)).await;
    let other = ModelServer::answering(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_vec()).await;
    let mut touchmark = asking(&model, format!("http://{}", other.address())).start();
    assert!(dataset(&touchmark).await.is_empty());
    let failures = touchmark.metrics.lineage_refresh_failures.with_label_values(&["catalog"]);
    assert!(failures.get() > 0);
    touchmark.stop().await;
}

#[tokio::test]
async fn the_catalog_serves_alone() {
    let fleet = Fleet::start(&[], json!({}), json!({})).await;
    fleet.opened().await;
    let admin = fleet.admin;
    assert_eq!(tell(admin, EVENTS, &training("r1", "v1", "v1"), &[]).await.head.status(), 200);
    let impact = object(&ask(admin, get("/api/v1/impact/dataset:s3://lake/tx@v1", &[])).await);
    assert_eq!((&impact["models"][0]["id"], &impact["predictions"]), (&json!("model:fraud@v1"), &Value::Null));
    for path in ["/checkpoint", "/api/v1/backends", "/api/v1/traffic", "/api/v1/untracked", "/tile/0/000"] {
        assert_eq!(ask(admin, get(path, &[])).await.head.status(), 404, "{path}");
    }
    assert_eq!(ask(admin, get("/readyz", &[])).await.head.status(), 200);
    let (announced, process) = (fleet.data().join("serve.json"), fleet.process);
    assert_eq!(process.terminated().await.code(), Some(0));
    assert!(!announced.exists());
}
