//! From a prediction on: the graph behind the model that made it, as it was known then, and what has changed since.
//!
//! The prediction itself and the document frozen for it stand in the ledger, which is not known here.

use serde::Serialize;

use super::document::content_of;
use super::reach::{Lineage, Question, reach};
use super::since::{Since, since};
use crate::lineage::catalog::{Catalog, CatalogError, Direction, Moment, Node};
use crate::lineage::{Content, ModelId, Source};

/// What the catalog knows of a prediction's model.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Traced {
    /// `model:NAME@VERSION`; none where the catalog does not know it.
    pub model: Option<String>,
    /// Whether the catalog knew it when the prediction was made, rather than only later.
    pub known_then: bool,
    /// What it was made from, as it was known then, or as it is known now.
    pub upstream: Option<Lineage>,
    /// What has changed since.
    pub since: Vec<Since>,
}

/// Looks up the model of a prediction that was made at a time. `frozen` is the document that stood behind its stamp.
///
/// # Errors
/// Where the database fails.
pub async fn traced(
    catalog: &Catalog,
    id: &ModelId,
    deployment: Option<&str>,
    time: jiff::Timestamp,
    frozen: Option<&Content>,
) -> Result<Traced, CatalogError> {
    let then = catalog.moment(time).await?;
    let identity = format!("model:{id}");
    let (model, at) = match catalog.node(&identity, then).await? {
        Some(model) => (model, then),
        None => match catalog.node(&identity, Moment::NOW).await? {
            Some(model) => (model, Moment::NOW),
            None => return Ok(Traced::default()),
        },
    };
    let known_then = at == then;
    let question = Question { at, ..Question::new(Direction::Upstream) };
    let upstream = reach(catalog, &model, &question).await?;
    let mut since = since(catalog, &model, deployment, at).await?;
    since.extend(told_otherwise(catalog, id, &model, frozen).await?);
    Ok(Traced {
        model: Some(identity),
        known_then,
        upstream: Some(Lineage::new(&model, Direction::Upstream, upstream)),
        since,
    })
}

/// A document that came from the catalog, where the catalog would give another one now.
async fn told_otherwise(
    catalog: &Catalog,
    id: &ModelId,
    model: &Node,
    frozen: Option<&Content>,
) -> Result<Option<Since>, CatalogError> {
    let Some(frozen) = frozen.filter(|frozen| frozen.source == Source::Catalog) else { return Ok(None) };
    let now = content_of(catalog, id, Moment::NOW).await?;
    Ok((now.as_ref() != Some(frozen)).then(|| Since {
        about: model.identity.clone(),
        what: "its lineage document would be another one now".to_owned(),
        time: None,
        author: None,
    }))
}
