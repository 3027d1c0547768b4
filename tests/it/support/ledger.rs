//! The books: what the ledger holds, what the metrics count, and that the two agree.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use touchmark::ledger::read::{Query, Reader};
use touchmark::sha256::hex;
use touchmark::telemetry::Metrics;

/// An entry, as its JSON says.
#[derive(Clone, Debug)]
pub(crate) struct Entry(pub Value);

impl Entry {
    /// A string by JSON pointer, or nothing.
    pub(crate) fn text(&self, pointer: &str) -> Option<&str> {
        self.0
            .pointer(pointer)
            .map(|value| value.as_str().unwrap_or_else(|| panic!("{pointer} is no string: {self:?}")))
    }

    /// A number by JSON pointer, or nothing.
    pub(crate) fn number(&self, pointer: &str) -> Option<u64> {
        self.0
            .pointer(pointer)
            .map(|value| value.as_u64().unwrap_or_else(|| panic!("{pointer} is no number: {self:?}")))
    }

    pub(crate) fn kind(&self) -> &str {
        self.text("/kind").unwrap_or_default()
    }

    pub(crate) fn id(&self) -> &str {
        self.text("/id").unwrap_or_default()
    }

    /// Asserts how it ended.
    #[track_caller]
    pub(crate) fn ended(&self, outcome: &str, status: impl Into<Option<u64>>) -> &Self {
        assert_eq!(self.text("/outcome"), Some(outcome), "{}", self.0);
        assert_eq!(self.number("/output/status"), status.into(), "{}", self.0);
        self
    }

    /// Asserts what went in.
    #[track_caller]
    pub(crate) fn took(&self, input: impl AsRef<[u8]>) -> &Self {
        self.body_is("/input", input.as_ref())
    }

    /// Asserts what came out.
    #[track_caller]
    pub(crate) fn gave(&self, output: impl AsRef<[u8]>) -> &Self {
        self.body_is("/output", output.as_ref())
    }

    #[track_caller]
    fn body_is(&self, body: &str, bytes: &[u8]) -> &Self {
        assert_eq!(self.number(&format!("{body}/bytes")), Some(bytes.len() as u64), "{}", self.0);
        assert_eq!(self.text(&format!("{body}/alg")), Some("sha256"), "{}", self.0);
        assert_eq!(self.text(&format!("{body}/hash")), Some(sha256(bytes).as_str()), "{}", self.0);
        self
    }
}

/// SHA-256 in hexadecimal.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(Sha256::digest(bytes))
}

/// What the metrics count.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Books {
    pub predictions: u64,
    pub recorded: u64,
    pub unrecorded: u64,
    pub inflight: i64,
}

impl Books {
    pub(crate) fn read(metrics: &Metrics) -> Self {
        Self {
            predictions: sum(metrics, "predictions_total", &[]),
            recorded: sum(metrics, "ledger_entries_total", &[("kind", "prediction")]),
            unrecorded: sum(metrics, "ledger_unrecorded_total", &[]),
            inflight: metrics.inflight_predictions.get(),
        }
    }

    /// The accounting identity (design 1.5). Only at rest.
    pub(crate) fn balance(&self) {
        assert_eq!(self.predictions, self.recorded + self.unrecorded, "the books do not balance: {self:?}");
        assert_eq!(self.inflight, 0, "{self:?}");
    }
}

/// The sum of a counter over every child with these labels.
pub(crate) fn sum(metrics: &Metrics, name: &str, labels: &[(&str, &str)]) -> u64 {
    let families = metrics.registry().gather();
    let family = families.iter().filter(|family| family.name() == format!("touchmark_{name}"));
    let fits = |metric: &&prometheus::proto::Metric| {
        labels.iter().all(|(name, value)| {
            metric.get_label().iter().any(|label| label.name() == *name && label.value() == *value)
        })
    };
    let values = family
        .flat_map(|family| family.get_metric().iter().filter(fits).map(|metric| metric.get_counter().get_value()));
    // Counters of whole events.
    format!("{:.0}", values.fold(0.0, |sum, value| sum + value)).parse().unwrap()
}

/// A ledger on disk.
#[derive(Clone, Debug)]
pub(crate) struct Ledger(PathBuf);

impl Ledger {
    pub(crate) fn at(data: PathBuf) -> Self {
        Self(data)
    }

    /// Every entry, by the reader that `audit` uses.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        let reader = Reader::open(&self.0).unwrap();
        let found = reader.find(&Query::default()).map(|found| found.unwrap());
        let mut indices = 0;
        let entries = found.map(|found| {
            assert_eq!(found.index, indices, "indices are dense");
            indices += 1;
            Entry(serde_json::from_slice(&found.entry).expect("an entry is JSON"))
        });
        entries.collect()
    }

    /// Every entry of a kind.
    pub(crate) fn of_kind(&self, kind: &str) -> Vec<Entry> {
        self.entries().into_iter().filter(|entry| entry.kind() == kind).collect()
    }

    /// Every `prediction`, after the checks that hold in any scenario: as many as were counted, each id once, each
    /// `begin` before its one end (unless that could not be written, and was counted), every stamp's document before it.
    pub(crate) fn predictions(&self, books: &Books) -> Vec<Entry> {
        let entries = self.entries();
        let mut ended = HashMap::new();
        let mut documents = HashSet::new();
        let mut begun = HashSet::new();
        for (at, entry) in entries.iter().enumerate() {
            if let Some(lineage) = entry.text("/lineage") {
                assert!(documents.contains(lineage), "no document before {entry:?}");
            }
            match entry.kind() {
                "lineage" => assert!(documents.insert(entry.text("/digest").unwrap()), "twice: {entry:?}"),
                "begin" => {
                    assert!(begun.insert(entry.id()), "begun twice: {entry:?}");
                    assert!(!ended.contains_key(entry.id()), "begun after its end: {entry:?}");
                }
                "prediction" => {
                    assert_eq!(entry.id().as_bytes()[14], b'7', "no UUIDv7: {entry:?}");
                    assert_eq!(ended.insert(entry.id(), at), None, "ended twice: {entry:?}");
                }
                _ => {}
            }
        }
        let open: Vec<_> = begun.into_iter().filter(|id| !ended.contains_key(id)).collect();
        assert!(open.len() as u64 <= books.unrecorded, "begun, and neither ended nor counted: {open:?}");
        assert_eq!(ended.len() as u64, books.recorded, "the counter and the ledger disagree: {books:?}");
        entries.into_iter().filter(|entry| entry.kind() == "prediction").collect()
    }
}
