//! The ledger's metrics with their labels resolved once: a look-up by label costs more than an entry's write.

use prometheus::{Gauge, Histogram, IntCounter, IntGauge};

use crate::exchange::Unrecorded;
use crate::ledger::entry::Kind;
use crate::ledger::tail::Group;
use crate::telemetry::Metrics;

/// The ledger's metrics, their labels resolved once.
#[derive(Debug)]
pub(crate) struct Meters {
    entries: [IntCounter; Kind::ALL.len()],
    pub(crate) unrecorded: [IntCounter; Unrecorded::ALL.len()],
    pub(crate) commit: Histogram,
    pub(crate) queue_entries: IntGauge,
    pub(crate) queue_bytes: IntGauge,
    pub(crate) tree_size: IntGauge,
    pub(crate) checkpoint_age: Gauge,
    pub(crate) integrity_failures: IntCounter,
}

impl Meters {
    /// Resolves the labels.
    pub(crate) fn new(metrics: &Metrics) -> Self {
        Self {
            entries: Kind::ALL.map(|kind| metrics.ledger_entries.with_label_values(&[kind.as_str()])),
            unrecorded: Unrecorded::ALL.map(|reason| metrics.ledger_unrecorded.with_label_values(&[reason.as_str()])),
            commit: metrics.ledger_commit.clone(),
            queue_entries: metrics.ledger_queue_entries.clone(),
            queue_bytes: metrics.ledger_queue_bytes.clone(),
            tree_size: metrics.ledger_tree_size.clone(),
            checkpoint_age: metrics.ledger_checkpoint_age.clone(),
            integrity_failures: metrics.ledger_integrity_failures.clone(),
        }
    }

    /// Counts what was written.
    pub(crate) fn count(&self, group: &Group) {
        for (counter, count) in self.entries.iter().zip(group.kinds) {
            if count > 0 {
                counter.inc_by(u64::from(count));
            }
        }
    }
}
