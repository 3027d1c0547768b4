//! How much of what this deployment serves leads back to data, by the graph, looked up on the refresh's beat.
//!
//! What is declared counts too: a model is traceable where either names its training data. No request waits for this.

use std::time::Instant;

use crate::config::Config;
use crate::lineage::Role;
use crate::lineage::ask::resolved;
use crate::lineage::catalog::{Catalog, CatalogError};
use crate::telemetry::Metrics;

/// Sets `deployment_traceable_ratio` and `lineage_query_seconds{query="document"}`. A catalog that does not answer leaves
/// the ratio as it is.
pub(super) async fn observe(catalog: &Catalog, config: &Config, metrics: &Metrics) {
    let (mut models, mut traceable) = (0_u32, 0_u32);
    for model in config.backends.iter().flat_map(|backend| &backend.models) {
        let declared = model.datasets.iter().any(|dataset| dataset.role == Role::Training);
        let began = Instant::now();
        let known = match in_graph(catalog, &model.name, &model.version).await {
            Ok(known) => known,
            Err(error) => {
                tracing::warn!(%error, "the catalog cannot be asked how much of the deployment is traceable");
                return;
            }
        };
        metrics.lineage_query.with_label_values(&["document"]).observe(began.elapsed().as_secs_f64());
        models += 1;
        traceable += u32::from(declared || known);
    }
    metrics.deployment_traceable.set(f64::from(traceable) / f64::from(models.max(1)));
}

/// Whether the graph leads from a model, by version or alias, to training data.
async fn in_graph(catalog: &Catalog, name: &str, version: &str) -> Result<bool, CatalogError> {
    let content = resolved(catalog, name, version).await?;
    Ok(content.is_some_and(|content| content.datasets.iter().any(|dataset| dataset.role == Role::Training)))
}
