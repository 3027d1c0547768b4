//! What the ledger's reader will give, under its names: merging replaces this file's types by
//! `use crate::ledger::{Kind, read::{Found, Follow, Query, Reader}}`.

use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use uuid::Uuid;

/// Which entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Prediction,
    Begin,
    Lineage,
    Lifecycle,
    Gap,
}

impl Kind {
    /// Every kind.
    pub(super) const ALL: [Self; 5] = [Self::Prediction, Self::Begin, Self::Lineage, Self::Lifecycle, Self::Gap];

    /// The name in entries.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Prediction => "prediction",
            Self::Begin => "begin",
            Self::Lineage => "lineage",
            Self::Lifecycle => "lifecycle",
            Self::Gap => "gap",
        }
    }
}

/// Which entries are meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Query {
    pub(super) input_hash: Option<[u8; 32]>,
    pub(super) output_hash: Option<[u8; 32]>,
    pub(super) prediction: Option<Uuid>,
    pub(super) trace: Option<[u8; 16]>,
    pub(super) model: Option<String>,
    pub(super) version: Option<String>,
    pub(super) dataset: Option<String>,
    pub(super) outcome: Option<String>,
    pub(super) kind: Option<Kind>,
    pub(super) from: Option<SystemTime>,
    pub(super) to: Option<SystemTime>,
    pub(super) limit: Option<usize>,
}

/// An entry and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) log: [u8; 16],
    pub(super) index: u64,
    pub(super) entry: Vec<u8>,
}

/// A ledger, open for reading.
#[derive(Debug)]
pub(super) struct Reader {}

impl Reader {
    pub(super) fn open(dir: &Path) -> Result<Self, io::Error> {
        Err(io::Error::other(format!("{}: the ledger's reader is not wired yet", dir.display())))
    }

    #[expect(clippy::unused_self, reason = "a stand-in")]
    pub(super) fn find(&self, _query: &Query) -> impl Iterator<Item = Result<Found, io::Error>> {
        std::iter::empty()
    }

    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "a stand-in")]
    pub(super) fn follow(&self, _query: &Query, _from: Option<u64>) -> Result<Follow, io::Error> {
        Ok(Follow {})
    }
}

/// Entries as they are written.
#[derive(Debug)]
pub(super) struct Follow {}

impl Follow {
    pub(super) const INTERVAL: Duration = Duration::from_millis(200);

    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "a stand-in")]
    pub(super) fn poll(&mut self) -> Result<Option<Found>, io::Error> {
        Ok(None)
    }
}
