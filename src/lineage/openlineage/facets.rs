//! Facets: kept whole, and read where the graph has words of its own for what they say.
//!
//! Facets have versions of their own and may be anybody's: one that is not as expected says nothing, and is kept.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::event::Dataset;
use crate::lineage::catalog::Value;
use crate::lineage::{About, Code};
use crate::sha256::{self, Sha256};

/// Facets by name, as they were sent.
pub(super) type Facets = BTreeMap<String, Json>;

/// Bytes of a facet that are kept; of a larger one its digest is.
const FACET_BYTES_MAX: usize = 128 << 10;
/// Parameters that are random seeds by their names.
const SEEDS: [&str; 4] = ["seed", "random_seed", "random_state", "rng_seed"];
/// Hexadecimal digits of a commit.
const COMMIT_LEN: usize = 40;

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

/// The code of a job. A location without a commit says nothing about what ran.
pub(super) fn code(facets: &Facets) -> Option<Code> {
    let get = |name| text(facets, "sourceCodeLocation", name);
    let linked = get("url").and_then(linked);
    let commit = get("version").or(linked.map(|(_, commit)| commit))?.to_owned();
    let repo = get("repoUrl").or(linked.map(|(repo, _)| repo)).or_else(|| get("url"));
    Some(Code { repo: repo.map(str::to_owned), commit: Some(commit), dirty: None })
}

/// The repository and the commit of a link to a file, as GitHub and GitLab write it: `REPO/blob/COMMIT/PATH`.
fn linked(url: &str) -> Option<(&str, &str)> {
    let (repo, rest) = url.split_once("/blob/").or_else(|| url.split_once("/tree/"))?;
    let commit = rest.split(['/', '?', '#']).next()?;
    // A branch says nothing about what ran.
    let is_commit = commit.len() == COMMIT_LEN && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_commit.then(|| (repo.strip_suffix("/-").unwrap_or(repo), commit))
}

/// What ran the run, with its version.
pub(super) fn engine(facets: &Facets) -> Option<String> {
    let says = |name| text(facets, "processing_engine", name);
    let words = [says("name"), says("version")];
    // What dbt and Spark said before there was a facet for all.
    let older = [("dbt", "dbt_version", "version"), ("spark", "spark_version", "spark-version")];
    let older = older.into_iter().find_map(|(name, facet, key)| Some([Some(name), Some(text(facets, facet, key)?)]));
    let words = if words.iter().any(Option::is_some) { words } else { older? };
    Some(words.into_iter().flatten().collect::<Vec<_>>().join(" "))
}

/// Who began the run, as Airflow, Spark and dbt say it; older ones of Airflow by another name.
pub(super) fn parent(facets: &Facets) -> Option<&Json> {
    facets.get("parent").or_else(|| facets.get("parentRun"))
}

/// What Airflow says of the run of a DAG: in `airflow` for its tasks, in `airflowDagRun` for itself.
pub(super) fn dag_run<'a>(facets: &'a Facets, name: &str) -> Option<&'a str> {
    dag_run_facet(facets)?.get(name)?.as_str()
}

fn dag_run_facet(facets: &Facets) -> Option<&Json> {
    ["airflow", "airflowDagRun"].into_iter().find_map(|facet| facets.get(facet)?.get("dagRun"))
}

/// What kind of job it is: `AIRFLOW DAG`, `SPARK SQL_JOB`, `DBT MODEL`.
pub(super) fn job_type(facets: &Facets) -> Option<String> {
    let says = ["integration", "jobType"].into_iter().filter_map(|name| text(facets, "jobType", name));
    let words = says.collect::<Vec<_>>().join(" ");
    (!words.is_empty()).then_some(words)
}

/// Names of a table in metastores, as namespaces and names.
pub(super) fn tables(facets: &Facets) -> impl Iterator<Item = (&str, &str)> {
    list(facets, "symlinks", "identifiers").iter().filter_map(|symlink| {
        let says = |name| symlink.get(name).and_then(Json::as_str);
        says("type")
            .is_some_and(|kind| kind.eq_ignore_ascii_case("TABLE"))
            .then_some((says("namespace")?, says("name")?))
    })
}

/// How many checks of data passed and failed, where there were any: by the run itself, else by what it looked at.
pub(super) fn checks<'a>(run: &Facets, inputs: impl Iterator<Item = &'a Dataset>) -> BTreeMap<&'static str, i64> {
    let tests = ["test", "testRun"].into_iter().flat_map(|facet| list(run, facet, "tests"));
    let mut passed: Vec<bool> = tests
        .filter_map(|test| test.get("status")?.as_str())
        .filter(|status| !status.starts_with("skip"))
        .map(|status| status.starts_with("pass") || status == "success")
        .collect();
    if passed.is_empty() {
        let said = inputs.flat_map(|input| [&input.input_facets, &input.facets]);
        let checks = said.flat_map(|facets| list(facets, "dataQualityAssertions", "assertions"));
        passed.extend(checks.filter_map(|check| check.get("success")?.as_bool()));
    }
    if passed.is_empty() {
        return BTreeMap::new();
    }
    let count = |wanted| i64::try_from(passed.iter().filter(|passed| **passed == wanted).count()).unwrap_or(i64::MAX);
    [("checks_passed", count(true)), ("checks_failed", count(false))].into()
}

/// Parameters, and those of them that are seeds.
pub(super) fn parameters(facets: &Facets) -> [BTreeMap<String, String>; 2] {
    let given = dag_run_facet(facets).and_then(|run| run.get("conf")?.as_object()).into_iter().flatten();
    let given = given.map(|(key, value)| (key.clone(), plain(value)));
    let parameters = list(facets, "executionParameters", "parameters").iter();
    let pairs = parameters.filter_map(|each| Some((each.get("key")?.as_str()?.to_owned(), plain(each.get("value")?))));
    let (seeds, others) = given.chain(pairs).partition(|(key, _)| SEEDS.contains(&key.to_ascii_lowercase().as_str()));
    [others, seeds]
}

/// The digest of the script that ran.
pub(super) fn script_digest(facets: &Facets) -> Option<String> {
    text(facets, "sourceCode", "sourceCode").map(|code| sha256::named(Sha256::digest(code)))
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
    let digest = sha256::named(Sha256::digest(&text));
    Value::Struct(serde_json::json!({ "omitted_bytes": text.len(), "digest": digest }))
}

fn plain(value: &Json) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
