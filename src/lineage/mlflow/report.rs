//! What an import came to: what was found, what was new, and what could not be placed. Bounded, and counted beyond.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;

use super::MlflowError;
use crate::lineage::catalog::Recorded;

/// Names or findings of one kind that a report keeps; more are counted.
const KEPT_MAX: usize = 10_000;

/// Something that was found and could not be placed, or only in part.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Unplaced {
    /// What it is about.
    pub what: String,
    /// Why, and what would mend it.
    pub why: String,
}

/// How much of each was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Found {
    /// Registered models.
    pub models: usize,
    /// Versions of them.
    pub versions: usize,
    /// Runs that made those.
    pub runs: usize,
    /// Datasets that those used.
    pub datasets: usize,
    /// Versions of which nothing had changed since the last look, so that their runs were not asked for.
    pub unchanged: usize,
}

/// What an import came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The server's address.
    pub server: String,
    /// Whether nothing was written.
    pub dry_run: bool,
    /// What was found.
    pub found: Found,
    /// Nodes that were new to the catalog, by name.
    pub new: BTreeSet<String>,
    /// Nodes of which something is different now.
    pub changed: BTreeSet<String>,
    /// Edges and members that were added or taken away.
    pub linked: usize,
    /// What could not be placed.
    pub unplaced: BTreeSet<Unplaced>,
    /// What was recorded although it is doubtful.
    pub flagged: BTreeSet<String>,
    /// How many names and findings there are beyond those.
    pub more: usize,
}

/// An import that did not come to its end, and what had been recorded until then.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct Stopped {
    /// What had been recorded.
    pub report: Box<Report>,
    /// Why it ended.
    pub error: MlflowError,
}

impl Report {
    /// Whether the catalog is different now, or would be.
    pub fn is_news(&self) -> bool {
        !self.new.is_empty() || !self.changed.is_empty() || self.linked > 0
    }

    pub(super) fn unplaced(&mut self, what: impl Into<String>, why: impl Into<String>) {
        let finding = Unplaced { what: what.into(), why: why.into() };
        keep(&mut self.unplaced, finding, &mut self.more);
    }

    pub(super) fn add(&mut self, recorded: Recorded) {
        for name in recorded.created {
            self.changed.remove(&name);
            keep(&mut self.new, name, &mut self.more);
        }
        for name in recorded.changed {
            // Of what was new in this import, more was said.
            if !self.new.contains(&name) {
                keep(&mut self.changed, name, &mut self.more);
            }
        }
        for flaw in recorded.flagged {
            keep(&mut self.flagged, flaw, &mut self.more);
        }
        self.linked += recorded.linked;
    }
}

fn keep<T: Ord>(set: &mut BTreeSet<T>, item: T, more: &mut usize) {
    if set.len() < KEPT_MAX {
        set.insert(item);
    } else if !set.contains(&item) {
        *more += 1;
    }
}

/// The last line of an import, for people.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Found { models, versions, runs, datasets, unchanged } = self.found;
        write!(
            f,
            "found {}, {}, {} and {}",
            count(models, "model"),
            count(versions, "version"),
            count(runs, "run"),
            count(datasets, "dataset")
        )?;
        if unchanged > 0 {
            write!(f, " ({unchanged} versions as they were)")?;
        }
        let would = if self.dry_run { " would be" } else { "" };
        write!(f, "; {}{would} new, {}{would} changed", self.new.len(), self.changed.len())?;
        write!(f, "; {} could not be placed", self.unplaced.len())
    }
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_new_is_not_changed_and_what_is_too_much_is_counted() {
        let mut report = Report::default();
        let recorded = |created: &[&str], changed: &[&str]| Recorded {
            created: created.iter().map(ToString::to_string).collect(),
            changed: changed.iter().map(ToString::to_string).collect(),
            ..Recorded::default()
        };
        report.add(recorded(&["a"], &[]));
        report.add(recorded(&["b"], &["a", "c"]));
        assert_eq!((report.new.len(), report.changed.len()), (2, 1));
        for number in 0..=KEPT_MAX {
            report.unplaced(format!("{number}"), "why");
        }
        assert_eq!((report.unplaced.len(), report.more), (KEPT_MAX, 1));
        let line = "found 0 models, 0 versions, 0 runs and 0 datasets; 2 new, 1 changed; 10000 could not be placed";
        assert_eq!(report.to_string(), line);
    }
}
