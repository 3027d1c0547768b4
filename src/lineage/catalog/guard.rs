//! What an edge must not do: close a circle, or have something used before it was made.

use std::collections::HashSet;

use sqlx::{AnyConnection, Row as _};

use super::graph::EventKind;
use super::store::Dialect;
use super::{CatalogError, timestamp};

/// Nodes that one question names.
const CHUNK: usize = 500;

/// Whether `from` leads to `to` downstream, along edges that hold now.
///
/// It looks from both ends and goes on where fewer nodes are, so that a new run under a dataset that thousands use is
/// found to have nothing below it at once.
pub(super) async fn leads_to(
    connection: &mut AnyConnection,
    dialect: Dialect,
    from: i64,
    to: i64,
) -> Result<bool, CatalogError> {
    let mut ends = [(HashSet::from([from]), vec![from]), (HashSet::from([to]), vec![to])];
    loop {
        if ends[0].0.iter().any(|node| ends[1].0.contains(node)) {
            return Ok(true);
        }
        let side = usize::from(ends[1].1.len() < ends[0].1.len());
        let text = match side {
            0 => "SELECT DISTINCT target FROM edge WHERE source IN {ids} AND until IS NULL",
            _ => "SELECT DISTINCT source FROM edge WHERE target IN {ids} AND until IS NULL",
        };
        let (seen, frontier) = &mut ends[side];
        let mut next = Vec::new();
        for chunk in frontier.chunks(CHUNK) {
            let rows = sqlx::query(dialect.sql(text)).bind(id_list(chunk)).fetch_all(&mut *connection).await?;
            for row in rows {
                let node: i64 = row.try_get(0)?;
                if seen.insert(node) {
                    next.push(node);
                }
            }
        }
        if next.is_empty() {
            return Ok(false);
        }
        *frontier = next;
    }
}

/// Whether `node` is `context`, or holds it, directly or through others.
pub(super) async fn holds(connection: &mut AnyConnection, node: i64, context: i64) -> Result<bool, CatalogError> {
    let held: i64 = sqlx::query_scalar(
        "WITH RECURSIVE held (node) AS (SELECT CAST($1 AS BIGINT) \
         UNION SELECT member.node FROM member JOIN held ON member.context = held.node WHERE member.until IS NULL) \
         SELECT COUNT(*) FROM held WHERE node = $2",
    )
    .bind(node)
    .bind(context)
    .fetch_one(connection)
    .await?;
    Ok(held > 0)
}

/// What is doubtful about the times of an edge: an input that was made after its consumer ended, or an output of
/// something that had not begun. Only times that somebody stated are compared.
pub(super) async fn flaw(
    connection: &mut AnyConnection,
    (source, target): (i64, i64),
    kind: EventKind,
    time: Option<i64>,
) -> Result<Option<String>, CatalogError> {
    let verdict = |made: i64, verb: &str, limit: i64| {
        Ok(Some(format!("made at {}, {verb} at {}", timestamp(made)?, timestamp(limit)?)))
    };
    if !kind.is_output() {
        let end = run_time(connection, target, "end").await?;
        let made: Option<i64> =
            sqlx::query_scalar("SELECT MIN(time) FROM edge WHERE target = $1 AND until IS NULL AND kind IN (4, 6)")
                .bind(source)
                .fetch_one(connection)
                .await?;
        return match (made, end) {
            (Some(made), Some(end)) if made > end => verdict(made, "after its user ended", end),
            _ => Ok(None),
        };
    }
    let start = run_time(connection, source, "start").await?;
    let used = earliest_use(connection, target).await?;
    match (time, start, used) {
        (Some(made), Some(start), _) if made < start => verdict(made, "before its maker began", start),
        (Some(made), _, Some(used)) if made > used => verdict(made, "after a user of it ended", used),
        _ => Ok(None),
    }
}

/// When a run began (`start`) or ended (`end`), where it is known.
pub(super) async fn run_time(
    connection: &mut AnyConnection,
    run: i64,
    which: &str,
) -> Result<Option<i64>, CatalogError> {
    let text: Option<String> =
        sqlx::query_scalar("SELECT value FROM property WHERE node = $1 AND name = $2 AND until IS NULL")
            .bind(run)
            .bind(which)
            .fetch_optional(connection)
            .await?;
    Ok(text.and_then(|text| text.parse::<jiff::Timestamp>().ok()).map(jiff::Timestamp::as_microsecond))
}

/// The end of the first run that used an artifact, of those that have ended.
async fn earliest_use(connection: &mut AnyConnection, artifact: i64) -> Result<Option<i64>, CatalogError> {
    let ends: Vec<String> = sqlx::query_scalar(
        "SELECT MIN(property.value) FROM edge JOIN property ON property.node = edge.target \
         WHERE edge.source = $1 AND edge.until IS NULL AND property.name = 'end' AND property.until IS NULL \
         GROUP BY property.node",
    )
    .bind(artifact)
    .fetch_all(connection)
    .await?;
    let times = ends.iter().filter_map(|text| text.parse::<jiff::Timestamp>().ok());
    Ok(times.map(jiff::Timestamp::as_microsecond).min())
}

/// Numbers as the parameter that `{ids}` stands for.
pub(super) fn id_list(ids: &[i64]) -> String {
    serde_json::Value::from(ids).to_string()
}
