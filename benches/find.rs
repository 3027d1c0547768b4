//! How long an auditor waits: one entry among many, found by its input's hash while the ledger lies on disk.
//!
//! `cargo bench --bench find -- [--entries N] [--data DIR]`; 200,000 entries unless told otherwise. It writes a ledger
//! through the product's own way in, seals it, and asks the product's own reader. The first look at each question is
//! shown apart from the rest, since it may have to read from the disk.

#![expect(clippy::print_stdout, reason = "a bench prints what it measured")]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, bail};
use touchmark::exchange::{Exchange, Outcome, Payload, Prediction, Recorder as _, VersionSource};
use touchmark::ledger::read::{Query, Reader};
use touchmark::ledger::{Config, Durability, Ledger, Origin, State};
use touchmark::lineage::{Declared, Identity, resolve};
use touchmark::sha256::Sha256;
use touchmark::telemetry::Metrics;

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

fn write(folder: &std::path::Path, entries: u64) -> anyhow::Result<()> {
    let identity = identity()?;
    let config = Config { dir: folder.to_owned(), durability: Durability::Write, ..Config::default() };
    let origin = Origin { deployment: "bench".to_owned(), instance: "find".to_owned() };
    let ledger = Ledger::open(&config, &origin, &Arc::new(Metrics::new()))?;
    let began = Instant::now();
    for number in 0..entries {
        // Faster than any traffic: where the queue is full, its thread gets its turn.
        while ledger.reserve().is_err() {
            anyhow::ensure!(matches!(ledger.status().state, State::Writing), "the ledger cannot write");
            std::thread::yield_now();
        }
        let ticket = ledger.finish(&exchange(&identity, number));
        drop(ticket);
        ledger.release();
    }
    let written = began.elapsed();
    ledger.close()?;
    println!("{entries} entries written in {written:.1?}, sealed and indexed after {:.1?}", began.elapsed());
    Ok(())
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

fn hash(number: u64) -> [u8; 32] {
    Sha256::digest(number.to_le_bytes())
}

fn identity() -> anyhow::Result<Arc<Identity>> {
    let declared = Declared { name: "fraud", version: "v1.2.3", uri: None, digest: None, datasets: &[], run: None };
    resolve(&declared).map(Arc::new).map_err(|errors| anyhow::anyhow!("{errors:?}"))
}

fn exchange(identity: &Arc<Identity>, number: u64) -> Exchange<'_> {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000) + Duration::from_micros(number * 900);
    let mut id = [0; 16];
    id.copy_from_slice(&hash(!number)[..16]);
    let payload = |bytes, sha256| Payload { bytes, sha256: Some(sha256), ..Payload::default() };
    Exchange {
        prediction: Prediction {
            id: uuid::Builder::from_bytes(id).with_version(uuid::Version::SortRand).into_uuid(),
            time,
            backend: Some("champion"),
            protocol: "oip-rest",
            route: "/v2/models/{model}/infer",
            identity: Some(identity),
            version_source: Some(VersionSource::Declared),
            stated_model: Some("fraud"),
            version_known: true,
        },
        duration: Duration::from_micros(2140),
        requested_version: None,
        observed_version: Some("1"),
        observed_model: None,
        input: Payload { media_type: Some("application/json"), ..payload(812, hash(number)) },
        status: Some(200),
        grpc_status: None,
        output: payload(141, hash(number ^ (1 << 63))),
        decision: Some("0.25"),
        outcome: Outcome::Complete,
        trace_id: id,
        span_id: [7; 8],
        parent: None,
        client_request_id: None,
        client: None,
    }
}
