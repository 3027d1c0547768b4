//! How long the verification of a whole ledger takes, beside SHA-256 alone over the same bytes.
//!
//! `cargo bench --bench verify -- [--entries N] [--data DIR]`; 200,000 entries unless told otherwise, 10,000,000 for the
//! record. It writes a ledger through the product's own way in, hashes its entries as leaves and does nothing else, and
//! has the product verify it: on one thread, then on one a core. Files lie in the page cache where they fit.

#![expect(clippy::print_stdout, reason = "a bench prints what it measured")]

#[path = "support/ledger.rs"]
mod ledger;

use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use touchmark::ledger::read::{Query, Reader};
use touchmark::ledger::verify::{Options, Progress};
use touchmark::tlog::leaf_hash;

/// Entries, unless told otherwise.
const ENTRIES: u64 = 200_000;
/// Rounds; the quickest counts, since noise only ever adds.
const ROUNDS: u32 = 3;
/// Entries that are hashed in one piece, so that reading them is not counted.
const BATCH: usize = 4096;

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
    let folder = data.unwrap_or_else(|| std::env::temp_dir().join(format!("touchmark-verify-{}", std::process::id())));
    let measured = ledger::write(&folder, entries).and_then(|()| measure(&folder));
    std::fs::remove_dir_all(&folder)?;
    measured
}

fn measure(folder: &Path) -> anyhow::Result<()> {
    let (hashing, bytes) = hashing(folder)?;
    let cores = std::thread::available_parallelism()?;
    println!("SHA-256 of the leaves alone: {:.3} s for {} MiB, one thread", hashing.as_secs_f64(), bytes >> 20);
    for threads in [NonZero::<usize>::MIN, cores] {
        let mut best = Duration::MAX;
        let mut entries = 0;
        for _ in 0..ROUNDS {
            let options = Options { threads: Some(threads), ..Options::default() };
            let began = Instant::now();
            let report = Reader::open(folder)?.verify(&options, &Progress::default())?;
            best = best.min(began.elapsed());
            anyhow::ensure!(report.intact && report.unreadable.is_empty(), "{report:?}");
            entries = report.log.entries;
        }
        let core_time = best * u32::try_from(threads.get())?;
        println!(
            "verification on {threads} threads: {:.3} s, {:.0} entries a second a core, {:.2} times the hashing",
            best.as_secs_f64(),
            f64::from(u32::try_from(entries)?) / core_time.as_secs_f64(),
            core_time.div_duration_f64(hashing),
        );
    }
    Ok(())
}

/// How long it takes to hash every entry, and nothing else; and their bytes.
fn hashing(folder: &Path) -> anyhow::Result<(Duration, usize)> {
    let (mut best, mut bytes) = (Duration::MAX, 0);
    for _ in 0..ROUNDS {
        let (mut time, mut seen, mut batch) = (Duration::ZERO, 0, Vec::with_capacity(BATCH));
        let mut all = Reader::open(folder)?.find(&Query::default());
        loop {
            let found = all.next().transpose()?;
            let done = found.is_none();
            batch.extend(found.map(|found| found.entry));
            if batch.len() == BATCH || done {
                let began = Instant::now();
                for entry in &batch {
                    std::hint::black_box(leaf_hash(entry));
                }
                time += began.elapsed();
                seen += batch.drain(..).map(|entry| entry.len()).sum::<usize>();
            }
            if done {
                break;
            }
        }
        (best, bytes) = (best.min(time), seen);
    }
    Ok((best, bytes))
}
