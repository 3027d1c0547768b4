//! The ledger as its users see it, over the real file system and over one that loses power.

mod anchors;
mod crash;
mod evidence;
mod faults;
mod find;
mod forger;
mod golden;
mod life;
mod proof;
mod rotation;
mod tamper;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use uuid::Uuid;

use super::read::{Found, Query, Reader};
use super::segment::{Storage, sim::Sim};
use super::verify::{Options, Progress, Report};
use super::{Config, Durability, Entry, Ledger, OpenError, Origin};
use crate::exchange::{Exchange, NotRecorded, Outcome, Payload, Prediction, Ticket, VersionSource};
use crate::ledger::opening::Opening;
use crate::ledger::signing::Keys;
use crate::lineage::{Document, Identity};
use crate::sha256::Sha256;
use crate::telemetry::Metrics;
use crate::units::{Period, Size};

/// A directory that is removed at the end.
#[derive(Debug)]
struct Dir(PathBuf);

impl Dir {
    fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("touchmark-ledger-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn config(&self, durability: Durability) -> Config {
        Config { dir: self.0.clone(), ..config(durability) }
    }

    fn segments(&self) -> Vec<PathBuf> {
        let mut paths: Vec<PathBuf> =
            std::fs::read_dir(self.0.join("ledger")).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
        paths.sort();
        paths
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// Small segments, so that a test crosses many.
fn config(durability: Durability) -> Config {
    Config { durability, segment_size: Size(16 << 10), sync_interval: Period::millis(20), ..Config::default() }
}

fn origin() -> Origin {
    Origin { deployment: "fraud-prod".to_owned(), instance: "fraud-prod-7c9d".to_owned() }
}

fn open(config: &Config) -> (Ledger, Arc<Metrics>) {
    let metrics = Arc::new(Metrics::new());
    (Ledger::open(config, &origin(), &metrics).unwrap(), metrics)
}

static KEYS: LazyLock<Keys> = LazyLock::new(Keys::fresh);

fn open_sim(sim: &Sim, config: &Config) -> Result<(Ledger, Arc<Metrics>), OpenError> {
    let metrics = Arc::new(Metrics::new());
    let storage: Arc<dyn Storage> = Arc::new(sim.clone());
    let opening = Opening { config, origin: &origin(), keys: &KEYS, metrics: &metrics, anchor: None };
    let ledger = opening.open(storage, None, Path::new("sim"))?;
    Ok((ledger, metrics))
}

fn sim_reader(sim: &Sim) -> Reader {
    Reader::over(Arc::new(sim.clone()), PathBuf::from("sim"))
}

/// Waits for the start's checkpoint, which the keeper writes: the last thing that it does by itself before the next sync.
fn until_committed(sim: &Sim) {
    let committed = || sim_reader(sim).newest_checkpoint().is_ok_and(|newest| newest.is_some());
    eventually("the start's checkpoint is in the log", committed);
}

/// Every entry, in order; fails on any damage and where indices are not dense.
fn entries(reader: &Reader) -> Vec<Found> {
    let found: Vec<Found> = reader.find(&Query::default()).map(Result::unwrap).collect();
    for (place, found) in found.iter().enumerate() {
        assert_eq!(found.index, place as u64, "indices are dense");
        Entry::parse(&found.entry).unwrap();
    }
    verified(reader);
    found
}

/// What the log itself and nothing else is needed for holds. What it says of its keys is believed.
fn verified(reader: &Reader) -> Report {
    let report = reader.verify(&Options::default(), &Progress::default()).unwrap();
    assert!(report.intact && report.unreadable.is_empty(), "{report:#?}");
    report
}

fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect()
}

fn ids(found: &[Found], kind: &str) -> Vec<Uuid> {
    let entries = found.iter().map(|found| Entry::parse(&found.entry).unwrap());
    let of_kind = entries.filter(|entry| &*entry.kind == kind);
    of_kind.filter_map(|entry| Uuid::parse_str(entry.id.as_deref()?).ok()).collect()
}

fn identity(version: &str) -> Arc<Identity> {
    let json = format!(r#"{{"model":{{"name":"fraud","version":"{version}"}},"datasets":[]}}"#);
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    let digest = Sha256::digest(serde_json_canonicalizer::to_vec(&value).unwrap());
    Arc::new(Identity {
        model: "fraud".to_owned(),
        version: version.to_owned(),
        datasets: vec!["transactions@v2.0".to_owned()],
        dataset_version: Some("v2.0".to_owned()),
        reproducible: false,
        document: Arc::new(Document { digest, json }),
    })
}

fn call(id: Uuid, identity: Option<&Arc<Identity>>) -> Prediction<'_> {
    Prediction {
        id,
        time: UNIX_EPOCH + Duration::from_micros(1_795_195_741_123_456),
        backend: Some("champion"),
        protocol: "oip-rest",
        route: "/v2/models/{model}/infer",
        identity,
        version_source: identity.map(|_| VersionSource::Declared),
        stated_model: Some("fraud"),
        version_known: true,
    }
}

fn exchange(prediction: Prediction<'_>) -> Exchange<'_> {
    let mut hash = [0; 32];
    hash[..16].copy_from_slice(prediction.id.as_bytes());
    Exchange {
        prediction,
        duration: Duration::from_micros(2140),
        requested_version: Some("1"),
        observed_version: Some("1"),
        observed_model: None,
        input: Payload { bytes: 812, sha256: Some(hash), media_type: Some("application/json"), ..Payload::default() },
        status: Some(200),
        grpc_status: None,
        output: Payload { bytes: 141, sha256: Some([0xbb; 32]), ..Payload::default() },
        decision: Some("0.25"),
        outcome: Outcome::Complete,
        trace_id: *prediction.id.as_bytes(),
        span_id: [0xdd; 8],
        parent: None,
        client_request_id: None,
        client: None,
    }
}

/// Waits for a ticket on a thread without a runtime.
fn settled(ticket: Ticket) -> Result<(), NotRecorded> {
    match ticket {
        Ticket::Settled(result) => result,
        Ticket::Waiting(receiver) => receiver.blocking_recv().unwrap_or(Err(NotRecorded)),
    }
}

/// The accounting identity's right side: entries of kind `prediction` and unrecorded ones.
fn recorded(metrics: &Metrics) -> (u64, u64) {
    let entries = metrics.ledger_entries.with_label_values(&["prediction"]).get();
    let unrecorded = ["refused", "passed", "failed"];
    (entries, unrecorded.iter().map(|reason| metrics.ledger_unrecorded.with_label_values(&[reason]).get()).sum())
}

/// Asks until it holds. The ledger's thread looks at least each second; far beyond that it never will.
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = SystemTime::now();
    while !holds() {
        assert!(start.elapsed().unwrap_or_default() < Duration::from_secs(30), "never: {what}");
        std::thread::yield_now();
    }
}
