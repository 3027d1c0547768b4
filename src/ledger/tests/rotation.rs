//! A log whose key changes: who trusts either key, what forgers do about it, and crashes at every step.

use super::forger::{Forger, Item};
use super::tamper::ids_of;
use super::*;
use crate::exchange::Recorder as _;
use crate::ledger::proof::{Bundle, Part, Trust};
use crate::ledger::rotation::Change;
use crate::ledger::segment::sim::Fault;
use crate::ledger::signing::Notary;
use crate::ledger::{RotateError, Rotated};
use crate::tlog::{Checkpoint, Note, Receipt, Signer, VerifierKey, leaf_hash};

fn opening<T>(keys: &Keys, run: impl FnOnce(Opening<'_>) -> T) -> T {
    let (config, metrics) = (config(Durability::Write), Metrics::new());
    run(Opening { config: &config, origin: &origin(), keys, metrics: &metrics, anchor: None })
}

fn storage(sim: &Sim) -> Arc<dyn Storage> {
    Arc::new(sim.clone())
}

/// A start as `serve` makes it: the log in `sim`, the keys' files in `dir`.
fn start(sim: &Sim, dir: &Dir) -> Result<Ledger, OpenError> {
    let keys = Keys::open(&dir.0, None, false)?;
    opening(&keys, |opening| opening.open(storage(sim), None, Path::new("sim")))
}

fn rotate(sim: &Sim, dir: &Dir) -> Result<Rotated, RotateError> {
    let keys = Keys::existing(&dir.0, None, false)?;
    opening(&keys, |opening| opening.rotate(storage(sim), Path::new("sim"), None))
}

/// One run, with a checkpoint at its stop.
fn live(sim: &Sim, dir: &Dir, ids: std::ops::Range<u128>) -> (VerifierKey, Note) {
    let ledger = start(sim, dir).unwrap();
    for id in ids {
        settled(ledger.finish(&exchange(call(Uuid::from_u128(id), Some(&identity("v1")))))).unwrap();
    }
    ledger.close().unwrap();
    (ledger.verifiers()[0].clone(), ledger.checkpoint().unwrap())
}

fn report(sim: &Sim, keys: &[&VerifierKey], since: Option<&Note>) -> Report {
    let since = since.map(|note| note.to_string().parse().unwrap());
    let options = Options { keys: keys.iter().copied().cloned().collect(), since, ..Options::default() };
    sim_reader(sim).verify(&options, &Progress::default()).unwrap()
}

fn files(dir: &Dir) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(&dir.0).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name.contains("pem"));
    names.sort();
    names
}

/// A log under three keys, one after the other, and the key files as they were.
struct Thrice {
    sim: Sim,
    keys: [VerifierKey; 3],
    notes: [Note; 3],
    private: Vec<Keys>,
}

fn rotated_twice() -> Thrice {
    let (sim, dir) = (Sim::new(5), Dir::new());
    let (mut keys, mut notes, mut private) = (Vec::new(), Vec::new(), Vec::new());
    for run in 1..=3 {
        if run > 1 {
            let done = rotate(&sim, &dir).unwrap();
            assert_eq!((Some(&done.old), done.file), (keys.last(), dir.0.join("signing-key.pem")));
            assert_eq!(sim_reader(&sim).keys().unwrap().last(), Some(&done.new), "told before it signs");
            assert!(report(&sim, &[], None).intact);
        }
        let (key, note) = live(&sim, &dir, ids_of(run, 12));
        keys.push(key);
        notes.push(note);
        private.push(Keys::open(&dir.0, None, false).unwrap());
    }
    assert_eq!(files(&dir), ["signing-key.pem"]);
    Thrice { sim, keys: keys.try_into().unwrap(), notes: notes.try_into().unwrap(), private }
}

#[test]
fn who_trusts_any_of_its_keys_verifies_the_whole_log() {
    let Thrice { sim, keys, notes, .. } = rotated_twice();
    assert!(keys.iter().all(|key| key.name() == keys[0].name()), "the log keeps its name");
    assert_eq!(sim_reader(&sim).keys().unwrap(), keys);
    let [first, second, third] = &keys;
    for given in [&[][..], &[first], &[second], &[third], &[first, second, third], &[first, third]] {
        for since in [None, Some(&notes[0]), Some(&notes[1]), Some(&notes[2])] {
            let report = report(&sim, given, since);
            assert!(report.intact && report.unreadable.is_empty(), "{given:?} {report:#?}");
            assert_eq!(report.vouches_for_itself, given.is_empty());
            assert_eq!(report.keys, keys.each_ref().map(ToString::to_string));
            let chain: Vec<(&str, &str)> =
                report.log.rotations.iter().map(|rotation| (&*rotation.old, &*rotation.new)).collect();
            let [first, second, third] = &report.keys[..] else { panic!() };
            assert_eq!(chain, [(&**first, &**second), (second, third)]);
            // Who begins with a later key is told what that does not cover.
            let later = given.first().is_some_and(|key| **key != keys[0]);
            assert_eq!(report.remarks.iter().any(|remark| remark.contains("were not given")), later, "{report:#?}");
        }
    }
    let stranger = Keys::fresh().ed25519_under(keys[0].name()).unwrap();
    let report = report(&sim, &[stranger.verifier()], None);
    assert!(report.findings_total() > 0 && report.keys.is_empty(), "{report:#?}");
}

#[test]
fn what_was_recorded_before_and_after_is_proved_under_the_newest_key() {
    let (dir, anchor) = (Dir::new(), Dir::new());
    let config = Config { receipt: true, anchor: Some(anchor.0.clone()), ..dir.config(Durability::Write) };
    let metrics = Arc::new(Metrics::new());
    let (mut keys, mut logs, mut receipts) = (Vec::new(), Vec::new(), Vec::new());
    for run in 0..3 {
        if run > 0 {
            let running = Ledger::open(&config, &origin(), &metrics).unwrap();
            let refused = Ledger::rotate(&config, &origin(), &metrics, None);
            assert!(matches!(refused, Err(RotateError::Open(OpenError::Locked { .. }))), "{refused:?}");
            running.close().unwrap();
            drop(running);
            Ledger::rotate(&config, &origin(), &metrics, None).unwrap();
        }
        let (ledger, metrics) = open(&config);
        let (ticket, receipt) = ledger.finish_with_receipt(&exchange(call(Uuid::from_u128(run), None)));
        settled(ticket).unwrap();
        receipts.push(receipt.unwrap().parse::<Receipt>().unwrap());
        ledger.close().unwrap();
        assert_eq!(metrics.ledger_integrity_failures.get(), 0, "an anchor under an older key is no fork");
        keys.push(ledger.verifiers()[0].clone());
        logs.push(ledger.status().log);
    }
    assert!(logs.iter().all(|log| *log == logs[0]), "the same log");
    let reader = Reader::open(&dir.0).unwrap();
    for (run, receipt) in receipts.iter().enumerate() {
        assert!((0..3).all(|key| receipt.verify([&keys[key]]).is_ok() == (key == run)));
        receipt.verify(&keys).unwrap();
        assert!(reader.find_leaf(&receipt.leaf).unwrap().is_some());
        let bundle = reader.prove_prediction(Uuid::from_u128(run as u128)).unwrap();
        assert_eq!(bundle.keys, keys.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(leaf_hash(bundle.entry.as_bytes()), receipt.leaf);
        for (given, key) in keys.iter().enumerate() {
            let verdict = trust(key).bundle(&bundle).unwrap();
            assert_eq!(
                (verdict.prediction.signed.keys, verdict.prediction.signed.rotations.len()),
                (vec![keys[2].clone()], 2 - given)
            );
        }
    }
}

fn trust(key: &VerifierKey) -> Trust {
    Trust { keys: vec![key.clone()], witnesses: 0 }
}

#[test]
fn a_proof_leads_from_an_earlier_key_to_its_own_and_nowhere_else() {
    let dir = Dir::new();
    let config = dir.config(Durability::Write);
    let metrics = Arc::new(Metrics::new());
    let (ledger, _) = open(&config);
    settled(ledger.finish(&exchange(call(Uuid::from_u128(0), None)))).unwrap();
    ledger.close().unwrap();
    let mut keys = vec![ledger.verifiers()[0].clone()];
    let reader = Reader::open(&dir.0).unwrap();
    let early = reader.newest_checkpoint().unwrap().unwrap().note;
    drop(ledger);
    for _ in 0..2 {
        Ledger::rotate(&config, &origin(), &metrics, None).unwrap();
        let (ledger, _) = open(&config);
        ledger.close().unwrap();
        keys.push(ledger.verifiers()[0].clone());
    }
    let reader = Reader::open(&dir.0).unwrap();
    let late = reader.newest_checkpoint().unwrap().unwrap().note;
    let extension = reader.prove_extension(&early, &late).unwrap();
    let (_, new) = trust(&keys[0]).extension(&extension).unwrap();
    assert_eq!(new.rotations.len(), 2);
    // A later key leads to no earlier one.
    assert!(trust(&keys[1]).extension(&extension).is_err());

    let whole = reader.prove_prediction(Uuid::from_u128(0)).unwrap();
    let with =
        |rotations: &[&str]| Bundle { rotations: rotations.iter().map(ToString::to_string).collect(), ..whole.clone() };
    let verified =
        |key: usize, rotations: &[&str]| trust(&keys[key]).bundle(&with(rotations)).map_err(|refused| refused.part);
    let [first, second] = [0, 1].map(|at| whole.rotations[at].as_str());
    assert!(verified(0, &[first, second]).is_ok() && verified(1, &[second]).is_ok());
    for without in [&[][..], &[first], &[second], &[second, first]] {
        assert_eq!(verified(0, without), Err(Part::Prediction), "{without:?}");
    }
    for (from, to) in
        [(r#""size":"#, r#""size":1"#), (r#""signature":""#, r#""signature":"A"#), ("lifecycle", "begin"), ("{", "")]
    {
        let forged = first.replacen(from, to, 1);
        assert_ne!(forged, first);
        assert_eq!(verified(0, &[&forged, second]), Err(Part::Rotations), "{forged}");
    }
    // A key that is still to come, by the word of the one before it: it signed nothing of what was earlier.
    let signer = Keys::fresh().ed25519_under(keys[0].name()).unwrap();
    let change = Change::sign(&signer, &keys[2], 1_000).unwrap();
    let entry = format!(
        r#"{{"v":1,"kind":"lifecycle","nonce":"00","time":"2026-11-20T17:29:01.123456Z","event":"key","detail":{}}}"#,
        serde_json::to_string(&change).unwrap()
    );
    assert_eq!(
        trust(signer.verifier()).bundle(&with(&[&entry])).map_err(|refused| refused.part),
        Err(Part::Prediction)
    );
}

fn is_key(item: &Item) -> bool {
    matches!(item, Item::Entry(entry) if String::from_utf8_lossy(entry).contains("\"event\":\"key\""))
}

fn is_start(item: &Item) -> bool {
    matches!(item, Item::Entry(entry) if String::from_utf8_lossy(entry).contains("\"event\":\"start\""))
}

fn edit(forger: &mut Forger, (segment, item): (usize, usize), from: &str, to: &str) {
    let Item::Entry(entry) = &mut forger.segments[segment].1[item] else { panic!() };
    let text = String::from_utf8(std::mem::take(entry)).unwrap();
    assert!(text.contains(from), "{text}");
    *entry = text.replace(from, to).into_bytes();
}

/// A log that was rotated, in the hands of someone who has every key of it.
struct Forgery {
    sim: Sim,
    keys: [VerifierKey; 3],
    signers: Vec<Signer>,
    notaries: Vec<Notary>,
    /// The entries that change the key.
    changes: Vec<u64>,
    stranger: Signer,
}

impl Forgery {
    fn new() -> Self {
        let Thrice { sim, keys, private, .. } = rotated_twice();
        let name = keys[0].name().to_owned();
        let changes = report(&sim, &[], None).log.rotations.iter().map(|change| change.entry).collect();
        let notaries = private.iter().map(|keys| keys.under(&name).unwrap()).collect();
        let signers = private.iter().map(|keys| keys.ed25519_under(&name).unwrap()).collect();
        Self { sim, keys, signers, notaries, changes, stranger: Keys::fresh().ed25519_under(&name).unwrap() }
    }

    /// The key that honestly signs for so many entries: the run of a change, which is its start, the change and its
    /// stop, ends under the key that it retires.
    fn notary(&self, size: u64) -> Option<&Notary> {
        self.notaries.get(self.changes.iter().filter(|change| size > **change + 2).count())
    }

    /// Forges a copy, signs it anew, and expects to be told of it whatever the auditor brings.
    fn told(&self, what: &str, forge: impl Fn(&mut Forger)) {
        let copy = self.sim.after_kill();
        let mut forger = Forger::take(&self.sim);
        forge(&mut forger);
        forger.put_by(&copy, &|size| self.notary(size));
        for given in [&[][..], &[&self.keys[0]], &[&self.keys[2]]] {
            let report = report(&copy, given, None);
            let told = report.all_findings().any(|finding| finding.problem.contains(what));
            assert!(told, "{what} with {given:?}: {report:#?}");
        }
    }
}

/// What the n-th key entry says.
fn change(forger: &Forger, nth: isize) -> ((usize, usize), Change) {
    let at = forger.find(nth, is_key);
    let Item::Entry(entry) = &forger.segments[at.0].1[at.1] else { panic!() };
    (at, Change::of(&Entry::parse(entry).unwrap()).unwrap().unwrap())
}

#[test]
fn a_forged_key_entry_is_found_even_if_the_keys_sign_it() {
    let forgery = Forgery::new();
    let Forgery { sim, keys, signers, changes, stranger, .. } = &forgery;
    let copy = sim.after_kill();
    Forger::take(sim).put_by(&copy, &|size| forgery.notary(size));
    assert!(report(&copy, &[&keys[0]], None).intact, "the forger's tools are right");
    let theirs = Change::sign(stranger, &keys[1], changes[0]).unwrap();
    forgery.told("the old key did not sign it", |forger| {
        let (at, change) = change(forger, 0);
        edit(forger, at, &change.signature, &theirs.signature);
    });
    forgery.told("the old key did not sign it", |forger| {
        let (at, change) = change(forger, 0);
        edit(forger, at, &change.new, &stranger.verifier().to_string());
    });
    forgery.told("which is not the key in force", |forger| {
        let (at, change) = change(forger, 0);
        edit(forger, at, &change.signature, &theirs.signature);
        edit(forger, at, &change.old, &theirs.old);
    });
    // The retired key names another, later; and the key in force one that was there before.
    for (signer, new, what) in [
        (&signers[0], stranger.verifier(), "which is not the key in force"),
        (&signers[1], &keys[0], "was this log's before"),
    ] {
        forgery.told(what, |forger| {
            let (at, old) = change(forger, 1);
            let new = Change::sign(signer, new, old.size).unwrap();
            for (from, to) in [(&old.signature, &new.signature), (&old.new, &new.new), (&old.old, &new.old)] {
                edit(forger, at, from, to);
            }
        });
    }
    // The right words in another place.
    forgery.told("it was signed to stand at entry", |forger| {
        let (segment, item) = forger.find(0, is_key);
        let key = forger.segments[segment].1.remove(item);
        forger.segments[segment].1.insert(item - 1, key);
    });
    forgery.told("it was signed to stand at entry", |forger| {
        let ((segment, item), Change { size, .. }) = change(forger, 0);
        edit(forger, (segment, item), &format!("\"size\":{size}"), &format!("\"size\":{}", size + 1));
    });
    forgery.told("the key entry cannot be read", |forger| {
        let at = forger.find(1, is_key);
        edit(forger, at, "\"signature\"", "\"signed\"");
    });
}

#[test]
fn a_start_under_a_key_that_nothing_introduced_is_found() {
    let forgery = Forgery::new();
    let [first, second, _] = &forgery.keys;
    forgery.told("which no key entry introduced", |forger| {
        let at = forger.find(2, is_start);
        edit(forger, at, &second.to_string(), &forgery.stranger.verifier().to_string());
    });
    forgery.told(&format!("which entry {} retired", forgery.changes[0]), |forger| {
        let at = forger.find(2, is_start);
        edit(forger, at, &second.to_string(), &first.to_string());
    });
    // The entry that introduces the second is gone.
    forgery.told("which no key entry introduced", |forger| {
        let (segment, item) = forger.find(0, is_key);
        forger.segments[segment].1.remove(item);
    });
}

#[test]
fn a_key_signs_in_its_own_time_alone() {
    let Thrice { sim, keys, private, .. } = rotated_twice();
    let notaries: Vec<_> = private.iter().map(|private| private.under(keys[0].name()).unwrap()).collect();
    for (place, what) in [(0, "had retired"), (1, "introduces and nothing before"), (2, "nothing before")] {
        // Every checkpoint signed by one of the three alone, its roots right.
        let copy = sim.after_kill();
        Forger::take(&sim).put(&copy, Some(&notaries[place]));
        for given in [&[][..], &[&keys[0]], &[&keys[2]], &[&keys[0], &keys[1], &keys[2]]] {
            let report = report(&copy, given, None);
            let told = report.all_findings().any(|finding| finding.problem.contains(what));
            assert!(told, "{what} with {given:?}: {report:#?}");
        }
    }
    // A copy of the checkpoint that is brought is judged the same way.
    let size = Checkpoint::parse(&sim_reader(&sim).newest_checkpoint().unwrap().unwrap().note.text).unwrap();
    let head = crate::ledger::segment::Head { size: size.size, root: size.root };
    let late = notaries[0].checkpoint(head, 0).unwrap();
    let report = report(&sim, &[&keys[0]], Some(&late));
    assert!(report.all_findings().any(|finding| finding.problem.contains("had retired")), "{report:#?}");
}

#[test]
fn a_crash_at_each_step_of_a_rotation_is_survived() {
    let mut outcomes = [0, 0];
    for power in [false, true] {
        for at in 0.. {
            let (sim, dir) = (Sim::new(at), Dir::new());
            let (old, note) = live(&sim, &dir, ids_of(1, 5));
            let calls = sim.calls();
            sim.fault(Some(Fault::Crash(calls + at)));
            let done = rotate(&sim, &dir);
            let whole = done.is_ok();
            let sim = if power { sim.after_power_loss() } else { sim.after_kill() };
            // The next start, another rotation on top of it, and one more.
            let (key, _) = live(&sim, &dir, ids_of(2, 5));
            assert_eq!(files(&dir), ["signing-key.pem"], "crash at {at}");
            let rotations = report(&sim, &[&old], Some(&note)).log.rotations;
            outcomes[usize::from(key != old)] += 1;
            assert_eq!(rotations.len(), usize::from(key != old), "crash at {at}: the log says what is so");
            assert!(!whole || key != old, "crash at {at}: what was said to be done is");
            rotate(&sim, &dir).unwrap();
            let (newest, _) = live(&sim, &dir, ids_of(3, 5));
            for given in [&[][..], &[&old], &[&newest]] {
                let report = report(&sim, given, Some(&note));
                assert!(report.intact, "crash at {at}, {given:?}: {report:#?}");
            }
            if whole {
                break;
            }
        }
    }
    assert!(outcomes[0] > 3 && outcomes[1] > 3, "some were undone, some finished: {outcomes:?}");
}

#[test]
fn a_key_that_waits_is_taken_up_or_thrown_away_as_the_log_says() {
    let (sim, dir) = (Sim::new(9), Dir::new());
    let (old, _) = live(&sim, &dir, ids_of(1, 3));
    let [current, next] = ["signing-key.pem", "signing-key.next.pem"].map(|name| dir.0.join(name));
    // Made, and the log never heard of it.
    std::fs::write(&next, std::fs::read(&current).unwrap()).unwrap();
    assert_eq!(live(&sim, &dir, ids_of(2, 3)).0, old);
    assert!(!next.exists());
    // In the log, and not yet in its place.
    let before = std::fs::read(&current).unwrap();
    let new = rotate(&sim, &dir).unwrap().new;
    std::fs::rename(&current, &next).unwrap();
    std::fs::write(&current, &before).unwrap();
    assert_eq!(live(&sim, &dir, ids_of(3, 3)).0, new);
    assert!(!next.exists());
    // The retired key brought back, at once and later.
    let now = std::fs::read(&current).unwrap();
    for run in 4..6 {
        std::fs::write(&current, &before).unwrap();
        let error = start(&sim, &dir).unwrap_err();
        assert!(matches!(error, OpenError::Retired { .. }) && error.to_string().contains(&new.to_string()), "{error}");
        std::fs::write(&current, &now).unwrap();
        live(&sim, &dir, ids_of(run, 3));
    }
    // Nor does it come back by a rotation.
    let given = dir.0.join("given");
    std::fs::write(&given, &before).unwrap();
    let keys = Keys::existing(&dir.0, None, false).unwrap();
    let again = opening(&keys, |opening| opening.rotate(storage(&sim), Path::new("sim"), Some(&given)));
    assert!(matches!(again, Err(RotateError::Open(OpenError::Used { .. }))), "{again:?}");
    assert!(report(&sim, &[&old], None).intact);
}

#[test]
fn a_key_that_was_given_is_followed_by_one_that_is_given() {
    let dir = Dir::new();
    let [one, other, wrong] = ["one.pem", "other.pem", "ml.pem"].map(|name| dir.0.join(name));
    let file = |file: &PathBuf, scheme| crate::key_file::KeyFile { key: "test", file: file.clone(), scheme };
    for (path, scheme) in [
        (&one, crate::tlog::Scheme::Ed25519),
        (&other, crate::tlog::Scheme::Ed25519),
        (&wrong, crate::tlog::Scheme::MlDsa44),
    ] {
        file(path, scheme).make().unwrap();
    }
    let config = Config { signing_key: Some(one.clone()), ml_dsa_44: true, ..dir.config(Durability::Write) };
    let metrics = Arc::new(Metrics::new());
    let rotate = |new: Option<&Path>| Ledger::rotate(&config, &origin(), &metrics, new);
    let nothing = rotate(Some(&other)).unwrap_err();
    assert!(nothing.to_string().contains("ledger"), "{nothing}");
    let (ledger, _) = open(&config);
    ledger.close().unwrap();
    let [old, second] = ledger.verifiers() else { panic!() };
    let error = rotate(None).unwrap_err().to_string();
    assert!(error.contains("ledger.signing_key") && error.contains("--new-key"), "{error}");
    let error = rotate(Some(&wrong)).unwrap_err().to_string();
    assert!(error.contains("ML-DSA-44"), "{error}");
    let done = rotate(Some(&other)).unwrap();
    assert_eq!((&done.old, &done.file), (old, &other));
    assert!(one.exists(), "what was given is not ours to remove");
    let error = Ledger::open(&config, &origin(), &metrics).unwrap_err();
    assert!(matches!(error, OpenError::Retired { .. }), "{error}");
    let config = Config { signing_key: Some(other), ..config.clone() };
    let (ledger, _) = open(&config);
    ledger.close().unwrap();
    assert_eq!(ledger.verifiers(), [done.new.clone(), second.clone()], "the second key signs on");
    let reader = Reader::open(&dir.0).unwrap();
    for key in [old, &done.new, second] {
        let options = Options { keys: vec![key.clone()], ..Options::default() };
        let report = reader.verify(&options, &Progress::default()).unwrap();
        assert!(report.intact && !report.vouches_for_itself, "{key}: {report:#?}");
    }
}
