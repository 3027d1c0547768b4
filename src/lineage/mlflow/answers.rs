//! What MLflow answers, as types: the messages of its REST API 2.0, as far as lineage needs them.
//!
//! A server of another version may leave members out, write `null`, or write a number as text: all of that is read.
//! Members that are not known are passed over.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

/// A page of something, and where the next one begins.
#[derive(Debug)]
pub(super) struct Page<T> {
    pub(super) items: Vec<T>,
    pub(super) next: Option<String>,
}

/// `registered-models/search`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RegisteredModels {
    #[serde(deserialize_with = "or_default")]
    pub(super) registered_models: Vec<RegisteredModel>,
    #[serde(deserialize_with = "or_default")]
    pub(super) next_page_token: String,
}

/// `registered-models/get`
#[derive(Debug, Deserialize)]
pub(super) struct OneRegisteredModel {
    pub(super) registered_model: RegisteredModel,
}

/// A registered model: the name over its versions.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RegisteredModel {
    #[serde(deserialize_with = "or_default")]
    pub(super) name: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) description: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) tags: Vec<Pair>,
    #[serde(deserialize_with = "or_default")]
    pub(super) aliases: Vec<Alias>,
    /// The latest of each stage, in short.
    #[serde(deserialize_with = "or_default")]
    pub(super) latest_versions: Vec<ModelVersion>,
}

/// Which version an alias names.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Alias {
    #[serde(deserialize_with = "or_default")]
    pub(super) alias: String,
    #[serde(deserialize_with = "text")]
    pub(super) version: String,
}

/// `model-versions/search`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ModelVersions {
    #[serde(deserialize_with = "or_default")]
    pub(super) model_versions: Vec<ModelVersion>,
    #[serde(deserialize_with = "or_default")]
    pub(super) next_page_token: String,
}

/// `model-versions/get`, `registered-models/alias`
#[derive(Debug, Deserialize)]
pub(super) struct OneModelVersion {
    pub(super) model_version: ModelVersion,
}

/// A version of a registered model.
#[derive(Clone, Debug, Default, Hash, Deserialize)]
#[serde(default)]
pub(super) struct ModelVersion {
    #[serde(deserialize_with = "or_default")]
    pub(super) name: String,
    #[serde(deserialize_with = "text")]
    pub(super) version: String,
    #[serde(deserialize_with = "millis")]
    pub(super) creation_timestamp: Option<i64>,
    #[serde(deserialize_with = "or_default")]
    pub(super) user_id: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) current_stage: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) description: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) source: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) run_id: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) model_id: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) status: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) tags: Vec<Pair>,
}

/// A tag or a parameter.
#[derive(Clone, Debug, Default, Hash, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct Pair {
    #[serde(deserialize_with = "or_default")]
    pub(super) key: String,
    #[serde(deserialize_with = "text")]
    pub(super) value: String,
}

/// `runs/get`
#[derive(Debug, Deserialize)]
pub(super) struct OneRun {
    pub(super) run: Run,
}

/// A run.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Run {
    #[serde(deserialize_with = "or_default")]
    pub(super) info: RunInfo,
    #[serde(deserialize_with = "or_default")]
    pub(super) data: RunData,
    #[serde(deserialize_with = "or_default")]
    pub(super) inputs: RunInputs,
    #[serde(deserialize_with = "or_default")]
    pub(super) outputs: RunOutputs,
}

/// What a run is.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RunInfo {
    #[serde(deserialize_with = "or_default")]
    pub(super) run_id: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) run_name: String,
    #[serde(deserialize_with = "text")]
    pub(super) experiment_id: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) user_id: String,
    #[serde(deserialize_with = "text")]
    pub(super) status: String,
    #[serde(deserialize_with = "millis")]
    pub(super) start_time: Option<i64>,
    #[serde(deserialize_with = "millis")]
    pub(super) end_time: Option<i64>,
    #[serde(deserialize_with = "or_default")]
    pub(super) artifact_uri: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) lifecycle_stage: String,
}

/// What was logged of a run.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RunData {
    #[serde(deserialize_with = "or_default")]
    pub(super) metrics: Vec<Metric>,
    #[serde(deserialize_with = "or_default")]
    pub(super) params: Vec<Pair>,
    #[serde(deserialize_with = "or_default")]
    pub(super) tags: Vec<Pair>,
}

/// The last value of a metric.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Metric {
    #[serde(deserialize_with = "or_default")]
    pub(super) key: String,
    #[serde(deserialize_with = "number")]
    pub(super) value: f64,
    #[serde(deserialize_with = "millis")]
    pub(super) step: Option<i64>,
}

/// What a run used.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RunInputs {
    #[serde(deserialize_with = "or_default")]
    pub(super) dataset_inputs: Vec<DatasetInput>,
}

/// What a run made.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RunOutputs {
    #[serde(deserialize_with = "or_default")]
    pub(super) model_outputs: Vec<ModelOutput>,
}

/// A model that was logged.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ModelOutput {
    #[serde(deserialize_with = "or_default")]
    pub(super) model_id: String,
}

/// A dataset that was logged, and how it was used.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct DatasetInput {
    #[serde(deserialize_with = "or_default")]
    pub(super) tags: Vec<Pair>,
    #[serde(deserialize_with = "or_default")]
    pub(super) dataset: Dataset,
}

/// A dataset as MLflow has it; `source` and `profile` are JSON as text.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Dataset {
    #[serde(deserialize_with = "or_default")]
    pub(super) name: String,
    /// Eight digits of the MD5 of the first 10,000 rows, of some columns.
    #[serde(deserialize_with = "or_default")]
    pub(super) digest: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) source_type: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) source: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) profile: String,
}

/// `logged-models/{model_id}`
#[derive(Debug, Deserialize)]
pub(super) struct OneLoggedModel {
    pub(super) model: LoggedModel,
}

/// A logged model: the files behind a version.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct LoggedModel {
    #[serde(deserialize_with = "or_default")]
    pub(super) info: LoggedModelInfo,
    #[serde(deserialize_with = "or_default")]
    pub(super) data: LoggedModelData,
}

/// What a logged model is.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct LoggedModelInfo {
    #[serde(deserialize_with = "or_default")]
    pub(super) model_id: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) artifact_uri: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) model_type: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) source_run_id: String,
}

/// What was logged of a model.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct LoggedModelData {
    #[serde(deserialize_with = "or_default")]
    pub(super) metrics: Vec<Metric>,
}

/// `experiments/get`
#[derive(Debug, Deserialize)]
pub(super) struct OneExperiment {
    pub(super) experiment: Experiment,
}

/// An experiment.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Experiment {
    #[serde(deserialize_with = "or_default")]
    pub(super) name: String,
}

/// What goes with a status of 400 and above.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Problem {
    #[serde(deserialize_with = "or_default")]
    pub(super) error_code: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) message: String,
}

/// Tags and the like by name; the last of a name holds.
pub(super) fn by_name(pairs: &[Pair]) -> BTreeMap<&str, &str> {
    pairs.iter().map(|pair| (pair.key.as_str(), pair.value.as_str())).collect()
}

/// Reads bytes as each of the answers, and places what comes of it: for fuzzing, which has no server.
pub fn parse_any(body: &[u8]) {
    let run = serde_json::from_slice::<OneRun>(body).map(|one| one.run);
    let version = serde_json::from_slice::<OneModelVersion>(body).map(|one| one.model_version);
    let logged = serde_json::from_slice::<OneLoggedModel>(body).map(|one| one.model);
    let registered = serde_json::from_slice::<OneRegisteredModel>(body).map(|one| one.registered_model);
    drop(serde_json::from_slice::<RegisteredModels>(body));
    drop(serde_json::from_slice::<ModelVersions>(body));
    drop(serde_json::from_slice::<OneExperiment>(body));
    drop(serde_json::from_slice::<Problem>(body));
    super::mapping::place_any(
        &version.unwrap_or_default(),
        &registered.unwrap_or_default(),
        run.ok().as_ref(),
        logged.ok().as_ref(),
    );
}

fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// What is text to one version and a number to another.
#[derive(Deserialize)]
#[serde(untagged)]
enum Loose {
    Whole(i64),
    Number(f64),
    Bool(bool),
    Text(String),
}

/// Text, also where a number stands.
fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(match Option::<Loose>::deserialize(deserializer)? {
        None => String::new(),
        Some(Loose::Whole(number)) => number.to_string(),
        Some(Loose::Number(number)) => number.to_string(),
        Some(Loose::Bool(value)) => value.to_string(),
        Some(Loose::Text(text)) => text,
    })
}

/// Milliseconds since 1970, also as text; what is none is not known.
fn millis<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    Ok(match Option::<Loose>::deserialize(deserializer)? {
        Some(Loose::Whole(number)) => Some(number),
        Some(Loose::Text(text)) => text.parse().ok(),
        _ => None,
    })
}

/// A number, also `"NaN"` and `"Infinity"`, as Protocol Buffers write them in JSON.
#[expect(clippy::cast_precision_loss, reason = "a metric is a double")]
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(match Option::<Loose>::deserialize(deserializer)? {
        Some(Loose::Whole(number)) => number as f64,
        Some(Loose::Number(number)) => number,
        Some(Loose::Text(text)) => text.parse().unwrap_or(f64::NAN),
        _ => f64::NAN,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_other_versions_write_is_read() {
        let text = r#"{"run":{"info":{"run_id":"r","start_time":"1700000000000","end_time":null,"new":{}},
            "data":{"metrics":[{"key":"a","value":"NaN"},{"key":"b","value":1},{"key":"c","value":"Infinity"}],
            "params":[{"key":"n","value":3}],"tags":null}}}"#;
        let run = serde_json::from_str::<OneRun>(text).unwrap().run;
        assert_eq!((run.info.start_time, run.info.end_time), (Some(1_700_000_000_000), None));
        assert!(run.data.metrics[0].value.is_nan() && run.data.metrics[2].value.is_infinite());
        assert_eq!((run.data.params[0].value.as_str(), run.data.tags.len()), ("3", 0));
        let version = serde_json::from_str::<OneModelVersion>(r#"{"model_version":{"version":7}}"#).unwrap();
        assert_eq!(version.model_version.version, "7");
    }
}
