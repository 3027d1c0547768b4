//! The resolved lineage of one model version, frozen so that a request reads it without waiting.

use std::sync::Arc;

/// Everything known about how a model version came to be, as it is written to the ledger once.
#[derive(Debug, PartialEq, Eq)]
pub struct Document {
    /// SHA-256 of the document's RFC 8785 form; what predictions refer to.
    pub digest: [u8; 32],
    /// The document as compact JSON, an object.
    pub json: String,
}

/// A model version as its lineage names it, with what a stamp needs.
#[derive(Debug, PartialEq, Eq)]
pub struct Identity {
    /// The model's name in the lineage.
    pub model: String,
    /// The model's version in the lineage, such as `v1.2.3`.
    pub version: String,
    /// Training datasets as `[NAMESPACE/]NAME@VERSION`, in the lineage's order.
    pub datasets: Vec<String>,
    /// The value of `X-Dataset-Version`; `None` where no training dataset is known.
    pub dataset_version: Option<String>,
    /// Whether every reproducibility check on the lineage has passed.
    pub reproducible: bool,
    /// The whole document behind the stamp.
    pub document: Arc<Document>,
}
