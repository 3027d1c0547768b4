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
        let result = config::reload(source, &self.config).map_err(ReloadError::from).and_then(|new| match new {
            None if self.tls_has_changed()? => Ok(self.take_over(self.config.clone()).map(|()| "applied")?),
            None => Ok("unchanged"),
            Some(config) => Ok(self.take_over(config).map(|()| "applied")?),
        });
        let label = *result.as_ref().unwrap_or(&"refused");
        self.shared.metrics.config_reloads.with_label_values(&[label]).inc();
        match &result {
            Ok(label) => tracing::info!(result = label, "the configuration was loaded again"),
            Err(error) => tracing::error!(%error, "the new configuration is refused; the old one stays in force"),
        }
        result.map(drop)
    }

    /// Whether a file that TLS was made from holds something else by now.
    fn tls_has_changed(&self) -> Result<bool, StartError> {
        if self.config.files().is_empty() {
            return Ok(false);
        }
        let (snapshot, _) = compile(&self.config, &self.shared.metrics)?;
        Ok(snapshot.tls_files != self.shared.snapshot.load().tls_files)
    }

    fn take_over(&mut self, config: Config) -> Result<(), StartError> {
        let metrics = Arc::clone(&self.shared.metrics);
        let (snapshot, identities) = compile(&config, &metrics)?;
        lineage::observe(&metrics, &identities);
        let old = self.shared.snapshot.load_full();
        self.keep_weights(&config, &old, &snapshot);
        let (before, after) = (traffic::weights(&old), traffic::weights(&snapshot));
        self.shared.snapshot.store(Arc::new(snapshot));
        if !serves_the_same(&config, &self.config) {
            self.ledger.lifecycle(ledger::Event::Identity, described(&config, &after));
        } else if before == after {
            self.ledger.lifecycle(ledger::Event::Config, described(&config, &after));
        } else {
            let detail = serde_json::json!({"weights": after, "before": before});
            self.ledger.lifecycle(ledger::Event::Traffic, detail);
        }
        self.config = config;
        Ok(())
    }

    /// What was moved by hand stays, unless the file moves it too.
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
