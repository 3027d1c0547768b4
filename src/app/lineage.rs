//! What stands behind the stamps while the process runs: asked of the source again and again, kept through its outages.
//!
//! Nothing here is on a request's way: what is found becomes a new snapshot of the data path. What a source says is
//! also written to a file, so that a start without the source stamps what was last known rather than less. A model
//! that the source does not know keeps what is declared of it, and an alias that it does not know names no version:
//! calls to that model are unresolved.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::time::timeout;

use super::mlflow::Registry;
use crate::config::Config;
use crate::durable;
use crate::lineage::ask::{ALIAS, resolved};
use crate::lineage::catalog::Opening;
use crate::lineage::{
    self, Content, Declared, Facts, Identity, ModelId, Remote, RemoteError, ResolveError, SourceKind,
};
use crate::telemetry::Metrics;

/// What a source may take at the start and at a reload, before what was last known is stamped.
pub(super) const FIRST_PATIENCE: Duration = Duration::from_secs(3);
/// What it may take while requests are served.
pub(super) const PATIENCE: Duration = Duration::from_mins(1);
/// What MLflow may take to tell of all versions of the models, before it is asked again what is stamped: what is there
/// by then stays.
const IMPORT_PATIENCE: Duration = Duration::from_secs(30);
/// What the file of what was last known is called, in the data directory.
const LAST_KNOWN: &str = "lineage.json";
/// Its mode: it holds nothing that an answer does not tell.
const KNOWN_MODE: u32 = 0o644;

/// A model as the configuration names it: its name, and its version or `@ALIAS`.
pub(super) type Asked = (String, String);
/// What the source said of it.
pub(super) type Known = BTreeMap<String, Content>;

/// The lineage of all configured models, as the source last told it.
#[derive(Clone, Debug)]
pub(super) struct Sourced(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    catalog: Opening,
    mlflow: Registry,
    last_known: PathBuf,
    metrics: Arc<Metrics>,
    known: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// By `NAME@VERSION` or `NAME@@ALIAS`.
    known: Known,
    /// When the source last answered.
    answered: Option<SystemTime>,
}

impl Sourced {
    /// Begins with what was last known.
    pub(super) fn new(dir: &Path, catalog: Opening, metrics: &Arc<Metrics>) -> Self {
        let last_known = dir.join(LAST_KNOWN);
        let known = read(&last_known);
        Self(Arc::new(Inner {
            catalog,
            mlflow: Registry::default(),
            last_known,
            metrics: Arc::clone(metrics),
            known: Mutex::new(State { known, answered: None }),
        }))
    }

    /// Asks the source about every model that the configuration names. Whether anything is known otherwise than before.
    pub(super) async fn refresh(&self, config: &Config, patience: Duration) -> bool {
        if config.lineage.source == SourceKind::Static {
            return false;
        }
        let source = label(config.lineage.source);
        let found = match timeout(patience, self.ask(config)).await {
            Ok(Ok(found)) => found,
            Ok(Err(reason)) => return self.failed(source, &reason),
            Err(_) => return self.failed(source, "it did not answer in time"),
        };
        let mut state = self.0.known.lock().unwrap_or_else(PoisonError::into_inner);
        state.answered = Some(SystemTime::now());
        self.0.metrics.lineage_age.reset();
        for content in found.values() {
            self.0.metrics.lineage_age.with_label_values(&[content.model.name.as_str()]).set(0.0);
        }
        if state.known == found {
            return false;
        }
        state.known = found;
        write(&self.0.last_known, &state.known);
        true
    }

    /// Brings into the catalog what the source knows beside what is stamped.
    pub(super) async fn import(&self, config: &Config) {
        if config.lineage.source != SourceKind::Mlflow {
            return;
        }
        // While it is being opened, or where MLflow does not answer, the refresh has said so.
        let Ok(catalog) = self.0.catalog.get() else { return };
        let imported = timeout(IMPORT_PATIENCE, self.0.mlflow.import(config, catalog, &asked(config))).await;
        if imported.is_err() {
            tracing::info!("MLflow has not told of all versions yet: the rest comes after the next refresh");
        }
    }

    /// Looks how much of what is served leads back to data, once the catalog is open.
    pub(super) async fn look(&self, config: &Config) {
        if let Ok(catalog) = self.0.catalog.get() {
            super::traceable::observe(catalog, config, &self.0.metrics).await;
        }
    }

    /// The identity of a configured model; `None` where its version is an alias that nobody knows.
    pub(super) fn identity(
        &self,
        kind: SourceKind,
        declared: &Declared<'_>,
    ) -> Result<Option<Identity>, Vec<ResolveError>> {
        let alias = declared.version.strip_prefix(ALIAS);
        if kind != SourceKind::Static {
            let state = self.0.known.lock().unwrap_or_else(PoisonError::into_inner);
            let said = state.known.get(&format!("{}@{}", declared.name, declared.version)).cloned();
            drop(state);
            match said.map(lineage::freeze) {
                Some(Ok(identity)) => return Ok(Some(identity)),
                Some(Err(errors)) => {
                    let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
                    tracing::error!(
                        model = declared.name,
                        version = declared.version,
                        errors = errors.join("; "),
                        "what the source says cannot be stamped; what is declared is"
                    );
                }
                None => {}
            }
        }
        if alias.is_some() { Ok(None) } else { lineage::resolve(declared).map(Some) }
    }

    /// Says how old is what is known, for as long as the source does not answer.
    fn failed(&self, source: &str, reason: &str) -> bool {
        self.0.metrics.lineage_refresh_failures.with_label_values(&[source]).inc();
        let state = self.0.known.lock().unwrap_or_else(PoisonError::into_inner);
        tracing::warn!(source, reason, "the lineage cannot be refreshed; what was last known stands");
        let age = state.answered.and_then(|answered| answered.elapsed().ok()).unwrap_or_default().as_secs_f64();
        for content in state.known.values() {
            self.0.metrics.lineage_age.with_label_values(&[content.model.name.as_str()]).set(age);
        }
        false
    }

    async fn ask(&self, config: &Config) -> Result<Known, String> {
        let asked = asked(config);
        match (config.lineage.source, &config.lineage.file) {
            (SourceKind::Static, _) | (SourceKind::File, None) => Ok(Known::new()),
            (SourceKind::File, Some(file)) => from_file(file, &asked),
            (SourceKind::Catalog, _) => match &config.lineage.server {
                None => from_catalog(&self.0.catalog, &asked).await,
                Some(server) => from_server(server, &config.lineage, &asked).await,
            },
            (SourceKind::Mlflow, _) => {
                let before = self.0.known.lock().unwrap_or_else(PoisonError::into_inner).known.clone();
                self.0.mlflow.known(config, &self.0.catalog, &asked, &before).await
            }
        }
    }
}

/// The models that the configuration names.
fn asked(config: &Config) -> BTreeSet<Asked> {
    let models = config.backends.iter().flat_map(|backend| &backend.models);
    models.map(|model| (model.name.clone(), model.version.clone())).collect()
}

fn from_file(file: &Path, asked: &BTreeSet<Asked>) -> Result<Known, String> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let facts = Facts::parse(&text).map_err(|error| format!("{}: {error}", file.display()))?;
    let mut known = Known::new();
    for (name, version) in asked {
        let aliased = version.strip_prefix(ALIAS).map(|alias| facts.alias(name, alias));
        let Some(id) = aliased.unwrap_or_else(|| ModelId::new(name, version).ok()) else { continue };
        let content = facts.content(&id).map_err(|error| format!("{}: {error}", file.display()))?;
        known.extend(content.map(|content| (format!("{name}@{version}"), content)));
    }
    Ok(known)
}

async fn from_catalog(opening: &Opening, asked: &BTreeSet<Asked>) -> Result<Known, String> {
    let catalog = opening.get()?;
    let mut known = Known::new();
    for (name, version) in asked {
        let content = resolved(catalog, name, version).await.map_err(|error| error.to_string())?;
        known.extend(content.map(|content| (format!("{name}@{version}"), content)));
    }
    Ok(known)
}

async fn from_server(server: &str, config: &lineage::Config, asked: &BTreeSet<Asked>) -> Result<Known, String> {
    let told = |error: RemoteError| error.to_string();
    let remote = Remote::new(server, config.token_file.as_deref(), config.tls.as_ref()).map_err(told)?;
    let mut asking = remote.connect().await.map_err(told)?;
    let mut known = Known::new();
    for (name, version) in asked {
        let content = asking.resolve(name, version).await.map_err(told)?;
        known.extend(content.map(|content| (format!("{name}@{version}"), content)));
    }
    Ok(known)
}

fn label(source: SourceKind) -> &'static str {
    match source {
        SourceKind::Static => "static",
        SourceKind::File => "file",
        SourceKind::Catalog => "catalog",
        SourceKind::Mlflow => "mlflow",
    }
}

/// What was last known; nothing where nobody has written it, or not whole.
fn read(path: &Path) -> Known {
    let bytes = std::fs::read(path).unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or_default()
}

/// Keeps what is known for a start without the source. A disk that does not take it costs that alone.
fn write(path: &Path, known: &Known) {
    let written = serde_json::to_vec(known)
        .map_err(std::io::Error::other)
        .and_then(|bytes| durable::replace(path, &bytes, KNOWN_MODE));
    if let Err(error) = written {
        tracing::warn!(%error, path = %path.display(), "what is known of the lineage cannot be kept for the next start");
    }
}
