//! What a segment holds, in a few hundred bytes: enough to pass over it where nothing in it can match.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::ledger::parse::Entry;

/// Values of a kind that a summary lists; with more, it says nothing about them.
const VALUES_MAX: usize = 256;

/// A bounded set of values that occur; `None` once there were too many.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Values(Option<BTreeSet<String>>);

impl Default for Values {
    fn default() -> Self {
        Self(Some(BTreeSet::new()))
    }
}

impl Values {
    pub(crate) fn note(&mut self, value: Option<&str>) {
        let (Some(set), Some(value)) = (&mut self.0, value) else { return };
        if !set.contains(value) {
            set.insert(value.to_owned());
        }
        if set.len() > VALUES_MAX {
            self.0 = None;
        }
    }

    /// False only where no entry has a value that fits.
    pub(crate) fn may_have(&self, fits: impl Fn(&str) -> bool) -> bool {
        self.0.as_ref().is_none_or(|set| set.iter().any(|value| fits(value)))
    }
}

/// A segment's contents.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Summary {
    /// Microseconds since 1970 of the earliest and latest `time`.
    pub(crate) times: Option<(i64, i64)>,
    /// Entries by kind.
    pub(crate) kinds: BTreeMap<String, u64>,
    pub(crate) models: Values,
    pub(crate) versions: Values,
    pub(crate) datasets: Values,
    pub(crate) outcomes: Values,
    /// Documents of `lineage` entries, in hexadecimal.
    pub(crate) digests: Vec<String>,
    /// `begin` entries without their `prediction` at the segment's end, from this and all earlier segments.
    pub(crate) open: BTreeMap<Uuid, u64>,
}

impl Summary {
    /// Adds an entry.
    pub(crate) fn note(&mut self, index: u64, entry: &Entry<'_>) {
        if let Some(time) = entry.time_us() {
            let (from, to) = self.times.unwrap_or((time, time));
            self.times = Some((from.min(time), to.max(time)));
        }
        match self.kinds.get_mut(&*entry.kind) {
            Some(count) => *count += 1,
            None => drop(self.kinds.insert(entry.kind.to_string(), 1)),
        }
        self.models.note(entry.model.as_deref());
        self.versions.note(entry.version.as_deref());
        self.outcomes.note(entry.outcome.as_deref());
        for dataset in entry.datasets.iter().flatten() {
            self.datasets.note(Some(dataset));
        }
        let id = || entry.id.as_deref().and_then(|id| Uuid::parse_str(id).ok());
        match &*entry.kind {
            "lineage" => self.digests.extend(entry.digest.as_deref().map(str::to_owned)),
            "begin" => drop(id().map(|id| self.open.insert(id, index))),
            "prediction" if !self.open.is_empty() => drop(id().map(|id| self.open.remove(&id))),
            _ => {}
        }
    }
}
