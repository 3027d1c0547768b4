//! `touchmark demo`: runs [`crate::demo`] and shows what came out: a tour for people, or `--json`.

mod commands;
mod figures;
mod style;
#[cfg(test)]
mod tests;
mod tour;

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use serde_json::json;

use super::Status;
use crate::app::{Ended, Signals};
use crate::demo::{Demo, Facts, Place};
use crate::telemetry::{self, LogError, LogGuard, Metrics};
use commands::Commands;
use figures::Figures;
use style::Style;

/// `touchmark demo`
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Leave it running afterwards, with commands to try; Ctrl-C stops it
    #[arg(long)]
    keep: bool,
    /// Where the ledger and files are kept [default: a temporary directory, removed at the end unless --keep]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Print what came out as one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Status> {
    let metrics = Arc::new(Metrics::new());
    let _log = log(&metrics)?;
    let place = Place::new(args.data.as_deref(), args.keep).with_context(|| match &args.data {
        Some(dir) => format!("--data {}: name a directory that can be written", dir.display()),
        None => "no temporary directory: name one with --data DIR".to_owned(),
    })?;
    let mut demo = Demo::start(&place, &metrics)?;
    let shown = demo.run().map_err(Into::into).and_then(|facts| show(args, &facts, out));
    match shown {
        Ok(Some(signals)) => Ok(match demo.wait(signals) {
            Ended::InOrder => Status::Done,
            Ended::AtOnce => Status::Failed,
        }),
        Ok(None) => {
            demo.stop();
            Ok(Status::Done)
        }
        Err(error) => {
            demo.stop();
            Err(error)
        }
    }
}

/// Shows it all. Under `--keep` also gives the signals to wait for, which were listened for before anybody was told
/// to send one.
fn show(args: &Args, facts: &Facts, out: &mut dyn Write) -> Result<Option<Signals>> {
    let figures = Figures::read(&facts.metrics);
    let commands = Commands::new(facts);
    let signals = args.keep.then(Signals::listen).transpose()?;
    if args.json {
        let mut object = serde_json::to_value(facts)?;
        object["metrics"] = serde_json::to_value(figures)?;
        if args.keep {
            object["commands"] = json!(commands.lines());
        }
        writeln!(out, "{object}")?;
    } else {
        tour::print(facts, &figures, args.keep.then_some(&commands), Style::of_stdout(), out)?;
    }
    out.flush()?;
    Ok(signals)
}

/// What goes wrong inside is worth a line. Whoever has set logging up in this process keeps it.
fn log(metrics: &Metrics) -> Result<Option<LogGuard>> {
    match telemetry::init(&Demo::log(), metrics) {
        Ok(guard) => Ok(Some(guard)),
        Err(LogError::Twice(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
