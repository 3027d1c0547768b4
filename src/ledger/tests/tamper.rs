//! A campaign against a ledger: whatever is done to its files, verification finds it, or the auditor's own copy of a
//! checkpoint does. `docs/guarantees.md` lists what is tried here; what nothing can find stands there too.

use super::forger::{Forger, Item, names, read, write};
use super::*;
use crate::exchange::Recorder as _;
use crate::ledger::frame::FrameKind;
use crate::ledger::segment::{Header, segment_name};
use crate::ledger::signing::Notary;
use crate::ledger::verify::Ending;
use crate::tlog::{Checkpoint, Note, Scheme, SignedCheckpoint, Signer, VerifierKey};

/// A ledger after an orderly stop, and what an auditor may have.
struct Victim {
    sim: Sim,
    origin: String,
    key: VerifierKey,
    checkpoint: SignedCheckpoint,
    size: u64,
}

pub(super) fn ids_of(run: u128, count: u128) -> std::ops::Range<u128> {
    run << 32..(run << 32) + count
}

/// One run: begins, ends, a checkpoint on the way and one at the stop.
pub(super) fn live(sim: &Sim, config: &Config, ids: std::ops::Range<u128>) -> (VerifierKey, Note) {
    let (ledger, _) = open_sim(sim, config).unwrap();
    let identity = identity("v1");
    for (at, id) in ids.enumerate() {
        let call = call(Uuid::from_u128(id), Some(&identity));
        if at % 3 == 0 {
            settled(ledger.begin(&call)).unwrap();
        }
        settled(ledger.finish(&exchange(call))).unwrap();
        if at == 4 {
            let size = ledger.status().size;
            eventually("a checkpoint, in the log", || {
                let last = sim_reader(sim).checkpoints().unwrap().pop();
                last.is_some_and(|last| last.checkpoint.size >= size)
            });
        }
    }
    ledger.close().unwrap();
    (ledger.verifiers()[0].clone(), ledger.checkpoint().unwrap())
}

/// Two runs and so two sealed segments at least, of `count` predictions each.
fn victim(count: u128) -> Victim {
    let sim = Sim::new(7);
    let roomy = config(Durability::Write);
    live(&sim, &roomy, ids_of(1, count));
    let (key, note) = live(&sim, &roomy, ids_of(2, count));
    let size = Checkpoint::parse(&note.text).unwrap().size;
    Victim { sim, origin: key.name().to_owned(), key, checkpoint: note.to_string().parse().unwrap(), size }
}

/// What an auditor brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum With {
    Nothing,
    Key,
    Checkpoint,
}

impl Victim {
    fn report(&self, sim: &Sim, with: With) -> Report {
        let keys = if with == With::Nothing { Vec::new() } else { vec![self.key.clone()] };
        let since = (with == With::Checkpoint).then(|| self.checkpoint.clone());
        let threads = std::num::NonZero::new(1);
        let options = Options { keys, since, threads, now: None };
        sim_reader(sim).verify(&options, &Progress::default()).unwrap()
    }

    /// Forges a copy and expects a finding that says `what` for who brings as much, and none for who brings less.
    fn forged(&self, with: With, what: &str, notary: Option<&Notary>, forge: impl Fn(&mut Forger)) -> Report {
        let sim = self.sim.after_kill();
        let mut forger = Forger::take(&sim);
        forge(&mut forger);
        forger.put(&sim, notary);
        self.found(&sim, with, what)
    }

    fn found(&self, sim: &Sim, with: With, what: &str) -> Report {
        for bring in [With::Nothing, With::Key, With::Checkpoint] {
            let report = self.report(sim, bring);
            let enough = bring as u8 >= with as u8;
            assert_eq!(report.intact, !enough, "{what}, with {bring:?}: {report:#?}");
            if enough {
                let told = report.all_findings().any(|finding| finding.problem.contains(what));
                assert!(told, "{what}, with {bring:?}: {report:#?}");
            }
        }
        self.report(sim, with)
    }

    /// Forges a copy in a way that nothing can tell.
    fn unseen(&self, forge: impl Fn(&mut Forger)) {
        let sim = self.sim.after_kill();
        let mut forger = Forger::take(&sim);
        forge(&mut forger);
        forger.put(&sim, None);
        let report = self.report(&sim, With::Checkpoint);
        assert!(report.intact, "{report:#?}");
    }

    fn notary(&self) -> Notary {
        KEYS.under(&self.origin).unwrap()
    }
}

/// Takes away what would give a careless forger away.
fn without_derived(sim: &Sim) {
    sim.remove_all(".idx");
    sim.remove_all(".hash");
}

fn is_checkpoint(item: &Item) -> bool {
    matches!(item, Item::Checkpoint(_))
}

/// Another content of the same form.
fn alter(entry: &mut [u8]) {
    let nonce = entry.windows(9).position(|part| part == b"\"nonce\":\"").unwrap() + 9;
    entry[nonce] = if entry[nonce] == b'0' { b'1' } else { b'0' };
}

#[test]
fn an_untouched_ledger_is_intact_and_says_what_it_holds() {
    let victim = victim(20);
    for with in [With::Nothing, With::Key, With::Checkpoint] {
        let report = victim.report(&victim.sim, with);
        assert!(report.intact && report.remarks.is_empty(), "{report:#?}");
        assert_eq!(report.vouches_for_itself, with == With::Nothing);
        assert_eq!(report.keys, [victim.key.to_string()]);
        let log = &report.log;
        assert_eq!((log.entries, log.uncovered, log.ending), (victim.size, 0, Ending::Stopped));
        assert_eq!((log.kinds["prediction"], log.kinds["begin"], log.kinds["lineage"]), (40, 14, 1));
        assert_eq!((log.starts, log.open, log.documents), ((2, 0), 0, 1));
        assert!(log.checkpoints >= 4 && log.checkpoint.as_ref().unwrap().size == victim.size);
        assert_eq!(report.since.is_some_and(|since| since.extended), with == With::Checkpoint);
    }
}

#[test]
fn every_byte_of_sealed_segments_matters() {
    let victim = victim(1);
    for name in names(&victim.sim) {
        for at in 0..read(&victim.sim, &name).len() {
            let sim = &victim.sim;
            sim.flip(&name, at);
            let report = victim.report(sim, With::Nothing);
            sim.flip(&name, at);
            assert!(!report.intact && report.unreadable.is_empty(), "{name} byte {at}");
            let named = report.all_findings().any(|finding| finding.file.as_deref() == Some(&*name));
            assert!(named, "{name} byte {at}: {report:#?}");
        }
    }
}

#[test]
fn an_entry_changed_removed_doubled_or_moved_is_found() {
    let victim = victim(20);
    for nth in [0_isize, 7, 19, -1] {
        let what = "are not those that were committed to";
        let entry =
            |item: &Item| matches!(item, Item::Entry(entry) if entry.starts_with(br#"{"v":1,"kind":"prediction""#));
        victim.forged(With::Nothing, what, None, |forger| {
            let (segment, item) = forger.find(nth, entry);
            let Item::Entry(entry) = &mut forger.segments[segment].1[item] else { panic!() };
            alter(entry);
        });
        victim.forged(With::Nothing, "", None, |forger| {
            let (segment, item) = forger.find(nth, entry);
            forger.segments[segment].1.remove(item);
        });
        victim.forged(With::Nothing, what, None, |forger| {
            let (segment, item) = forger.find(nth, entry);
            let twice = forger.segments[segment].1[item].clone();
            forger.segments[segment].1.insert(item, twice);
        });
    }
    victim.forged(With::Nothing, "are not those that were committed to", None, |forger| {
        let mut entries = forger.entries();
        let (first, second) = entries.split_at_mut(9);
        std::mem::swap(first[5], second[0]);
    });
}

#[test]
fn where_entries_were_changed_is_told_between_two_checkpoints() {
    let victim = victim(20);
    let sizes: Vec<u64> =
        sim_reader(&victim.sim).checkpoints().unwrap().iter().map(|committed| committed.checkpoint.size).collect();
    let report = victim.forged(With::Nothing, "are not those", None, |forger| alter(forger.entries()[3]));
    let finding = report.all_findings().find(|finding| finding.problem.contains("are not those")).unwrap();
    assert!(finding.entry.unwrap() <= 3, "{finding:?}");
    assert!(sizes.iter().any(|size| *size > 3 && finding.problem.contains(&format!(" {size} "))), "{finding:?}");
}

type Change = fn(&mut Vec<Vec<u8>>);

/// Where the n-th entry stands among frames.
fn entry(frames: &[Vec<u8>], nth: usize) -> usize {
    (0..frames.len()).filter(|at| frames[*at][4] == 1).nth(nth).unwrap()
}

fn swap_entries(frames: &mut [Vec<u8>]) {
    let (one, other) = (entry(frames, 2), entry(frames, 5));
    frames.swap(one, other);
}

#[test]
fn frames_that_do_not_follow_each_other_are_found() {
    let victim = victim(8);
    let first = segment_name(0);
    let frames = |sim: &Sim| {
        let bytes = read(sim, &first);
        let mut at = 128;
        let mut frames = Vec::new();
        while let crate::ledger::frame::Parsed::Frame(frame) = crate::ledger::frame::parse(&bytes[at..]) {
            frames.push(bytes[at..at + frame.len()].to_vec());
            at += frame.len();
        }
        (bytes[..128].to_vec(), frames)
    };
    let changes: [(Change, &str); 5] = [
        (|frames| drop(frames.remove(entry(frames, 3))), "missing"),
        (|frames| swap_entries(frames), "should"),
        (|frames| frames.insert(entry(frames, 4), frames[entry(frames, 3)].clone()), "should"),
        (|frames| frames.truncate(frames.len() - 1), "seal"),
        (|frames| frames.push(frames[2].clone()), "follow its seal"),
    ];
    for (number, (change, what)) in changes.into_iter().enumerate() {
        let sim = victim.sim.after_kill();
        let (header, mut frames) = frames(&sim);
        change(&mut frames);
        write(&sim, &first, &[header, frames.concat()].concat());
        let report = victim.report(&sim, With::Nothing);
        assert!(report.all_findings().any(|finding| finding.problem.contains(what)), "{number} {what}: {report:#?}");
    }
}

#[test]
fn a_checkpoint_changed_or_removed_is_found() {
    let victim = victim(20);
    // Its text, its signature, its form.
    for (from, to) in [
        ("\n\n", "\nextension\n\n"),
        ("\u{2014} fraud", "\u{2014} freud"),
        ("fraud-prod", "fraud-test"),
        ("\n\n", "\n"),
    ] {
        victim.forged(With::Nothing, "does not hold", None, |forger| {
            let (segment, item) = forger.find(0, is_checkpoint);
            let Item::Checkpoint(note) = &mut forger.segments[segment].1[item] else { panic!() };
            *note = String::from_utf8(note.clone()).unwrap().replacen(from, to, 1).into_bytes();
        });
    }
    victim.forged(With::Nothing, "no checkpoint covers", None, |forger| {
        let (segment, item) = forger.find(-1, is_checkpoint);
        forger.segments[segment].1.remove(item);
    });
    victim.forged(With::Nothing, "before there were that many", None, |forger| {
        let (from, item) = forger.find(-1, is_checkpoint);
        let note = forger.segments[from].1.remove(item);
        forger.segments[0].1.insert(0, note);
    });
}

#[test]
fn a_log_stripped_of_its_checkpoints_is_found_by_who_has_the_key() {
    let victim = victim(20);
    // As if it had crashed before the first one.
    victim.forged(With::Key, "signed no checkpoint", None, |forger| {
        for (_, items) in &mut forger.segments {
            items.retain(|item| !is_checkpoint(item));
        }
        forger.segments.last_mut().unwrap().1.pop();
    });
}

#[test]
fn segments_removed_swapped_doubled_or_cut_are_found() {
    let victim = victim(40);
    let names = names(&victim.sim);
    assert!(names.len() > 4);
    for (place, name) in names.iter().enumerate() {
        let sim = victim.sim.after_kill();
        sim.remove(name).unwrap();
        // What is derived still speaks of it.
        assert!(!victim.report(&sim, With::Nothing).intact, "{name}");
        without_derived(&sim);
        let last = place == names.len() - 1;
        // The last one leaves no trace in the others.
        let (with, what) = if last { (With::Checkpoint, "and had") } else { (With::Nothing, "missing") };
        victim.found(&sim, with, what);
        let sim = victim.sim.after_kill();
        let bytes = read(&sim, name);
        write(&sim, name, &bytes[..bytes.len() / 2]);
        assert!(!victim.report(&sim, With::Nothing).intact, "{name}");
        without_derived(&sim);
        let (with, what) = if last { (With::Checkpoint, "and had") } else { (With::Nothing, "") };
        victim.found(&sim, with, what);
    }
    let sim = victim.sim.after_kill();
    let (one, other) = (read(&sim, &names[1]), read(&sim, &names[2]));
    write(&sim, &names[1], &other);
    write(&sim, &names[2], &one);
    victim.found(&sim, With::Nothing, "another segment");
    let sim = victim.sim.after_kill();
    write(&sim, &segment_name(victim.size + 5), &one);
    victim.found(&sim, With::Nothing, "another segment");
    let sim = victim.sim.after_kill();
    for name in &names {
        sim.remove(name).unwrap();
    }
    victim.found(&sim, With::Nothing, "there is no log");
}

#[test]
fn history_signed_with_another_key_is_found_by_who_has_the_key() {
    let victim = victim(20);
    let theirs = Keys::fresh().under(&victim.origin).unwrap();
    let their_key = theirs.verifiers().next().unwrap().to_string();
    // Signed anew, and the old key still named.
    victim.forged(With::Nothing, "signed it", Some(&theirs), |forger| alter(forger.entries()[5]));
    // Named as well: now only who was handed the key elsewhere can tell.
    let report = victim.forged(With::Key, "none of the given keys signed it", Some(&theirs), |forger| {
        for entry in forger.entries() {
            let text = String::from_utf8(std::mem::take(entry)).unwrap();
            *entry = text.replace(&victim.key.to_string(), &their_key).into_bytes();
        }
    });
    assert!(!report.vouches_for_itself);
}

#[test]
fn history_signed_anew_with_the_same_key_is_found_by_an_older_checkpoint_alone() {
    let victim = victim(20);
    let notary = victim.notary();
    victim.forged(With::Checkpoint, "the log was rewritten", Some(&notary), |forger| alter(forger.entries()[5]));
    victim.forged(With::Checkpoint, "and had", Some(&notary), |forger| {
        let (segment, item) = forger.find(-2, |item| matches!(item, Item::Entry(_)));
        forger.segments[segment].1.remove(item);
    });
}

#[test]
fn a_rollback_and_a_fork_are_found_by_an_older_checkpoint_alone() {
    let sim = Sim::new(3);
    let config = config(Durability::Write);
    live(&sim, &config, ids_of(1, 10));
    let copy = sim.after_kill();
    let (key, note) = live(&sim, &config, ids_of(2, 10));
    let size = Checkpoint::parse(&note.text).unwrap().size;
    let victim = Victim {
        origin: key.name().to_owned(),
        key,
        checkpoint: note.to_string().parse().unwrap(),
        size,
        sim: sim.clone(),
    };
    assert!(victim.report(&sim, With::Checkpoint).intact);
    let report = victim.found(&copy, With::Checkpoint, "and had");
    assert!(report.since.is_some_and(|since| !since.extended));
    live(&copy, &config, ids_of(3, 30));
    victim.found(&copy, With::Checkpoint, "the log was rewritten");
    // Another log altogether.
    let other = Sim::new(4);
    live(&other, &config, ids_of(2, 10));
    victim.found(&other, With::Key, "");
    let report = victim.report(&other, With::Checkpoint);
    assert!(report.all_findings().any(|finding| finding.problem.contains("which is not here")), "{report:#?}");
}

#[test]
fn a_cosignature_is_an_anchor_and_a_false_one_is_found() {
    let victim = victim(20);
    let witness = Signer::from_pkcs8("witness.example/w1", &Signer::generate_ed25519().unwrap(), true).unwrap();
    assert_eq!(witness.verifier().scheme(), Scheme::CosignatureV1);
    let cosigned = |nth: isize, time: u64, spoil: bool| {
        let sim = victim.sim.after_kill();
        let mut forger = Forger::take(&sim);
        let (segment, item) = forger.find(nth, is_checkpoint);
        let Item::Checkpoint(bytes) = &mut forger.segments[segment].1[item] else { panic!() };
        let mut note: Note = String::from_utf8(bytes.clone()).unwrap().parse().unwrap();
        let mut signature = witness.sign(&note.text, time).unwrap();
        signature.bytes[20] ^= u8::from(spoil);
        note.add(signature);
        let size = Checkpoint::parse(&note.text).unwrap().size;
        // It may come much later, over an older size.
        let (last, seal) = forger.find(-1, |item| matches!(item, Item::Mark(FrameKind::Seal { .. }, _)));
        forger.segments[last].1.insert(seal, Item::Checkpoint(note.to_string().into_bytes()));
        forger.put(&sim, None);
        (sim, size)
    };
    let options = Options { keys: vec![witness.verifier().clone()], ..Options::default() };
    for nth in [0, 1, -1] {
        let (sim, size) = cosigned(nth, 1_795_000_000, false);
        let report = sim_reader(&sim).verify(&options, &Progress::default()).unwrap();
        assert!(report.intact && report.vouches_for_itself, "{report:#?}");
        let [signer] = &report.log.cosigners[..] else { panic!("{report:#?}") };
        assert_eq!((signer.first, signer.last), (Some((size, 1_795_000_000)), (size, Some(1_795_000_000))));
        // Who does not know the witness is told that there is one.
        assert_eq!(victim.report(&sim, With::Key).log.unknown_signatures, 1);
        let (sim, _) = cosigned(nth, 1_795_000_000, true);
        let report = sim_reader(&sim).verify(&options, &Progress::default()).unwrap();
        assert!(report.all_findings().any(|finding| finding.problem.contains("w1")), "{report:#?}");
    }
    // A key that signed nothing is not what the auditor thinks that it is.
    let report = sim_reader(&victim.sim).verify(&options, &Progress::default()).unwrap();
    assert!(report.all_findings().any(|finding| finding.problem.contains("signed no checkpoint")), "{report:#?}");
}

#[test]
fn what_says_nothing_can_be_changed_unseen() {
    let victim = victim(20);
    // A random number in a header, which tells two files apart.
    victim.unseen(|forger| forger.segments[0].0 = Header { salt: 1, ..forger.segments[0].0 });
    // A commit or a checkpoint where later ones cover the same entries.
    for kind in [|item: &Item| matches!(item, Item::Mark(FrameKind::Commit, _)), is_checkpoint] {
        victim.unseen(|forger| {
            let (segment, item) = forger.find(0, kind);
            forger.segments[segment].1.remove(item);
        });
    }
}

#[test]
fn entries_that_do_not_fit_each_other_are_found_even_if_they_are_signed() {
    let victim = victim(20);
    let notary = victim.notary();
    let replace = |from: &'static str, to: &'static str, nth: isize, what: &str| {
        victim.forged(With::Nothing, what, Some(&notary), |forger| {
            let (segment, item) = forger
                .find(nth, |item| matches!(item, Item::Entry(entry) if String::from_utf8_lossy(entry).contains(from)));
            let Item::Entry(entry) = &mut forger.segments[segment].1[item] else { panic!() };
            *entry = String::from_utf8(std::mem::take(entry)).unwrap().replacen(from, to, 1).into_bytes();
        });
    };
    replace("\"outcome\"", "outcome\"", 3, "cannot be read");
    replace("\"time\":\"2026", "\"time\":\"20x6", 3, "no time");
    replace("\"lineage\":\"", "\"lineage\":\"0", 3, "no digest");
    replace("\"name\":\"fraud\"", "\"name\":\"freud\"", 0, "is not the one that its digest names");
    victim.forged(With::Nothing, "no lineage document", Some(&notary), |forger| {
        let (segment, item) = forger
            .find(0, |item| matches!(item, Item::Entry(entry) if entry.starts_with(br#"{"v":1,"kind":"lineage""#)));
        forger.segments[segment].1.remove(item);
    });
    victim.forged(With::Nothing, "began without an end", Some(&notary), |forger| {
        let begun = |item: &Item| matches!(item, Item::Entry(entry) if entry.starts_with(br#"{"v":1,"kind":"begin""#));
        let (segment, item) = forger.find(0, begun);
        let Item::Entry(opening) = forger.segments[segment].1[item].clone() else { panic!() };
        let id = Entry::parse(&opening).unwrap().id.unwrap().to_string();
        let end = |item: &Item| {
            matches!(item, Item::Entry(entry) if *entry != opening && String::from_utf8_lossy(entry).contains(&id))
        };
        let (last, end) = forger.find(0, end);
        forger.segments[last].1.remove(end);
    });
}

#[test]
fn derived_files_are_compared() {
    let victim = victim(40);
    let index = victim.sim.names_with(".idx").remove(1);
    let sim = victim.sim.after_kill();
    sim.flip(&index, 20);
    let report = victim.report(&sim, With::Key);
    assert!(report.intact && report.log.remarks[0].contains("is damaged"), "{report:#?}");
    let sim = victim.sim.after_kill();
    let storage: Arc<dyn Storage> = Arc::new(sim.clone());
    let name = names(&sim).remove(1);
    let header = Header::decode(read(&sim, &name).first_chunk().unwrap()).unwrap();
    let whole = crate::ledger::index::Index::open(&*storage, &header).unwrap();
    crate::ledger::index::Builder::default().write(&*storage, &header, (whole.end, whole.data_end)).unwrap();
    let report = victim.report(&sim, With::Key);
    assert!(report.all_findings().any(|finding| finding.problem.contains("may hide entries")), "{report:#?}");
    let sim = victim.sim.after_kill();
    sim.flip("tree-0.hash", 40 * 32);
    let report = victim.report(&sim, With::Key);
    assert!(report.intact && report.log.remarks[0].contains("tree-0.hash"), "{report:#?}");
}
