//! `touchmark audit tail`: the newest entries, and with `--follow` those to come.

use std::collections::VecDeque;
use std::io::Write;

use anyhow::Result;

use super::entry::Listing;
use super::{Data, Readable};
use crate::cli::Status;
use crate::ledger::read::{Follow, Found, Query};

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
    let query = Query::default();
    // Begun before the end is looked for, so that nothing falls between; what comes twice is passed over.
    let follow = args.follow.then(|| reader.follow(&query, None)).transpose()?;
    let mut readable = Readable::new(reader.find(&query));
    let last = last(&mut readable, args.lines);
    let mut listing = Listing::new(args.json);
    for found in &last.kept {
        listing.print(found, out)?;
    }
    let Some(mut follow) = follow else {
        listing.end(out)?;
        return Ok(readable.status());
    };
    listing.flush(out)?;
    loop {
        match follow.poll()? {
            Some(found) if last.has(&found) => {}
            Some(found) => listing.print(&found, out)?,
            None => {
                listing.flush(out)?;
                std::thread::sleep(Follow::INTERVAL);
            }
        }
    }
}

/// The last entries, and where they end.
#[derive(Debug, Default, PartialEq, Eq)]
struct Last {
    kept: VecDeque<Found>,
    end: Option<([u8; 16], u64)>,
}

impl Last {
    fn has(&self, found: &Found) -> bool {
        self.end.is_some_and(|(log, index)| log == found.log && found.index <= index)
    }
}

fn last(entries: impl Iterator<Item = Found>, count: u64) -> Last {
    let mut last = Last::default();
    for found in entries {
        last.end = Some((found.log, found.index));
        last.kept.push_back(found);
        if last.kept.len() as u64 > count {
            last.kept.pop_front();
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use super::super::entry::tests::found;
    use super::*;

    #[test]
    fn the_last_ones_are_kept_and_known() {
        let entries = || (0..9).map(|index| found(index, "{}"));
        let kept = last(entries(), 3);
        assert_eq!(kept.kept.iter().map(|found| found.index).collect::<Vec<_>>(), [6, 7, 8]);
        assert!(kept.has(&found(8, "{}")) && !kept.has(&found(9, "{}")));
        assert!(!kept.has(&Found { log: [1; 16], ..found(8, "{}") }));
        let none = last(entries(), 0);
        assert!(none.kept.is_empty() && none.has(&found(8, "{}")));
        assert_eq!(last(std::iter::empty(), 3), Last::default());
    }
}
