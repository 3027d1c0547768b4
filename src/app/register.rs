//! What this deployment tells the catalog of itself: which models it serves, in which shares, from which configuration
//! and into which log, and how often each model version has answered.
//!
//! All copies of a deployment say the same under one name. What one copy alone knows is a `Metrics` artifact of its own,
//! told at the start, at each change, once an hour and at the end: counts that were kept each second would be a metric,
//! and those are at `/metrics`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::traffic;
use crate::config::Config;
use crate::ledger::Ledger;
use crate::lineage::catalog::{
    Batch, Catalog, CatalogError, Direction, EdgeRecord, EventKind, Moment, NodeRecord, NodeRef, Opening, Value, names,
};
use crate::lineage::{About, DeploymentFact, Facts};
use crate::proxy::{BackendConfig, Snapshot};
use crate::sha256::{self, Sha256};
use crate::telemetry::Metrics;

/// By which way it came.
const SOURCE: &str = "serve";
/// Models that a deployment is seen to serve, at most.
const MODELS_MAX: usize = 10_000;
/// Between two words about what has been answered.
const BEAT: Duration = Duration::from_hours(1);

/// Keeps the catalog's word on this deployment current. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Registration(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    serving: Mutex<(Config, Vec<BackendConfig>)>,
    snapshot: Arc<ArcSwap<Snapshot>>,
    ledger: Arc<Ledger>,
    metrics: Arc<Metrics>,
    began: Timestamp,
    news: Notify,
}

impl Registration {
    pub(super) fn new(
        (config, backends): (&Config, &[BackendConfig]),
        snapshot: &Arc<ArcSwap<Snapshot>>,
        ledger: &Arc<Ledger>,
        metrics: &Arc<Metrics>,
    ) -> Self {
        let news = Notify::new();
        news.notify_one();
        Self(Arc::new(Inner {
            serving: Mutex::new((config.clone(), backends.to_vec())),
            snapshot: Arc::clone(snapshot),
            ledger: Arc::clone(ledger),
            metrics: Arc::clone(metrics),
            began: Timestamp::now(),
            news,
        }))
    }

    /// Something else is served from now on.
    pub(super) fn serves(&self, config: &Config, backends: &[BackendConfig]) {
        *self.0.serving.lock().unwrap_or_else(PoisonError::into_inner) = (config.clone(), backends.to_vec());
        self.changed();
    }

    /// The shares are others.
    pub(super) fn changed(&self) {
        self.0.news.notify_one();
    }

    /// Tells the catalog, as soon as it is open, at each change and once an hour.
    pub(super) async fn keep(self, opening: Opening) {
        loop {
            // An hour without news is over, or there are some: either way it is time.
            let _news = timeout(BEAT, self.0.news.notified()).await;
            self.tell(opening.wait().await).await;
        }
    }

    /// Tells it now.
    pub(super) async fn tell(&self, catalog: &Catalog) {
        if let Err(error) = record(catalog, self.batch()).await {
            tracing::warn!(%error, "the deployment could not be registered in the catalog");
        }
    }

    fn batch(&self) -> Batch {
        let Inner { serving, snapshot, ledger, metrics, began, .. } = &*self.0;
        let (config, backends) = serving.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let log = ledger.status().log;
        let mut batch = batch(&config, &backends, &traffic::weights(&snapshot.load()), &log);
        let instance = config.deployment.instance.as_deref().unwrap_or_default();
        let name = format!("deployment:{}/{instance}", config.deployment.name);
        let own = NodeRef::Named { type_name: names::METRICS.to_owned(), name };
        let counts = metrics.predictions_by_model();
        batch.nodes.push(
            NodeRecord::new(names::METRICS, own)
                .with("log", log)
                .with("since", began.to_string())
                .with("predictions", Value::Struct(serde_json::json!(counts))),
        );
        batch
    }
}

/// The deployment as it serves now. Versions that aliases name stand in `backends` as they are.
fn batch(config: &Config, backends: &[BackendConfig], weights: &BTreeMap<String, u32>, log: &str) -> Batch {
    let mut models: Vec<String> = backends
        .iter()
        .flat_map(|backend| &backend.models)
        .map(|model| format!("{}@{}", model.name, model.version))
        .collect();
    models.sort();
    models.dedup();
    let instance = config.deployment.instance.as_deref().unwrap_or_default();
    let urls: BTreeMap<&str, &str> =
        backends.iter().map(|backend| (backend.name.as_str(), backend.url.as_str())).collect();
    let digest = sha256::named(Sha256::digest(serde_json::to_vec(config).unwrap_or_default()));
    let properties = BTreeMap::from([
        ("config_digest".to_owned(), Value::from(digest)),
        ("log".to_owned(), Value::from(log.to_owned())),
        ("weights".to_owned(), Value::Struct(serde_json::json!(weights))),
        ("backends".to_owned(), Value::Struct(serde_json::json!(urls))),
    ]);
    let deployment = |image: Option<&String>| DeploymentFact {
        name: config.deployment.name.clone(),
        models: models.clone(),
        image: image.cloned(),
        about: About { properties: properties.clone(), ..About::default() },
        ..DeploymentFact::default()
    };
    // The same deployment once for each image that its servers run.
    let images: Vec<&String> = backends.iter().filter_map(|backend| backend.image.as_ref()).collect();
    let deployments = if images.is_empty() {
        vec![deployment(None)]
    } else {
        images.into_iter().map(|image| deployment(Some(image))).collect()
    };
    let facts = Facts { deployments, ..Facts::default() };
    // A model whose name the catalog does not take has none there; the data path serves it all the same.
    facts.batch(&format!("{}/{instance}", config.deployment.name), SOURCE).unwrap_or_default()
}

/// Records it, and that what it no longer serves is no longer served.
async fn record(catalog: &Catalog, mut batch: Batch) -> Result<(), CatalogError> {
    let Some(deployment) = batch.nodes.iter().find(|node| node.type_name == names::DEPLOYMENT) else { return Ok(()) };
    let NodeRef::Identity(identity) = deployment.node.clone() else { return Ok(()) };
    if let Some(node) = catalog.node(&identity, Moment::NOW).await? {
        let graph = catalog.walk(&[node.id], Direction::Upstream, 1, MODELS_MAX, Moment::NOW).await?;
        let served = |artifact: &NodeRef| batch.edges.iter().any(|edge| edge.artifact == *artifact);
        let gone: Vec<EdgeRecord> = graph
            .inputs(node.id)
            .filter(|(edge, _)| edge.path == "model" || edge.path == "image")
            .map(|(edge, artifact)| (edge.path.clone(), NodeRef::Identity(artifact.identity.clone())))
            .filter(|(_, artifact)| !served(artifact))
            .map(|(role, artifact)| EdgeRecord {
                artifact,
                execution: NodeRef::Identity(identity.clone()),
                kind: EventKind::Input,
                role,
                time: None,
                remove: true,
            })
            .collect();
        batch.edges.extend(gone);
    }
    catalog.record(&batch).await?;
    Ok(())
}
