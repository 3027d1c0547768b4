//! `touchmark lineage backup`: a copy of the catalog as it stands, taken while it is in use.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Result;
use serde_json::json;

use super::{Place, output};
use crate::cli::Status;

/// `touchmark lineage backup FILE`
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where the copy goes; it must not be there yet
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    place: Place,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: &Args, out: &mut dyn Write) -> Result<Status> {
    let catalog = args.place.open().await?;
    // A copy of what is damaged would hide it until it is needed.
    catalog.check().await?;
    catalog.backup(&args.file).await?;
    let bytes = std::fs::metadata(&args.file)?.len();
    catalog.close().await;
    if args.json {
        writeln!(out, "{}", json!({"file": args.file, "bytes": bytes}))?;
    } else {
        output::note(&format!("{}: {bytes} bytes", args.file.display()));
    }
    Ok(Status::Done)
}
