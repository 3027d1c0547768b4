//! Looking for nodes by kind, type, name and properties, a page at a time.

use serde::{Deserialize, Serialize};
use sqlx::Row as _;

use super::graph::{Node, NodeKind};
use super::{Catalog, CatalogError, Moment};

/// Nodes of a page, where it is not said.
const PAGE: u32 = 100;
/// Nodes of a page, at most.
const PAGE_MAX: u32 = 1000;

/// What to look for; all that is given must hold.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Filter {
    /// Artifacts, executions or contexts.
    pub kind: Option<NodeKind>,
    /// The name of a type.
    #[serde(rename = "type")]
    pub type_name: Option<String>,
    /// The beginning of the name.
    pub name: Option<String>,
    /// Names and values of properties; numbers, `true` and `false` as they are shown.
    pub properties: Vec<(String, String)>,
    /// Held by this context, by its number.
    #[serde(skip)]
    pub context: Option<i64>,
    /// Where the last page ended.
    pub after: Option<i64>,
    /// Nodes of a page: 100, at most 1,000.
    pub limit: Option<u32>,
}

/// A page of what was found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Page {
    /// The nodes, oldest first.
    pub nodes: Vec<Node>,
    /// `after` of the next page, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<i64>,
}

impl Catalog {
    /// A page of the nodes that fit.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn search(&self, filter: &Filter, moment: Moment) -> Result<Page, CatalogError> {
        let limit = filter.limit.unwrap_or(PAGE).clamp(1, PAGE_MAX);
        let types = match &filter.type_name {
            Some(name) => Some(self.types_called(name).await?),
            None => None,
        };
        let (text, words) = question(filter, types.as_deref());
        let mut query = sqlx::query(self.store.dialect.sql(&text))
            .bind(filter.after.unwrap_or(0))
            .bind(moment.0)
            .bind(i64::from(limit) + 1);
        for word in words {
            query = query.bind(word);
        }
        let rows = query.fetch_all(&self.store.pool).await?;
        let mut ids = rows.iter().map(|row| row.try_get(0)).collect::<Result<Vec<i64>, _>>()?;
        let more = ids.len() > limit as usize;
        ids.truncate(limit as usize);
        Ok(Page { next: ids.last().copied().filter(|_| more), nodes: self.nodes(&ids, moment).await? })
    }

    async fn types_called(&self, name: &str) -> Result<Vec<i64>, CatalogError> {
        let types = sqlx::query_scalar("SELECT id FROM node_type WHERE name = $1").bind(name);
        Ok(types.fetch_all(&self.store.pool).await?)
    }
}

/// The query with the words that its parameters from `$4` on stand for. `types` are the numbers of the type that is
/// asked for: mostly one, and an index then gives its nodes in their order.
pub(super) fn question(filter: &Filter, types: Option<&[i64]>) -> (String, Vec<String>) {
    let mut text = String::from("SELECT node.id FROM node WHERE node.id > $1 AND node.since <= $2");
    // The text of a condition is always one of ours.
    let mut words: Vec<String> = Vec::new();
    let mut and = |condition: &str, given: &[&str]| {
        let mut condition = condition.to_owned();
        for (place, word) in given.iter().enumerate() {
            words.push((*word).to_owned());
            condition = condition.replace(&format!("{{{place}}}"), &format!("${}", words.len() + 3));
        }
        text.push_str(" AND ");
        text.push_str(&condition);
    };
    if let Some(kind) = filter.kind {
        and(&format!("node.kind = {}", kind as i64), &[]);
    }
    match types {
        None => {}
        Some([one]) => and(&format!("node.type = {one}"), &[]),
        Some([]) => and("1 = 0", &[]),
        Some(several) => {
            let several: Vec<String> = several.iter().map(i64::to_string).collect();
            and(&format!("node.type IN ({})", several.join(", ")), &[]);
        }
    }
    if let Some(name) = &filter.name {
        and("node.name >= {0} AND node.name < {1}", &[name, &format!("{name}\u{10ffff}")]);
    }
    for (name, value) in &filter.properties {
        and(
            "node.id IN (SELECT property.node FROM property WHERE property.name = {0} \
             AND substr(property.value, 1, 200) = substr({1}, 1, 200) AND property.value = {1} \
             AND property.since <= $2 AND (property.until IS NULL OR property.until > $2))",
            &[name, value],
        );
    }
    if let Some(context) = filter.context {
        and(
            &format!(
                "node.id IN (SELECT member.node FROM member WHERE member.context = {context} \
                 AND member.since <= $2 AND (member.until IS NULL OR member.until > $2))"
            ),
            &[],
        );
    }
    text.push_str(" ORDER BY node.id LIMIT $3");
    (text, words)
}
