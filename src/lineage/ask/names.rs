//! What somebody typed, found in the catalog: a whole identity, or a name that fits but one thing.
//!
//! A bare name means the one that fits; where several do, they are the answer. `MODEL@ALIAS` is the version that the
//! alias names, where no version is called so. A dataset may be named without its namespace.

use crate::lineage::catalog::{Catalog, CatalogError, Filter, Moment, Node, names};

/// The kinds of things that the catalog holds under names that people use.
pub const KINDS: [&str; 6] = ["model", "dataset", "run", "deployment", "code", "image"];
/// Kinds whose names have a version after the last `@`.
const VERSIONED: [&str; 4] = ["model", "dataset", "code", "image"];
/// Kinds whose version is a hash, which people shorten.
const HASHED: [&str; 2] = ["code", "image"];
/// Candidates that are shown.
const CANDIDATES_MAX: usize = 50;

/// A name does not lead to one thing.
#[derive(Debug, thiserror::Error)]
pub enum NameError {
    /// The database failed.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// Several things fit.
    #[error("'{text}' may be {}: write one of them", candidates.join(", "))]
    Several {
        /// What was typed.
        text: String,
        /// What fits: identities.
        candidates: Vec<String>,
    },
    /// Nothing fits.
    #[error("'{text}' is not in the catalog{}: 'touchmark lineage search' shows what is", as_of(*now))]
    Missing {
        /// What was typed.
        text: String,
        /// Whether it was looked for in the present.
        now: bool,
    },
    /// It names something of another kind.
    #[error("'{text}' is no {}", kinds.join(" or "))]
    Kind {
        /// What was typed.
        text: String,
        /// What is wanted.
        kinds: Vec<&'static str>,
    },
    /// Predictions stand in the ledger.
    #[error("'{0}' stands in the ledger, not in the catalog: 'touchmark lineage prediction' begins there")]
    Prediction(String),
}

/// Finds anything.
///
/// # Errors
/// Where none or several fit, or the database fails.
pub async fn find(catalog: &Catalog, text: &str, moment: Moment) -> Result<Node, NameError> {
    find_among(catalog, text, &KINDS, moment).await
}

/// Finds something of certain kinds, out of [`KINDS`].
///
/// # Errors
/// Where none or several fit, it is of another kind, or the database fails.
pub async fn find_among(
    catalog: &Catalog,
    text: &str,
    kinds: &[&'static str],
    moment: Moment,
) -> Result<Node, NameError> {
    if text.starts_with("prediction:") {
        return Err(NameError::Prediction(text.to_owned()));
    }
    if let Some(node) = by_number(catalog, text, moment).await? {
        return Ok(node);
    }
    let (kinds, rest) = match text.split_once(':').and_then(|(kind, rest)| Some((known(kind)?, rest))) {
        Some((kind, rest)) if kinds.contains(&kind) => (vec![kind], rest),
        Some(_) => return Err(NameError::Kind { text: text.to_owned(), kinds: kinds.to_vec() }),
        None => (kinds.to_vec(), text),
    };
    let mut found = exact(catalog, &kinds, rest, moment).await?;
    if found.is_empty() {
        found = inexact(catalog, &kinds, rest, moment).await?;
    }
    found.truncate(CANDIDATES_MAX);
    match (found.len(), found.pop()) {
        (0, _) | (_, None) => Err(NameError::Missing { text: text.to_owned(), now: moment == Moment::NOW }),
        (1, Some(identity)) => {
            let node = catalog.node(&identity, moment).await?;
            node.ok_or(NameError::Missing { text: text.to_owned(), now: moment == Moment::NOW })
        }
        (_, Some(last)) => {
            found.push(last);
            Err(NameError::Several { text: text.to_owned(), candidates: found })
        }
    }
}

/// `artifact:17`, as nodes are shown that have no name.
async fn by_number(catalog: &Catalog, text: &str, moment: Moment) -> Result<Option<Node>, CatalogError> {
    let number = ["artifact:", "execution:", "context:"].iter().find_map(|kind| text.strip_prefix(kind));
    let Some(number) = number.and_then(|number| number.parse().ok()) else { return Ok(None) };
    Ok(catalog.nodes(&[number], moment).await?.pop().filter(|node| node.identity == text))
}

fn known(kind: &str) -> Option<&'static str> {
    KINDS.into_iter().find(|known| *known == kind)
}

/// What is called just so, a dataset's namespace aside.
async fn exact(catalog: &Catalog, kinds: &[&str], rest: &str, moment: Moment) -> Result<Vec<String>, CatalogError> {
    let mut found = Vec::new();
    for kind in kinds {
        if let Some(node) = catalog.node(&format!("{kind}:{rest}"), moment).await? {
            found.push(node.identity);
        }
    }
    if found.is_empty() && kinds.contains(&"dataset") && rest.contains('@') {
        for namespace in catalog.namespaces().await? {
            if let Some(node) = catalog.node(&format!("dataset:{namespace}/{rest}"), moment).await? {
                found.push(node.identity);
            }
        }
    }
    Ok(found)
}

/// What an alias names, what has a version that was left out, or a hash that was shortened.
async fn inexact(catalog: &Catalog, kinds: &[&str], rest: &str, moment: Moment) -> Result<Vec<String>, CatalogError> {
    let mut found = Vec::new();
    if let Some((name, alias)) = rest.rsplit_once('@') {
        if kinds.contains(&"model")
            && let Some(registered) = catalog.named(names::REGISTERED_MODEL, name, moment).await?
            && let Some(version) = registered.text(&format!("alias.{alias}"))
        {
            found.push(format!("model:{name}@{version}"));
        }
        for kind in kinds.iter().filter(|kind| HASHED.contains(kind)) {
            found.extend(catalog.candidates(&format!("{kind}:{rest}"), moment).await?);
        }
        return Ok(found);
    }
    for kind in kinds.iter().filter(|kind| VERSIONED.contains(kind)) {
        found.extend(catalog.candidates(&format!("{kind}:{rest}@"), moment).await?);
    }
    if kinds.contains(&"dataset") {
        for namespace in catalog.namespaces().await? {
            found.extend(catalog.candidates(&format!("dataset:{namespace}/{rest}@"), moment).await?);
        }
    }
    if found.is_empty() && kinds.contains(&"code") {
        let commit = Filter {
            type_name: Some(names::CODE.to_owned()),
            properties: vec![("commit".to_owned(), rest.to_owned())],
            ..Filter::default()
        };
        found.extend(catalog.search(&commit, moment).await?.nodes.into_iter().map(|node| node.identity));
    }
    Ok(found)
}

fn as_of(now: bool) -> &'static str {
    if now { "" } else { " as of that time" }
}
