//! A ledger to measure: written through the product's own way in, sealed and indexed.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use touchmark::exchange::{Exchange, Outcome, Payload, Prediction, Recorder as _, VersionSource};
use touchmark::ledger::{Config, Durability, Ledger, Origin, State};
use touchmark::lineage::{Declared, Identity, resolve};
use touchmark::sha256::Sha256;
use touchmark::telemetry::Metrics;

/// Writes so many predictions.
pub(crate) fn write(folder: &std::path::Path, entries: u64) -> anyhow::Result<()> {
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

/// The hash of the input of the prediction with this number.
pub(crate) fn hash(number: u64) -> [u8; 32] {
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
