//! A new configuration while requests run: swapped whole, or refused whole.

use std::sync::Arc;

use super::{App, StartError, compile};
use crate::config::{self, Config, Source};
use crate::ledger;
use crate::lineage;

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
        self.shared.snapshot.store(Arc::new(snapshot));
        let event =
            if config.backends == self.config.backends { ledger::Event::Config } else { ledger::Event::Identity };
        self.ledger.lifecycle(event, described(&config));
        self.config = config;
        Ok(())
    }
}

/// Which models answer where from now on.
fn described(config: &Config) -> serde_json::Value {
    let backends: Vec<_> = config
        .backends
        .iter()
        .map(|backend| {
            let models: Vec<String> =
                backend.models.iter().map(|model| format!("{}@{}", model.name, model.version)).collect();
            serde_json::json!({"backend": backend.name, "weight": backend.weight, "models": models})
        })
        .collect();
    serde_json::json!({ "backends": backends })
}
