//! What OpenLineage calls things, as identities: the one place that knows how.
//!
//! The same names always give the same identity, whatever stands in them: a producer cannot be asked to rename its
//! data.

use super::UNVERSIONED;
use super::event::{Dataset, EventError, Job};
use super::facets::{self, Facets};
use super::rules::{self, ModelName, Named};
use crate::lineage::identity::PART_LEN_MAX;
use crate::lineage::{DatasetId, EntityId, ModelId};
use crate::sha256::{Sha256, hex};

/// The facet and the word that make a dataset a model.
const MODEL: (&str, &str) = ("datasetType", "MODEL");
/// Bytes of a hash at the end of a name that was too long, in hexadecimal digits.
const HASH_LEN: usize = 16;

/// A dataset or a model, without its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Base(String);

impl Base {
    /// Whether an identity is one of its versions.
    pub(super) fn has(&self, identity: &str) -> bool {
        identity.rsplit_once('@').is_some_and(|(base, _)| base == self.0)
    }

    /// The base of an identity; none where it has no version.
    pub(super) fn of(identity: &str) -> Option<Self> {
        identity.rsplit_once('@').map(|(base, _)| Self(base.to_owned()))
    }
}

/// The identity of a dataset, or of the model that it is.
pub(super) fn artifact(dataset: &Dataset, named: &Named) -> Result<EntityId, EventError> {
    let wrong = |error: crate::lineage::IdentityError| EventError::Name(format!("dataset {}: {error}", dataset.name));
    let model = named.model.clone().or_else(|| says_model(&dataset.facets).then(ModelName::default));
    let said = model.as_ref().and_then(|model| model.version.as_deref());
    let version = part(said.or_else(|| version(&dataset.facets)).unwrap_or(UNVERSIONED), &['@']);
    if let Some(model) = &model {
        let name = model.name.as_deref().unwrap_or(&named.name);
        return ModelId::new(&part(name, &[]), &version).map(EntityId::Model).map_err(wrong);
    }
    let path = rules::path(&named.namespace, &named.name);
    let (namespace, name) =
        path.rsplit_once('/').map_or((None, &*path), |(space, name)| (Some(part(space, &[])), name));
    DatasetId::new(namespace.as_deref(), &part(name, &[]), &version).map(EntityId::Dataset).map_err(wrong)
}

/// Whether a dataset says that it is a model.
fn says_model(facets: &Facets) -> bool {
    let (facet, word) = MODEL;
    facets::text(facets, facet, facet).is_some_and(|kind| kind.eq_ignore_ascii_case(word))
}

/// The name of a job's context.
pub(super) fn job(job: &Job) -> String {
    pipeline(&job.namespace, &job.name)
}

/// The name of a context for a job.
pub(super) fn pipeline(namespace: &str, name: &str) -> String {
    if namespace.is_empty() { part(name, &[]) } else { part(&format!("{namespace}/{name}"), &[]) }
}

/// A part of a name as an identity may have it: what it may not have is percent-encoded, and what is too long ends in
/// its hash.
pub(super) fn part(text: &str, forbidden: &[char]) -> String {
    let last = text.chars().count().saturating_sub(1);
    let mut clean = String::with_capacity(text.len());
    for (at, char) in text.chars().enumerate() {
        if char.is_control() || forbidden.contains(&char) || (char.is_whitespace() && (at == 0 || at == last)) {
            let mut bytes = [0; 4];
            clean.extend(char.encode_utf8(&mut bytes).bytes().map(|byte| format!("%{byte:02X}")));
        } else {
            clean.push(char);
        }
    }
    if clean.len() > PART_LEN_MAX {
        let hash = hex(Sha256::digest(text));
        clean.truncate(clean.floor_char_boundary(PART_LEN_MAX - HASH_LEN - 1));
        clean.push('~');
        clean.push_str(&hash[..HASH_LEN]);
    }
    clean
}

fn version(facets: &Facets) -> Option<&str> {
    facets::text(facets, "version", "datasetVersion")
}
