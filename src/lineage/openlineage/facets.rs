//! Facets: kept whole, and read where the graph has words of its own for what they say.
//!
//! Facets have versions of their own and may be anybody's: one that is not as expected says nothing, and is kept.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use crate::lineage::catalog::Value;
use crate::lineage::{About, Code};
use crate::sha256::Sha256;

/// Facets by name, as they were sent.
pub(super) type Facets = BTreeMap<String, Json>;

/// Bytes of a facet that are kept; of a larger one its digest is.
const FACET_BYTES_MAX: usize = 128 << 10;
/// Parameters that are random seeds by their names.
const SEEDS: [&str; 4] = ["seed", "random_seed", "random_state", "rng_seed"];

/// A text at a path of names.
pub(super) fn text<'a>(facets: &'a Facets, facet: &str, name: &str) -> Option<&'a str> {
    facets.get(facet)?.get(name)?.as_str().filter(|text| !text.trim().is_empty())
}

/// A list at a path of names; empty where there is none.
fn list<'a>(facets: &'a Facets, facet: &str, name: &str) -> &'a [Json] {
    facets.get(facet).and_then(|facet| facet.get(name)?.as_array()).map_or(&[], Vec::as_slice)
}

/// What is said of a thing by any facets: all of them, and its owner and tags.
pub(super) fn about(facets: &Facets) -> About {
    let owners: Vec<&str> =
        list(facets, "ownership", "owners").iter().filter_map(|owner| owner.get("name")?.as_str()).collect();
    let properties = facets.iter().map(|(name, facet)| (format!("facet.{name}"), kept(facet)));
    About {
        owner: (!owners.is_empty()).then(|| owners.join(", ")),
        tags: tags(facets),
        properties: properties
            .chain(text(facets, "documentation", "description").map(|text| ("description".to_owned(), text.into())))
            .collect(),
    }
}

/// Names of facets that were taken away again (`_deleted`).
pub(super) fn deleted(facets: &Facets) -> impl Iterator<Item = &str> {
    let is_deleted = |facet: &Json| facet.get("_deleted").and_then(Json::as_bool) == Some(true);
    facets.iter().filter(move |(_, facet)| is_deleted(facet)).map(|(name, _)| name.as_str())
}

/// Tags of the thing itself, not of its fields.
pub(super) fn tags(facets: &Facets) -> BTreeMap<String, String> {
    let tags = list(facets, "tags", "tags").iter().filter(|tag| tag.get("field").is_none_or(Json::is_null));
    tags.filter_map(|tag| Some((tag.get("key")?.as_str()?.to_owned(), plain(tag.get("value")?)))).collect()
}

/// How many records a dataset has.
pub(super) fn records(facets: &Facets, input_facets: &Facets) -> Option<u64> {
    let count = |facets: &Facets| facets.get("dataQualityMetrics")?.get("rowCount")?.as_u64();
    count(facets).or_else(|| count(input_facets))
}

/// The code of a job. A version that is no commit says nothing about what ran.
pub(super) fn code(facets: &Facets) -> Option<Code> {
    let get = |name| text(facets, "sourceCodeLocation", name);
    let commit = get("version")?.to_owned();
    Some(Code { repo: get("repoUrl").or_else(|| get("url")).map(str::to_owned), commit: Some(commit), dirty: None })
}

/// Parameters, and those of them that are seeds.
pub(super) fn parameters(facets: &Facets) -> [BTreeMap<String, String>; 2] {
    let parameters = list(facets, "executionParameters", "parameters").iter();
    let pairs = parameters.filter_map(|each| Some((each.get("key")?.as_str()?.to_owned(), plain(each.get("value")?))));
    let (seeds, others) = pairs.partition(|(key, _)| SEEDS.contains(&key.to_ascii_lowercase().as_str()));
    [others, seeds]
}

/// The digest of the script that ran.
pub(super) fn script_digest(facets: &Facets) -> Option<String> {
    text(facets, "sourceCode", "sourceCode").map(|code| format!("sha256:{}", hex(&Sha256::digest(code))))
}

/// Facets as one value.
pub(super) fn together(facets: &Facets) -> Value {
    kept(&Json::Object(facets.clone().into_iter().collect()))
}

/// A facet as it is kept: whole, or by its digest where it is too large.
fn kept(facet: &Json) -> Value {
    let text = facet.to_string();
    if text.len() <= FACET_BYTES_MAX {
        return if facet.is_object() || facet.is_array() { Value::Struct(facet.clone()) } else { text.into() };
    }
    let digest = format!("sha256:{}", hex(&Sha256::digest(&text)));
    Value::Struct(serde_json::json!({ "omitted_bytes": text.len(), "digest": digest }))
}

fn plain(value: &Json) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}
