//! How long an auditor waits: one entry among many, found by its input's hash while the ledger lies on disk.
//!
//! `cargo bench --bench find -- [--entries N] [--data DIR]`; 200,000 entries unless told otherwise. It writes a ledger
//! through the product's own way in, seals it, and asks the product's own reader. The first look at each question is
//! shown apart from the rest, since it may have to read from the disk.

#![expect(clippy::print_stdout, reason = "a bench prints what it measured")]

#[path = "support/ledger.rs"]
mod ledger;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use ledger::{hash, write};
use touchmark::ledger::read::{Query, Reader};

/// Entries, unless told otherwise.
const ENTRIES: u64 = 200_000;
/// Questions of each kind.
const QUESTIONS: u64 = 200;

fn main() -> anyhow::Result<()> {
    let (mut entries, mut data) = (ENTRIES, None);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--entries" => entries = words.next().context("--entries needs a number")?.parse()?,
            "--data" => data = Some(PathBuf::from(words.next().context("--data needs a folder")?)),
            "--bench" => {}
            other => bail!("'{other}' is no option: --entries N, --data DIR"),
        }
    }
    let folder = data.unwrap_or_else(|| std::env::temp_dir().join(format!("touchmark-find-{}", std::process::id())));
    let measured = write(&folder, entries).and_then(|()| ask(&folder, entries));
    std::fs::remove_dir_all(&folder)?;
    measured
}

fn ask(folder: &std::path::Path, entries: u64) -> anyhow::Result<()> {
    let there = |number: u64| Query { input_hash: Some(hash(number)), ..Query::default() };
    report(
        "one input among them, by hash",
        |number| {
            let wanted = number * (entries / QUESTIONS).max(1);
            (there(wanted % entries), 1)
        },
        folder,
    )?;
    report("an input that is not there", |number| (there(entries + number), 0), folder)
}

fn report(what: &str, question: impl Fn(u64) -> (Query, usize), folder: &std::path::Path) -> anyhow::Result<()> {
    let mut times = Vec::new();
    for number in 0..QUESTIONS {
        let (query, expected) = question(number);
        let began = Instant::now();
        // Opened anew each time, as the command does.
        let found = Reader::open(folder)?.find(&query).collect::<Result<Vec<_>, _>>()?;
        times.push(began.elapsed());
        anyhow::ensure!(found.len() == expected, "{} found, {expected} expected", found.len());
    }
    let first = times[0];
    times.sort_unstable();
    let at = |share: usize| times[(times.len() - 1) * share / 100];
    println!("{what}: first {}, median {}, p99 {}", millis(first), millis(at(50)), millis(at(99)));
    Ok(())
}

fn millis(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}
