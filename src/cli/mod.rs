//! The command line: one file a command, and the only place that prints.
//!
//! What a command found goes to standard output, what went wrong to standard error as `error: …` with the mend.
//! [`Status`] is the contract with scripts.

mod audit;
mod catalog;
mod check;
mod demo;
mod lineage;
mod output;
mod serve;
mod time;
mod witness;

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::app;
use crate::config::ConfigError;
use output::Output;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Yes, or done.
    Done,
    /// A negative finding: not found, verification failed, lineage incomplete.
    Negative,
    /// Wrong usage or configuration.
    Usage,
    /// It could not be done: files, network.
    Failed,
    /// As the command ended that was run.
    Of(u8),
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> Self {
        Self::from(match status {
            Status::Done => 0,
            Status::Negative => 1,
            Status::Usage => 2,
            Status::Failed => 3,
            Status::Of(status) => status,
        })
    }
}

/// Gives every machine-learning prediction its lineage: a reverse proxy for model servers.
#[derive(Debug, Parser)]
#[command(name = "touchmark", version, max_term_width = 100, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the proxy
    Serve(serve::Args),
    /// Shows it all at once: a model server, the proxy before it, traffic, and what came out
    Demo(demo::Args),
    /// Checks something before it is used, for CI
    Check(check::Args),
    /// Searches and reads the ledger
    Audit(audit::Args),
    /// Asks the lineage catalog
    Lineage(lineage::Args),
    /// Serves the lineage catalog alone, for a fleet
    Catalog(catalog::Args),
    /// Cosigns the checkpoints of logs, so that none of them shows two histories
    Witness(witness::Args),
}

/// Parses the arguments, the program's name first, and runs what they ask for.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> Status {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help is asked for on standard output, and a closed one is nobody's error.
            let _closed = error.print();
            return if error.use_stderr() { Status::Usage } else { Status::Done };
        }
    };
    if matches!(cli.command, Command::Serve(_) | Command::Catalog(_) | Command::Witness(_)) {
        app::take_small_pages();
    }
    let mut output = Output::new();
    let result = match cli.command {
        Command::Serve(args) => serve::run(&args),
        Command::Demo(args) => demo::run(&args, &mut output),
        Command::Check(args) => check::run(&args, &mut output),
        Command::Audit(args) => audit::run(args, &mut output),
        Command::Lineage(args) => lineage::run(&args, &mut output),
        Command::Catalog(args) => catalog::run(&args),
        Command::Witness(args) => witness::run(&args, &mut output),
    };
    let result = result.and_then(|status| output.flush().map(|()| status).map_err(Into::into));
    result.unwrap_or_else(|error| failed(&error))
}

/// Says what went wrong and what that means for the exit status.
fn failed(error: &anyhow::Error) -> Status {
    if error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>()).any(output::is_closed) {
        // Who reads our output has seen enough.
        return Status::Done;
    }
    output::error(error);
    let wrong_usage = error.chain().any(|cause| matches!(cause.downcast_ref(), Some(ConfigError::Wrong(_))));
    if wrong_usage { Status::Usage } else { lineage::status(error).unwrap_or(Status::Failed) }
}

#[cfg(test)]
mod tests;
