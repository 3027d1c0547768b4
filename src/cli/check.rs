//! `touchmark check`: gates for CI. Nothing is started, bound or written.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Subcommand;
use serde_json::json;

use super::Status;
use super::lineage::require;
use super::output::Table;
use crate::config::{Config, ConfigError, Source};
use crate::lineage;
use crate::tlog::VerifierKey;

/// `touchmark check config FILE`, `touchmark check lineage MODEL --require …`
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Checks a configuration file, with the environment over it as `serve` or `witness` would see it
    Config {
        /// The file
        file: PathBuf,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Checks that fields of a model's lineage are known
    Lineage(require::Args),
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Status> {
    match &args.what {
        What::Config { file, json } => config(file, *json, out),
        What::Lineage(args) => require::run(args, out),
    }
}

fn config(file: &Path, json: bool, out: &mut dyn Write) -> Result<Status> {
    match Source::file(file).load_for_either() {
        Ok(config) if json => {
            writeln!(out, "{}", json!({"file": file, "valid": true, "problems": []}))?;
            drop(config);
            Ok(Status::Done)
        }
        Ok(config) => {
            models(&config, out)?;
            logs(&config, out)?;
            writeln!(out, "{}: valid", super::output::printable(&file.to_string_lossy()))?;
            Ok(Status::Done)
        }
        Err(ConfigError::Wrong(problems)) if json => {
            let problems: Vec<_> = problems
                .iter()
                .map(|problem| json!({"place": problem.place, "key": problem.key, "problem": problem.problem}))
                .collect();
            writeln!(out, "{}", json!({"file": file, "valid": false, "problems": problems}))?;
            Ok(Status::Usage)
        }
        Err(error) => Err(error.into()),
    }
}

/// What would be stamped, so that a reader sees whether the file means what they meant.
fn models(config: &Config, out: &mut dyn Write) -> Result<()> {
    let mut table = Table::new(&["backend", "model", "served as", "dataset version", "reproducible", "missing"]);
    for backend in &config.backends {
        for model in &backend.models {
            let Ok(identity) = lineage::resolve(&model.declared()) else { continue };
            let content: lineage::Content = serde_json::from_str(&identity.document.json)?;
            let cells = [
                backend.name.clone(),
                format!("{}@{}", model.name, model.version),
                format!("{}@{}", model.served_name(), model.served_version().unwrap_or("*")),
                identity.dataset_version.clone().unwrap_or_default(),
                identity.reproducible.to_string(),
                content.reproducible.missing.join(","),
            ];
            table.row(&cells, out)?;
        }
    }
    Ok(table.end(out)?)
}

/// What a witness would cosign for.
fn logs(config: &Config, out: &mut dyn Write) -> Result<()> {
    let mut table = Table::new(&["witness", "log", "key"]);
    let name = config.witness.name.clone().unwrap_or_default();
    for log in &config.witness.logs {
        let Ok(key) = log.vkey.parse::<VerifierKey>() else { continue };
        let origin = log.origin.clone().unwrap_or_else(|| key.name().to_owned());
        table.row(&[name.clone(), origin, key.name().to_owned()], out)?;
    }
    Ok(table.end(out)?)
}
