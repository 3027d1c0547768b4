//! `touchmark audit`: what the ledger holds, for people and for scripts.
//!
//! Each command has its file; what they share stands here: where the ledger is, which entries are meant, and how
//! one is printed. Nothing but `key --rotate` writes to the ledger.

pub(super) mod entry;
mod export;
mod filter;
mod find;
pub(super) mod hash;
mod key;
mod prove;
pub(super) mod show;
mod tail;
mod verify;
mod verify_proof;
mod verify_receipt;

use std::io::Write;
use std::path::PathBuf;

use anyhow::Result;
use clap::Subcommand;

use super::{Status, output};
use crate::config::Source;
use crate::ledger::read::{Found, Reader};

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
    /// Verifies the whole ledger
    Verify(verify::Args),
    /// Hashes a payload as the ledger does
    Hash(hash::Args),
    /// Verifies a receipt, and finds the entry that it promises
    VerifyReceipt(verify_receipt::Args),
    /// Proves a prediction, or that the log only grew, to a third party
    Prove(prove::Args),
    /// Verifies such a proof, with keys and nothing else
    VerifyProof(verify_proof::Args),
    /// Prints the keys that check what the ledger signs
    Key(key::Args),
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
    /// The data directory.
    fn dir(&self) -> Result<PathBuf> {
        let source = self.config.as_ref().map_or_else(Source::default, Source::file);
        match &self.data {
            Some(dir) => Ok(dir.clone()),
            None => Ok(source.ledger_dir()?),
        }
    }

    fn open(&self) -> Result<Reader> {
        Ok(Reader::open(&self.dir()?)?)
    }
}

pub(super) fn run(args: Args, out: &mut dyn Write) -> Result<Status> {
    match args.command {
        Command::Find(args) => find::run(&args, out),
        Command::Show(args) => show::run(&args, out),
        Command::Tail(args) => tail::run(&args, out),
        Command::Export(args) => export::run(&args, out),
        Command::Verify(args) => verify::run(&args, out),
        Command::Hash(args) => hash::run(&args, out),
        Command::VerifyReceipt(args) => verify_receipt::run(&args, out),
        Command::Prove(args) => prove::run(&args, out),
        Command::VerifyProof(args) => verify_proof::run(&args, out),
        Command::Key(args) => key::run(&args, out),
    }
}

/// The entries that can be read. Damage between them is said at once, and makes the command fail at its end: what is
/// whole is given, and a missing entry is never silent.
#[derive(Debug)]
pub(super) struct Readable<I> {
    entries: I,
    damaged: bool,
}

impl<I, E> Readable<I>
where
    I: Iterator<Item = Result<Found, E>>,
    E: Into<anyhow::Error>,
{
    pub(super) fn new(entries: I) -> Self {
        Self { entries, damaged: false }
    }

    pub(super) fn status(&self) -> Status {
        if self.damaged { Status::Failed } else { Status::Done }
    }
}

impl<I, E> Iterator for Readable<I>
where
    I: Iterator<Item = Result<Found, E>>,
    E: Into<anyhow::Error>,
{
    type Item = Found;

    fn next(&mut self) -> Option<Found> {
        loop {
            match self.entries.next()? {
                Ok(found) => return Some(found),
                Err(error) => {
                    output::error(&error.into());
                    self.damaged = true;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::entry::tests::found;
    use super::*;

    #[test]
    fn damage_hides_nothing_and_fails_at_the_end() {
        let entries = [Ok(found(1, "{}")), Err(anyhow::anyhow!("damaged at byte 7")), Ok(found(3, "{}"))];
        let mut readable = Readable::new(entries.into_iter());
        let indices: Vec<_> = readable.by_ref().map(|found| found.index).collect();
        assert_eq!(indices, [1, 3]);
        assert_eq!(readable.status(), Status::Failed);
        let mut whole = Readable::new([Ok::<_, anyhow::Error>(found(1, "{}"))].into_iter());
        assert_eq!((whole.by_ref().count(), whole.status()), (1, Status::Done));
    }
}
