//! What to look for, and whether an entry or a whole segment can be it. Pure.

use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

use uuid::Uuid;

use crate::ledger::entry::Kind;
use crate::ledger::index::{Key, Summary};
use crate::ledger::json;
use crate::ledger::parse::{Body, Entry, unhex};

/// Which entries to find. Every condition that is set must hold; none finds everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// SHA-256 of the request's body.
    pub input_hash: Option<[u8; 32]>,
    /// SHA-256 of the answer's body.
    pub output_hash: Option<[u8; 32]>,
    /// The prediction's id.
    pub prediction: Option<Uuid>,
    /// W3C trace id.
    pub trace: Option<[u8; 16]>,
    /// The model's name.
    pub model: Option<String>,
    /// The model's version.
    pub version: Option<String>,
    /// A training dataset, `[NAMESPACE/]NAME[@VERSION]`; what is left out may be anything.
    pub dataset: Option<String>,
    /// Models and datasets of which it has at least one.
    pub touching: Option<Touching>,
    /// How it ended, as entries say it.
    pub outcome: Option<String>,
    /// Which kind of entry.
    pub kind: Option<Kind>,
    /// Not before this time.
    pub from: Option<SystemTime>,
    /// Before this time.
    pub to: Option<SystemTime>,
    /// At most this many.
    pub limit: Option<usize>,
}

/// Models and datasets, of which an entry may have any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Touching {
    /// `NAME@VERSION`
    pub models: BTreeSet<String>,
    /// `[NAMESPACE/]NAME@VERSION`, whole.
    pub datasets: BTreeSet<String>,
}

impl Touching {
    fn matches(&self, entry: &Entry<'_>) -> bool {
        let model = entry.model.as_deref().zip(entry.version.as_deref());
        model.is_some_and(|(name, version)| self.models.contains(&format!("{name}@{version}")))
            || entry.datasets.iter().flatten().any(|dataset| self.datasets.contains(&**dataset))
    }

    fn may_match(&self, summary: &Summary) -> bool {
        summary.datasets.may_have(|name| self.datasets.contains(name))
            || self.models.iter().filter_map(|model| model.rsplit_once('@')).any(|(name, version)| {
                summary.models.may_have(|value| value == name) && summary.versions.may_have(|value| value == version)
            })
    }
}

impl Query {
    /// The condition that an index answers, if there is one.
    pub(super) fn key(&self) -> Option<Key> {
        self.prediction
            .map(Key::Prediction)
            .or(self.input_hash.map(Key::Input))
            .or(self.output_hash.map(Key::Output))
            .or(self.trace.map(Key::Trace))
    }

    /// A text that every match has, to pass over most others without reading them as JSON.
    pub(super) fn needle(&self) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        if let Some(id) = self.prediction {
            json::uuid(&mut out, id);
        } else if let Some(hash) = self.input_hash.or(self.output_hash) {
            json::hex(&mut out, &hash);
        } else if let Some(trace) = self.trace {
            json::hex(&mut out, &trace);
        } else if let Some(model) = &self.model {
            out.extend_from_slice(b"\"model\":");
            json::text(&mut out, model);
        } else if let Some(outcome) = &self.outcome {
            out.extend_from_slice(b"\"outcome\":");
            json::text(&mut out, outcome);
        } else if let Some(kind) = self.kind {
            out.extend_from_slice(b"\"kind\":");
            json::text(&mut out, kind.as_str());
        } else {
            return None;
        }
        Some(out)
    }

    /// Whether an entry is a match. What cannot be read as an entry matches only where nothing is asked of it.
    pub(super) fn matches(&self, payload: &[u8]) -> bool {
        let all = Self { limit: self.limit, ..Self::default() };
        if *self == all {
            return true;
        }
        Entry::parse(payload).is_ok_and(|entry| self.matches_entry(&entry))
    }

    fn matches_entry(&self, entry: &Entry<'_>) -> bool {
        fn is(wanted: Option<&str>, value: Option<&str>) -> bool {
            wanted.is_none_or(|wanted| value == Some(wanted))
        }
        fn hash(wanted: Option<[u8; 32]>, body: Option<&Body<'_>>) -> bool {
            wanted.is_none_or(|wanted| body.and_then(|body| unhex(body.hash.as_deref()?)) == Some(wanted))
        }
        let id = |wanted: Uuid| entry.id.as_deref().and_then(|id| Uuid::parse_str(id).ok()) == Some(wanted);
        let trace = |wanted| entry.trace.as_deref().and_then(unhex) == Some(wanted);
        hash(self.input_hash, entry.input.as_ref())
            && hash(self.output_hash, entry.output.as_ref())
            && self.prediction.is_none_or(id)
            && self.trace.is_none_or(trace)
            && is(self.kind.map(Kind::as_str), Some(&entry.kind))
            && is(self.model.as_deref(), entry.model.as_deref())
            && is(self.version.as_deref(), entry.version.as_deref())
            && is(self.outcome.as_deref(), entry.outcome.as_deref())
            && self
                .dataset
                .as_deref()
                .is_none_or(|wanted| entry.datasets.iter().flatten().any(|dataset| names_dataset(wanted, dataset)))
            && self.touching.as_ref().is_none_or(|touching| touching.matches(entry))
            && self.in_range(entry)
    }

    fn in_range(&self, entry: &Entry<'_>) -> bool {
        if self.from.is_none() && self.to.is_none() {
            return true;
        }
        let Some(time) = entry.time_us() else { return false };
        self.from.is_none_or(|from| micros(from) <= time) && self.to.is_none_or(|to| time < micros(to))
    }

    /// False only where no entry of the segment can match.
    pub(super) fn may_match(&self, summary: &Summary) -> bool {
        let in_range = match summary.times {
            Some((first, last)) => {
                self.from.is_none_or(|from| micros(from) <= last) && self.to.is_none_or(|to| first < micros(to))
            }
            None => self.from.is_none() && self.to.is_none(),
        };
        let has = |wanted: &Option<String>, values: &crate::ledger::index::Values| {
            wanted.as_deref().is_none_or(|wanted| values.may_have(|value| value == wanted))
        };
        in_range
            && has(&self.model, &summary.models)
            && has(&self.version, &summary.versions)
            && has(&self.outcome, &summary.outcomes)
            && self
                .dataset
                .as_deref()
                .is_none_or(|wanted| summary.datasets.may_have(|name| names_dataset(wanted, name)))
            && self.touching.as_ref().is_none_or(|touching| touching.may_match(summary))
            && self.kind.is_none_or(|kind| summary.kinds.contains_key(kind.as_str()))
    }
}

/// Whether `[NAMESPACE/]NAME[@VERSION]` fits a dataset's full name.
fn names_dataset(wanted: &str, dataset: &str) -> bool {
    let fits = |name: &str| name == wanted || name.strip_suffix(wanted).is_some_and(|rest| rest.ends_with('/'));
    fits(dataset) || dataset.rsplit_once('@').is_some_and(|(name, _)| fits(name))
}

fn micros(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dataset_may_leave_out_namespace_and_version() {
        for wanted in ["s3://lake/tx@v2.0", "tx@v2.0", "tx", "s3://lake/tx", "lake/tx"] {
            assert!(names_dataset(wanted, "s3://lake/tx@v2.0"), "{wanted}");
        }
        for wanted in ["x", "tx@v2", "tx@v1.0", "x@v2.0", "@v2.0"] {
            assert!(!names_dataset(wanted, "s3://lake/tx@v2.0"), "{wanted}");
        }
    }
}
