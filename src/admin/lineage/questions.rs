//! What the graph alone answers: names, both ways, differences, what is missing.

use std::sync::Arc;

use http::StatusCode;
use serde::Serialize;

use super::{AS_OF, catalog, given, moment, named, refused};
use crate::admin::answer::{Answer, Refusal, bad_parameter, json, problem};
use crate::admin::query::Query;
use crate::admin::routes::{Asked, Parts};
use crate::lineage::ask::{self, Lineage, Question};
use crate::lineage::catalog::{Catalog, CatalogError, Direction, Filter, Moment, NodeKind, names};

/// Nodes of one answer, at most.
const NODES_MAX: usize = 10_000;

/// `GET /api/v1/nodes`
pub(in crate::admin) async fn nodes(parts: Arc<Parts>, asked: Asked) -> Answer {
    const KNOWN: [&str; 8] = ["type", "name", "owner", "tag", "property", "after", "limit", AS_OF];
    answer(async {
        let (catalog, query) = (catalog(&parts)?, Query::parse(&asked.query, &KNOWN)?);
        let kinds = [NodeKind::Artifact, NodeKind::Execution, NodeKind::Context];
        let word = query.one("type")?;
        let kind = word.and_then(|word| kinds.into_iter().find(|kind| format!("{kind:?}").eq_ignore_ascii_case(word)));
        let mut properties = query.pairs("property")?;
        properties.extend(query.one("owner")?.map(|owner| ("owner".to_owned(), owner.to_owned())));
        properties.extend(query.pairs("tag")?.into_iter().map(|(name, value)| (format!("tag.{name}"), value)));
        let filter = Filter {
            kind,
            type_name: word.filter(|_| kind.is_none()).map(|word| names::known(word).to_owned()),
            name: query.one("name")?.map(str::to_owned),
            properties,
            after: query.number("after")?,
            limit: query.number("limit")?,
            ..Filter::default()
        };
        let at = moment(catalog, &query, AS_OF).await?;
        shown(catalog.search(&filter, at).await)
    })
    .await
}

/// `GET /api/v1/nodes/{id}`
pub(in crate::admin) async fn node(parts: Arc<Parts>, asked: Asked) -> Answer {
    answer(async {
        let (catalog, at) = as_of(&parts, &asked).await?;
        let node = named(catalog, &asked, at).await?;
        shown(ask::detail(catalog, node, at).await)
    })
    .await
}

/// `GET /api/v1/upstream/{id}`
pub(in crate::admin) async fn upstream(parts: Arc<Parts>, asked: Asked) -> Answer {
    answer(walk(&parts, &asked, Direction::Upstream)).await
}

/// `GET /api/v1/downstream/{id}`
pub(in crate::admin) async fn downstream(parts: Arc<Parts>, asked: Asked) -> Answer {
    answer(walk(&parts, &asked, Direction::Downstream)).await
}

async fn walk(parts: &Parts, asked: &Asked, direction: Direction) -> Result<Answer, Refusal> {
    let (catalog, query) = (catalog(parts)?, Query::parse(&asked.query, &["depth", "limit", "kind", AS_OF])?);
    let at = moment(catalog, &query, AS_OF).await?;
    let begin = named(catalog, asked, at).await?;
    let nodes_max = query.number("limit")?.unwrap_or(Question::NODES);
    if !(1..=NODES_MAX).contains(&nodes_max) {
        return Err(bad_parameter("limit", &format!("must be 1 to {NODES_MAX}")));
    }
    let question = Question {
        depth_max: query.number("depth")?.unwrap_or(Question::DEPTH),
        nodes_max,
        kinds: query.all("kind").flat_map(|kinds| kinds.split(',')).map(str::to_owned).collect(),
        at,
        direction,
    };
    let graph = ask::reach(catalog, &begin, &question).await;
    shown(graph.map(|graph| Lineage::new(&begin, direction, graph)))
}

/// `GET /api/v1/diff`
pub(in crate::admin) async fn diff(parts: Arc<Parts>, asked: Asked) -> Answer {
    const KNOWN: [&str; 4] = ["before", "after", "before_as_of", AS_OF];
    const KINDS: [&str; 2] = ["model", "deployment"];
    answer(async {
        let (catalog, query) = (catalog(&parts)?, Query::parse(&asked.query, &KNOWN)?);
        let now = moment(catalog, &query, AS_OF).await?;
        let then =
            if query.one("before_as_of")?.is_some() { moment(catalog, &query, "before_as_of").await? } else { now };
        let before = given(catalog, query.needed("before")?, &KINDS, then).await?;
        let after = given(catalog, query.needed("after")?, &KINDS, now).await?;
        shown(ask::diff(catalog, (&before, then), (&after, now)).await)
    })
    .await
}

/// `GET /api/v1/reproducible/{id}`
pub(in crate::admin) async fn reproducible(parts: Arc<Parts>, asked: Asked) -> Answer {
    answer(async {
        let (catalog, at) = as_of(&parts, &asked).await?;
        let named = named(catalog, &asked, at).await?;
        let model = given(catalog, &named.identity, &["model"], at).await?;
        shown(ask::reproduction(catalog, &model, at).await)
    })
    .await
}

/// `GET /api/v1/required/{id}`: which fields of those that a gate asks for are missing.
pub(in crate::admin) async fn required(parts: Arc<Parts>, asked: Asked) -> Answer {
    const WANTED: &str = "field";
    answer(async {
        let (catalog, query) = (catalog(&parts)?, Query::parse(&asked.query, &[WANTED, AS_OF])?);
        let known = ask::fields();
        let wanted: Vec<String> = query.all(WANTED).map(str::to_owned).collect();
        if wanted.is_empty() || wanted.iter().any(|field| !known.contains(&field.as_str())) {
            return Err(bad_parameter(WANTED, &format!("name some of {}", known.join(","))));
        }
        let at = moment(catalog, &query, AS_OF).await?;
        let named = named(catalog, &asked, at).await?;
        let model = given(catalog, &named.identity, &["model"], at).await?;
        shown(ask::required(catalog, &model, &wanted, at).await)
    })
    .await
}

/// `GET /api/v1/completeness`
pub(in crate::admin) async fn completeness(parts: Arc<Parts>, asked: Asked) -> Answer {
    answer(async {
        let (catalog, at) = as_of(&parts, &asked).await?;
        shown(ask::completeness(catalog, at).await)
    })
    .await
}

/// `GET /api/v1/resolve`: the document behind a stamp, for a Touchmark whose `lineage.server` this is.
pub(in crate::admin) async fn resolve(parts: Arc<Parts>, asked: Asked) -> Answer {
    answer(async {
        let (catalog, query) = (catalog(&parts)?, Query::parse(&asked.query, &["name", "version"])?);
        let (name, version) = (query.needed("name")?, query.needed("version")?);
        match ask::resolved(catalog, name, version).await {
            Ok(None) => {
                Err(problem(StatusCode::NOT_FOUND, &format!("the catalog does not know {name}@{version}")).into())
            }
            known => shown(known),
        }
    })
    .await
}

/// The catalog, and the moment of a question that takes nothing else.
async fn as_of<'p>(parts: &'p Parts, asked: &Asked) -> Result<(&'p Catalog, Moment), Refusal> {
    let (catalog, query) = (catalog(parts)?, Query::parse(&asked.query, &[AS_OF])?);
    Ok((catalog, moment(catalog, &query, AS_OF).await?))
}

fn shown(found: Result<impl Serialize, CatalogError>) -> Result<Answer, Refusal> {
    found.map(|found| json(StatusCode::OK, &found)).map_err(|error| refused(&error))
}

async fn answer(question: impl Future<Output = Result<Answer, Refusal>>) -> Answer {
    question.await.unwrap_or_else(|refusal| *refusal)
}
