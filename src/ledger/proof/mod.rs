//! Evidence that leaves the house: one record as a file that an auditor verifies with a key and nothing else.
//!
//! [`Bundle`] is a prediction's entry with what belongs to it, each with a C2SP tlog-proof; [`Extension`] shows that a
//! log only grew between two checkpoints. `make` reads a ledger to write them; `check` is pure and believes nothing
//! but the keys that it is given.

mod check;
mod make;
mod trust;

pub use check::{Included, Lineage, Part, Reason, Refused, Verdict};
pub use make::{End, Unproven};
pub use trust::{Signed, Trust};

use serde::{Deserialize, Serialize};

/// A prediction, proved: one JSON document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bundle {
    /// The `prediction` entry, verbatim.
    pub entry: String,
    /// Index, audit path and checkpoint of that entry (C2SP tlog-proof).
    pub proof: String,
    /// The lineage document that it refers to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lineage: Option<Piece>,
    /// The `begin` entry, where its answer was streamed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begin: Option<Piece>,
    /// The verifier keys that the log names. For convenience: whoever verifies has them from elsewhere.
    pub keys: Vec<String>,
    /// The log's `key` entries, verbatim, oldest first: whoever has an earlier key comes by them to the one that signed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rotations: Vec<String>,
}

/// A further entry with its proof.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Piece {
    /// The entry, verbatim.
    pub entry: String,
    /// Its C2SP tlog-proof.
    pub proof: String,
}

/// That one checkpoint's log extends another's: one JSON document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Extension {
    /// The earlier checkpoint, a signed note.
    pub old: String,
    /// The later one.
    pub new: String,
    /// RFC 6962's consistency proof, each hash in base 64.
    pub consistency: Vec<String>,
    /// The verifier keys that the log names, as in [`Bundle::keys`].
    pub keys: Vec<String>,
    /// The log's `key` entries, as in [`Bundle::rotations`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rotations: Vec<String>,
}

impl Bundle {
    /// As a file holds it.
    pub fn to_json(&self) -> String {
        pretty(self)
    }
}

impl Extension {
    /// As a file holds it.
    pub fn to_json(&self) -> String {
        pretty(self)
    }
}

fn pretty(value: &impl Serialize) -> String {
    // Strings and lists of strings always can be written.
    let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.push('\n');
    text
}
