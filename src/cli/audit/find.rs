//! `touchmark audit find`: which decisions fit. None is a negative finding, exit status 1.

use std::io::Write;

use anyhow::Result;

use super::entry::Listing;
use super::filter::Filter;
use super::{Data, Readable};
use crate::cli::{Status, output};
use crate::ledger::Kind;

/// `touchmark audit find`
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    data: Data,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Status> {
    let query = args.filter.query(Some(Kind::Prediction))?;
    let reader = args.data.open()?;
    let mut readable = Readable::new(reader.find(&query));
    let mut listing = Listing::new(args.json);
    let mut count: u64 = 0;
    for found in &mut readable {
        listing.print(&found, out)?;
        count += 1;
    }
    listing.end(out)?;
    let status = readable.status();
    if count == 0 && status == Status::Done {
        output::note("nothing found");
        return Ok(Status::Negative);
    }
    Ok(status)
}
