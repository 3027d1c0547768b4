//! `touchmark audit key`: the keys that check what this ledger signs, for whoever is to check it; and another key for it.
//!
//! `--rotate` is the one command here that writes: it opens the ledger itself, so no other process may have it open.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use serde_json::json;

use super::{Data, entry};
use crate::cli::{Status, output};
use crate::config::Source;
use crate::ledger::read::{Query, Reader};
use crate::ledger::{Config, Kind, Ledger, OpenError, Origin, RotateError, Rotated};
use crate::telemetry::Metrics;
use crate::tlog::Scheme;

/// The second key's file, where the configuration does not say whether there is one.
const ML_DSA_KEY: &str = "signing-key.ml-dsa-44.pem";

/// `touchmark audit key [--rotate]`
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    data: Data,
    /// Go on under another Ed25519 key, which the one until now signs. touchmark serve must be stopped; where the key or
    /// anything else of the ledger is configured, give --config
    #[arg(long)]
    rotate: bool,
    /// The other key, PKCS #8 in PEM, instead of a new one
    #[arg(long, value_name = "FILE", requires = "rotate")]
    new_key: Option<PathBuf>,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Status> {
    if args.rotate {
        return rotate(args, out);
    }
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

fn rotate(args: &Args, out: &mut dyn Write) -> Result<Status> {
    let (config, origin) = ledger(&args.data)?;
    match Ledger::rotate(&config, &origin, &Arc::new(Metrics::new()), args.new_key.as_deref()) {
        Ok(Rotated { old, new, file }) => {
            if args.json {
                let line = json!({"old": old.to_string(), "new": new.to_string(), "file": file.display().to_string()});
                writeln!(out, "{line}")?;
            } else {
                writeln!(out, "old key  {}", output::printable(&old.to_string()))?;
                writeln!(out, "new key  {}", output::printable(&new.to_string()))?;
                writeln!(out, "file     {}", output::printable(&file.display().to_string()))?;
            }
            if let Some(configured) = config.signing_key.filter(|configured| *configured != file) {
                let (old, new) = (configured.display(), file.display());
                output::note(&format!("name {new} in ledger.signing_key before the next start: {old} was retired"));
            }
            Ok(Status::Done)
        }
        Err(error) => {
            let status = match &error {
                RotateError::Given { .. } | RotateError::Open(OpenError::Locked { .. } | OpenError::Used { .. }) => {
                    Status::Usage
                }
                RotateError::NoLog { .. } => Status::Negative,
                _ => return Err(error.into()),
            };
            output::error(&said(error));
            Ok(status)
        }
    }
}

/// The error, with the mend that fits a rotation.
fn said(error: RotateError) -> anyhow::Error {
    match error {
        RotateError::Open(OpenError::Locked { dir, pid }) => {
            let process = pid.map_or_else(String::new, |pid| format!(" (process {pid})"));
            let dir = dir.display();
            anyhow::anyhow!("{dir}: touchmark is running on it{process}: stop it, rotate the key, start it again")
        }
        error => error.into(),
    }
}

/// The ledger as it is configured. Without a configuration file it is what its last `start` says, with every default.
fn ledger(data: &Data) -> Result<(Config, Origin)> {
    if let Some(file) = &data.config {
        let config = Source::file(file).load()?;
        let (deployment, instance) = (config.deployment.name, config.deployment.instance.unwrap_or_default());
        return Ok((config.ledger, Origin { deployment, instance }));
    }
    let dir = data.dir()?;
    let ml_dsa_44 = dir.join(ML_DSA_KEY).exists();
    let origin = last_origin(&dir)?;
    Ok((Config { dir, ml_dsa_44, ..Config::default() }, origin))
}

fn last_origin(dir: &Path) -> Result<Origin> {
    let mut last = Origin { deployment: String::new(), instance: String::new() };
    for found in Reader::open(dir)?.find(&Query { kind: Some(Kind::Lifecycle), ..Query::default() }) {
        // What is damaged the opening finds, or verification.
        let Ok(found) = found else { continue };
        let started = entry::parse(&found)?;
        last =
            Origin { deployment: entry::text(&started, "/deployment"), instance: entry::text(&started, "/instance") };
    }
    Ok(last)
}

/// A scheme's name for people.
pub(super) const fn scheme(scheme: Scheme) -> &'static str {
    match scheme {
        Scheme::Ed25519 => "Ed25519",
        Scheme::CosignatureV1 => "Ed25519 cosignature",
        Scheme::MlDsa44 => "ML-DSA-44",
    }
}
