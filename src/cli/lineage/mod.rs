//! `touchmark lineage`: what the catalog holds, for people and for scripts.
//!
//! Each command has its file; what they share stands here: where the catalog is, as of when it is asked, and what its
//! errors mean to scripts. The database is asked itself, beside a process that serves.

mod backup;
mod completeness;
mod diff;
mod impact;
mod import;
mod prediction;
mod predictions;
mod record;
mod reproducible;
pub(super) mod require;
mod search;
mod server;
mod show;
mod untracked;
mod walk;

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::SystemTime;

use anyhow::{Context as _, Result};
use clap::Subcommand;
use serde::Serialize;

use super::{Status, output, time};
use crate::config::Source;
use crate::ledger::read::Reader;
use crate::lineage::ask::NameError;
use crate::lineage::catalog::{Catalog, CatalogError, Causality, Direction, Location, Moment};
use crate::lineage::mlflow::MlflowError;
use crate::lineage::{CATALOG_FILE, FactsError, IdentityError, RemoteError};
use server::{JsonAlone, Question, Server};

/// `touchmark lineage …`
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Says what datasets, runs, models, images and deployments there are
    Record(record::Args),
    /// Finds things by type, name, owner and properties
    Search(search::Args),
    /// Shows all that is known of one thing, and how it became what it is
    Show(show::Args),
    /// Shows what something was made from
    Upstream(walk::Args),
    /// Shows what was made from something
    Downstream(walk::Args),
    /// Compares two models, or two deployments
    Diff(diff::Args),
    /// Tells what hangs on a dataset: models, deployments and predictions
    Impact(impact::Args),
    /// Leads from a prediction back to raw data, and tells what has changed since
    Prediction(prediction::Args),
    /// Tells which models answered that the catalog does not know
    Untracked(untracked::Args),
    /// Tells whether a model could be made again
    Reproducible(reproducible::Args),
    /// Tells how much leads back to where it came from
    Completeness(completeness::Args),
    /// Brings in what another registry knows
    Import(import::Args),
    /// Copies a catalog that is a file, while it is in use
    Backup(backup::Args),
}

/// Where the catalog and the ledger are.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct Place {
    /// The data directory [default: from the configuration, else ./touchmark-data]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The configuration file that names it
    #[arg(long, value_name = "FILE", conflicts_with = "data")]
    config: Option<PathBuf>,
    /// The catalog: postgres://…, or a file [default: lineage.catalog.url, else catalog.db in the data directory]
    #[arg(long, value_name = "URL")]
    catalog: Option<String>,
}

impl Place {
    /// The catalog, which must be there.
    pub(super) async fn open(&self) -> Result<Catalog> {
        let location = self.location()?;
        if let Location::File(path) = &location {
            // To open one that is not there would make it.
            std::fs::metadata(path).with_context(|| {
                format!("there is no catalog at {}: 'touchmark serve' makes one, or name it by --data", path.display())
            })?;
        }
        Ok(Catalog::open(&location, Causality::default()).await?)
    }

    /// The catalog, made where there is none.
    async fn open_or_make(&self) -> Result<Catalog> {
        let location = self.location()?;
        if let Location::File(path) = &location
            && let Some(folder) = path.parent()
        {
            std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        }
        Ok(Catalog::open(&location, self.source().causality()?).await?)
    }

    fn location(&self) -> Result<Location> {
        let url = match &self.catalog {
            Some(url) => Some(url.clone()),
            // A directory that is named is that one's, whatever the environment says.
            None if self.data.is_some() => None,
            None => self.source().catalog_url()?,
        };
        Ok(match url {
            Some(url) if url.contains("://") => Location::Url(url),
            Some(path) => Location::File(PathBuf::from(path)),
            None => Location::File(self.dir()?.join(CATALOG_FILE)),
        })
    }

    /// The data directory.
    fn dir(&self) -> Result<PathBuf> {
        match &self.data {
            Some(dir) => Ok(dir.clone()),
            None => Ok(self.source().ledger_dir()?),
        }
    }

    /// The ledger.
    fn ledger(&self) -> Result<Reader> {
        Ok(Reader::open(&self.dir()?)?)
    }

    /// The ledger, where there is one.
    fn ledger_if_any(&self) -> Result<Option<Reader>> {
        let opened = self.ledger();
        let nothing = |cause: &(dyn std::error::Error + 'static)| {
            cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::NotFound)
        };
        match opened {
            Err(error) if error.chain().any(nothing) => Ok(None),
            opened => opened.map(Some),
        }
    }

    fn source(&self) -> Source {
        self.config.as_ref().map_or_else(Source::default, Source::file)
    }
}

/// What every question takes.
#[derive(Clone, Debug, Default, clap::Args)]
struct Asked {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    server: Server,
    /// As the graph stood then: 2026-11-20T17:00:00Z, 2026-11-20 (UTC), or 2h (ago)
    #[arg(long, value_name = "TIME", value_parser = time::time)]
    as_of: Option<SystemTime>,
    /// Print JSON: one object, or one a line for lists
    #[arg(long)]
    json: bool,
}

impl Asked {
    async fn open(&self) -> Result<(Catalog, Moment)> {
        let catalog = self.place.open().await?;
        let moment = moment(&catalog, self.as_of).await?;
        Ok((catalog, moment))
    }

    /// What a server answers, where one is named.
    async fn elsewhere(&self, question: Question, json: bool) -> Result<Option<serde_json::Value>> {
        if !self.server.is_named() {
            return Ok(None);
        }
        if !json {
            return Err(JsonAlone.into());
        }
        self.server.ask(&question.at("as_of", self.as_of)?).await.map(Some)
    }
}

/// The moment of a time; the present where there is none.
async fn moment(catalog: &Catalog, time: Option<SystemTime>) -> Result<Moment> {
    match time {
        Some(time) => Ok(catalog.moment(time.try_into()?).await?),
        None => Ok(Moment::NOW),
    }
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Status> {
    wait(async {
        match &args.command {
            Command::Record(args) => record::run(args, out).await,
            Command::Search(args) => search::run(args, out).await,
            Command::Show(args) => show::run(args, out).await,
            Command::Upstream(args) => walk::run(args, Direction::Upstream, out).await,
            Command::Downstream(args) => walk::run(args, Direction::Downstream, out).await,
            Command::Diff(args) => diff::run(args, out).await,
            Command::Impact(args) => impact::run(args, out).await,
            Command::Prediction(args) => prediction::run(args, out).await,
            Command::Untracked(args) => untracked::run(args, out).await,
            Command::Reproducible(args) => reproducible::run(args, out).await,
            Command::Completeness(args) => completeness::run(args, out).await,
            Command::Import(args) => import::run(args, out).await,
            Command::Backup(args) => backup::run(args, out).await,
        }
    })
}

/// Runs a question to its end.
fn wait<T>(question: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(question)
}

/// What an error of the catalog means to scripts; `None` where it is none of its.
pub(super) fn status(error: &anyhow::Error) -> Option<Status> {
    error.chain().find_map(|cause| {
        if let Some(error) = cause.downcast_ref::<NameError>() {
            return Some(match error {
                NameError::Missing { .. } => Status::Negative,
                NameError::Several { .. } | NameError::Kind { .. } | NameError::Prediction(_) => Status::Usage,
                NameError::Catalog(_) => Status::Failed,
            });
        }
        if let Some(error) = cause.downcast_ref::<CatalogError>() {
            let usage = error.is_callers() || matches!(error, CatalogError::Url(_));
            return usage.then_some(Status::Usage);
        }
        if let Some(error) = cause.downcast_ref::<MlflowError>() {
            return Some(match error {
                MlflowError::Address { .. } => Status::Usage,
                MlflowError::Unknown(_) => Status::Negative,
                _ => Status::Failed,
            });
        }
        if let Some(error) = cause.downcast_ref::<RemoteError>() {
            return Some(server::status(error));
        }
        let usage = cause.is::<IdentityError>() || cause.is::<FactsError>() || cause.is::<JsonAlone>();
        usage.then_some(Status::Usage)
    })
}

/// Prints an object on one line.
fn json_line(value: &impl Serialize, out: &mut dyn Write) -> Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    Ok(out.write_all(b"\n")?)
}

/// `NAME=VALUE`
fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or_else(|| "write NAME=VALUE".to_owned())?;
    Ok((name.to_owned(), value.to_owned()))
}
