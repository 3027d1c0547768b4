//! What the parts of a request's way cost, each by itself: `cargo bench --bench parts`.
//!
//! Only what is public is measured, so an entry's encoding, frame and checksum show together, as the ledger's append.
//! What a whole request costs, and against whom, is for `peers` to say.

#[path = "support/mod.rs"]
mod support;

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, anyhow};
use criterion::{BenchmarkId, Criterion, Throughput};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, USER_AGENT};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request};
use touchmark::exchange::{Exchange, Outcome, Payload, Prediction, Recorder, Refusal, Ticket, VersionSource};
use touchmark::ledger::{Config, Durability, Ledger, Origin};
use touchmark::lineage::{DatasetId, Declared, Identity, resolve};
use touchmark::protocol::grpc::Deframer;
use touchmark::protocol::{Call, Patterns, json, recognise};
use touchmark::sha256::Sha256;
use touchmark::telemetry::Metrics;
use touchmark::tlog::{LeafBatch, Range, Receipt, Signer, leaf_hash};
use touchmark::units::Size;
use uuid::Uuid;

use support::{ANSWER, PATH, body, field, median, number, quantile, request};

/// Bodies, in KiB.
const SIZES_KIB: [usize; 3] = [1, 16, 256];
/// Bytes of a usual entry.
const ENTRY_BYTES: usize = 900;
/// Entries that wait for their group together, as so many requests at once would.
const GROUP: usize = 32;

fn main() -> anyhow::Result<()> {
    let mut criterion =
        Criterion::default().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    criterion = criterion.configure_from_args();
    protocol(&mut criterion)?;
    hashing(&mut criterion);
    tree(&mut criterion)?;
    ledger(&mut criterion)?;
    criterion.final_summary();
    Ok(())
}

/// The head of the request that `peers` sends, as hyper hands it on.
fn head(path: &str) -> anyhow::Result<Parts> {
    let bytes = request(1024);
    let length = number(&bytes, "content-length").context("the request has no length")?;
    let host = field(&bytes, "host").context("the request has no host")?;
    let request = Request::post(path)
        .header(HOST, HeaderValue::from_bytes(host)?)
        .header(USER_AGENT, "peers/1")
        .header(CONTENT_TYPE, "application/json")
        .header(CONTENT_LENGTH, length)
        .header("x-request-id", "7f9c0b0e-req-17");
    Ok(request.body(())?.into_parts().0)
}

fn protocol(criterion: &mut Criterion) -> anyhow::Result<()> {
    let patterns = Patterns::default();
    let mut group = criterion.benchmark_group("recognise");
    for path in [PATH, "/v1/chat/completions", "/inference.GRPCInferenceService/ModelInfer", "/healthz"] {
        let head = head(path)?;
        group.bench_function(path, |bencher| bencher.iter(|| recognise(black_box(&head), &patterns)));
    }
    group.finish();

    let mut group = criterion.benchmark_group("read");
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
    let call = |path: &str| -> anyhow::Result<Call> {
        recognise(&head(path)?, &patterns).with_context(|| format!("{path} is no prediction"))
    };
    let infer = call(PATH)?;
    let answer = ANSWER.split_once("\r\n\r\n").context("the answer has no body")?.1.as_bytes();
    group.throughput(Throughput::Bytes(answer.len() as u64));
    group.bench_function("V2 answer, model and version", |bencher| {
        bencher.iter(|| {
            let mut reader = infer.answer_reader(&headers);
            reader.feed(black_box(answer));
            reader.is_done()
        });
    });
    group.bench_function("V2 answer, decision by pointer", |bencher| {
        bencher.iter(|| json::pointer(black_box(answer), "/outputs/1/data/4"));
    });
    // The whole body is looked through for a model that it does not name: the worst that a reader can meet.
    let chat = call("/v1/chat/completions")?;
    for kib in SIZES_KIB {
        let body = body(kib * 1024);
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_with_input(BenchmarkId::new("request without model, KiB", kib), &body, |bencher, body| {
            bencher.iter(|| {
                let mut reader = chat.request_reader(&headers);
                reader.feed(black_box(body));
                reader.is_done()
            });
        });
    }
    let mut message = vec![0, 0, 0, 64, 0];
    message.extend(body(16 << 10));
    group.throughput(Throughput::Bytes(message.len() as u64));
    group.bench_function("gRPC message of 16 KiB, deframed", |bencher| {
        bencher.iter(|| {
            let mut bytes = 0;
            Deframer::default().feed(black_box(&message), |payload| bytes += payload.len());
            bytes
        });
    });
    group.finish();
    Ok(())
}

fn hashing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("hash");
    for kib in SIZES_KIB {
        let body = body(kib * 1024);
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_with_input(BenchmarkId::new("SHA-256, KiB", kib), &body, |bencher, body| {
            bencher.iter(|| Sha256::digest(black_box(body)));
        });
    }
    let entry = body(900);
    group.throughput(Throughput::Bytes(entry.len() as u64));
    group.bench_function("CRC-32C of an entry", |bencher| bencher.iter(|| crc32c::crc32c(black_box(&entry))));
    group.finish();
}

/// What an entry costs beside its append: as a leaf of the tree, on the integrator's thread; and its receipt, on the
/// worker's.
fn tree(criterion: &mut Criterion) -> anyhow::Result<()> {
    let entry = vec![b'{'; ENTRY_BYTES];
    let mut group = criterion.benchmark_group("tree");
    group.throughput(Throughput::Elements(1));
    group.bench_function("leaf hash of an entry", |bencher| bencher.iter(|| leaf_hash(black_box(&entry))));
    let mut range = Range::new(0);
    group.bench_function("leaf hash and its place in the tree", |bencher| {
        bencher.iter(|| {
            range.push(leaf_hash(black_box(&entry)), |node| {
                black_box(node);
            });
        });
    });
    let (mut batch, mut range) = (LeafBatch::default(), Range::new(0));
    while !batch.is_full() {
        batch.push(&entry);
    }
    let entries = batch.len();
    group.throughput(Throughput::Elements(entries as u64));
    group.bench_function(format!("{entries} leaf hashes at a time and their places in the tree"), |bencher| {
        bencher.iter(|| {
            for _ in batch.len()..entries {
                batch.push(black_box(&entry));
            }
            range.extend(&batch.take(), |node| {
                black_box(node);
            });
        });
    });
    group.finish();

    let signer = Signer::from_pkcs8("bench/0192f0c17c4e7a3b8c112f6d0f3e9a10", &Signer::generate_ed25519()?, false)?;
    let leaf = leaf_hash(&entry);
    let mut group = criterion.benchmark_group("receipt");
    group.bench_function("signed and written", |bencher| {
        bencher.iter(|| Receipt::sign(black_box(leaf), 1_795_195_741, &signer).map(|receipt| receipt.to_string()));
    });
    group.finish();
    Ok(())
}

fn ledger(criterion: &mut Criterion) -> anyhow::Result<()> {
    let identity = identity()?;
    let mut group = criterion.benchmark_group("ledger");
    for durability in [Durability::Queue, Durability::Write, Durability::Sync] {
        for at_once in [1, GROUP] {
            let scratch = Scratch::new(durability)?;
            let name = format!("{durability:?}, {at_once} at once").to_lowercase();
            group.throughput(Throughput::Elements(at_once as u64));
            group.bench_function(name, |bencher| bencher.iter(|| append(&scratch.ledger, &identity, at_once)));
            scratch.close()?;
        }
    }
    group.finish();
    latencies(&identity)
}

/// A mean hides a disk's tail, so one entry's way at a time is also told by its quantiles.
fn latencies(identity: &Arc<Identity>) -> anyhow::Result<()> {
    use std::io::Write as _;
    const TIMES: usize = 2000;
    for durability in [Durability::Queue, Durability::Write, Durability::Sync] {
        let scratch = Scratch::new(durability)?;
        let mut micros: Vec<f64> = (0..TIMES)
            .map(|_| {
                let start = Instant::now();
                append(&scratch.ledger, identity, 1);
                start.elapsed().as_secs_f64() * 1e6
            })
            .collect();
        scratch.close()?;
        let (p50, p99) = median(&mut micros).zip(quantile(&mut micros, 0.99)).context("nothing was measured")?;
        writeln!(std::io::stdout().lock(), "ledger, {durability:?}, one entry: p50 {p50:.1} µs, p99 {p99:.1} µs")?;
    }
    Ok(())
}

/// So many predictions recorded, and waited for together.
fn append(ledger: &Ledger, identity: &Arc<Identity>, count: usize) {
    let tickets: [Option<Ticket>; GROUP] = std::array::from_fn(|index| {
        (index < count).then(|| {
            // A full queue is the writer's pace, which is then what is measured.
            while matches!(ledger.reserve(), Err(Refusal::Full)) {
                std::thread::yield_now();
            }
            let ticket = ledger.finish(&exchange(identity));
            ledger.release();
            ticket
        })
    });
    for ticket in tickets.into_iter().flatten() {
        let kept = match ticket {
            Ticket::Settled(kept) => kept,
            Ticket::Waiting(waiting) => waiting.blocking_recv().unwrap_or(Err(touchmark::exchange::NotRecorded)),
        };
        assert!(kept.is_ok(), "an entry was not kept");
    }
}

fn identity() -> anyhow::Result<Arc<Identity>> {
    let datasets = ["transactions@v2.0".parse::<DatasetId>()?.into()];
    let declared =
        Declared { name: "fraud", version: "v1.2.3", uri: None, digest: None, datasets: &datasets, run: None };
    resolve(&declared).map(Arc::new).map_err(|problems| anyhow!("{problems:?}"))
}

/// A finished prediction as the proxy hands it on, with everything that is common in it.
fn exchange(identity: &Arc<Identity>) -> Exchange<'_> {
    let payload =
        |bytes| Payload { bytes, sha256: Some([0xa5; 32]), media_type: Some("application/json"), ..Payload::default() };
    Exchange {
        prediction: Prediction {
            id: Uuid::from_u128(0x0192_f0c1_7c4e_7a3b_8c11_2f6d_0f3e_9a10),
            time: SystemTime::now(),
            backend: Some("local"),
            protocol: "oip-rest",
            route: "/v2/models/{model}/infer",
            identity: Some(identity),
            version_source: Some(VersionSource::Response),
            stated_model: Some("m"),
            version_known: true,
        },
        duration: Duration::from_micros(2140),
        requested_version: None,
        observed_version: Some("1"),
        observed_model: None,
        input: payload(1024),
        status: Some(200),
        grpc_status: None,
        output: Payload { media_type: None, ..payload(386) },
        decision: None,
        outcome: Outcome::Complete,
        trace_id: [0x5a; 16],
        span_id: [0x3c; 8],
        parent: None,
        client_request_id: Some("7f9c0b0e-req-17"),
        client: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
    }
}

/// A ledger in a folder of its own; the folder is removed when it is dropped.
struct Scratch {
    ledger: Ledger,
    dir: PathBuf,
}

impl Scratch {
    fn new(durability: Durability) -> anyhow::Result<Self> {
        let dir = std::env::temp_dir().join(format!("touchmark-parts-{}", std::process::id()));
        let config = Config { dir: dir.clone(), durability, segment_size: Size(256 << 20), ..Config::default() };
        let origin = Origin { deployment: "bench".to_owned(), instance: "bench".to_owned() };
        Ok(Self { ledger: Ledger::open(&config, &origin, &Arc::new(Metrics::new()))?, dir })
    }

    fn close(self) -> anyhow::Result<()> {
        Ok(self.ledger.close()?)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.dir));
    }
}
