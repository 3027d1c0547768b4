//! Searching: every query equals a naive filter, with indices whole, missing or damaged, and while entries come.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use proptest::prelude::*;
use uuid::Uuid;

use super::{Dir, call, config, entries, exchange, identity, open, open_sim, settled, sim_reader, until_committed};
use crate::exchange::{Exchange, Outcome, Payload, Prediction, Recorder};
use crate::ledger::read::{Found, Query, Reader, Touching};
use crate::ledger::segment::sim::Sim;
use crate::ledger::{Durability, Entry, Kind};
use crate::lineage::Identity;
use crate::units::Period;

const COUNT: u64 = 240;

fn hash(of: u64) -> [u8; 32] {
    let mut hash = [0x11; 32];
    hash[..8].copy_from_slice(&of.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    hash
}

fn identities() -> Vec<Arc<Identity>> {
    ["v1", "v2", "v3"].map(identity).into()
}

/// Some inputs, outputs and traces repeat; models, outcomes and times vary.
fn nth(at: u64, identities: &[Arc<Identity>]) -> Exchange<'_> {
    let choice = usize::try_from(at / 40 % 3).unwrap();
    let identity = identities.get(choice).filter(|_| !at.is_multiple_of(9));
    let time = UNIX_EPOCH + Duration::from_secs(1_000_000 + at * 10 - at % 3 * 25);
    let prediction = Prediction { time, ..call(Uuid::from_u64_pair(7, at), identity) };
    let mut trace_id = [3; 16];
    trace_id[..8].copy_from_slice(&hash(at / 2)[..8]);
    Exchange {
        input: Payload { sha256: Some(hash(at % 50)), ..Payload::default() },
        output: Payload { sha256: Some(hash(at % 7)), ..Payload::default() },
        outcome: Outcome::ALL[usize::try_from(at % 3).unwrap()],
        trace_id,
        ..exchange(prediction)
    }
}

fn fill(sim: &Sim) {
    let identities = identities();
    for part in 0..2 {
        let (ledger, _) = open_sim(sim, &config(Durability::Write)).unwrap();
        for at in part * COUNT / 2..(part + 1) * COUNT / 2 {
            let exchange = nth(at, &identities);
            if at % 10 == 0 {
                settled(ledger.begin(&exchange.prediction)).unwrap();
            }
            settled(ledger.finish(&exchange)).unwrap();
        }
        ledger.close().unwrap();
    }
}

fn queries() -> impl Strategy<Value = Query> {
    let maybe = |what: BoxedStrategy<u64>| prop::option::weighted(0.25, what);
    let text = |choices: &'static [&'static str]| {
        prop::option::weighted(0.25, prop::sample::select(choices).prop_map(str::to_owned))
    };
    let keys = (
        maybe((0..55_u64).boxed()),
        maybe((0..9_u64).boxed()),
        maybe((0..250_u64).boxed()),
        maybe((0..125_u64).boxed()),
    );
    let texts = (
        text(&["fraud", "other"]),
        text(&["v1", "v2", "v3", "v4"]),
        text(&["transactions", "transactions@v2.0", "nothing"]),
        text(&["complete", "client_abort", "timeout"]),
    );
    let kind = prop::option::weighted(0.3, prop::sample::select(&Kind::ALL[..]));
    let range = (prop::option::weighted(0.3, 0..3000_u64), prop::option::weighted(0.3, 0..3000_u64));
    let limit = prop::option::weighted(0.2, 0..20_usize);
    let touching = prop::option::weighted(
        0.25,
        (
            prop::sample::subsequence(&["fraud@v1", "other@v3", "nobody@v1"][..], 0..=2),
            prop::sample::subsequence(&["transactions@v2.0", "nothing@v1"][..], 0..=1),
        ),
    );
    (keys, texts, kind, range, limit, touching).prop_map(|(keys, texts, kind, (from, to), limit, touching)| Query {
        input_hash: keys.0.map(hash),
        output_hash: keys.1.map(hash),
        prediction: keys.2.map(|at| Uuid::from_u64_pair(7, at)),
        trace: keys.3.map(|at| {
            let mut trace = [3; 16];
            trace[..8].copy_from_slice(&hash(at)[..8]);
            trace
        }),
        model: texts.0,
        version: texts.1,
        dataset: texts.2,
        touching: touching.map(|(models, datasets)| Touching {
            models: models.into_iter().map(str::to_owned).collect(),
            datasets: datasets.into_iter().map(str::to_owned).collect(),
        }),
        outcome: texts.3,
        kind,
        from: from.map(|seconds| UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds)),
        to: to.map(|seconds| UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds)),
        limit,
    })
}

/// The same question, asked of JSON values one by one.
fn naive(all: &[Found], query: &Query) -> Vec<u64> {
    let hex = |bytes: &[u8]| {
        let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
        digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect::<String>()
    };
    let fits = |found: &&Found| {
        let json: serde_json::Value = serde_json::from_slice(&found.entry).unwrap();
        let is = |pointer: &str, wanted: Option<String>| {
            wanted.is_none_or(|wanted| json.pointer(pointer).and_then(|value| value.as_str()) == Some(&wanted))
        };
        let time = json["time"].as_str().unwrap();
        let text = |time: std::time::SystemTime| {
            format!("{}.000000Z", jiff::Timestamp::try_from(time).unwrap().strftime("%Y-%m-%dT%H:%M:%S"))
        };
        is("/input/hash", query.input_hash.map(|hash| hex(&hash)))
            && is("/output/hash", query.output_hash.map(|hash| hex(&hash)))
            && is("/id", query.prediction.map(|id| id.to_string()))
            && is("/trace", query.trace.map(|trace| hex(&trace)))
            && is("/model", query.model.clone())
            && is("/version", query.version.clone())
            && is("/outcome", query.outcome.clone())
            && is("/kind", query.kind.map(|kind| kind.as_str().to_owned()))
            && query.dataset.as_ref().is_none_or(|wanted| {
                json["datasets"].as_array().is_some_and(|names| {
                    names.iter().any(|name| name == wanted.as_str() || name == &format!("{wanted}@v2.0"))
                })
            })
            && query.touching.as_ref().is_none_or(|touching| {
                let model =
                    format!("{}@{}", json["model"].as_str().unwrap_or(""), json["version"].as_str().unwrap_or(""));
                let of_model = touching.models.contains(&model);
                let mut datasets = json["datasets"].as_array().into_iter().flatten();
                of_model || datasets.any(|name| touching.datasets.contains(name.as_str().unwrap()))
            })
            && query.from.is_none_or(|from| *time >= *text(from))
            && query.to.is_none_or(|to| *time < *text(to))
    };
    all.iter().filter(fits).take(query.limit.unwrap_or(usize::MAX)).map(|found| found.index).collect()
}

fn found(reader: &Reader, query: &Query) -> Vec<u64> {
    reader.find(query).map(|found| found.unwrap().index).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4, ..ProptestConfig::default() })]

    #[test]
    fn find_equals_a_filter(queries in prop::collection::vec(queries(), 60), damage: u64) {
        let sim = Sim::new(damage);
        fill(&sim);
        let all = entries(&sim_reader(&sim));
        let indices = sim.names_with(".idx");
        prop_assert!(indices.len() > 8);
        let damaged = sim.after_kill();
        for (place, name) in indices.iter().enumerate() {
            if place % 2 == 0 {
                damaged.flip(name, usize::try_from(damage).unwrap() / (place + 1) % damaged.data_end(name));
            }
        }
        let missing = sim.after_kill();
        missing.remove_all(".idx");
        for query in &queries {
            let expected = naive(&all, query);
            for (what, sim) in [("whole", &sim), ("damaged", &damaged), ("missing", &missing)] {
                prop_assert_eq!(&found(&sim_reader(sim), query), &expected, "{} {:?}", what, query);
            }
        }
    }
}

#[test]
fn a_start_makes_missing_indices_again() {
    let sim = Sim::new(5);
    fill(&sim);
    let before = sim.names_with(".idx").len();
    sim.remove_all(".idx");
    open_sim(&sim, &config(Durability::Write)).unwrap().0.close().unwrap();
    assert_eq!(sim.names_with(".idx").len(), before + 1);
}

#[test]
fn a_lookup_reads_pages_and_not_files() {
    let sim = Sim::new(5);
    let config = crate::ledger::Config { segment_size: crate::units::Size(1 << 20), ..config(Durability::Write) };
    let (ledger, _) = open_sim(&sim, &config).unwrap();
    for at in 0..6000 {
        let mut exchange = nth(at, &[]);
        exchange.input.sha256 = Some(hash(at));
        settled(ledger.finish(&exchange)).unwrap();
    }
    ledger.close().unwrap();
    let whole: usize = sim.names_with("").iter().map(|name| sim.data_end(name)).sum();
    let reader = sim_reader(&sim);
    let before = sim.bytes_read();
    let query = Query { input_hash: Some(hash(3210)), kind: Some(Kind::Prediction), ..Query::default() };
    assert_eq!(found(&reader, &query).len(), 1);
    let read = sim.bytes_read() - before;
    assert!(read * 30 < whole, "{read} bytes of {whole}");
    let before = sim.bytes_read();
    let nowhere = Query { outcome: Some("interrupted".to_owned()), ..Query::default() };
    assert!(found(&reader, &nowhere).is_empty());
    assert!((sim.bytes_read() - before) * 30 < whole, "segments without the outcome are passed over");
}

#[test]
fn a_reader_follows_a_writer_over_segments() {
    let dir = Dir::new();
    let (ledger, _) = open(&dir.config(Durability::Write));
    let reader = Reader::open(&dir.0).unwrap();
    let mut all = reader.follow(&Query::default(), Some(0)).unwrap();
    let wanted = Query { outcome: Some("complete".to_owned()), ..Query::default() };
    let mut some = reader.follow(&wanted, None).unwrap();
    let identities = identities();
    let mut seen = Vec::new();
    for at in 0..200 {
        settled(ledger.finish(&nth(at, &identities))).unwrap();
        while let Some(found) = all.poll().unwrap() {
            seen.push(found);
        }
        assert_eq!(seen.len() as u64, ledger.status().size, "what is acknowledged is seen at once");
    }
    ledger.close().unwrap();
    while let Some(found) = all.poll().unwrap() {
        seen.push(found);
    }
    assert_eq!(seen, entries(&reader));
    let mut matches = 0;
    while let Some(found) = some.poll().unwrap() {
        assert_eq!(Entry::parse(&found.entry).unwrap().outcome.as_deref(), Some("complete"));
        matches += 1;
    }
    assert_eq!(matches, 67);
    assert_eq!(reader.entry(17).unwrap().unwrap(), seen[17]);
    assert_eq!(reader.entry(9999).unwrap(), None);
}

#[test]
fn what_no_commit_covers_is_not_shown() {
    const SEGMENT: &str = "seg-00000000000000000000.log";
    let sim = Sim::new(5);
    let slow = crate::ledger::Config { sync_interval: Period::secs(3600), ..config(Durability::Write) };
    let (ledger, _) = open_sim(&sim, &slow).unwrap();
    until_committed(&sim);
    for at in 0..5 {
        settled(ledger.finish(&nth(at, &[]))).unwrap();
    }
    let torn = sim.after_kill();
    torn.zero_from(SEGMENT, torn.data_end(SEGMENT) - 8);
    assert_eq!(found(&sim_reader(&torn), &Query::default()), [0, 1, 2, 3, 4]);
    let mut follow = sim_reader(&torn).follow(&Query::default(), Some(3)).unwrap();
    assert_eq!(follow.poll().unwrap().unwrap().index, 3);
    assert_eq!(follow.poll().unwrap().unwrap().index, 4);
    assert_eq!(follow.poll().unwrap(), None);
    // The entry was whole, though, and a start keeps it.
    open_sim(&torn, &slow).unwrap().0.close().unwrap();
    assert_eq!(found(&sim_reader(&torn), &Query::default()), [0, 1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(follow.poll().unwrap().unwrap().index, 5);
}

#[test]
fn a_missing_ledger_is_named() {
    let dir = Dir::new();
    let error = Reader::open(&dir.0.join("nowhere")).unwrap_err().to_string();
    assert!(error.contains("nowhere/ledger"), "{error}");
}
