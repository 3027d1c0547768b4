//! Looking things up by other ways than their number: by namespace, by what holds them, and by when.

use serde::Serialize;
use sqlx::Row as _;

use super::graph::{Edge, Node};
use super::guard::id_list;
use super::walk::{Direction, edge};
use super::{Catalog, CatalogError, Moment, timestamp};

/// Nodes that one question names.
const CHUNK: usize = 500;
/// Namespaces of datasets that are looked through for a name without one.
const NAMESPACES_MAX: usize = 1000;

/// An edge, and when the catalog held it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Held {
    /// The edge.
    pub edge: Edge,
    /// When it was recorded.
    pub since: jiff::Timestamp,
    /// When it was taken away.
    pub until: Option<jiff::Timestamp>,
}

impl Catalog {
    /// The namespaces that datasets have, in order; 1,000 at most. One look into an index for each.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn namespaces(&self) -> Result<Vec<String>, CatalogError> {
        let mut found: Vec<String> = Vec::new();
        while found.len() < NAMESPACES_MAX {
            let last = found.last().map_or("", String::as_str);
            let next: Option<String> = sqlx::query_scalar(
                "SELECT MIN(substr(value, 1, 200)) FROM property \
                 WHERE name = 'namespace' AND substr(value, 1, 200) > $1",
            )
            .bind(last)
            .fetch_one(&self.store.pool)
            .await?;
            match next {
                Some(next) => found.push(next),
                None => break,
            }
        }
        Ok(found)
    }

    /// The contexts that hold a node, in the order of their numbers.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn contexts(&self, node: i64, moment: Moment) -> Result<Vec<Node>, CatalogError> {
        let ids: Vec<i64> = sqlx::query_scalar(
            "SELECT context FROM member WHERE node = $1 AND since <= $2 AND (until IS NULL OR until > $2) ORDER BY context",
        )
        .bind(node)
        .bind(moment.0)
        .fetch_all(&self.store.pool)
        .await?;
        self.nodes(&ids, moment).await
    }

    /// The edges of some nodes that held at any moment from `from` to `to`, in the order in which they were recorded.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn held(
        &self,
        of: &[i64],
        direction: Direction,
        from: Moment,
        to: Moment,
    ) -> Result<Vec<Held>, CatalogError> {
        let text = match direction {
            Direction::Upstream => HELD_UPSTREAM,
            Direction::Downstream => HELD_DOWNSTREAM,
        };
        let mut held = Vec::new();
        for chunk in of.chunks(CHUNK) {
            let rows = sqlx::query(self.store.dialect.sql(text))
                .bind(id_list(chunk))
                .bind(to.0)
                .bind(from.0)
                .fetch_all(&self.store.pool)
                .await?;
            for row in rows {
                let until = row.try_get::<Option<i64>, _>(7)?.map(timestamp).transpose()?;
                held.push(Held { edge: edge(&row)?, since: timestamp(row.try_get(6)?)?, until });
            }
        }
        Ok(held)
    }
}

pub(super) const HELD_UPSTREAM: &str = "SELECT edge.source, edge.target, edge.kind, edge.path, edge.time, edge.flaw, COALESCE(began.time, 0), ended.time \
     FROM edge LEFT JOIN change began ON began.id = edge.since LEFT JOIN change ended ON ended.id = edge.until \
     WHERE edge.target IN {ids} AND edge.since <= $2 AND (edge.until IS NULL OR edge.until > $3) ORDER BY edge.id";
pub(super) const HELD_DOWNSTREAM: &str = "SELECT edge.source, edge.target, edge.kind, edge.path, edge.time, edge.flaw, COALESCE(began.time, 0), ended.time \
     FROM edge LEFT JOIN change began ON began.id = edge.since LEFT JOIN change ended ON ended.id = edge.until \
     WHERE edge.source IN {ids} AND edge.since <= $2 AND (edge.until IS NULL OR edge.until > $3) ORDER BY edge.id";
