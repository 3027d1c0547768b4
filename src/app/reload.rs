//! A new configuration while requests run: swapped whole, or refused whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{App, StartError, compile, traffic};
use crate::config::{self, Config, Source};
use crate::ledger;
use crate::lineage;
use crate::proxy::{BackendConfig, Snapshot};

/// Why a configuration is not taken over; the old one stays.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// It cannot be loaded, or changes what cannot change at run time.
    #[error(transparent)]
    Config(#[from] config::ReloadError),
    /// It cannot be compiled.
    #[error(transparent)]
    Compile(#[from] StartError),
}

impl App {
    /// Loads the configuration again and takes it over. A bad one is logged and counted, and the old one stays.
    pub fn reload(&mut self, source: &Source) -> Result<(), ReloadError> {
        let result = self.load(source);
        let label = *result.as_ref().unwrap_or(&"refused");
        self.shared.metrics.config_reloads.with_label_values(&[label]).inc();
        match &result {
            Ok(label) => tracing::info!(result = label, "the configuration was loaded again"),
            Err(error) => tracing::error!(%error, "the new configuration is refused; the old one stays in force"),
        }
        result.map(drop)
    }

    /// What came of it: `applied` or `unchanged`. The files that the configuration names may have changed without it.
    fn load(&mut self, source: &Source) -> Result<&'static str, ReloadError> {
        let new = config::reload(source, &self.config)?;
        if new.is_none() && self.config.files().is_empty() {
            return Ok("unchanged");
        }
        let config = new.as_ref().unwrap_or(&self.config);
        let (snapshot, identities) = compile(config, &self.shared.metrics)?;
        if new.is_none() && snapshot.tls_files == self.shared.snapshot.load().tls_files {
            return Ok("unchanged");
        }
        lineage::observe(&self.shared.metrics, &identities);
        self.take_over(new.unwrap_or_else(|| self.config.clone()), snapshot);
        Ok("applied")
    }

    fn take_over(&mut self, config: Config, mut snapshot: Snapshot) {
        let weights = Arc::clone(&self.weights);
        // A move by hand comes before or after: in between it would be lost with the old snapshot.
        let _one = weights.lock();
        let old = self.shared.snapshot.load_full();
        self.keep_weights(&config, &old, &snapshot);
        snapshot.keep_health(&old);
        let (before, after) = (traffic::weights(&old), traffic::weights(&snapshot));
        let snapshot = Arc::new(snapshot);
        self.shared.snapshot.store(Arc::clone(&snapshot));
        self.checks.follow(snapshot);
        if !serves_the_same(&config, &self.config) {
            self.ledger.lifecycle(ledger::Event::Identity, described(&config, &after));
        } else if before == after {
            self.ledger.lifecycle(ledger::Event::Config, described(&config, &after));
        } else {
            traffic::record(&self.ledger, &before, &after);
        }
        self.config = config;
    }

    /// What was moved by hand stays, unless the file moves it too, or together they would leave nothing to serve.
    fn keep_weights(&self, config: &Config, old: &Snapshot, new: &Snapshot) {
        let written = |config: &Config, name: &str| {
            config.backends.iter().find(|backend| backend.name == name).map(|backend| backend.weight)
        };
        for backend in &new.backends {
            let before = old.backends.iter().find(|other| other.name == backend.name);
            let untouched = written(config, &backend.name) == written(&self.config, &backend.name);
            if let Some(before) = before.filter(|_| untouched) {
                backend.set_weight(before.weight());
            }
        }
        if new.backends.iter().all(|backend| backend.weight() == 0) {
            for (backend, written) in new.backends.iter().zip(&config.backends) {
                backend.set_weight(written.weight);
            }
        }
    }
}

/// Whether two configurations differ in no backend but for its weight.
fn serves_the_same(one: &Config, other: &Config) -> bool {
    let same =
        |(one, other): (&BackendConfig, &BackendConfig)| BackendConfig { weight: one.weight, ..other.clone() } == *one;
    one.backends.len() == other.backends.len() && one.backends.iter().zip(&other.backends).all(same)
}

/// Which models answer where from now on.
fn described(config: &Config, weights: &BTreeMap<String, u32>) -> serde_json::Value {
    let backends: Vec<_> = config
        .backends
        .iter()
        .map(|backend| {
            let models: Vec<String> =
                backend.models.iter().map(|model| format!("{}@{}", model.name, model.version)).collect();
            serde_json::json!({"backend": backend.name, "weight": weights.get(&backend.name), "models": models})
        })
        .collect();
    serde_json::json!({ "backends": backends })
}
