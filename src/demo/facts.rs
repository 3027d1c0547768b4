//! What came out of the demo, as data: the tour prints it for people and `--json` for tests.
//!
//! Everything here was read back from where the three users would read it: sockets, the ledger's files, the metrics.

use std::path::PathBuf;

use serde::Serialize;
use serde_json::Value;

use super::client::Answer;
use super::graph::GraphFacts;
use super::versions::VersionFacts;

/// Everything that came out.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Facts {
    /// Where predictions are served.
    pub proxy: String,
    /// Where metrics, health and the API are.
    pub admin: String,
    /// The data directory.
    pub data: PathBuf,
    /// The versions of the model, in the order of their backends.
    pub versions: Vec<VersionFacts>,
    /// The input that the tour follows.
    pub input: Input,
    /// The answers to it: by weight first, then from the version that had not been asked.
    pub answers: Vec<Asked>,
    /// The ledger's entries for that input, oldest first.
    pub found: Vec<Found>,
    /// What the graph answers about them.
    pub graph: GraphFacts,
    /// How the calls that named no version were split.
    pub split: Vec<Share>,
    /// All predictions that were sent.
    pub predictions: u64,
    /// The `prediction` entries that they left in the ledger.
    pub entries: u64,
    /// What the calls by weight took together, in microseconds, one after the other.
    pub traffic_us: u64,
    /// `/metrics` as it was read afterwards.
    #[serde(skip)]
    pub metrics: String,
}

/// An input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Input {
    /// The file that holds its bytes.
    pub file: PathBuf,
    /// The bytes.
    pub body: String,
    /// Their SHA-256, as `sha256sum` prints it.
    pub sha256: String,
    /// What it says, for people.
    pub says: String,
}

/// A call and its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Asked {
    /// The path that was posted to.
    pub path: String,
    /// What came back.
    pub answer: Answer,
}

/// An entry of the ledger.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Found {
    /// Its place.
    pub index: u64,
    /// Its fields.
    pub entry: Value,
}

impl Found {
    /// A field by its RFC 6901 pointer, as text; empty where there is none.
    pub fn text(&self, pointer: &str) -> &str {
        self.entry.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }
}

/// A version's share of the calls that named no version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Share {
    /// The version, as the answers' headers said.
    pub version: String,
    /// How many answers said so.
    pub answers: u64,
}
