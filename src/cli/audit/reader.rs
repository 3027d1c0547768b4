//! The one place where the command line meets the ledger's reader.

use std::path::Path;
use std::time::SystemTime;

use anyhow::Result;
use uuid::Uuid;

/// Which entries are meant: those that fit everything that is given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Query {
    /// SHA-256 of the input.
    pub(super) input_hash: Option<[u8; 32]>,
    /// SHA-256 of the output.
    pub(super) output_hash: Option<[u8; 32]>,
    /// The prediction's id.
    pub(super) prediction: Option<Uuid>,
    /// The W3C trace id.
    pub(super) trace: Option<[u8; 16]>,
    /// The model's name.
    pub(super) model: Option<String>,
    /// The model's version.
    pub(super) version: Option<String>,
    /// A dataset, as it stands in `datasets`.
    pub(super) dataset: Option<String>,
    /// The outcome.
    pub(super) outcome: Option<String>,
    /// The kind; `None` is every one.
    pub(super) kind: Option<String>,
    /// The earliest time.
    pub(super) from: Option<SystemTime>,
    /// The time before which.
    pub(super) to: Option<SystemTime>,
}

/// An entry and its place in the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// The place, from 0.
    pub(super) index: u64,
    /// The entry's bytes: a JSON object.
    pub(super) entry: Vec<u8>,
}

/// A ledger's files, read while others write.
#[derive(Debug)]
pub(super) struct Reader {}

impl Reader {
    /// Opens the ledger under a data directory.
    pub(super) fn open(dir: &Path) -> Result<Self> {
        anyhow::bail!("{}: the ledger's reader is not wired yet", dir.display())
    }

    /// The entries that fit, oldest first.
    #[expect(clippy::unused_self, reason = "the ledger's reader comes here")]
    pub(super) fn find(&self, _query: &Query) -> impl Iterator<Item = Result<Found>> {
        std::iter::empty()
    }

    /// The entries from an index on, waiting for those to come, for ever.
    #[expect(clippy::unused_self, reason = "the ledger's reader comes here")]
    pub(super) fn follow(&self, _from: u64) -> impl Iterator<Item = Result<Found>> {
        std::iter::empty()
    }
}
