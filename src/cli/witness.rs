//! `touchmark witness`: cosigns the checkpoints of the logs that it knows, until it is told to stop.
//!
//! Its verifier keys are the first lines that it prints: they are what verifiers' policies name.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Result;
use serde_json::json;

use super::Status;
use super::output::Output;
use crate::app::{Ended, Witnessing, verifier_keys};
use crate::config::Source;

/// `touchmark witness --config FILE`
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where logs and monitors connect [default: 127.0.0.1:9092]
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// Where memory and key are kept [default: ./touchmark-data]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Print the verifier keys and end; keys and memory are made where nothing is there yet
    #[arg(long)]
    show_key: bool,
    /// Begin with an empty memory though there is a key: it has never cosigned anything
    #[arg(long)]
    new: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Args {
    fn source(&self) -> Source {
        let mut source = self.config.as_ref().map_or_else(Source::default, Source::file);
        let data = self.data.as_ref().map(|dir| dir.to_string_lossy().into_owned());
        for (flag, key, value) in [("--listen", "witness.listen", &self.listen), ("--data", "witness.dir", &data)] {
            if let Some(value) = value {
                source = source.with(flag, key, value);
            }
        }
        source
    }
}

pub(super) fn run(args: &Args, out: &mut Output) -> Result<Status> {
    let source = args.source();
    let config = source.load_for_witness()?;
    if args.show_key {
        print(args, &verifier_keys(&config, args.new)?, None, out)?;
        return Ok(Status::Done);
    }
    let witness = Witnessing::start(&config, &source, args.new)?;
    print(args, &witness.vkeys(), Some(witness.address().to_string()), out)?;
    out.flush()?;
    Ok(match witness.wait() {
        Ended::InOrder => Status::Done,
        Ended::AtOnce => Status::Failed,
    })
}

fn print(args: &Args, vkeys: &[String], listen: Option<String>, out: &mut Output) -> Result<()> {
    if args.json {
        let mut line = json!({ "vkeys": vkeys });
        if let Some(address) = listen {
            line["listen"] = format!("http://{address}").into();
        }
        writeln!(out, "{line}")?;
    } else {
        vkeys.iter().try_for_each(|vkey| writeln!(out, "{vkey}"))?;
    }
    Ok(())
}
