//! `touchmark audit`: what the ledger holds, for people and for scripts.
//!
//! Each command has its file; what they share stands here: where the ledger is, which entries are meant, and how
//! one is printed. Nothing here writes to the ledger.

mod entry;
mod export;
mod filter;
mod find;
mod hash;
mod reader;
mod show;
mod tail;

use std::io::Write;
use std::path::PathBuf;

use anyhow::Result;
use clap::Subcommand;

use super::Status;
use crate::config::Source;
use reader::Reader;

/// `touchmark audit …`
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Finds predictions: by input, model, time and more
    Find(find::Args),
    /// Shows all that the ledger knows of one prediction
    Show(show::Args),
    /// Prints the newest entries, and those to come
    Tail(tail::Args),
    /// Writes entries as JSON lines or CSV
    Export(export::Args),
    /// Hashes a payload as the ledger does
    Hash(hash::Args),
}

/// Where the ledger is.
#[derive(Debug, clap::Args)]
struct Data {
    /// The data directory [default: from the configuration, else ./touchmark-data]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The configuration file that names it
    #[arg(long, value_name = "FILE", conflicts_with = "data")]
    config: Option<PathBuf>,
}

impl Data {
    fn open(&self) -> Result<Reader> {
        let source = self.config.as_ref().map_or_else(Source::default, Source::file);
        let dir = match &self.data {
            Some(dir) => dir.clone(),
            None => source.ledger_dir()?,
        };
        Reader::open(&dir)
    }
}

pub(super) fn run(args: Args, out: &mut dyn Write) -> Result<Status> {
    match args.command {
        Command::Find(args) => find::run(&args, out),
        Command::Show(args) => show::run(&args, out),
        Command::Tail(args) => tail::run(&args, out),
        Command::Export(args) => export::run(&args, out),
        Command::Hash(args) => hash::run(&args, out),
    }
}
