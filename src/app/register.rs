//! What this deployment tells the catalog of itself: which models it serves, in which shares, from which configuration
//! and into which log.
//!
//! All copies of a deployment say the same under one name; what one copy alone knows stands under its own.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::config::Config;
use crate::lineage::catalog::{
    Batch, Catalog, CatalogError, Direction, EdgeRecord, EventKind, Moment, NodeRef, Value, names,
};
use crate::lineage::{About, DeploymentFact, Facts};
use crate::proxy::BackendConfig;
use crate::sha256::Sha256;

/// By which way it came.
const SOURCE: &str = "serve";
/// Models that a deployment is seen to serve, at most.
const MODELS_MAX: usize = 10_000;

/// The deployment as it serves now. Versions that aliases name stand in `backends` as they are.
pub(super) fn batch(config: &Config, backends: &[BackendConfig], weights: &BTreeMap<String, u32>) -> Batch {
    let mut models: Vec<String> = backends
        .iter()
        .flat_map(|backend| &backend.models)
        .map(|model| format!("{}@{}", model.name, model.version))
        .collect();
    models.sort();
    models.dedup();
    let instance = config.deployment.instance.as_deref().unwrap_or_default();
    let weights = weights.iter().map(|(name, weight)| (name.clone(), serde_json::Value::from(*weight)));
    let backends: BTreeMap<&str, &str> =
        backends.iter().map(|backend| (backend.name.as_str(), backend.url.as_str())).collect();
    let mut digest = "sha256:".to_owned();
    for byte in Sha256::digest(serde_json::to_vec(config).unwrap_or_default()) {
        let _ = write!(digest, "{byte:02x}");
    }
    let properties = BTreeMap::from([
        ("config_digest".to_owned(), Value::from(digest)),
        (format!("weights.{instance}"), Value::Struct(weights.collect())),
        ("backends".to_owned(), Value::Struct(serde_json::json!(backends))),
    ]);
    let deployment = DeploymentFact {
        name: config.deployment.name.clone(),
        models,
        about: About { properties, ..About::default() },
        ..DeploymentFact::default()
    };
    let facts = Facts { deployments: vec![deployment], ..Facts::default() };
    // A model whose name the catalog does not take has none there; the data path serves it all the same.
    facts.batch(&format!("{}/{instance}", config.deployment.name), SOURCE).unwrap_or_default()
}

/// Records it, and that what it no longer serves is no longer served.
pub(super) async fn record(catalog: &Catalog, mut batch: Batch) -> Result<(), CatalogError> {
    let Some(deployment) = batch.nodes.iter().find(|node| node.type_name == names::DEPLOYMENT) else { return Ok(()) };
    let NodeRef::Identity(identity) = deployment.node.clone() else { return Ok(()) };
    if let Some(node) = catalog.node(&identity, Moment::NOW).await? {
        let graph = catalog.walk(&[node.id], Direction::Upstream, 1, MODELS_MAX, Moment::NOW).await?;
        let served = |artifact: &NodeRef| batch.edges.iter().any(|edge| edge.artifact == *artifact);
        let gone: Vec<EdgeRecord> = graph
            .inputs(node.id)
            .filter(|(edge, model)| edge.path == "model" && model.type_name == names::MODEL)
            .map(|(_, model)| NodeRef::Identity(model.identity.clone()))
            .filter(|model| !served(model))
            .map(|artifact| EdgeRecord {
                artifact,
                execution: NodeRef::Identity(identity.clone()),
                kind: EventKind::Input,
                role: "model".to_owned(),
                time: None,
                remove: true,
            })
            .collect();
        batch.edges.extend(gone);
    }
    catalog.record(&batch).await?;
    Ok(())
}
