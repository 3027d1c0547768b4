//! An event as it is sent: what of it must be there, and what may.
//!
//! What is not known here stays in the facets. Which of the three kinds an event is shows in what it has.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::facets::Facets;

/// Events of one batch, at most.
const BATCH_MAX: usize = 10_000;

/// A body is no event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    /// It is not JSON, or a member is missing or of another type.
    #[error("{0}")]
    Json(String),
    /// It has no subject.
    #[error("an event needs 'run' and 'job' (a RunEvent), 'dataset' (a DatasetEvent) or 'job' (a JobEvent)")]
    Kind,
    /// A state that no run has.
    #[error("eventType '{0}' is none: write START, RUNNING, COMPLETE, ABORT, FAIL or OTHER")]
    Type(String),
    /// Too many at once.
    #[error("{0} events at once: at most {BATCH_MAX}, split the batch")]
    TooMany(usize),
    /// A name that the graph cannot have.
    #[error("{0}")]
    Name(String),
}

/// One event.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// When what it tells happened.
    pub(super) time: Timestamp,
    /// Which program tells it.
    pub(super) producer: String,
    pub(super) subject: Subject,
}

/// What it is about.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Subject {
    Run { run: Run, job: Job, phase: Phase, inputs: Vec<Dataset>, outputs: Vec<Dataset> },
    Dataset(Dataset),
    Job { job: Job, inputs: Vec<Dataset>, outputs: Vec<Dataset> },
}

/// `eventType`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Phase {
    Start,
    Running,
    Complete,
    Abort,
    Fail,
    /// More of what is known, with no word on how the run stands; also where none is given.
    #[default]
    Other,
}

/// `run`
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(super) struct Run {
    #[serde(rename = "runId")]
    pub(super) id: String,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) facets: Facets,
}

/// `job`
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(super) struct Job {
    pub(super) namespace: String,
    pub(super) name: String,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) facets: Facets,
}

/// `dataset`, or one of `inputs` and `outputs`
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(super) struct Dataset {
    pub(super) namespace: String,
    pub(super) name: String,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) facets: Facets,
    #[serde(default, rename = "inputFacets", deserialize_with = "lenient")]
    pub(super) input_facets: Facets,
    #[serde(default, rename = "outputFacets", deserialize_with = "lenient")]
    pub(super) output_facets: Facets,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sent {
    event_time: Timestamp,
    #[serde(default, deserialize_with = "lenient")]
    producer: String,
    event_type: Option<String>,
    run: Option<Run>,
    job: Option<Job>,
    dataset: Option<Dataset>,
    #[serde(default, deserialize_with = "lenient")]
    inputs: Vec<Dataset>,
    #[serde(default, deserialize_with = "lenient")]
    outputs: Vec<Dataset>,
}

impl Event {
    /// Reads one event.
    ///
    /// # Errors
    /// Where it is none.
    pub fn parse(json: &[u8]) -> Result<Self, EventError> {
        let sent: Sent = serde_json::from_slice(json).map_err(|error| EventError::Json(error.to_string()))?;
        let Sent { event_time: time, producer, event_type, run, job, dataset, inputs, outputs } = sent;
        let subject = match (run, job, dataset) {
            (Some(run), Some(job), _) => {
                let phase = event_type.as_deref().map_or(Ok(Phase::Other), Phase::parse)?;
                Subject::Run { run, job, phase, inputs, outputs }
            }
            (None, _, Some(dataset)) => Subject::Dataset(dataset),
            (None, Some(job), None) => Subject::Job { job, inputs, outputs },
            _ => return Err(EventError::Kind),
        };
        Ok(Self { time, producer, subject })
    }
}

/// The events of a batch, a JSON array; each may be wrong by itself.
///
/// # Errors
/// Where it is no array, or too long.
pub fn events(json: &[u8]) -> Result<Vec<Result<Event, EventError>>, EventError> {
    let sent: Vec<&RawValue> = serde_json::from_slice(json).map_err(|error| EventError::Json(error.to_string()))?;
    if sent.len() > BATCH_MAX {
        return Err(EventError::TooMany(sent.len()));
    }
    Ok(sent.into_iter().map(|event| Event::parse(event.get().as_bytes())).collect())
}

impl Phase {
    fn parse(text: &str) -> Result<Self, EventError> {
        Ok(match text.to_ascii_uppercase().as_str() {
            "START" => Self::Start,
            "RUNNING" => Self::Running,
            "COMPLETE" => Self::Complete,
            "ABORT" => Self::Abort,
            "FAIL" => Self::Fail,
            "OTHER" => Self::Other,
            _ => return Err(EventError::Type(text.chars().take(80).collect())),
        })
    }

    /// Whether nothing comes after it.
    pub(super) fn is_end(self) -> bool {
        matches!(self, Self::Complete | Self::Abort | Self::Fail)
    }
}

/// `null` is as good as absent: clients differ.
fn lenient<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
