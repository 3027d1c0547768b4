//! `touchmark audit verify-receipt`: did the log keep its promise to show an entry? A broken one is a negative finding.

use std::io::{Read as _, Write};

use anyhow::{Context as _, Result};
use serde_json::json;

use super::{Data, entry};
use crate::cli::{Status, output};
use crate::tlog::{Receipt, VerifierKey};

/// The most bytes of a receipt's file that are read.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// `touchmark audit verify-receipt RECEIPT --key VKEY`
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The value of X-Lineage-Receipt, or a file that holds it; '-' reads standard input
    #[arg(value_name = "RECEIPT|FILE")]
    receipt: String,
    /// The log's verifier key, NAME+ID+BASE64, as it was handed to you
    #[arg(long, value_name = "VKEY", required = true)]
    key: Vec<VerifierKey>,
    #[command(flatten)]
    data: Data,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Status> {
    let text = read(&args.receipt)?;
    let text = text.trim();
    // A header copied whole.
    let value = text.split_once(": ").filter(|(name, _)| name.eq_ignore_ascii_case("x-lineage-receipt"));
    let receipt: Receipt = value.map_or(text, |(_, value)| value).parse()?;
    let checked = receipt.verify(&args.key);
    let found = if checked.is_ok() { args.data.open()?.find_leaf(&receipt.leaf)? } else { None };
    let kept = found.is_some();
    if args.json {
        let reason = checked.as_ref().err().map(ToString::to_string);
        let index = found.as_ref().map(|found| found.index);
        let report = json!({
            "log": receipt.origin, "time": receipt.time, "signed": checked.is_ok(), "kept": kept,
            "index": index, "reason": reason,
        });
        writeln!(out, "{report}")?;
    } else if let Err(error) = &checked {
        writeln!(out, "NOT PROVEN: {error}")?;
    } else if let Some(found) = &found {
        let id = entry::text(&entry::parse(found)?, "/id");
        writeln!(out, "KEPT: the log {} shows the entry that it promised", output::printable(&receipt.origin))?;
        writeln!(out, "  entry {}, prediction:{}", found.index, output::printable(&id))?;
    } else {
        let time = jiff::Timestamp::from_second(i64::try_from(receipt.time).unwrap_or(i64::MAX));
        let time = time.map_or_else(|_| receipt.time.to_string(), |time| time.to_string());
        writeln!(
            out,
            "BROKEN: at {time} the log {} signed a promise to show an entry, and this ledger has none such",
            output::printable(&receipt.origin)
        )?;
        writeln!(out, "  whoever holds the receipt can show this to others: keep it")?;
    }
    Ok(if kept { Status::Done } else { Status::Negative })
}

fn read(receipt: &str) -> Result<String> {
    let mut text = String::new();
    if receipt == "-" {
        std::io::stdin().take(FILE_BYTES_MAX).read_to_string(&mut text)?;
    } else if receipt.contains("=\"") {
        receipt.clone_into(&mut text);
    } else {
        let file = std::fs::File::open(receipt).with_context(|| receipt.to_owned())?;
        file.take(FILE_BYTES_MAX).read_to_string(&mut text).with_context(|| receipt.to_owned())?;
    }
    Ok(text)
}
