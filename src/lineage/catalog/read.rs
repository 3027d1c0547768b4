//! Reading nodes as they stood at a moment, by number, by identity, and what changed since.

use std::collections::HashMap;

use serde::Serialize;
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row as _};

use super::graph::{Node, NodeKind, Properties, State, Value};
use super::guard::id_list;
use super::{Catalog, CatalogError, Moment, timestamp};

/// Nodes that one question names.
const CHUNK: usize = 500;
/// Candidates that an ambiguous name is answered with.
const CANDIDATES_MAX: i64 = 50;

/// One thing that changed about a node.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Changed {
    /// When.
    pub time: jiff::Timestamp,
    /// Who said so.
    pub author: String,
    /// By which way it came.
    pub source: String,
    /// The property, or `state` or `uri`.
    pub name: String,
    /// What it has been since; none where it was taken away.
    pub value: Option<Value>,
}

impl Catalog {
    /// The node of that identity as it stood at a moment.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn node(&self, identity: &str, moment: Moment) -> Result<Option<Node>, CatalogError> {
        let id: Option<i64> =
            sqlx::query_scalar(NODE).bind(identity).bind(moment.0).fetch_optional(&self.store.pool).await?;
        match id {
            Some(id) => Ok(self.nodes(&[id], moment).await?.pop()),
            None => Ok(None),
        }
    }

    /// The node of that type and name as it stood at a moment; for those that have no identity, such as contexts.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn named(&self, type_name: &str, name: &str, moment: Moment) -> Result<Option<Node>, CatalogError> {
        let id: Option<i64> = sqlx::query_scalar(NAMED)
            .bind(type_name)
            .bind(name)
            .bind(moment.0)
            .fetch_optional(&self.store.pool)
            .await?;
        match id {
            Some(id) => Ok(self.nodes(&[id], moment).await?.pop()),
            None => Ok(None),
        }
    }

    /// The identities that begin with `model:fraud@` or whatever else is given, in order; 50 at most.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn candidates(&self, beginning: &str, moment: Moment) -> Result<Vec<String>, CatalogError> {
        let end = format!("{beginning}\u{10ffff}");
        Ok(sqlx::query_scalar(CANDIDATES)
            .bind(beginning)
            .bind(end)
            .bind(moment.0)
            .bind(CANDIDATES_MAX)
            .fetch_all(&self.store.pool)
            .await?)
    }

    /// Nodes by their numbers, in that order; those that were not there yet are left out.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn nodes(&self, ids: &[i64], moment: Moment) -> Result<Vec<Node>, CatalogError> {
        let mut nodes = HashMap::with_capacity(ids.len());
        for chunk in ids.chunks(CHUNK) {
            let list = id_list(chunk);
            let rows = sqlx::query(self.store.dialect.sql(NODES))
                .bind(list.as_str())
                .bind(moment.0)
                .fetch_all(&self.store.pool)
                .await?;
            for row in rows {
                let node = node(&row)?;
                nodes.insert(node.id, node);
            }
            let rows = sqlx::query(self.store.dialect.sql(PROPERTIES))
                .bind(list)
                .bind(moment.0)
                .fetch_all(&self.store.pool)
                .await?;
            for row in rows {
                let (name, value) = property(&row)?;
                if let Some(node) = nodes.get_mut(&row.try_get::<i64, _>(0)?) {
                    node.properties.insert(name, value);
                }
            }
        }
        Ok(ids.iter().filter_map(|id| nodes.remove(id)).collect())
    }

    /// What changed about a node after a moment, oldest first.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn changes(&self, node: i64, after: Moment) -> Result<Vec<Changed>, CatalogError> {
        let kind: Option<i64> = sqlx::query_scalar("SELECT kind FROM node WHERE id = $1")
            .bind(node)
            .fetch_optional(&self.store.pool)
            .await?;
        let Some(kind) = kind.and_then(NodeKind::from_code) else { return Ok(Vec::new()) };
        let rows = sqlx::query(CHANGES).bind(node).bind(after.0).fetch_all(&self.store.pool).await?;
        rows.iter().map(|row| changed(row, kind)).collect()
    }
}

pub(super) const NODE: &str = "SELECT id FROM node WHERE identity = $1 AND since <= $2";
pub(super) const NAMED: &str = "SELECT id FROM node WHERE type IN (SELECT id FROM node_type WHERE name = $1) \
     AND name = $2 AND since <= $3";
pub(super) const CANDIDATES: &str =
    "SELECT identity FROM node WHERE identity >= $1 AND identity < $2 AND since <= $3 ORDER BY identity LIMIT $4";
pub(super) const NODES: &str = "SELECT node.id, node.kind, node_type.name, node.name, node.identity, node.external_id, \
     revision.state, revision.uri, COALESCE(change.time, 0) FROM node JOIN node_type ON node_type.id = node.type \
     JOIN revision ON revision.node = node.id LEFT JOIN change ON change.id = node.since \
     WHERE node.id IN {ids} AND revision.since <= $2 AND (revision.until IS NULL OR revision.until > $2)";
pub(super) const PROPERTIES: &str = "SELECT node, name, value_kind, value FROM property \
     WHERE node IN {ids} AND since <= $2 AND (until IS NULL OR until > $2)";
/// Properties that were set, those that were taken away, states and URIs. A kind of value that is 0 is a state.
pub(super) const CHANGES: &str = "SELECT change.time, change.author, change.source, property.name, property.value_kind, property.value \
     FROM property JOIN change ON change.id = property.since WHERE property.node = $1 AND property.since > $2 \
     UNION ALL SELECT change.time, change.author, change.source, property.name, NULL, NULL \
     FROM property JOIN change ON change.id = property.until WHERE property.node = $1 AND property.until > $2 \
     AND NOT EXISTS (SELECT 1 FROM property later WHERE later.node = property.node \
     AND later.name = property.name AND later.since = property.until) \
     UNION ALL SELECT change.time, change.author, change.source, 'state', 0, CAST(revision.state AS TEXT) \
     FROM revision JOIN change ON change.id = revision.since LEFT JOIN revision earlier \
     ON earlier.node = revision.node AND earlier.until = revision.since \
     WHERE revision.node = $1 AND revision.since > $2 AND revision.state <> COALESCE(earlier.state, 0) \
     UNION ALL SELECT change.time, change.author, change.source, 'uri', 3, revision.uri \
     FROM revision JOIN change ON change.id = revision.since LEFT JOIN revision earlier \
     ON earlier.node = revision.node AND earlier.until = revision.since \
     WHERE revision.node = $1 AND revision.since > $2 AND COALESCE(revision.uri, '') <> COALESCE(earlier.uri, '') \
     ORDER BY 1, 4";

fn changed(row: &AnyRow, kind: NodeKind) -> Result<Changed, CatalogError> {
    let value = match (row.try_get::<Option<i64>, _>(4)?, row.try_get::<Option<String>, _>(5)?) {
        (Some(0), Some(state)) => {
            let state = State::from_code(kind, state.parse().unwrap_or_default());
            serde_json::to_value(state).ok().and_then(|state| state.as_str().map(Value::from))
        }
        (Some(kind), Some(text)) => Value::from_row(kind, text),
        _ => None,
    };
    Ok(Changed {
        time: timestamp(row.try_get(0)?)?,
        author: row.try_get(1)?,
        source: row.try_get(2)?,
        name: row.try_get(3)?,
        value,
    })
}

/// The properties of a node as they stand, within a transaction.
pub(super) async fn properties(connection: &mut AnyConnection, node: i64) -> Result<Properties, CatalogError> {
    let rows = sqlx::query("SELECT node, name, value_kind, value FROM property WHERE node = $1 AND until IS NULL")
        .bind(node)
        .fetch_all(connection)
        .await?;
    rows.iter().map(property).collect()
}

fn property(row: &AnyRow) -> Result<(String, Value), CatalogError> {
    let name: String = row.try_get(1)?;
    let value = Value::from_row(row.try_get(2)?, row.try_get(3)?);
    value.map(|value| (name.clone(), value)).ok_or_else(|| CatalogError::Row { what: format!("a value of {name}") })
}

fn node(row: &AnyRow) -> Result<Node, CatalogError> {
    let id: i64 = row.try_get(0)?;
    let kind: i64 = row.try_get(1)?;
    let kind = NodeKind::from_code(kind).ok_or_else(|| CatalogError::Row { what: format!("a node of kind {kind}") })?;
    let identity: Option<String> = row.try_get(4)?;
    Ok(Node {
        id,
        identity: identity.unwrap_or_else(|| format!("{}:{id}", format!("{kind:?}").to_lowercase())),
        kind,
        type_name: row.try_get(2)?,
        name: row.try_get(3)?,
        external_id: row.try_get(5)?,
        state: State::from_code(kind, row.try_get(6)?),
        uri: row.try_get(7)?,
        properties: Properties::new(),
        created: timestamp(row.try_get(8)?)?,
    })
}
