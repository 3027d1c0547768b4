//! Predictions as the ledger holds them, for questions that join them with the graph.

use std::time::SystemTime;

use anyhow::Result;

use crate::cli::audit::Readable;
use crate::cli::{Status, output, time};
use crate::ledger::Kind;
use crate::ledger::read::{Brief, Query, Reader, Touching};
use crate::lineage::ask::Prediction;

/// When predictions were made.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub(super) struct Range {
    /// The earliest time: 2026-11-20T17:00:00Z, 2026-11-20 (UTC), or 2h (ago)
    #[arg(long, value_name = "TIME", value_parser = time::time)]
    pub(super) from: Option<SystemTime>,
    /// The time before which: as --from
    #[arg(long, value_name = "TIME", value_parser = time::time)]
    pub(super) to: Option<SystemTime>,
}

/// Gives each prediction of a range with its id; with `touching`, those alone that have a model or a dataset of it. What
/// is damaged is told, and makes the command fail at its end.
pub(super) fn each(
    reader: &Reader,
    range: Range,
    touching: Option<Touching>,
    mut take: impl FnMut(&str, &Prediction<'_>) -> Result<()>,
) -> Result<Status> {
    let query = Query { kind: Some(Kind::Prediction), from: range.from, to: range.to, touching, ..Query::default() };
    let mut readable = Readable::new(reader.find(&query));
    for found in &mut readable {
        let Some(entry) = Brief::parse(&found.entry) else {
            output::note(&format!("entry {} is of a form that is not known", found.index));
            continue;
        };
        let datasets: Vec<&str> = entry.datasets.iter().map(|dataset| &**dataset).collect();
        let prediction = Prediction {
            time: &entry.time,
            deployment: &entry.deployment,
            model: entry.model.as_deref(),
            version: entry.version.as_deref(),
            datasets: &datasets,
        };
        take(&entry.id, &prediction)?;
    }
    Ok(readable.status())
}
