//! `touchmark catalog serve`: the catalog alone, until it is told to stop.

use std::path::PathBuf;

use anyhow::Result;
use clap::Subcommand;

use super::Status;
use crate::app::{Cataloging, Ended};
use crate::config::Source;

/// `touchmark catalog …`
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serves the catalog for proxies elsewhere, for pipelines and for people
    Serve(ServeArgs),
}

/// `touchmark catalog serve --config FILE`
#[derive(Debug, clap::Args)]
struct ServeArgs {
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where the API is served [default: 127.0.0.1:9091]
    #[arg(long, value_name = "ADDR")]
    admin: Option<String>,
    /// Where the catalog's file and the access log are kept [default: ./touchmark-data]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

impl ServeArgs {
    fn source(&self) -> Source {
        let mut source = self.config.as_ref().map_or_else(Source::default, Source::file);
        let data = self.data.as_ref().map(|dir| dir.to_string_lossy().into_owned());
        for (flag, key, value) in [("--admin", "admin.listen", &self.admin), ("--data", "ledger.dir", &data)] {
            if let Some(value) = value {
                source = source.with(flag, key, value);
            }
        }
        source
    }
}

pub(super) fn run(args: &Args) -> Result<Status> {
    let Command::Serve(args) = &args.command;
    let source = args.source();
    let config = source.load_for_catalog()?;
    Ok(match Cataloging::start(&config, &source)?.wait() {
        Ended::InOrder => Status::Done,
        Ended::AtOnce => Status::Failed,
    })
}
