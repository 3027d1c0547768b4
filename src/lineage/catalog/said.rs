//! Who said what stands: the properties of a node and the inputs of a run that came by one way.
//!
//! An importer takes back with it what its source says no more, and leaves alone what others said.

use sqlx::Row as _;

use super::graph::EventKind;
use super::record::{EdgeRecord, NodeRef};
use super::{Catalog, CatalogError};

impl Catalog {
    /// The names of a node's properties that stand as `source` said them last.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn said(&self, node: i64, source: &str) -> Result<Vec<String>, CatalogError> {
        Ok(sqlx::query_scalar(
            "SELECT property.name FROM property JOIN change ON change.id = property.since \
             WHERE property.node = $1 AND property.until IS NULL AND change.source = $2 ORDER BY property.name",
        )
        .bind(node)
        .bind(source)
        .fetch_all(&self.store.pool)
        .await?)
    }

    /// What a run used by the word of `source`, as records of it.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn inputs_said(
        &self,
        run: i64,
        execution: &NodeRef,
        source: &str,
    ) -> Result<Vec<EdgeRecord>, CatalogError> {
        let rows = sqlx::query(
            "SELECT node.identity, node_type.name, node.name, edge.kind, edge.path FROM edge \
             JOIN change ON change.id = edge.since JOIN node ON node.id = edge.source \
             JOIN node_type ON node_type.id = node.type \
             WHERE edge.target = $1 AND edge.until IS NULL AND change.source = $2 ORDER BY edge.id",
        )
        .bind(run)
        .bind(source)
        .fetch_all(&self.store.pool)
        .await?;
        let mut edges = Vec::with_capacity(rows.len());
        for row in rows {
            let (identity, name): (Option<String>, Option<String>) = (row.try_get(0)?, row.try_get(2)?);
            let type_name: String = row.try_get(1)?;
            let named = name.map(|name| NodeRef::Named { type_name, name });
            // What has neither is nothing that a source could have named.
            let Some(artifact) = identity.map(NodeRef::Identity).or(named) else { continue };
            let kind: i64 = row.try_get(3)?;
            let kind = EventKind::from_code(kind)
                .ok_or_else(|| CatalogError::Row { what: format!("an event of kind {kind}") })?;
            let (execution, role) = (execution.clone(), row.try_get(4)?);
            edges.push(EdgeRecord { artifact, execution, kind, role, time: None, remove: false });
        }
        Ok(edges)
    }
}
