//! Stamps that come from an MLflow server: by alias and by version, through its outages, from what it was recorded to say.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::json;
use touchmark::lineage::SourceKind;
use touchmark::lineage::catalog::{Catalog, Causality, Location, Moment};
use touchmark::units::Period;

use super::support::message::{INFER, Message, OUTPUT, message, ok, post};
use super::support::model_server::ModelServer;
use super::support::touchmark::{Folder, Setup, Touchmark, token};
use super::support::wire::Wire;
use super::support::{eventually, soon};

type Answers = BTreeMap<String, (u16, String)>;

/// What a real server answered, before and after the champion moved (`tests/real/mlflow_registry.py`).
const BEFORE: &str = include_str!("../../src/lineage/mlflow/fixtures/before.json");
const AFTER: &str = include_str!("../../src/lineage/mlflow/fixtures/after.json");

/// A server that says what was recorded, or nothing but 503 while it has no answers.
struct Registry {
    server: ModelServer,
    answers: Arc<Mutex<Answers>>,
}

impl Registry {
    async fn new(recorded: &str) -> Self {
        let answers: Arc<Mutex<Answers>> = Arc::new(Mutex::new(serde_json::from_str(recorded).unwrap()));
        let theirs = Arc::clone(&answers);
        let server = ModelServer::serving(move |request| answer(request, &theirs.lock().unwrap())).await;
        Self { server, answers }
    }

    fn uri(&self) -> String {
        format!("http://{}", self.server.address())
    }

    fn says(&self, recorded: &str) {
        *self.answers.lock().unwrap() = serde_json::from_str(recorded).unwrap();
    }
}

fn answer(request: &Message, answers: &Answers) -> Vec<u8> {
    let target = request.head.target().strip_prefix("/api/2.0/mlflow/").unwrap_or_default();
    let missing = (404, "{\"error_code\":\"RESOURCE_DOES_NOT_EXIST\"}".to_owned());
    let down = (503, "down".to_owned());
    let (status, body) = if answers.is_empty() { &down } else { answers.get(target).unwrap_or(&missing) };
    format!("HTTP/1.1 {status} Said\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

fn setup(model: &ModelServer, registry: &Registry, version: &str) -> Setup {
    let models = json!([{"name": "fraud", "version": version, "datasets": ["declared@v0"]}]);
    Setup::with_models(model, &models).with(|config| {
        config.lineage.source = SourceKind::Mlflow;
        config.lineage.mlflow.uri = Some(registry.uri());
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

fn refresh(touchmark: &mut Touchmark) {
    tokio::task::block_in_place(|| touchmark.app().refresh_lineage());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_moved_alias_moves_the_stamp() {
    let model = ModelServer::answering(ok(OUTPUT)).await;
    let registry = Registry::new(BEFORE).await;
    let mut touchmark = setup(&model, &registry, "@champion").start();
    assert_eq!(stamps(&touchmark).await, stamped("1", "v2.0"));
    registry.says(AFTER);
    refresh(&mut touchmark);
    let [version, dataset] = stamps(&touchmark).await;
    assert_eq!(version.as_deref(), Some("2"));
    assert!(dataset.unwrap().starts_with("run-"), "a dataset without a version is its run's alone");
    touchmark.stop().await;
    let entries = touchmark.ledger.entries();
    let document = entries.iter().find(|entry| entry.kind() == "lineage").unwrap();
    assert_eq!(document.text("/document/source"), Some("mlflow"));
    assert_eq!(document.text("/document/run/code/repo"), Some("https://git.example/fraud.git"));
    // The graph knows what was stamped.
    let catalog = open(&touchmark.folder).await;
    let node = soon("the node", catalog.node("model:fraud@1", Moment::NOW)).await.unwrap().unwrap();
    assert_eq!(node.text("stage"), Some("Production"));
    catalog.close().await;
}

async fn open(folder: &Folder) -> Catalog {
    let file = Location::File(folder.path().join(touchmark::lineage::CATALOG_FILE));
    soon("the catalog", Catalog::open(&file, Causality::Flag)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_keeps_what_was_last_known_and_says_its_age() {
    let model = ModelServer::answering(ok(OUTPUT)).await;
    let registry = Registry::new(BEFORE).await;
    let setup = setup(&model, &registry, "@champion");
    let (config, folder) = (setup.config.clone(), setup.folder.clone());
    let mut touchmark = setup.start();
    assert_eq!(stamps(&touchmark).await, stamped("1", "v2.0"));
    registry.says("{}");
    refresh(&mut touchmark);
    assert_eq!(stamps(&touchmark).await, stamped("1", "v2.0"));
    assert_eq!(touchmark.metrics.lineage_refresh_failures.with_label_values(&["mlflow"]).get(), 1);
    assert!(touchmark.metrics.lineage_age.with_label_values(&["fraud"]).get() > 0.0);
    touchmark.stop().await;
    // A start without the server stamps what was last known, and what is new once it is back.
    let mut again = Setup::from(config, folder).start();
    assert_eq!(stamps(&again).await, stamped("1", "v2.0"));
    registry.says(AFTER);
    refresh(&mut again);
    assert_eq!(stamps(&again).await[0].as_deref(), Some("2"));
    assert!(again.metrics.lineage_age.with_label_values(&["fraud"]).get() < f64::EPSILON);
    // Its log holds the predictions of both.
    again.forget();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_goes_by_its_number_or_by_its_tag_and_nothing_is_guessed() {
    let model = ModelServer::answering(ok(OUTPUT)).await;
    let registry = Registry::new(BEFORE).await;
    for (asked, expected) in [
        ("1", stamped("1", "v2.0")),
        ("v3.0.0", stamped("v3.0.0", "v3.0")),
        // MLflow's 3 is v3.0.0, and it knows no 99: what is declared stands.
        ("3", stamped("3", "v0")),
        ("99", stamped("99", "v0")),
        // Nobody declares an alias.
        ("@nobody", [None, None]),
    ] {
        let touchmark = setup(&model, &registry, asked).start();
        assert_eq!(stamps(&touchmark).await, expected, "{asked}");
    }
}

/// Sends a delivery, signed as MLflow signs. The answer's status.
async fn deliver(touchmark: &Touchmark, secret: &[u8], body: &str) -> u16 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().to_string();
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let tag = hmac::sign(&key, format!("d-1.{now}.{body}").as_bytes());
    let signature = format!("v1,{}", BASE64.encode(tag.as_ref()));
    let fields = [
        ("host", "admin"),
        ("content-type", "application/json"),
        ("x-mlflow-signature", &*signature),
        ("x-mlflow-timestamp", &*now),
        ("x-mlflow-delivery-id", "d-1"),
    ];
    let mut admin = Wire::connect(touchmark.admin).await;
    admin.send(message("POST /api/v1/webhooks/mlflow HTTP/1.1", &fields, body)).await;
    admin.answer().await.head.status()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signed_webhook_has_the_server_asked_at_once() {
    let model = ModelServer::answering(ok(OUTPUT)).await;
    let registry = Registry::new(BEFORE).await;
    let secret = b"whsec-of-a-test-alone";
    let setup = setup(&model, &registry, "@champion").with(|config| {
        // Whoever delivers has no token: the signature stands for it.
        config.admin.tokens = vec![token("somebody", "operator")];
        config.lineage.refresh = Period::secs(3600);
    });
    let file = setup.folder.path().join("secret");
    std::fs::write(&file, secret).unwrap();
    let touchmark = setup.with(|config| config.lineage.mlflow.webhook_secret_file = Some(file)).start();
    assert_eq!(stamps(&touchmark).await, stamped("1", "v2.0"));
    let asked = || registry.server.received().requests.len();
    let event = r#"{"entity":"model_version_alias","action":"created","data":{"name":"fraud"}}"#;

    let before = asked();
    assert_eq!(deliver(&touchmark, b"another secret entirely", event).await, 401);
    assert_eq!(deliver(&touchmark, secret, "no event").await, 400);
    assert_eq!(deliver(&touchmark, secret, event).await, 200);
    eventually("the server to be asked", || (asked() > before).then_some(())).await;
    // What was refused is on record as well.
    let log = std::fs::read_to_string(touchmark.folder.path().join("access.jsonl")).unwrap();
    for status in [401, 400, 200] {
        assert!(log.contains(&format!("\"status\":{status}")), "{status}: {log}");
    }
    touchmark.predictions(1).await;
}
