//! `touchmark audit tail`: the newest entries, and with `--follow` those to come.

use std::collections::VecDeque;
use std::io::Write;

use anyhow::Result;

use super::Data;
use super::entry::Listing;
use super::reader::{Found, Query};
use crate::cli::Status;

/// Entries kept in memory at most: at 64 KiB each, 640 MiB in the very worst case.
const COUNT_MAX: u64 = 10_000;

/// `touchmark audit tail`
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// How many entries
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 10, value_parser = clap::value_parser!(u64).range(0..=COUNT_MAX))]
    lines: u64,
    /// Wait for further ones
    #[arg(short, long)]
    follow: bool,
    #[command(flatten)]
    data: Data,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Status> {
    let reader = args.data.open()?;
    let (last, next) = last(reader.find(&Query::default()), args.lines)?;
    let mut listing = Listing::new(args.json);
    for found in &last {
        listing.print(found, out)?;
    }
    if args.follow {
        listing.flush(out)?;
        for found in reader.follow(next) {
            listing.print(&found?, out)?;
            listing.flush(out)?;
        }
    }
    listing.end(out)?;
    Ok(Status::Done)
}

/// The last entries, and the index after them.
fn last(entries: impl Iterator<Item = Result<Found>>, count: u64) -> Result<(VecDeque<Found>, u64)> {
    let mut last = VecDeque::new();
    let mut next = 0;
    for found in entries {
        let found = found?;
        next = found.index + 1;
        last.push_back(found);
        if last.len() as u64 > count {
            last.pop_front();
        }
    }
    Ok((last, next))
}

#[cfg(test)]
mod tests {
    use super::super::entry::tests::found;
    use super::*;

    #[test]
    fn the_last_ones_are_kept() {
        let entries = || (0..9).map(|index| Ok(found(index, "{}")));
        let (kept, next) = last(entries(), 3).unwrap();
        assert_eq!(kept.iter().map(|found| found.index).collect::<Vec<_>>(), [6, 7, 8]);
        assert_eq!(next, 9);
        assert_eq!(last(entries(), 0).unwrap(), (VecDeque::new(), 9));
    }
}
