//! What a segment holds, in a few hundred bytes: enough to pass over it where nothing in it can match.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::ledger::glance::{Common, Glance};

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
    /// Adds an entry, of a time in microseconds since 1970 where it has one.
    pub(super) fn note(&mut self, index: u64, time: Option<i64>, glance: &Glance<'_>) {
        if let Some(time) = time {
            let (from, to) = self.times.unwrap_or((time, time));
            self.times = Some((from.min(time), to.max(time)));
        }
        let kind = &*glance.common.kind;
        match self.kinds.get_mut(kind) {
            Some(count) => *count += 1,
            None => drop(self.kinds.insert(kind.to_owned(), 1)),
        }
        if glance.news {
            self.values(glance.common);
        }
        let id = || glance.own.id.as_deref().and_then(|id| Uuid::parse_str(id).ok());
        match kind {
            "begin" => drop(id().map(|id| self.open.insert(id, index))),
            "prediction" if !self.open.is_empty() => drop(id().map(|id| self.open.remove(&id))),
            _ => {}
        }
    }

    /// Adds what entries have in common.
    pub(crate) fn values(&mut self, common: &Common) {
        self.models.note(common.model.as_deref());
        self.versions.note(common.version.as_deref());
        self.outcomes.note(common.outcome.as_deref());
        for dataset in &common.datasets {
            self.datasets.note(Some(dataset));
        }
    }
}
