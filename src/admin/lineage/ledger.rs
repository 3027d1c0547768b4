//! What the graph and the ledger answer together: which predictions hang on something, and what hangs on a prediction.
//!
//! The ledger's files are read on threads that may wait. An answer that could be short of a prediction is none: where
//! an entry cannot be read, the question fails.

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use http::StatusCode;
use serde_json::{Value, json};
use tokio::task::spawn_blocking;
use uuid::Uuid;

use super::{AS_OF, catalog, moment, named, refused};
use crate::admin::answer::{Answer, Refusal, bad_parameter, json as answered, problem};
use crate::admin::query::Query;
use crate::admin::routes::{Asked, Parts};
use crate::ledger::Kind;
use crate::ledger::read::{Brief, Found, Query as Find, Reader, Touching};
use crate::lineage::ask::{self, Prediction, Tally, Traffic};
use crate::lineage::catalog::Moment;
use crate::lineage::{Content, ModelId};

/// `GET /api/v1/impact/{id}`
pub(in crate::admin) async fn impact(parts: Arc<Parts>, asked: Asked) -> Answer {
    told(hanging(&parts, &asked).await)
}

async fn hanging(parts: &Parts, asked: &Asked) -> Result<Value, Refusal> {
    let (catalog, query) = (catalog(parts)?, Query::parse(&asked.query, &["from", "to", AS_OF])?);
    let range = range(&query)?;
    let at = moment(catalog, &query, AS_OF).await?;
    let node = named(catalog, asked, at).await?;
    let from = if range.0.is_some() { moment(catalog, &query, "from").await? } else { Moment::of_change(0) };
    let to = moment(catalog, &query, "to").await?;
    let impact = ask::impact(catalog, &node, at, (from, to)).await.map_err(|error| refused(&error))?;
    let mut line = serde_json::to_value(&impact).unwrap_or_default();
    line["predictions"] = match &parts.serving {
        None => Value::Null,
        Some(serving) => {
            let (models, datasets) = impact.versions();
            let (mut tally, touching) = (Tally::new(&impact), Touching { models, datasets });
            let tally = read(serving.dir.clone(), move |reader| {
                each(reader, range, Some(touching), |prediction| {
                    tally.take(prediction);
                })
                .map(|()| tally)
            })
            .await?;
            json!(tally)
        }
    };
    Ok(line)
}

/// `GET /api/v1/untracked`
pub(in crate::admin) async fn untracked(parts: Arc<Parts>, asked: Asked) -> Answer {
    told(unknown_models(&parts, &asked).await)
}

async fn unknown_models(parts: &Parts, asked: &Asked) -> Result<Value, Refusal> {
    let (catalog, query) = (catalog(parts)?, Query::parse(&asked.query, &["from", "to", AS_OF])?);
    let (range, at) = (range(&query)?, moment(catalog, &query, AS_OF).await?);
    let mut traffic = Traffic::default();
    let traffic = read(ledger(parts)?, move |reader| {
        each(reader, range, None, |prediction| traffic.take(prediction)).map(|()| traffic)
    })
    .await?;
    let models = traffic.untracked(catalog, at).await.map_err(|error| refused(&error))?;
    Ok(json!({"models": models, "more": traffic.more()}))
}

/// `GET /api/v1/prediction/{id}`
pub(in crate::admin) async fn prediction(parts: Arc<Parts>, asked: Asked) -> Answer {
    told(behind(&parts, &asked).await)
}

async fn behind(parts: &Parts, asked: &Asked) -> Result<Value, Refusal> {
    let (catalog, _none) = (catalog(parts)?, Query::parse(&asked.query, &[])?);
    let id: Uuid = asked
        .rest
        .strip_prefix("prediction:")
        .unwrap_or(&asked.rest)
        .parse()
        .map_err(|_error| bad_parameter("id", "write the UUID that stood in X-Lineage-Trace-Id"))?;
    let (entry, document) = read(ledger(parts)?, move |reader| story(reader, id)).await?;
    let Some(found) = entry else {
        return Err(problem(StatusCode::NOT_FOUND, &format!("prediction:{id} is not in the ledger")).into());
    };
    let brief = Brief::parse(&found.entry).ok_or_else(unreadable)?;
    let frozen: Option<Content> = document.as_ref().and_then(|document| serde_json::from_value(document.clone()).ok());
    let model = brief.model.as_deref().zip(brief.version.as_deref());
    let traced = match model.and_then(|(name, version)| ModelId::new(name, version).ok()) {
        None => ask::Traced::default(),
        Some(model) => {
            let time = brief.time.parse().map_err(|_error| unreadable())?;
            let traced = ask::traced(catalog, &model, Some(&brief.deployment), time, frozen.as_ref()).await;
            traced.map_err(|error| refused(&error))?
        }
    };
    let entry: Value = serde_json::from_slice(&found.entry).map_err(|_error| unreadable())?;
    let mut line = json!({"prediction": entry, "document": document});
    if let (Some(line), Ok(Value::Object(rest))) = (line.as_object_mut(), serde_json::to_value(&traced)) {
        line.extend(rest);
    }
    Ok(line)
}

/// The last entry of a prediction, and the document behind its stamp.
fn story(reader: &Reader, id: Uuid) -> Result<(Option<Found>, Option<Value>), Refusal> {
    let query = Find { prediction: Some(id), ..Find::default() };
    let Some(last) = found(reader, &query).try_fold(None, |_, found| found.map(Some))? else { return Ok((None, None)) };
    let digest = Brief::parse(&last.entry).and_then(|brief| brief.lineage.map(Cow::into_owned));
    let mut document = None;
    if let Some(digest) = digest {
        let query = Find { kind: Some(Kind::Lineage), ..Find::default() };
        for found in found(reader, &query) {
            let mut entry: Value = serde_json::from_slice(&found?.entry).map_err(|_error| unreadable())?;
            if entry["digest"].as_str() == Some(&digest) {
                document = Some(entry["document"].take());
                break;
            }
        }
    }
    Ok((Some(last), document))
}

type Range = (Option<SystemTime>, Option<SystemTime>);

fn range(query: &Query) -> Result<Range, Refusal> {
    Ok((query.time("from")?.map(SystemTime::from), query.time("to")?.map(SystemTime::from)))
}

/// Gives each prediction of a range; with `touching`, those alone that have a model or a dataset of it.
fn each(
    reader: &Reader,
    (from, to): Range,
    touching: Option<Touching>,
    mut take: impl FnMut(&Prediction<'_>),
) -> Result<(), Refusal> {
    let query = Find { kind: Some(Kind::Prediction), from, to, touching, ..Find::default() };
    for found in found(reader, &query) {
        let found = found?;
        let entry = Brief::parse(&found.entry).ok_or_else(unreadable)?;
        let datasets: Vec<&str> = entry.datasets.iter().map(|dataset| &**dataset).collect();
        take(&Prediction {
            time: &entry.time,
            deployment: &entry.deployment,
            model: entry.model.as_deref(),
            version: entry.version.as_deref(),
            datasets: &datasets,
        });
    }
    Ok(())
}

fn found(reader: &Reader, query: &Find) -> impl Iterator<Item = Result<Found, Refusal>> {
    reader.find(query).map(|found| {
        found.map_err(|error| {
            tracing::error!(%error, "the ledger cannot be read whole");
            unreadable()
        })
    })
}

/// Where the ledger lies; a catalog alone has none.
fn ledger(parts: &Parts) -> Result<PathBuf, Refusal> {
    let serving = parts.serving.as_ref();
    serving
        .map(|serving| serving.dir.clone())
        .ok_or_else(|| problem(StatusCode::NOT_FOUND, "no ledger is kept here").into())
}

/// Reads the ledger on a thread that may wait.
async fn read<T: Send + 'static>(
    dir: PathBuf,
    work: impl FnOnce(&Reader) -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    let work = move || {
        let reader = Reader::open(&dir).map_err(|error| {
            tracing::error!(%error, "the ledger cannot be opened");
            unreadable()
        })?;
        work(&reader)
    };
    spawn_blocking(work).await.map_err(|error| {
        tracing::error!(%error, "a question to the ledger failed");
        unreadable()
    })?
}

fn unreadable() -> Refusal {
    problem(StatusCode::INTERNAL_SERVER_ERROR, "the ledger cannot be read whole; 'touchmark audit verify' says where")
        .into()
}

fn told(found: Result<Value, Refusal>) -> Answer {
    found.map_or_else(|refusal| *refusal, |found| answered(StatusCode::OK, &found))
}
