//! `touchmark audit find`: which decisions fit. None is a negative finding, exit status 1.

use std::io::Write;

use anyhow::Result;

use super::Data;
use super::entry::Listing;
use super::filter::Filter;
use super::reader::Found;
use crate::cli::{Status, output};

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
    let query = args.filter.query(Some("prediction"))?;
    let reader = args.data.open()?;
    let count = list(reader.find(&query), args.filter.limit, args.json, out)?;
    if count == 0 {
        output::note("nothing found");
        return Ok(Status::Negative);
    }
    Ok(Status::Done)
}

/// Prints entries and counts them. Those before an error are printed.
fn list(
    entries: impl Iterator<Item = Result<Found>>,
    limit: Option<usize>,
    json: bool,
    out: &mut dyn Write,
) -> Result<usize> {
    let mut listing = Listing::new(json);
    let mut count = 0;
    let mut failed = None;
    for found in entries.take(limit.unwrap_or(usize::MAX)) {
        match found {
            Ok(found) => {
                listing.print(&found, out)?;
                count += 1;
            }
            Err(error) => {
                failed = Some(error);
                break;
            }
        }
    }
    listing.end(out)?;
    failed.map_or(Ok(count), Err)
}

#[cfg(test)]
mod tests {
    use super::super::entry::tests::{PREDICTION, found};
    use super::*;

    #[test]
    fn what_was_found_before_an_error_is_printed() {
        let entries = || [Ok(found(1, PREDICTION)), Ok(found(2, PREDICTION)), Err(anyhow::anyhow!("damaged"))];
        let mut out = Vec::new();
        assert!(list(entries().into_iter(), None, true, &mut out).is_err());
        assert_eq!(String::from_utf8(out).unwrap().lines().count(), 2);
        assert_eq!(list(entries().into_iter(), Some(2), true, &mut Vec::new()).unwrap(), 2);
    }
}
