//! What stands in the catalog, as data: nodes, their properties, and the edges between them.
//!
//! The model is ML Metadata's (`ml_metadata/proto/metadata_store.proto`): artifacts and executions joined by events,
//! contexts that group both. An event is kept as an edge that points the way the data went, so that upstream and
//! downstream are one question with another sign. No queries here.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeKind {
    /// A thing: a dataset, a model, code.
    Artifact = 1,
    /// Something that was done: a training, a deployment.
    Execution = 2,
    /// A group of both: an experiment, a pipeline, a release.
    Context = 3,
}

impl NodeKind {
    pub(super) fn from_code(code: i64) -> Option<Self> {
        [Self::Artifact, Self::Execution, Self::Context].into_iter().find(|kind| *kind as i64 == code)
    }
}

/// The states of artifacts and executions, numbered as ML Metadata numbers each; contexts have none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Not said.
    #[default]
    Unknown,
    /// An artifact that is being made.
    Pending,
    /// An artifact that is there.
    Live,
    /// An artifact that is to be deleted.
    MarkedForDeletion,
    /// An artifact that is gone, or was withdrawn.
    Deleted,
    /// An artifact whose making was given up.
    Abandoned,
    /// An artifact that only refers to another one.
    Reference,
    /// An execution that has not begun.
    New,
    /// An execution under way; a deployment that serves.
    Running,
    /// An execution that ended well.
    Complete,
    /// An execution that failed.
    Failed,
    /// An execution whose outputs were taken from an earlier one.
    Cached,
    /// An execution that was ended before its time.
    Canceled,
}

/// Each state with the kind that has it and its number there.
const STATES: [(State, NodeKind, i64); 12] = [
    (State::Pending, NodeKind::Artifact, 1),
    (State::Live, NodeKind::Artifact, 2),
    (State::MarkedForDeletion, NodeKind::Artifact, 3),
    (State::Deleted, NodeKind::Artifact, 4),
    (State::Abandoned, NodeKind::Artifact, 5),
    (State::Reference, NodeKind::Artifact, 6),
    (State::New, NodeKind::Execution, 1),
    (State::Running, NodeKind::Execution, 2),
    (State::Complete, NodeKind::Execution, 3),
    (State::Failed, NodeKind::Execution, 4),
    (State::Cached, NodeKind::Execution, 5),
    (State::Canceled, NodeKind::Execution, 6),
];

impl State {
    /// Its number; 0 for `Unknown`. `None` where nodes of that kind do not have this state.
    pub fn code(self, kind: NodeKind) -> Option<i64> {
        if self == Self::Unknown {
            return Some(0);
        }
        STATES.iter().find(|(state, of, _)| *state == self && *of == kind).map(|(_, _, code)| *code)
    }

    pub(super) fn from_code(kind: NodeKind, code: i64) -> Self {
        STATES.iter().find(|(_, of, number)| *of == kind && *number == code).map_or(Self::Unknown, |(state, ..)| *state)
    }
}

/// What a property may be, as ML Metadata types them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// `bool_value`
    Bool(bool),
    /// `int_value`
    Int(i64),
    /// `double_value`
    Double(f64),
    /// `string_value`
    String(String),
    /// `struct_value`: a JSON object or array.
    Struct(serde_json::Value),
}

/// The type of a property, by ML Metadata's numbers (`PropertyType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ValueKind {
    /// 64 bits, signed.
    Int = 1,
    /// IEEE 754 binary64.
    Double = 2,
    /// UTF-8.
    String = 3,
    /// A JSON object or array.
    Struct = 4,
    /// True or false.
    Boolean = 6,
}

impl ValueKind {
    pub(super) fn from_code(code: i64) -> Option<Self> {
        [Self::Int, Self::Double, Self::String, Self::Struct, Self::Boolean]
            .into_iter()
            .find(|kind| *kind as i64 == code)
    }
}

impl Value {
    /// Its type.
    pub fn kind(&self) -> ValueKind {
        match self {
            Self::Bool(_) => ValueKind::Boolean,
            Self::Int(_) => ValueKind::Int,
            Self::Double(_) => ValueKind::Double,
            Self::String(_) => ValueKind::String,
            Self::Struct(_) => ValueKind::Struct,
        }
    }

    /// The text of a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// As a number, for comparisons.
    #[expect(clippy::cast_precision_loss, reason = "what is compared is not what is kept")]
    pub fn number(&self) -> Option<f64> {
        match self {
            Self::Int(number) => Some(*number as f64),
            Self::Double(number) => Some(*number),
            _ => None,
        }
    }

    pub(super) fn from_row(kind: i64, text: String) -> Option<Self> {
        Some(match ValueKind::from_code(kind)? {
            ValueKind::Int => Self::Int(text.parse().ok()?),
            ValueKind::Double => Self::Double(text.parse().ok()?),
            ValueKind::String => Self::String(text),
            ValueKind::Struct => Self::Struct(serde_json::from_str(&text).ok()?),
            ValueKind::Boolean => Self::Bool(text == "true"),
        })
    }
}

/// As it is kept and shown; a string without quotes.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => value.fmt(f),
            Self::Int(value) => value.fmt(f),
            // The shortest text that is read back as the same number.
            Self::Double(value) => write!(f, "{value:?}"),
            Self::String(value) => f.write_str(value),
            Self::Struct(value) => value.fmt(f),
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::String(text)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Double(number)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

/// Properties by name.
pub type Properties = BTreeMap<String, Value>;

/// A node as it stood at one moment.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Node {
    /// Its number in this catalog.
    #[serde(skip)]
    pub id: i64,
    /// `model:fraud@v1` and so on; a node that has no such name is `artifact:17`.
    #[serde(rename = "id")]
    pub identity: String,
    /// Artifact, execution or context.
    pub kind: NodeKind,
    /// The name of its type, such as `Model` or `Training`.
    #[serde(rename = "type")]
    pub type_name: String,
    /// Its name within the type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its id elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// Its state.
    pub state: State,
    /// Where it lies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
    /// All properties, those of its type and its own.
    pub properties: Properties,
    /// When it was first recorded.
    pub created: jiff::Timestamp,
}

impl Node {
    /// A property's text, where it is a string.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.properties.get(name).and_then(Value::as_str)
    }
}

/// How an artifact took part in an execution (`Event.Type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// Declared beforehand as what is to be made.
    DeclaredOutput = 1,
    /// Declared beforehand as what is to be used.
    DeclaredInput = 2,
    /// Used.
    Input = 3,
    /// Made.
    Output = 4,
    /// Used by the system itself.
    InternalInput = 5,
    /// Made by the system itself.
    InternalOutput = 6,
    /// To be made, not there yet.
    PendingOutput = 7,
}

impl EventKind {
    const ALL: [Self; 7] = [
        Self::DeclaredOutput,
        Self::DeclaredInput,
        Self::Input,
        Self::Output,
        Self::InternalInput,
        Self::InternalOutput,
        Self::PendingOutput,
    ];

    /// Whether the artifact came out of the execution.
    pub fn is_output(self) -> bool {
        matches!(self, Self::DeclaredOutput | Self::Output | Self::InternalOutput | Self::PendingOutput)
    }

    pub(super) fn from_code(code: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as i64 == code)
    }
}

/// An edge, in the direction in which the data went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Edge {
    /// The node that it comes from, by its number.
    #[serde(skip)]
    pub source: i64,
    /// The node that it goes to.
    #[serde(skip)]
    pub target: i64,
    /// What kind of event it is.
    pub kind: EventKind,
    /// The role or place of the artifact in the execution: `training`, `base`, `code`; empty where none is said.
    #[serde(rename = "role", skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// When it happened, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<jiff::Timestamp>,
    /// What is doubtful about it, where the policy lets it pass: what was used before it was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flaw: Option<String>,
}
