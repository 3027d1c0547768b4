//! A new configuration while requests run: swapped whole, or refused whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{App, Compiled, StartError, compile, traffic};
use crate::config::{self, Config, Source};
use crate::ledger;
use crate::lineage::{self, Identity};
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
        self.control.first(&self.sourced, config);
        let compiled = compile(config, &self.sourced, &self.shared.metrics)?;
        let renewed = self.admin.renew_tls().map_err(StartError::from)?;
        let same_files = compiled.snapshot.tls_files == self.shared.snapshot.load().tls_files;
        if new.is_none() && same_files && same(&compiled.identities, &self.identities) {
            return Ok(if renewed { "applied" } else { "unchanged" });
        }
        self.take_over(new.unwrap_or_else(|| self.config.clone()), compiled);
        Ok("applied")
    }

    /// Asks the source of the lineage now, and takes over what it says.
    pub fn refresh_lineage(&mut self) {
        self.control.first(&self.sourced, &self.config);
        self.lineage_changed();
    }

    /// Takes over what the source of the lineage has said.
    pub(super) fn lineage_changed(&mut self) {
        match compile(&self.config, &self.sourced, &self.shared.metrics) {
            Ok(compiled) if same(&compiled.identities, &self.identities) => {}
            Ok(compiled) => {
                tracing::info!("the lineage has changed: it is stamped from now on");
                self.take_over(self.config.clone(), compiled);
            }
            Err(error) => tracing::error!(%error, "the lineage has changed, and cannot be stamped; the old one stays"),
        }
    }

    fn take_over(&mut self, config: Config, compiled: Compiled) {
        let Compiled { mut snapshot, identities, backends } = compiled;
        lineage::observe(&self.shared.metrics, &identities);
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
        if !serves_the_same(&config, &self.config) || !same(&identities, &self.identities) {
            self.ledger.lifecycle(ledger::Event::Identity, described(&backends, &after));
        } else if before == after {
            self.ledger.lifecycle(ledger::Event::Config, described(&backends, &after));
        } else {
            traffic::record(&self.ledger, &before, &after);
        }
        self.registration.serves(&config, &backends);
        self.control.take_over(&config);
        self.identities = identities;
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

/// Whether the same is stamped, from the same documents.
fn same(one: &[Arc<Identity>], other: &[Arc<Identity>]) -> bool {
    let digests = |identities: &[Arc<Identity>]| -> Vec<[u8; 32]> {
        identities.iter().map(|identity| identity.document.digest).collect()
    };
    digests(one) == digests(other)
}

/// Whether two configurations differ in no backend but for its weight.
fn serves_the_same(one: &Config, other: &Config) -> bool {
    let same =
        |(one, other): (&BackendConfig, &BackendConfig)| BackendConfig { weight: one.weight, ..other.clone() } == *one;
    one.backends.len() == other.backends.len() && one.backends.iter().zip(&other.backends).all(same)
}

/// Which models answer where from now on.
fn described(backends: &[BackendConfig], weights: &BTreeMap<String, u32>) -> serde_json::Value {
    let backends: Vec<_> = backends
        .iter()
        .map(|backend| {
            let models: Vec<String> =
                backend.models.iter().map(|model| format!("{}@{}", model.name, model.version)).collect();
            serde_json::json!({"backend": backend.name, "weight": weights.get(&backend.name), "models": models})
        })
        .collect();
    serde_json::json!({ "backends": backends })
}
