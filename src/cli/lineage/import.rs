//! `touchmark lineage import`: what another registry knows, brought into the catalog. Twice is once.
//!
//! The table is what could not be placed; the last line is what was found.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Subcommand;

use super::{Place, json_line, output};
use crate::cli::Status;
use crate::cli::output::Table;
use crate::lineage::mlflow::{Client, Credentials, Importer, Report, Scope, Settings};

/// `touchmark lineage import …`
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    from: From,
}

#[derive(Debug, Subcommand)]
enum From {
    /// From an MLflow server: registered models, their versions, runs and datasets
    Mlflow(Mlflow),
}

/// `touchmark lineage import mlflow`
#[derive(Debug, clap::Args)]
struct Mlflow {
    /// The server's address [default: the variable `MLFLOW_TRACKING_URI`]
    #[arg(long, value_name = "URI")]
    uri: Option<String>,
    /// One model, or one version of it [default: every registered model]
    #[arg(long, value_name = "NAME[@ALIAS|/VERSION]")]
    model: Option<Scope>,
    /// A file that holds the bearer token [default: the variables `MLFLOW_TRACKING_TOKEN`, or `…_USERNAME` and `…_PASSWORD`]
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Only say what would be recorded
    #[arg(long)]
    dry_run: bool,
    /// Print JSON: one object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

pub(super) async fn run(args: &Args, out: &mut dyn Write) -> Result<Status> {
    match &args.from {
        From::Mlflow(args) => args.run(out).await,
    }
}

impl Mlflow {
    async fn run(&self, out: &mut dyn Write) -> Result<Status> {
        let variable = |name: &str| std::env::var(name).ok();
        let uri = self.uri.clone().or_else(|| variable("MLFLOW_TRACKING_URI")).filter(|uri| !uri.is_empty());
        let Some(uri) = uri else {
            output::note("which MLflow? Give its address, --uri http://HOST:PORT");
            return Ok(Status::Usage);
        };
        let credentials = match &self.token_file {
            Some(file) => Credentials::file(file).with_context(|| format!("{} cannot be read", file.display()))?,
            None => Credentials::find(variable),
        };
        let client = Client::new(&uri, &credentials)?;
        let author = ["USER", "LOGNAME"].into_iter().find_map(variable).unwrap_or_else(|| "cli".to_owned());
        let settings = Settings { author, dry_run: self.dry_run, ..Settings::default() };
        let catalog = self.place.open_or_make().await?;
        let imported = Importer::new(client, settings).import(&catalog, &self.model.clone().unwrap_or_default()).await;
        catalog.close().await;
        match imported {
            Ok(report) => self.print(&report, out).map(|()| Status::Done),
            Err(stopped) => {
                if stopped.report.is_news() {
                    self.print(&stopped.report, out)?;
                }
                Err(stopped.error.into())
            }
        }
    }

    fn print(&self, report: &Report, out: &mut dyn Write) -> Result<()> {
        if self.json {
            return json_line(report, out);
        }
        let mut table = Table::new(&["not placed", "why"]);
        for finding in &report.unplaced {
            table.row(&[finding.what.clone(), finding.why.clone()], out)?;
        }
        for flaw in &report.flagged {
            table.row(&["recorded, and doubtful".to_owned(), flaw.clone()], out)?;
        }
        table.end(out)?;
        writeln!(out, "{report}")?;
        Ok(())
    }
}
