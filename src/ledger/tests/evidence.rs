//! The tree and its checkpoints, over whole lives of a ledger.

use std::os::unix::fs::PermissionsExt as _;

use super::forger::names;
use super::tamper::{ids_of, live};
use super::*;
use crate::exchange::Recorder as _;
use crate::ledger::frame::{FrameKind, HEADER_BYTES, Parsed, parse, put_entry};
use crate::ledger::proof::Unproven;
use crate::ledger::segment::DATA_START;
use crate::ledger::verify::Ending;
use crate::tlog::{Receipt, Scheme, leaf_hash, verify_consistency};

const MODES: [Durability; 3] = [Durability::Queue, Durability::Write, Durability::Sync];

fn write(ledger: &Ledger, ids: std::ops::Range<u128>) {
    let identity = identity("v1");
    for id in ids {
        settled(ledger.finish(&exchange(call(Uuid::from_u128(id), Some(&identity))))).unwrap();
    }
}

fn covered(ledger: &Ledger) -> bool {
    let size = ledger.checkpoint().map(|note| crate::tlog::Checkpoint::parse(&note.text).unwrap().size);
    size == Some(ledger.status().size)
}

#[test]
fn checkpoints_come_under_traffic_and_at_the_stop_and_go_on_after_a_restart() {
    for mode in MODES {
        let dir = Dir::new();
        let mut keys = Vec::new();
        for run in 0..3 {
            let (ledger, metrics) = open(&dir.config(mode));
            write(&ledger, run * 100..run * 100 + 60);
            eventually("a checkpoint over everything", || covered(&ledger));
            eventually("its age is nothing", || metrics.ledger_checkpoint_age.get().abs() < f64::EPSILON);
            ledger.close().unwrap();
            assert!(covered(&ledger), "{mode:?}: the stop is committed to");
            assert_eq!(metrics.ledger_integrity_failures.get(), 0);
            keys.push(ledger.verifiers().to_vec());
        }
        assert!(keys.iter().all(|key| *key == keys[0]), "the key outlives the process");
        let key = &keys[0][0];
        assert!(key.name().starts_with("fraud-prod/") && key.name().len() == "fraud-prod/".len() + 32);
        let reader = Reader::open(&dir.0).unwrap();
        let (found, checkpoints) = (entries(&reader), reader.checkpoints().unwrap());
        assert_eq!(reader.keys().unwrap(), keys[0], "the log names its keys");
        let last = checkpoints.last().unwrap();
        assert_eq!(last.checkpoint.size, found.len() as u64);
        for committed in &checkpoints {
            committed.note.verified_by([key]).unwrap();
            assert_eq!(committed.checkpoint.origin, key.name());
            let (old, new) = (&committed.checkpoint, &last.checkpoint);
            let proof = reader.prove_consistency(old.size, new.size).unwrap();
            assert_eq!(verify_consistency((old.size, &old.root), (new.size, &new.root), &proof), Ok(()));
        }
        for found in &found {
            let committed = reader.checkpoint_over(found.index).unwrap().unwrap();
            let proof = reader.prove(found.index, &committed).unwrap();
            proof.verify(&leaf_hash(&found.entry), key).unwrap();
        }
    }
}

#[test]
fn an_entry_rewritten_with_a_fresh_crc_sets_the_log_aside() {
    const SEGMENT: &str = "seg-00000000000000000000.log";
    let sim = Sim::new(3);
    let roomy = Config { segment_size: Size(1 << 20), ..config(Durability::Write) };
    let (ledger, _) = open_sim(&sim, &roomy).unwrap();
    write(&ledger, 0..20);
    eventually("a checkpoint over everything, in the log", || {
        let last = sim_reader(&sim).checkpoints().unwrap().pop();
        last.is_some_and(|last| last.checkpoint.size == ledger.status().size)
    });
    let crashed = sim.after_kill();
    sim.stop();
    for victim in [0, 7, 20] {
        let sim = crashed.after_kill();
        let file = sim.open(SEGMENT).unwrap();
        let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
        file.read_at(&mut bytes, 0).unwrap();
        let mut at = usize::try_from(DATA_START).unwrap();
        let forged = loop {
            let Parsed::Frame(frame) = parse(&bytes[at..]) else { panic!("no entry {victim}") };
            if frame.kind == FrameKind::Entry && frame.index == victim {
                let mut payload = frame.payload.to_vec();
                // Another outcome of the same length would do; a digit of the nonce is always there.
                let nonce = payload.windows(9).position(|part| part == b"\"nonce\":\"").unwrap() + 9;
                payload[nonce] = if payload[nonce] == b'0' { b'1' } else { b'0' };
                let mut forged = Vec::new();
                put_entry(&mut forged, victim, &payload, crc32c::crc32c(&payload));
                break forged;
            }
            at += frame.len();
        };
        assert!(forged.len() > HEADER_BYTES);
        file.write_at(&forged, at as u64).unwrap();
        file.sync().unwrap();
        let (ledger, metrics) = open_sim(&sim, &roomy).unwrap();
        assert_eq!(metrics.ledger_integrity_failures.get(), 1, "entry {victim}");
        ledger.close().unwrap();
        let found: Vec<Found> = sim_reader(&sim).find(&Query::default()).map(Result::unwrap).collect();
        let start = found.iter().rfind(|found| found.index == 0).unwrap();
        let text = String::from_utf8_lossy(&start.entry).into_owned();
        assert!(text.contains("\"follows\":{") && text.contains("not those that were committed to"), "{text}");
    }
}

#[test]
fn keys_are_made_for_their_owner_alone_or_given() {
    let dir = Dir::new();
    let config = Config { ml_dsa_44: true, ..dir.config(Durability::Write) };
    let (ledger, _) = open(&config);
    write(&ledger, 0..3);
    ledger.close().unwrap();
    let schemes: Vec<Scheme> = ledger.verifiers().iter().map(crate::tlog::VerifierKey::scheme).collect();
    assert_eq!(schemes, [Scheme::Ed25519, Scheme::MlDsa44]);
    ledger.checkpoint().unwrap().verified_by(ledger.verifiers()).unwrap();
    for name in ["signing-key.pem", "signing-key.ml-dsa-44.pem"] {
        let mode = std::fs::metadata(dir.0.join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    // Given elsewhere, under another deployment's name: the same key, and the log keeps its origin.
    let given = dir.0.join("given.pem");
    std::fs::rename(dir.0.join("signing-key.pem"), &given).unwrap();
    let renamed = Origin { deployment: "renamed now".to_owned(), ..origin() };
    let config = Config { ml_dsa_44: false, signing_key: Some(given), ..config };
    let again = Ledger::open(&config, &renamed, &Arc::new(Metrics::new())).unwrap();
    assert_eq!(again.verifiers(), &ledger.verifiers()[..1]);
    again.close().unwrap();
}

#[test]
fn a_key_that_cannot_be_used_is_told() {
    let dir = Dir::new();
    let key = dir.0.join("key.pem");
    for (content, what) in [
        (None, "No such file"),
        (Some("junk"), "BEGIN PRIVATE KEY"),
        (Some("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"), "openssl genpkey -algorithm ed25519"),
    ] {
        if let Some(content) = content {
            std::fs::write(&key, content).unwrap();
        }
        let config = Config { signing_key: Some(key.clone()), ..dir.config(Durability::Write) };
        let error = Ledger::open(&config, &origin(), &Arc::new(Metrics::new())).unwrap_err().to_string();
        assert!(error.contains("ledger.signing_key") && error.contains("key.pem") && error.contains(what), "{error}");
    }
}

#[test]
fn a_receipt_promises_the_entry_that_is_there() {
    let dir = Dir::new();
    let (ledger, _) = open(&Config { receipt: true, ..dir.config(Durability::Write) });
    let mut receipts = Vec::new();
    for id in 0..40 {
        let (ticket, receipt) = ledger.finish_with_receipt(&exchange(call(Uuid::from_u128(id), None)));
        settled(ticket).unwrap();
        receipts.push(receipt.unwrap().parse::<Receipt>().unwrap());
    }
    let reader = Reader::open(&dir.0).unwrap();
    let newest = reader.find_leaf(&receipts[39].leaf).unwrap().expect("at once, not when a checkpoint comes");
    assert_eq!(ids(&[newest], "prediction"), [Uuid::from_u128(39)]);
    ledger.close().unwrap();
    for (id, receipt) in (0..).zip(&receipts) {
        receipt.verify(ledger.verifiers()).unwrap();
        let found = reader.find_leaf(&receipt.leaf).unwrap().unwrap();
        assert_eq!(ids(&[found], "prediction"), [Uuid::from_u128(id)]);
    }
    assert_eq!(reader.find_leaf(&[7; 32]).unwrap(), None, "what was left out is missing");
    let (silent, _) = open(&dir.config(Durability::Write));
    assert_eq!(silent.finish_with_receipt(&exchange(call(Uuid::from_u128(99), None))).1, None);
}

#[test]
fn a_running_ledger_is_verified_without_disturbing_it() {
    let dir = Dir::new();
    let (ledger, _) = open(&dir.config(Durability::Write));
    let reader = Reader::open(&dir.0).unwrap();
    let identity = identity("v1");
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for id in 0..2000 {
                let call = call(Uuid::from_u128(id), Some(&identity));
                settled(ledger.begin(&call)).unwrap();
                settled(ledger.finish(&exchange(call))).unwrap();
            }
        });
        let mut size = 0;
        while !writer.is_finished() {
            let report = verified(&reader);
            assert!(report.log.entries >= size && report.log.ending == Ending::Open);
            size = report.log.entries;
        }
    });
    ledger.close().unwrap();
    assert_eq!(verified(&reader).log.ending, Ending::Stopped);
}

#[test]
fn a_log_set_aside_is_reported_and_missed_where_it_is_gone() {
    let sim = Sim::new(9);
    let config = config(Durability::Write);
    live(&sim, &config, ids_of(1, 10));
    let first = names(&sim).remove(0);
    sim.flip(&first, 700);
    sim.remove_all(".idx");
    live(&sim, &config, ids_of(2, 10));
    let report = verified(&sim_reader(&sim));
    let [old] = &report.older[..] else { panic!("{report:#?}") };
    assert!(old.followed && !old.report.findings.is_empty(), "{report:#?}");
    let follows = report.log.follows.as_ref().unwrap();
    assert_eq!((&follows.segment, &follows.log), (&first, &old.report.log));
    let gone = sim.after_kill();
    for name in gone.names_with(".log").iter().filter(|name| name.starts_with("old-")) {
        gone.remove(name).unwrap();
    }
    let problems = |sim: &Sim| -> Vec<String> {
        let report = sim_reader(sim).verify(&Options::default(), &Progress::default()).unwrap();
        report.all_findings().map(|finding| finding.problem.clone()).collect()
    };
    assert!(problems(&gone)[0].contains("which was set aside"), "{:?}", problems(&gone));
    // Another's old log in its place.
    for name in sim.names_with(".log").iter().filter(|name| name.starts_with("old-")) {
        sim.rename(name, &name.replacen("old-0000", "old-0001", 1)).unwrap();
    }
    assert!(problems(&sim)[0].contains("not the one that its successor follows"), "{:?}", problems(&sim));
}

#[test]
fn what_a_log_set_aside_committed_to_is_proved_from_its_own_tree() {
    let sim = Sim::new(9);
    let roomy = Config { segment_size: Size(1 << 20), ..config(Durability::Write) };
    live(&sim, &roomy, ids_of(1, 10));
    let (key, _) = live(&sim, &roomy, ids_of(2, 10));
    let whole = sim.after_kill();
    // Damage in the last segment; what it held goes with it, and with it the checkpoint over everything.
    let last = names(&sim).pop().unwrap();
    sim.flip(&last, 700);
    sim.remove_all(".idx");
    let prove = |sim: &Sim, id: u128| sim_reader(sim).prove_prediction(Uuid::from_u128(id));
    live(&sim, &roomy, ids_of(3, 10));
    let (old, new) = (ids_of(1, 10).start, ids_of(3, 10).start);
    let trust = |key: &crate::tlog::VerifierKey| crate::ledger::proof::Trust { keys: vec![key.clone()], witnesses: 0 };
    let bundle = prove(&sim, old + 3).unwrap();
    trust(&key).bundle(&bundle).unwrap();
    assert_eq!(bundle.keys, [key.to_string()], "that log's keys, not the present one's");
    trust(&sim_reader(&sim).keys().unwrap()[0]).bundle(&prove(&sim, new + 3).unwrap()).unwrap();
    assert!(trust(&key).bundle(&prove(&sim, new + 3).unwrap()).is_err(), "another log's");
    // Nobody knows whether what cannot be read held it.
    assert!(matches!(prove(&sim, 7), Err(Unproven::Read(_))));
    assert!(matches!(prove(&sim, ids_of(2, 10).start + 8), Err(Unproven::Read(_))));
    let why = |sim: &Sim, nth: u128| match prove(sim, old + nth) {
        Err(error @ Unproven::SetAside { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    };
    // Its hashes are gone.
    let bare = sim.after_kill();
    bare.remove(&bare.names_with("tree-0.hash").remove(0)).unwrap();
    assert!(why(&bare, 3).contains("tree-*.hash: "), "{}", why(&bare, 3));
    let wrong = sim.after_kill();
    wrong.flip(&wrong.names_with("tree-0.hash").remove(0), 32 * 2);
    assert!(why(&wrong, 3).contains("and are not made again"), "{}", why(&wrong, 3));
    // Nothing was ever signed over it.
    let mut forger = super::forger::Forger::take(&whole);
    for (_, items) in &mut forger.segments {
        items.retain(|item| !matches!(item, super::forger::Item::Checkpoint(_)));
    }
    forger.put(&whole, None);
    let first = names(&whole).remove(0);
    whole.flip(&first, 5000);
    live(&whole, &roomy, ids_of(3, 10));
    assert!(why(&whole, 7).contains("no checkpoint of that log covers entry"), "{}", why(&whole, 7));
}
