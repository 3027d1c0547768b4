//! Backends as a test configures them, and as on-call sees them.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use touchmark::config::{Config, Source};
use touchmark::proxy::BackendConfig;

use super::PATIENCE;
use super::message::infer;
use super::touchmark::{Setup, Touchmark};

/// Often, and each result counts.
fn often(more: &Value) -> Value {
    let mut check = json!({"interval": "100ms", "healthy_threshold": 1, "unhealthy_threshold": 1});
    check.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    check
}

/// A backend that is asked, often.
pub(crate) fn checked(name: &str, at: SocketAddr, models: &Value, more: &Value) -> BackendConfig {
    let value = json!({"name": name, "url": format!("http://{at}"), "models": models, "health_check": often(more)});
    serde_json::from_value(value).unwrap()
}

/// One version of the model that most tests call.
pub(crate) fn version(version: &str) -> Value {
    json!([{"name": "fraud", "version": version}])
}

/// What `/api/v1/backends` says of one.
pub(crate) async fn told(touchmark: &Touchmark, name: &str) -> Value {
    let answer = touchmark.admin("/api/v1/backends").await;
    let whole: Value = serde_json::from_str(answer.text()).unwrap();
    let found = whole["backends"].as_array().unwrap().iter().find(|backend| backend["name"] == name).cloned();
    found.unwrap_or_else(|| panic!("no {name} in {whole}"))
}

/// Waits until `/api/v1/backends` says of one what `fact` looks for.
pub(crate) async fn until(touchmark: &Touchmark, name: &str, fact: impl Fn(&Value) -> bool) -> Value {
    let began = Instant::now();
    loop {
        let told = told(touchmark, name).await;
        if fact(&told) {
            return told;
        }
        assert!(began.elapsed() < PATIENCE, "waited in vain: {told}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// What so many predictions get.
pub(crate) async fn answers(touchmark: &Touchmark, count: usize) -> Vec<String> {
    let mut said = Vec::new();
    for _ in 0..count {
        said.push(touchmark.call(infer()).await.text().to_owned());
    }
    said
}

/// Writes a configuration's file. JSON is YAML.
pub(crate) fn write(path: &Path, config: &Config) -> Source {
    std::fs::write(path, serde_json::to_string(config).unwrap()).unwrap();
    Source::file(path)
}

/// Runs with a configuration from a file, to be changed.
pub(crate) fn from_file(setup: Setup) -> (Touchmark, Config, std::path::PathBuf) {
    let path = setup.config.ledger.dir.join("touchmark.yaml");
    let config = write(&path, &setup.config).load().unwrap();
    (Setup { config: config.clone(), ..setup }.start(), config, path)
}
