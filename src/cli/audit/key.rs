//! `touchmark audit key`: the keys that check what this ledger signs, for whoever is to check it.

use std::io::Write;

use anyhow::Result;
use serde_json::json;

use super::Data;
use crate::cli::{Status, output};
use crate::tlog::Scheme;

/// `touchmark audit key`
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    data: Data,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Status> {
    let keys = args.data.open()?.keys()?;
    if keys.is_empty() {
        output::note("the ledger names no key: touchmark serve makes one when it starts");
        return Ok(Status::Negative);
    }
    for key in &keys {
        if args.json {
            let id = format!("{:08x}", u32::from_be_bytes(key.id()));
            let line = json!({"key": key.to_string(), "name": key.name(), "id": id, "scheme": scheme(key.scheme())});
            writeln!(out, "{line}")?;
        } else {
            writeln!(out, "{}", output::printable(&key.to_string()))?;
        }
    }
    Ok(Status::Done)
}

/// A scheme's name for people.
pub(super) const fn scheme(scheme: Scheme) -> &'static str {
    match scheme {
        Scheme::Ed25519 => "Ed25519",
        Scheme::CosignatureV1 => "Ed25519 cosignature",
        Scheme::MlDsa44 => "ML-DSA-44",
    }
}
